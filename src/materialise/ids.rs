//! Owner names and numbers: the image's own passwd and group, in both directions.
//!
//! The host's user database is never asked. A name that appears twice keeps its first line, as the
//! C library reads it.

use std::collections::HashMap;
use std::sync::Arc;

use crate::layout::accounts::{GROUP, PASSWD, numbers};
use crate::tree::Owner;

/// Finds the number of an owner in an image.
pub trait IdLookup: Sync {
    /// Returns the uid of `owner`, or `None` when the image has no such user.
    fn uid(&self, owner: &Owner) -> Option<u32>;
    /// Returns the gid of `group`, or `None` when the image has no such group.
    fn gid(&self, group: &Owner) -> Option<u32>;
}

/// The users and groups of one image.
#[derive(Debug, Clone)]
pub struct PasswdIds {
    users: Names,
    groups: Names,
}

impl PasswdIds {
    /// Reads the contents of `passwd` and `group`; lines that are not records are skipped, as the C
    /// library does.
    ///
    /// `root` is always 0, even where the files do not exist yet.
    pub fn parse(passwd: &[u8], group: &[u8]) -> Self {
        Self {
            users: Names::parse(passwd),
            groups: Names::parse(group),
        }
    }

    /// Reads the users and groups of an image, each file by its place in it; a file that is not
    /// there is empty.
    pub fn read<E>(mut read: impl FnMut(&'static str) -> Result<Vec<u8>, E>) -> Result<Self, E> {
        Ok(Self::parse(&read(PASSWD)?, &read(GROUP)?))
    }

    /// Returns the owner that `uid` means here.
    pub fn user(&self, uid: u32) -> Owner {
        self.users.owner(uid)
    }

    /// Returns the owner that `gid` means here.
    pub fn group(&self, gid: u32) -> Owner {
        self.groups.owner(gid)
    }
}

impl Default for PasswdIds {
    /// Makes the ids of an image without users: root alone.
    fn default() -> Self {
        Self::parse(b"", b"")
    }
}

impl IdLookup for PasswdIds {
    fn uid(&self, owner: &Owner) -> Option<u32> {
        self.users.number(owner)
    }

    fn gid(&self, group: &Owner) -> Option<u32> {
        self.groups.number(group)
    }
}

#[derive(Debug, Clone, Default)]
struct Names {
    numbers: HashMap<Arc<str>, u32>,
    names: HashMap<u32, Arc<str>>,
}

impl Names {
    fn parse(text: &[u8]) -> Self {
        let mut this = Self::default();
        for (name, number) in numbers(text) {
            if let Some(Owner::Name(name)) = Owner::from_text(name) {
                this.add(name, number);
            }
        }
        this.add("root".into(), 0);
        this
    }

    fn add(&mut self, name: Arc<str>, number: u32) {
        if self.numbers.contains_key(&name) {
            return;
        }
        self.numbers.insert(Arc::clone(&name), number);
        self.names.entry(number).or_insert(name);
    }

    fn number(&self, owner: &Owner) -> Option<u32> {
        match owner {
            Owner::Name(name) => self.numbers.get(name).copied(),
            Owner::Number(number) => Some(*number),
        }
    }

    fn owner(&self, number: u32) -> Owner {
        match self.names.get(&number) {
            Some(name) => Owner::Name(Arc::clone(name)),
            None => Owner::Number(number),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_map_both_ways() {
        let ids = PasswdIds::parse(
            b"root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/:/bin/sh\nwww-data:x:33:33:::\n+nis\n# x:y:7\n",
            b"root:x:0:\nstaff:x:50:a,b\nstaff:x:51:\n",
        );
        assert_eq!(ids.uid(&Owner::Name("www-data".into())), Some(33));
        assert_eq!(ids.user(33), Owner::Name("www-data".into()));
        assert_eq!(ids.user(0), Owner::root());
        assert_eq!(ids.uid(&Owner::Name("toor".into())), Some(0));
        assert_eq!(ids.gid(&Owner::Name("staff".into())), Some(50));
        assert_eq!(ids.group(51), Owner::Number(51));
        assert_eq!(ids.gid(&Owner::Name("nobody".into())), None);
        assert_eq!(ids.uid(&Owner::Number(4711)), Some(4711));
    }

    #[test]
    fn root_exists_before_the_files_do() {
        let ids = PasswdIds::parse(b"", b"");
        assert_eq!(ids.uid(&Owner::root()), Some(0));
        assert_eq!(ids.group(0), Owner::root());
    }
}
