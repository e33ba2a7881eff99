//! What lies where in an image, and how a path is followed in it.
//!
//! Paths are bytes relative to the image's root, without a leading slash; "" is the root. Only
//! places that more than one module knows stand here. What a database holds is another matter:
//! see [`packages`](crate::packages).

pub mod accounts;
pub mod dpkg;
mod links;

pub use links::{EntryKind, OnMissing, Resolution, walk};

/// Where image content of `/var` lives, so that the package database goes with the image and `/var` with the machine.
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

/// Joins a directory and a name in it.
pub fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() {
        return name.to_vec();
    }
    [dir, b"/", name].concat()
}

/// Returns the directory of a path, "" for what stands in the root.
pub fn parent(path: &[u8]) -> &[u8] {
    let slash = path.iter().rposition(|byte| *byte == b'/');
    &path[..slash.unwrap_or(0)]
}

/// Returns the last component of a path.
pub fn name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

/// Says whether `path` is `dir` or lies below it; in the root lies everything.
pub fn within(path: &[u8], dir: &[u8]) -> bool {
    dir.is_empty()
        || path
            .strip_prefix(dir)
            .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
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

    #[test]
    fn a_path_is_taken_apart_and_put_together_at_its_slashes() {
        assert_eq!((parent(b"a/b/c"), name(b"a/b/c")), (&b"a/b"[..], &b"c"[..]));
        assert_eq!((parent(b"a"), name(b"a")), (&b""[..], &b"a"[..]));
        assert_eq!(
            (join(b"", b"a"), join(b"a", b"b")),
            (b"a".to_vec(), b"a/b".to_vec())
        );
        for (path, dir, expect) in [
            ("a/b", "a", true),
            ("a", "a", true),
            ("ab", "a", false),
            ("a", "a/b", false),
            ("a", "", true),
        ] {
            assert_eq!(
                within(path.as_bytes(), dir.as_bytes()),
                expect,
                "{path} {dir}"
            );
        }
    }
}
