//! Account numbers: names that a layer creates get the numbers of the ids table, whatever the order
//! in which packages were set up.
//!
//! Only the dynamic range of system accounts (100 to 999, Debian policy 9.2.2) is renumbered. Below
//! it are Debian's static ids, above it are people. Names that base-passwd lists keep their numbers
//! even in that range (`users` is 100). Any other new name enters the table with the number that it
//! got, if that is free, or else with the lowest free one. File owners need no change, because
//! trees hold names.

use std::collections::{BTreeMap, BTreeSet};

use super::{BuildError, BuildSink};
use crate::layout::accounts::{GROUP, PASSWD, by_name};
use crate::path::RelPath;
use crate::recipe::{IdKind, IdTable};
use crate::tree::{Inode, Node, Tree};

/// Names that a layer created, with their numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct CreatedNames {
    /// Users.
    pub users: BTreeMap<String, u32>,
    /// Groups.
    pub groups: BTreeMap<String, u32>,
}

const DYNAMIC: std::ops::RangeInclusive<u32> = 100..=999;

/// Gives new names in `after` their numbers from the table. Names that the table lacks are added.
pub(super) fn renumber(
    lower: &Tree,
    after: &mut Tree,
    ids: &mut IdTable,
    sink: &BuildSink<'_>,
) -> Result<CreatedNames, BuildError> {
    let before = Databases::read(lower, [PASSWD, GROUP], sink)?;
    let now = Databases::read(after, [PASSWD, GROUP], sink)?;
    let masters = Databases::read(after, [PASSWD_MASTER, GROUP_MASTER], sink)?;
    let mut numbering = Numbering {
        old: before.by_name(),
        static_ids: masters.by_name().into_iter().flatten().collect(),
        ids,
    };
    let [new_users, new_groups] = now.by_name();
    // Groups come first: a user gets the number of its group where both are free.
    let groups = numbering.assign(IdKind::Group, &new_groups)?;
    let users = numbering.assign(IdKind::User, &new_users)?;
    let created = CreatedNames { users, groups };

    let moved_users = moves(&created.users, &new_users);
    let moved_groups = moves(&created.groups, &new_groups);
    renumber_acls(lower, after, &moved_users, &moved_groups);
    let passwd = renumbered_passwd(&now.passwd, &created, &new_groups);
    let group = rewrite(&now.group, |fields| {
        if let Some(number) = created.groups.get(fields[0].as_str()) {
            fields[2] = number.to_string();
        }
    });
    for (path, old, new) in [(PASSWD, &now.passwd, passwd), (GROUP, &now.group, group)] {
        if *old != new {
            replace(after, path, &new, sink)?;
        }
    }
    Ok(created)
}

/// What decides which numbers new names get.
struct Numbering<'a> {
    /// Users and groups below the layer.
    old: [BTreeMap<&'a str, u32>; 2],
    /// Names that base-passwd lists.
    static_ids: BTreeMap<&'a str, u32>,
    ids: &'a mut IdTable,
}

impl Numbering<'_> {
    /// Gives the names of one database that are new and dynamic their numbers.
    fn assign(
        &mut self,
        kind: IdKind,
        new: &BTreeMap<&str, u32>,
    ) -> Result<BTreeMap<String, u32>, BuildError> {
        let old = match kind {
            IdKind::User => &self.old[0],
            IdKind::Group => &self.old[1],
        };
        let is_dynamic = |name: &str, number: &u32| {
            DYNAMIC.contains(number) && !self.static_ids.contains_key(name)
        };
        let added: Vec<(&str, u32)> = new
            .iter()
            .filter(|(name, number)| !old.contains_key(*name) && is_dynamic(name, number))
            .map(|(name, number)| (*name, *number))
            .collect();
        // A package may have asked for its number, so a free one is kept. The others come after.
        for (name, number) in &added {
            if !self.reserved(name).contains(number) {
                let _ = self.ids.fix(kind, name, *number);
            }
        }
        let mut assigned = BTreeMap::new();
        for (name, _) in added {
            let reserved = self.reserved(name);
            let number = self.ids.allocate(kind, name, &reserved);
            let number = number.map_err(|source| BuildError::Ids { source })?;
            assigned.insert(name.to_owned(), number);
        }
        Ok(assigned)
    }

    /// Returns the numbers that other names have.
    fn reserved(&self, name: &str) -> BTreeSet<u32> {
        let all = self.old.iter().flatten().chain(&self.static_ids);
        all.filter(|(other, _)| **other != name)
            .map(|(_, number)| *number)
            .collect()
    }
}

