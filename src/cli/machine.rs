//! On a machine that runs from a deployment, commands on targets mean that machine.

use std::path::Path;
use std::sync::Arc;

use clap::{Command, builder::OsStr};

use super::{CliError, Context};
use crate::deploy::{DeployError, MACHINE_ROOT, Machine};

/// Lets `--target` be the machine where nothing else is said.
pub(super) fn with_own_target(command: Command) -> Command {
    let names: Vec<String> = command
        .get_subcommands()
        .filter(|below| below.get_arguments().any(|arg| arg.get_id() == "target"))
        .map(|below| below.get_name().to_owned())
        .collect();
    names.into_iter().fold(command, |command, name| {
        command.mut_subcommand(name, |below| {
            below.mut_arg("target", |arg| {
                arg.required(false).default_value(OsStr::from(MACHINE_ROOT))
            })
        })
    })
}

impl Context {
    /// Returns the machine if this is a path on its own disk, which is mounted when it is first asked
    /// for: for this thread and those that it starts from then on.
    pub(super) fn machine(&self, path: &Path) -> Result<Option<Arc<Machine>>, CliError> {
        let Some(booted) = self
            .booted
            .as_ref()
            .filter(|_| path.starts_with(MACHINE_ROOT))
        else {
            return Ok(None);
        };
        if let Some(machine) = self.machine.get() {
            return Ok(Some(Arc::clone(machine)));
        }
        let machine = Machine::enter(booted.clone()).map_err(DeployError::from)?;
        Ok(Some(Arc::clone(
            self.machine.get_or_init(|| Arc::new(machine)),
        )))
    }
}
