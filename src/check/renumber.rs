//! Accounts whose number changed: files in a machine's state would change their owner.

use super::finding::{Finding, Severity};
use super::finding_id::FindingKind;
use crate::layout::accounts::by_name;
use crate::path::RelPath;

/// An account whose number changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renumbered {
    /// The name.
    pub name: String,
    /// The number that it had.
    pub before: u32,
    /// The number that it has.
    pub now: u32,
}

/// Compares two `passwd` or two `group` files; accounts in only one of them are ignored.
pub fn renumbered(before: &[u8], now: &[u8]) -> Vec<Renumbered> {
    if before == now {
        return Vec::new();
    }
    let now = by_name(now);
    let moved = by_name(before).into_iter().filter_map(|(name, before)| {
        let now = *now.get(name)?;
        let name = name.to_owned();
        (now != before).then_some(Renumbered { name, before, now })
    });
    moved.collect()
}

impl Renumbered {
    /// Returns the finding about it, in a user database or a group database, and the layer that
    /// makes the account.
    pub fn finding(&self, is_user: bool, path: Option<RelPath>, layer: String) -> Finding {
        let Self { name, before, now } = self;
        let kind = if is_user { "user" } else { "group" };
        Finding {
            id: FindingKind::Renumber.at(format_args!("{kind}:{name}")),
            severity: Severity::Refuse,
            layer,
            package: None,
            path,
            reason: format!(
                "{kind} '{name}' had number {before} and now has {now}: its files on machines would change their owner"
            ),
            hint: format!(
                "give it the old number in layers/ids.toml ({name} = {before}) and build, or waive the finding"
            ),
            waived: None,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_accounts_of_both_sides_with_another_number_are_named() {
        let before = b"root:x:0:0:::\nwww:x:33:33:::\ngone:x:5:5:::\nwww:x:34:34:::\nodd\n";
        let now = b"root:x:0:0:::\nwww:x:34:33:::\nnew:x:6:6:::\n";
        let found = renumbered(before, now);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (&*found[0].name, found[0].before, found[0].now),
            ("www", 33, 34)
        );
        assert!(renumbered(now, now).is_empty() && renumbered(b"", now).is_empty());
        assert_eq!(
            found[0].finding(true, None, "debian".into()).id.as_str(),
            "renumber:user:www"
        );
    }
}
