//! `layerset run`.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use clap::Args;

use crate::cli::{CliError, Context, error};
use crate::deploy::{JoinMethod, RunNetwork, Target};

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
        refuse_where_nothing_mounts(&target)?;
        // It only returns when it fails.
        let failed = Command::new("bwrap").args(arguments).exec();
        Err(CliError::io("cannot run 'bwrap'", failed)
            .with_hint("install the Debian package 'bubblewrap'"))
    }
}

/// Says what helps where a copy has its `/etc` and `/var` by links out of its root, and nothing can
/// be mounted in their place: neither `bwrap` nor `chroot` runs anything there.
fn refuse_where_nothing_mounts(target: &Target) -> Result<(), CliError> {
    let status = target.status()?;
    let current = status
        .deployments
        .iter()
        .find(|d| Some(d.generation) == status.current);
    if current.and_then(|deployment| deployment.join) != Some(JoinMethod::Symlink) {
        return Ok(());
    }
    let mut probe = Command::new("bwrap");
    probe.args(["--ro-bind", "/", "/", "--", "/bin/true"]);
    probe
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // Without the program, running it says so.
    match probe.status() {
        Ok(status) if !status.success() => Err(CliError::new(
            "nothing can be mounted here, and /etc and /var of this copy lie outside of its root",
            error::FAILED,
        )
        .with_hint(format!(
            "allow mounts: start the container with CAP_SYS_ADMIN or with user namespaces, and deploy again; \
             programs of the host find the files in '{}', and /etc beside it",
            target.root().join("layerset/current/root").display()
        ))),
        _ => Ok(()),
    }
}
