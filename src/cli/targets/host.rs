//! The system that runs, as the agent and health checks use it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::live::unsettle;
use super::restart;
use crate::agent::{self, AgentError, Host};
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
        restart::start_anew("reboot").map_err(failed)
    }

    fn soft_reboot(&self) -> Result<(), AgentError> {
        unsettle().map_err(|error| failed(error.message))?;
        restart::start_anew("soft-reboot").map_err(failed)
    }

    fn shell(&self, text: &str) -> Command {
        let words = ["/bin/sh", "-c", text].map(OsString::from);
        if self.target.machine().is_some() {
            let mut command = agent::system("/bin/sh");
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

    fn file(&self, path: &str) -> PathBuf {
        match self.target.machine() {
            Some(_) => PathBuf::from(format!("/proc/1/root{path}")),
            None => PathBuf::from(path),
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
