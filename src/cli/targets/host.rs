//! The system that runs, as the agent and health checks use it.

use std::ffi::OsString;
use std::process::{Command, Stdio};

use super::restart;
use crate::agent::{AgentError, Host};
use crate::cli::Context;
use crate::deploy::{RunNetwork, Target};

/// The system that a target runs on, or that runs from it.
pub(super) struct SystemHost<'a> {
    pub(super) context: &'a Context,
    pub(super) target: &'a Target,
}

fn failed(message: String) -> AgentError {
    AgentError::Host { message }
}

impl Host for SystemHost<'_> {
    fn restart_services(&self, services: Option<&[String]>) -> Result<Vec<String>, AgentError> {
        let names: Option<Vec<&str>> =
            services.map(|names| names.iter().map(String::as_str).collect());
        let units = restart::units(self.target.root(), names.as_deref());
        restart::restart_units(&units).map_err(failed)?;
        Ok(units)
    }

    fn restart_machine(&self) -> Result<(), AgentError> {
        restart::restart_machine().map_err(failed)
    }

    fn shell(&self, text: &str) -> Command {
        let words = ["/bin/sh", "-c", text].map(OsString::from);
        if self.target.machine().is_some() {
            let mut command = Command::new(&words[0]);
            command.args(&words[1..]);
            return command;
        }
        match self.target.run_arguments(&words, RunNetwork::Shared) {
            Ok(arguments) => {
                let mut command = Command::new("bwrap");
                command.args(arguments);
                command
            }
            Err(error) => {
                // A command that cannot be made fails its check.
                self.context.ui.remark(&crate::causes::chain(&error));
                let mut command = Command::new("false");
                command.stdin(Stdio::null());
                command
            }
        }
    }

    fn unit(&self, unit: &str) -> Option<String> {
        if self.target.machine().is_some() {
            return Some(unit.to_owned());
        }
        restart::units(self.target.root(), Some(&[unit]))
            .into_iter()
            .next()
    }
}
