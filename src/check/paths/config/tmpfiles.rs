//! Accounts that tmpfiles.d(5) and sysusers.d(5) name: without them a line has no effect, and what
//! it would make is missing.

use super::faults::Faults;
use super::image::Image;
use crate::check::paths::accounts::{SYSUSERS, sysusers_lines};
use crate::check::{FindingKind, Weight};
use crate::path::RelPath;
use crate::tree::view::ViewError;

/// Where lines are, in order of precedence.
const TMPFILES: [&[u8]; 3] = [
    b"etc/tmpfiles.d",
    b"usr/local/lib/tmpfiles.d",
    b"usr/lib/tmpfiles.d",
];

/// Finds users and groups that nobody makes: `tmpfiles:PATH:user:NAME`, `tmpfiles:PATH:group:NAME`.
pub(super) fn check(image: &Image<'_>, faults: &mut Faults) -> Result<(), ViewError> {
    // Nobody else reads the files.
    if !image.has_program("usr/bin/systemd-tmpfiles") {
        return Ok(());
    }
    for path in image.overriding(&TMPFILES, b".conf") {
        let text = image.text(path.as_bytes())?;
        for words in sysusers_lines(&text) {
            let get = |n: usize| words.get(n).map_or("-", String::as_str);
            judge(image, &path, owner(get(3)), owner(get(4)), faults);
        }
    }
    for path in image.overriding(&SYSUSERS, b".conf") {
        let text = image.text(path.as_bytes())?;
        for words in sysusers_lines(&text) {
            let get = |n: usize| words.get(n).map_or("-", String::as_str);
            if let (true, Some((_, group))) = (get(0).starts_with('u'), get(2).split_once(':')) {
                judge(image, &path, "-", group, faults);
            }
        }
    }
    Ok(())
}

/// Takes away the mark that says: only when it is new.
fn owner(name: &str) -> &str {
    name.strip_prefix(':').unwrap_or(name)
}

fn judge(image: &Image<'_>, path: &RelPath, user: &str, group: &str, faults: &mut Faults) {
    let kind = FindingKind::Tmpfiles;
    if user != "-" && image.lacks_user(user) {
        faults.add_account(kind, path, ("user", user), Weight::Grave);
    }
    if group != "-" && image.lacks_group(group) {
        faults.add_account(kind, path, ("group", group), Weight::Grave);
    }
}
