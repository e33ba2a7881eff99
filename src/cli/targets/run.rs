//! `layerset run`.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use clap::Args;

use crate::cli::{CliError, Context};
use crate::deploy::RunNetwork;

/// Runs a command in the current deployment of a target.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset run --target /srv/web                      # a shell
  layerset run --target /srv/web -- nginx -t
  layerset run --target /srv/web --print-unit nginx.service > /etc/systemd/system/web-nginx.service

The tree is read-only; /etc and /var are those of the target, and /run and /tmp vanish with the
command. It needs bubblewrap. The exit status is the command's.")]
pub(in crate::cli) struct Run {
    /// The target
    #[arg(long, value_name = "DIR", env = "LAYERSET_TARGET")]
    target: PathBuf,
    /// Give it no network but a loopback device
    #[arg(long)]
    private_network: bool,
    /// Print a systemd unit that runs this service of the image on the host, and do nothing
    #[arg(long, value_name = "SERVICE", conflicts_with_all = ["command", "private_network"])]
    print_unit: Option<String>,
    /// The command and its arguments [default: /bin/sh]
    #[arg(trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Run {
    pub(in crate::cli) fn run(&self, context: &Context) -> Result<(), CliError> {
        let target = context.target(&self.target)?;
        if let Some(service) = &self.print_unit {
            context
                .ui
                .print_bytes(target.service_unit(service)?.as_bytes());
            return Ok(());
        }
        let network = match self.private_network {
            true => RunNetwork::Private,
            false => RunNetwork::Shared,
        };
        let shell = [OsString::from("/bin/sh")];
        let command = match self.command.as_slice() {
            [] => &shell[..],
            command => command,
        };
        let arguments = target.run_arguments(command, network)?;
        // It only returns when it fails.
        let error = Command::new("bwrap").args(arguments).exec();
        Err(CliError::io("cannot run 'bwrap'", error)
            .with_hint("install the Debian package 'bubblewrap'"))
    }
}
