//! Owners without an account in the image.

use super::finding::{Finding, Severity};
use super::finding_id::FindingKind;
use crate::path::RelPath;
use crate::tree::{Owner, Tree};

/// Finds owners that the image's own `passwd` and `group` do not list: such files cannot get a
/// number.
///
/// `known` says whether a user (`true`) or a group (`false`) has a number; `layer_of` names the
/// layer of a path.
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
                    id: FindingKind::Owner.at(format_args!("{database}:{owner}")),
                    severity: Severity::Refuse,
                    layer: layer_of(path),
                    package: None,
                    path: Some(path.clone()),
                    reason: format!("'{path}' belongs to '{owner}', which the image's {database} does not list"),
                    hint: format!("create '{owner}' in this layer or in a layer below it, then rebuild the layer"),
                    waived: None,
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
    use crate::check::{Verdict, verdict};
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
        assert_eq!(findings[0].id.as_str(), "owner:passwd:ghost");
        assert_eq!(verdict(&findings), Verdict::Refused);
        assert_eq!(verdict(&[]), Verdict::Safe);
    }
}