/// Returns which number becomes which.
fn moves(created: &BTreeMap<String, u32>, new: &BTreeMap<&str, u32>) -> BTreeMap<u32, u32> {
    created
        .iter()
        .filter_map(|(name, number)| Some((*new.get(name.as_str())?, *number)))
        .collect()
}

/// Returns `passwd` with the numbers of created users, and of created groups that users are in.
fn renumbered_passwd(
    passwd: &str,
    created: &CreatedNames,
    new_groups: &BTreeMap<&str, u32>,
) -> String {
    let group_of: BTreeMap<u32, &str> = new_groups
        .iter()
        .map(|(name, number)| (*number, *name))
        .collect();
    rewrite(passwd, |fields| {
        if let Some(number) = created.users.get(fields[0].as_str()) {
            fields[2] = number.to_string();
        }
        let gid: Option<u32> = fields.get(3).and_then(|gid| gid.parse().ok());
        if let Some(number) = gid.and_then(|gid| created.groups.get(*group_of.get(&gid)?)) {
            fields[3] = number.to_string();
        }
    })
}

/// Returns the names that a finished layer created, with their numbers. `both` reads a file twice:
/// as it is below the layer, and as the layer has it.
pub(super) fn created(
    both: impl Fn(&str) -> Result<(String, String), BuildError>,
) -> Result<CreatedNames, BuildError> {
    let (passwd_master, group_master) = (both(PASSWD_MASTER)?.1, both(GROUP_MASTER)?.1);
    let (users, groups) = (
        by_name(passwd_master.as_bytes()),
        by_name(group_master.as_bytes()),
    );
    let is_static = |name: &str| users.contains_key(name) || groups.contains_key(name);
    let added = |(before, after): (String, String)| -> BTreeMap<String, u32> {
        let old = by_name(before.as_bytes());
        by_name(after.as_bytes())
            .into_iter()
            .filter(|(name, number)| {
                !old.contains_key(name) && DYNAMIC.contains(number) && !is_static(name)
            })
            .map(|(name, number)| (name.to_owned(), number))
            .collect()
    };
    Ok(CreatedNames {
        users: added(both(PASSWD)?),
        groups: added(both(GROUP)?),
    })
}

/// Renumbers the named entries of POSIX ACLs on changed inodes: unlike owners, they are stored by
/// number.
fn renumber_acls(
    lower: &Tree,
    after: &mut Tree,
    users: &BTreeMap<u32, u32>,
    groups: &BTreeMap<u32, u32>,
) {
    let has_acl = |inode: &Inode| ACLS.iter().any(|name| inode.xattrs.contains_key(*name));
    let changed: Vec<(RelPath, Inode)> = after
        .iter()
        .filter(|(path, inode)| has_acl(inode) && lower.get(path.as_bytes()) != Some(*inode))
        .map(|(path, inode)| (path.clone(), inode.clone()))
        .collect();
    for (path, mut inode) in changed {
        for name in ACLS {
            if let Some(acl) = inode.xattrs.get_mut(name) {
                renumber_acl(acl, users, groups);
            }
        }
        after.insert(path, inode);
    }
}

/// An ACL is a 32-bit version and 8-byte entries of tag, permissions and id, little-endian
/// (linux/posix_acl_xattr.h).
fn renumber_acl(acl: &mut [u8], users: &BTreeMap<u32, u32>, groups: &BTreeMap<u32, u32>) {
    const USER: [u8; 2] = [0x02, 0];
    const GROUP: [u8; 2] = [0x08, 0];
    let Some(entries) = acl.get_mut(4..) else {
        return;
    };
    for entry in entries.chunks_exact_mut(8) {
        let numbers = match [entry[0], entry[1]] {
            USER => users,
            GROUP => groups,
            _ => continue,
        };
        let id = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
        if let Some(number) = numbers.get(&id) {
            entry[4..].copy_from_slice(&number.to_le_bytes());
        }
    }
}

