//! Where dpkg's database is.

/// Its directory in an image; [`LINK`] leads there.
pub const DIRECTORY: &str = "usr/lib/sysimage/var/lib/dpkg";
/// Its directory as programs know it; in a root that is not an image it lies there.
pub const LINK: &str = "var/lib/dpkg";
/// Where it may be in a tree; the first one that exists counts.
pub const DIRECTORIES: [&str; 2] = [DIRECTORY, LINK];
/// The packages, one stanza each.
pub const STATUS: &str = "usr/lib/sysimage/var/lib/dpkg/status";
/// Lists of files, digests and scripts, several files for each package.
pub const INFO: &str = "usr/lib/sysimage/var/lib/dpkg/info";
/// The groups of update-alternatives(1), one file each.
pub const ALTERNATIVES: &str = "usr/lib/sysimage/var/lib/dpkg/alternatives";
/// The interests of packages in paths, below the directory of the database.
pub const FILE_TRIGGERS: &str = "triggers/File";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::logical;

    #[test]
    fn the_database_is_one_directory_under_two_names() {
        assert_eq!(logical(DIRECTORY.as_bytes()), LINK.as_bytes());
        for place in [STATUS, INFO, ALTERNATIVES] {
            assert!(place.starts_with(&format!("{DIRECTORY}/")), "{place}");
        }
    }
}
