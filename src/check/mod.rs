//! Checks of a composed set of layers: findings, each with a reason and a hint, and the verdict that they add up to.
//!
//! A finding names its layer and path and never guesses a remedy; [`Verdict`] is the worst of them.

use serde::{Deserialize, Serialize};

use crate::path::RelPath;
use crate::tree::{Owner, Tree};

/// How bad a finding is; the order is the order of verdicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing; the set is sound.
    Note,
    /// The named layer must be rebuilt on today's lower layers.
    Rebuild,
    /// The set must not be built or deployed.
    Refuse,
}

/// What all findings of a set add up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing speaks against the set.
    Safe,
    /// Some layers must be rebuilt.
    RebuildNeeded,
    /// The set is not sound.
    Refused,
}

/// One result of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable id of the kind and place: `conflict:/etc/passwd#www`.
    pub id: String,
    /// How bad it is.
    pub severity: Severity,
    /// The layer that it is about.
    pub layer: String,
    /// The package, where one is to blame.
    pub package: Option<String>,
    /// The path, where there is one.
    pub path: Option<RelPath>,
    /// What is wrong, one line.
    pub reason: String,
    /// What to do about it, one line.
    pub hint: String,
}

/// Returns the verdict on a set with these findings.
pub fn verdict(findings: &[Finding]) -> Verdict {
    match findings.iter().map(|finding| finding.severity).max() {
        None | Some(Severity::Note) => Verdict::Safe,
        Some(Severity::Rebuild) => Verdict::RebuildNeeded,
        Some(Severity::Refuse) => Verdict::Refused,
    }
}

/// Finds owners that the image's own `passwd` and `group` do not list: such files cannot get a number.
///
/// `known` says whether a user (`true`) or group (`false`) has a number; `layer_of` names the layer of a path.
pub fn owners(
    tree: &Tree,
    known: &dyn Fn(&Owner, bool) -> bool,
    layer_of: &dyn Fn(&RelPath) -> String,
) -> Vec<Finding> {
    let mut seen = std::collections::BTreeSet::new();
    let mut findings = Vec::new();
    for (path, inode) in tree.iter() {
        for (owner, is_user, database) in [
            (&inode.owner, true, "passwd"),
            (&inode.group, false, "group"),
        ] {
            if !known(owner, is_user) && seen.insert((is_user, owner.clone())) {
                findings.push(Finding {
                    id: format!("owner:{database}:{owner}"),
                    severity: Severity::Refuse,
                    layer: layer_of(path),
                    package: None,
                    path: Some(path.clone()),
                    reason: format!("'{path}' belongs to '{owner}', which the image's {database} does not list"),
                    hint: format!("make '{owner}' in this layer or in one that it is built on, then rebuild the layer"),
                });
            }
        }
    }
    findings
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::format::parse_tree;

    #[test]
    fn an_owner_without_a_record_is_found_once() {
        let tree = parse_tree(
            "/ dir 0755 root root 0.0 -\n/a dir 0755 ghost root 0.0 -\n/b dir 0755 ghost #7 0.0 -\n",
        )
        .unwrap();
        let known = |owner: &Owner, _| !matches!(owner, Owner::Name(name) if &**name == "ghost");
        let findings = owners(&tree, &known, &|_| "app".to_owned());
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].id, "owner:passwd:ghost");
        assert_eq!(verdict(&findings), Verdict::Refused);
        assert_eq!(verdict(&[]), Verdict::Safe);
    }
}
