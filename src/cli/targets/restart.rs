//! Restarting the services of a target after a switch.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cli::{CliError, Context, error};
use crate::deploy::{UNIT_DIRECTORIES, UnitMark};

/// Restarts services of the target at `root`: those of its units that run, or all when `units` is
/// `None`. A unit that does not run stays as it is (`systemctl try-restart`).
pub(super) fn restart(
    context: &Context,
    root: &Path,
    units: Option<&[&str]>,
) -> Result<(), CliError> {
    let names = match (root == Path::new("/"), units) {
        (true, Some(units)) => units.iter().map(|unit| (*unit).to_owned()).collect(),
        _ => installed(root, units),
    };
    if names.is_empty() {
        context.ui.remark("no service has to be restarted");
        return Ok(());
    }
    let status = Command::new("systemctl")
        .arg("try-restart")
        .arg("--")
        .args(&names)
        .stdin(Stdio::null())
        .status()
        .map_err(|error| CliError::io("cannot run 'systemctl'", error))?;
    if !status.success() {
        let names = names.join(" ");
        return Err(CliError::new(
            format!("the switch is done, but 'systemctl try-restart {names}' failed with {status}"),
            error::FAILED,
        )
        .with_hint("`systemctl status` says why; `layerset rollback` switches back"));
    }
    context
        .ui
        .print(&format!("restarted {}\n", names.join(", ")));
    Ok(())
}

/// Returns the units of the host that run services of the target at `root`.
fn installed(root: &Path, units: Option<&[&str]>) -> Vec<String> {
    let root = std::fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
    // The variable is systemd's own.
    let dirs: Vec<PathBuf> = match std::env::var_os("SYSTEMD_UNIT_PATH") {
        Some(dirs) => std::env::split_paths(&dirs).collect(),
        None => UNIT_DIRECTORIES.iter().map(PathBuf::from).collect(),
    };
    let entries = dirs.iter().filter_map(|dir| std::fs::read_dir(dir).ok());
    let mut found: Vec<String> = entries
        .flat_map(|entries| entries.flatten())
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let mark = UnitMark::read(&std::fs::read_to_string(entry.path()).ok()?)?;
            let is_wanted = units.is_none_or(|units| units.contains(&mark.service.as_str()));
            (name.ends_with(".service") && mark.target == root && is_wanted).then_some(name)
        })
        .collect();
    found.sort();
    found.dedup();
    found
}
