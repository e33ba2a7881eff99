//! What lies where in an image, and how a path is followed in it.
//!
//! Paths are bytes relative to the image's root, without a leading slash; "" is the root. Only
//! places that more than one module knows stand here. What a database holds is the business
//! of [`packages`](crate::packages).

pub mod accounts;
mod components;
pub mod dpkg;
mod links;

pub use components::{join, name, parent, within};
pub use links::{EntryKind, OnMissing, Resolution, walk};

/// Where image content of `/var` lives, so that the package database goes with the image and `/var`
/// with the machine.
pub const SYSIMAGE: &str = "usr/lib/sysimage";
/// Where content lives that is copied to `/var` once, as systemd-tmpfiles(8) has it.
pub const FACTORY: &str = "usr/share/factory";
/// Where links of alternatives are; the names that programs use lead there.
pub const ALTERNATIVES: &str = "etc/alternatives";

/// Returns the path that programs know a database of the image by: `/var` links to [`SYSIMAGE`].
pub fn logical(path: &[u8]) -> &[u8] {
    let inner = path.strip_prefix(SYSIMAGE.as_bytes());
    match inner.and_then(|rest| rest.strip_prefix(b"/")) {
        Some(rest) if rest.starts_with(b"var/") => rest,
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_are_known_by_the_path_that_programs_use() {
        for (path, expect) in [
            ("usr/lib/sysimage/var/lib/x", "var/lib/x"),
            ("var/lib/x", "var/lib/x"),
            ("usr/lib/sysimage/etc/x", "usr/lib/sysimage/etc/x"),
            ("usr/lib/sysimagevar/x", "usr/lib/sysimagevar/x"),
            ("usr/lib/sysimage", "usr/lib/sysimage"),
        ] {
            assert_eq!(logical(path.as_bytes()), expect.as_bytes(), "{path}");
        }
    }
}
