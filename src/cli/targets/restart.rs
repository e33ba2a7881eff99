//! Restarting the services of a target after a switch.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use crate::cli::{CliError, Context, error};
use crate::deploy::{ServiceRestart, Target, UNIT_DIRECTORIES, UnitMark};
use crate::durable::LockMode;
use crate::store::Repository;

/// Restarts services of the target at `root`: those of its units that run, or all when `units` is
/// `None`. A unit that does not run stays as it is (`systemctl try-restart`).
pub(super) fn restart(
    context: &Context,
    root: &Path,
    units: Option<&[&str]>,
) -> Result<(), CliError> {
    let names = self::units(root, units);
    if names.is_empty() {
        context.ui.remark("no service has to be restarted");
        return Ok(());
    }
    restart_units(&names).map_err(|problem| {
        CliError::new(format!("the switch is done, but {problem}"), error::FAILED)
            .with_hint("`systemctl status` says why; `layerset rollback` switches back")
    })?;
    context
        .ui
        .print(&format!("restarted {}\n", names.join(", ")));
    Ok(())
}

/// Returns the units of this system that run services of the target at `root`; of all its services
/// where none are named.
pub(super) fn units(root: &Path, services: Option<&[&str]>) -> Vec<String> {
    match (root == Path::new("/"), services) {
        (true, Some(services)) => services.iter().map(|unit| (*unit).to_owned()).collect(),
        _ => installed(root, services),
    }
}

/// Restarts units that run; without any there is nothing to do.
pub(super) fn restart_units(names: &[String]) -> Result<(), String> {
    if names.is_empty() {
        return Ok(());
    }
    let mut command = Command::new("systemctl");
    command.args(["try-restart", "--"]).args(names);
    call(
        command,
        &format!("systemctl try-restart {}", names.join(" ")),
    )
}

/// Starts the machine anew by a command of systemd's, `reboot` or `soft-reboot`, unless somebody inhibits
/// that (systemd-inhibit(1)).
pub(super) fn start_anew(verb: &str) -> Result<(), String> {
    let mut command = Command::new("systemctl");
    command.args(["--check-inhibitors=yes", verb]);
    call(command, &format!("systemctl {verb}"))
}

fn call(mut command: Command, name: &str) -> Result<(), String> {
    let status = command
        .stdin(Stdio::null())
        .status()
        .map_err(|error| format!("'{name}' cannot be run: {error}"))?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("'{name}' failed with {status}")),
    }
}

/// Names the services that run something else since a switch; `None` where that cannot be said,
/// for a rollback needs no repository.
pub(super) fn services(
    context: &Context,
    target: &Target,
    from: u64,
    to: u64,
) -> Option<Vec<ServiceRestart>> {
    let marked = match target.root() == Path::new("/") {
        true => Vec::new(),
        false => marked(target.root()),
    };
    let also: Vec<String> = marked.into_iter().map(|(_, mark)| mark.service).collect();
    let repositories = [target.repository(), context.repo.as_path()];
    repositories.into_iter().find_map(|path| {
        let title = "layerset rollback";
        let disk = Arc::clone(&context.disk);
        let (repository, _) = Repository::look(path, disk, LockMode::Shared, title).ok()?;
        target.restarts_between(&repository, from, to, &also).ok()
    })
}

/// Returns the units of the host that run services of the target at `root`.
fn installed(root: &Path, units: Option<&[&str]>) -> Vec<String> {
    let is_wanted = |mark: &UnitMark| units.is_none_or(|all| all.contains(&mark.service.as_str()));
    let marked = marked(root).into_iter();
    let mut found: Vec<String> = marked
        .filter_map(|(name, mark)| is_wanted(&mark).then_some(name))
        .collect();
    found.sort();
    found.dedup();
    found
}

/// Returns the units of the host that have a mark of the target at `root`, with it.
fn marked(root: &Path) -> Vec<(String, UnitMark)> {
    let root = std::fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
    // The variable is systemd's own.
    let dirs: Vec<PathBuf> = match std::env::var_os("SYSTEMD_UNIT_PATH") {
        Some(dirs) => std::env::split_paths(&dirs).collect(),
        None => UNIT_DIRECTORIES.iter().map(PathBuf::from).collect(),
    };
    let entries = dirs.iter().filter_map(|dir| std::fs::read_dir(dir).ok());
    entries
        .flat_map(|entries| entries.flatten())
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let mark = UnitMark::read(&std::fs::read_to_string(entry.path()).ok()?)?;
            (name.ends_with(".service") && mark.target == root).then_some((name, mark))
        })
        .collect()
}
