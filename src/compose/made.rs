//! Directories that a running system makes for itself, by tmpfiles.d(5) or by `StateDirectory=` and
//! its sisters of systemd.exec(5).

use super::view::TreeView;
use crate::layout::within;
use crate::path::RelPath;
use crate::tree::Tree;
use crate::tree::view::{ImageView as _, ViewError};

const TMPFILES: [&[u8]; 3] = [
    b"etc/tmpfiles.d",
    b"usr/local/lib/tmpfiles.d",
    b"usr/lib/tmpfiles.d",
];
const UNITS: [&[u8]; 3] = [
    b"etc/systemd/system",
    b"usr/local/lib/systemd/system",
    b"usr/lib/systemd/system",
];
/// Keys of units, and where the directories are that they name.
const KEYS: [(&str, &str); 3] = [
    ("StateDirectory", "/var/lib"),
    ("CacheDirectory", "/var/cache"),
    ("LogsDirectory", "/var/log"),
];
/// The first letters of lines that make what they name, and what is above it.
const MAKING: &str = "dDvqQCLfFpcb";

/// Says whether something of the image makes a directory when the image runs.
pub(super) fn is_made(path: &RelPath, tree: &Tree, view: &TreeView<'_>) -> Result<bool, ViewError> {
    let wanted = [b"/", path.as_bytes()].concat();
    let has = |dirs: &[&[u8]], is_it: &dyn Fn(&str) -> bool| {
        let files = dirs.iter().flat_map(|dir| tree.below(dir));
        for (at, inode) in files {
            if inode.object().is_some() {
                let bytes = view.read(at.as_bytes())?;
                if String::from_utf8_lossy(&bytes).lines().any(is_it) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    };
    let is_at = |made: &str| within(made.as_bytes(), &wanted);
    let by_line = |line: &str| {
        let mut words = line.split_whitespace();
        let makes = words
            .next()
            .is_some_and(|word| word.starts_with(|c| MAKING.contains(c)));
        makes && words.next().is_some_and(is_at)
    };
    let by_key = |line: &str| {
        let Some((key, names)) = line.split_once('=') else {
            return false;
        };
        let dir = KEYS.iter().find(|(known, _)| *known == key.trim());
        dir.is_some_and(|(_, dir)| {
            let mut names = names.split_whitespace();
            names.any(|name| is_at(&format!("{dir}/{name}")))
        })
    };
    Ok(has(&TMPFILES, &by_line)? || has(&UNITS, &by_key)?)
}
