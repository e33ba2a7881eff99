//! Commands that mount and unmount deployments.

use std::path::PathBuf;

use clap::Args;

use crate::cli::{CliError, Context};
use crate::deploy::activation_unit;

/// Mounts the deployments of a target again, e.g. after a reboot of the host.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset activate --target /srv/web
  layerset activate --target /srv/web --print-unit > /etc/systemd/system/layerset-web.service
  systemctl enable layerset-web.service")]
pub(in crate::cli) struct Activate {
    /// The target
    #[arg(long, value_name = "DIR", env = "LAYERSET_TARGET")]
    target: PathBuf,
    /// Print a systemd unit that does this at every boot, and do nothing
    #[arg(long)]
    print_unit: bool,
}

impl Activate {
    pub(in crate::cli) fn run(&self, context: &Context) -> Result<(), CliError> {
        let target = context.target(&self.target)?;
        if self.print_unit {
            let program = std::env::current_exe()
                .map_err(|error| CliError::io("cannot find this program", error))?;
            context.ui.print_bytes(
                activation_unit(target.root(), target.repository(), &program).as_bytes(),
            );
            return Ok(());
        }
        let activated = target.change("layerset activate")?.activate()?;
        let failed: Vec<_> = activated
            .failed
            .iter()
            .map(|(generation, reason)| serde_json::json!({ "generation": generation, "reason": reason }))
            .collect();
        context.ui.print_json(&serde_json::json!({
            "mounted": activated.mounted, "already": activated.already, "failed": failed,
        }))?;
        let mut text = String::new();
        activated
            .mounted
            .iter()
            .for_each(|n| text.push_str(&format!("mounted generation {n}\n")));
        activated
            .already
            .iter()
            .for_each(|n| text.push_str(&format!("generation {n} was already mounted\n")));
        context.ui.print(&text);
        for (generation, reason) in &activated.failed {
            context.ui.remark(&format!(
                "generation {generation} cannot be mounted: {reason}"
            ));
        }
        Ok(())
    }
}

/// Unmounts the deployments of a target.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  layerset deactivate --target /srv/web       # e.g. before the directory is removed

What still runs from a deployment keeps its files.")]
pub(in crate::cli) struct Deactivate {
    /// The target
    #[arg(long, value_name = "DIR", env = "LAYERSET_TARGET")]
    target: PathBuf,
}

impl Deactivate {
    pub(in crate::cli) fn run(&self, context: &Context) -> Result<(), CliError> {
        let count = context
            .target(&self.target)?
            .change("layerset deactivate")?
            .deactivate()?;
        context
            .ui
            .print_json(&serde_json::json!({ "unmounted": count }))?;
        context.ui.print(&format!("{count} mounts ended\n"));
        Ok(())
    }
}
