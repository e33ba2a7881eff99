//! Services that D-Bus starts by itself.

use super::accounts::{Accounts, contents};
use super::unit_file::{self, Setting};
use super::unit_problems::UnitProblems;
use crate::path::RelPath;
use crate::tree::Tree;
use crate::tree::view::{ImageView, ViewError};

/// Where packages put them: those of the system, those of sessions.
const DIRS: [&[u8]; 2] = [
    b"usr/share/dbus-1/system-services",
    b"usr/share/dbus-1/services",
];

/// A service with one of these programs is never started by D-Bus.
const NEVER: [&str; 2] = ["/bin/false", "/usr/bin/false"];

/// Finds services whose program or user is missing. Services that systemd starts are left out.
pub(super) fn services(
    tree: &Tree,
    view: &dyn ImageView,
    accounts: &Accounts,
    problems: &mut UnitProblems,
) -> Result<(), ViewError> {
    for dir in DIRS {
        for (path, inode) in tree.below(dir) {
            if inode.is_dir() || !path.name().ends_with(b".service") {
                continue;
            }
            let settings = settings_at(tree, view, path)?;
            let get = |key: &str| {
                let mut values = settings
                    .iter()
                    .filter(|setting| setting.section == "D-BUS Service" && setting.key == key);
                values.next().map(|setting| setting.value.as_str())
            };
            if get("SystemdService").is_some_and(|unit| !unit.is_empty()) {
                continue;
            }
            let command = unit_file::words(get("Exec").unwrap_or_default()).unwrap_or_default();
            let Some(program) = command.into_iter().next() else {
                continue;
            };
            if NEVER.contains(&program.text.as_str()) {
                continue;
            }
            problems.add_program(tree, path, &program.text, false);
            if let Some(user) = get("User").filter(|user| !user.is_empty()) {
                problems.add_user(accounts, path, user);
            }
        }
    }
    Ok(())
}

/// Returns the settings of a file of D-Bus; nothing for what cannot be read as one.
fn settings_at(
    tree: &Tree,
    view: &dyn ImageView,
    path: &RelPath,
) -> Result<Vec<Setting>, ViewError> {
    let bytes = contents(tree, view, path.as_bytes())?;
    Ok(unit_file::parse(&bytes).unwrap_or_default())
}