const ACLS: [&[u8]; 2] = [b"system.posix_acl_access", b"system.posix_acl_default"];
const PASSWD_MASTER: &str = "usr/share/base-passwd/passwd.master";
const GROUP_MASTER: &str = "usr/share/base-passwd/group.master";

/// The texts of one pair of account databases.
struct Databases {
    passwd: String,
    group: String,
}

impl Databases {
    fn read(
        tree: &Tree,
        [passwd, group]: [&str; 2],
        sink: &BuildSink<'_>,
    ) -> Result<Self, BuildError> {
        Ok(Self {
            passwd: text(tree, passwd, sink)?,
            group: text(tree, group, sink)?,
        })
    }

    /// Returns the numbers of users and of groups.
    fn by_name(&self) -> [BTreeMap<&str, u32>; 2] {
        [&self.passwd, &self.group].map(|text| by_name(text.as_bytes()))
    }
}

fn text(tree: &Tree, path: &str, sink: &BuildSink<'_>) -> Result<String, BuildError> {
    match tree.get(path.as_bytes()).and_then(Inode::object) {
        None => Ok(String::new()),
        Some(object) => Ok(String::from_utf8_lossy(&sink.read(&object)?).into_owned()),
    }
}

fn rewrite(text: &str, change: impl Fn(&mut Vec<String>)) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let (record, end) = line
            .strip_suffix('\n')
            .map_or((line, ""), |record| (record, "\n"));
        let mut fields: Vec<String> = record.split(':').map(str::to_owned).collect();
        if fields.len() >= 3 {
            change(&mut fields);
        }
        out.push_str(&fields.join(":"));
        out.push_str(end);
    }
    out
}

fn replace(
    tree: &mut Tree,
    path: &str,
    text: &str,
    sink: &BuildSink<'_>,
) -> Result<(), BuildError> {
    let object = sink.write(text.as_bytes())?;
    let Some(inode) = tree.get(path.as_bytes()).cloned() else {
        return Ok(());
    };
    let node = Node::File {
        object,
        size: text.len() as u64,
    };
    let path = RelPath::new(path.as_bytes()).map_err(|source| BuildError::Path { source })?;
    tree.insert(path, Inode { node, ..inode });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_layer_created_is_read_from_what_it_changed() {
        let found = created(|path| {
            let (before, after) = match path {
                PASSWD => (
                    "root:x:0:0::/:\n_apt:x:42:65534::/:\n",
                    "root:x:0:0::/:\nweb:x:101:102::/:\nme:x:1000:1000::/:\nlist:x:138:138::/:\n",
                ),
                GROUP => ("root:x:0:\n", "root:x:0:\nweb:x:102:\n"),
                PASSWD_MASTER => ("", "list:x:138:138::/:\n"),
                _ => ("", ""),
            };
            Ok((before.to_owned(), after.to_owned()))
        })
        .unwrap();
        assert_eq!(found.users, BTreeMap::from([("web".to_owned(), 101)]));
        assert_eq!(found.groups, BTreeMap::from([("web".to_owned(), 102)]));
    }

    #[test]
    fn a_rewrite_without_changes_is_byte_identical() {
        let text = "root:x:0:0:root:/root:/bin/bash\n# comment\n+nis\nodd:line\nlast:x:5:5::/:";
        assert_eq!(rewrite(text, |_| {}), text);
    }

    #[test]
    fn named_entries_of_an_acl_follow_their_names() {
        let entry = |tag: u8, id: u32| [&[tag, 0, 6, 0][..], &id.to_le_bytes()].concat();
        let acl = |user, group| {
            [
                vec![2, 0, 0, 0],
                entry(1, u32::MAX),
                entry(2, user),
                entry(8, group),
            ]
            .concat()
        };
        let mut found = acl(999, 998);
        renumber_acl(
            &mut found,
            &BTreeMap::from([(999, 125)]),
            &BTreeMap::from([(998, 126), (999, 1)]),
        );
        assert_eq!(found, acl(125, 126));
        renumber_acl(&mut found[..3], &BTreeMap::new(), &BTreeMap::new());
    }
}
