//! What a build did to all files of a kind in a directory of the layers below it.
//!
//! A changeset speaks of the files that were there. A script that removes a directory, or changes
//! the mode of all that is in it, would do the same to a file that comes later. That is written
//! down when the layer is built, because the changeset alone does not show what it left alone.

use serde::{Deserialize, Serialize};

use crate::path::RelPath;

/// One thing that a build did to all that a directory held.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sweep {
    /// The directory, in the layers below.
    pub dir: RelPath,
    /// What was done.
    pub what: Swept,
    /// The end of the names it was done to, with its dot: `.conf`. Empty for all names.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub suffix: String,
    /// Where the directory was copied to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<RelPath>,
    /// What stands there besides the copy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub own: Vec<RelPath>,
}

/// What a build did to each file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Swept {
    /// It is gone, or has other contents, and what lay below it is gone.
    Removed,
    /// Its contents are others.
    Contents,
    /// Its mode is another.
    Mode,
    /// Its user is another.
    Owner,
    /// Its group is another.
    Group,
    /// Its extended attributes are others: access lists, capabilities.
    Xattrs,
    /// All of it stands elsewhere too.
    Copied,
}
