//! `layers/ids.toml`: the numbers of the users and groups that layers create, the same on every
//! machine.
//!
//! adduser and sysusers choose numbers that are free on the system, so their choice depends on the
//! order of installation. This table does not: people commit it, and allocation takes the lowest
//! free number from 100 on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use super::error::{RecipeError, SourceFile};
use super::reader::Document;
use super::toml_text::quote;
use super::words;

/// The first number that is given out.
pub const FIRST_ID: u32 = 100;
/// The last number that is given out: above it are people.
pub const LAST_ID: u32 = 999;

const HEADER: &str = "\
# Numbers of the users and groups that layers create. `layerset build` adds to it; commit it.
# A number that machines have seen must not change: files in their state carry it.
";

/// A user or a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IdKind {
    /// A user.
    User,
    /// A group.
    Group,
}

/// No number is left for a new user or group.
#[allow(missing_docs)] // Most fields are what their names say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AllocateError {
    /// The name could not stand in `passwd` or `group`.
    #[error("'{name}' is not the name of a user or group")]
    BadName { name: String },
    /// A kept layer uses a number that the table gives to another name.
    #[error("'{name}' has the number {number}, but the ids table gives that to '{holder}'")]
    Taken {
        name: String,
        /// The number.
        number: u32,
        /// Who has it in the table.
        holder: String,
    },
    /// Every number is taken.
    #[error("no number from {FIRST_ID} to {LAST_ID} is free for '{name}'")]
    Full {
        /// The name it was for.
        name: String,
    },
}

/// The table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdTable {
    header: String,
    users: BTreeMap<String, u32>,
    groups: BTreeMap<String, u32>,
}

impl Default for IdTable {
    fn default() -> Self {
        Self {
            header: HEADER.to_owned(),
            users: BTreeMap::new(),
            groups: BTreeMap::new(),
        }
    }
}

impl IdTable {
    /// Reads the table at `path`. A missing one is empty.
    pub fn read(path: &Path) -> Result<Self, RecipeError> {
        match SourceFile::read(path) {
            Ok(source) => Self::parse(&source),
            Err(RecipeError::Read { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                Ok(Self::default())
            }
            Err(error) => Err(error),
        }
    }

    /// Parses the file's text.
    pub fn parse(source: &SourceFile) -> Result<Self, RecipeError> {
        let document = Document::parse(source)?;
        let root = document.written_table(&["users", "groups"])?;
        let read = |key: &str| -> Result<BTreeMap<String, u32>, RecipeError> {
            let mut numbers = BTreeMap::new();
            let mut names = BTreeMap::new();
            let Some(table) = root.get(key) else {
                return Ok(names);
            };
            for entry in table.any_table()?.entries() {
                if let Some(problem) = words::account(entry.name()) {
                    return Err(entry.key_fault(format!("'{}' {problem}", entry.name()), None));
                }
                let number: u32 = entry.integer()?;
                // 65534 is nobody, the two largest mean "unchanged" to chown; 0 is root, whom no
                // layer creates.
                if matches!(number, 0 | 65534 | 65535 | u32::MAX) {
                    return Err(
                        entry.fault(format!("{number} cannot be given to '{}'", entry.name()))
                    );
                }
                if let Some(other) = numbers.insert(number, entry.name()) {
                    return Err(entry.fault_with(
                        format!("{number} is already the number of '{other}'"),
                        Some("give the newer of the two another number".into()),
                    ));
                }
                names.insert(entry.name().to_owned(), number);
            }
            Ok(names)
        };
        let header: String = source
            .text()
            .split_inclusive('\n')
            .take_while(|line| line.starts_with('#'))
            .collect();
        Ok(Self {
            users: read("users")?,
            groups: read("groups")?,
            header: match header.as_str() {
                "" => HEADER.to_owned(),
                text if text.ends_with('\n') => header,
                text => format!("{text}\n"),
            },
        })
    }

    /// Returns the file's text: the comment it started with, then users and groups by name.
    pub fn to_toml(&self) -> String {
        let mut text = self.header.clone();
        for (table, names) in [("users", &self.users), ("groups", &self.groups)] {
            let _ = write!(text, "\n[{table}]\n");
            for (name, number) in names {
                let bare = name.bytes().all(|b| b != b'.');
                let key = if bare { name.clone() } else { quote(name) };
                let _ = writeln!(text, "{key} = {number}");
            }
        }
        text
    }

    /// Returns the number of `name`.
    pub fn get(&self, kind: IdKind, name: &str) -> Option<u32> {
        self.map(kind).get(name).copied()
    }

    /// Returns every name with its number, by name.
    pub fn iter(&self, kind: IdKind) -> impl Iterator<Item = (&str, u32)> {
        self.map(kind).iter().map(|(name, id)| (name.as_str(), *id))
    }

    /// Returns the number of `name`, giving it one first if it has none.
    ///
    /// `reserved` holds the numbers that *other* names have in the images concerned. A user takes
    /// its group's number and the reverse where that is free; else the lowest that neither a user
    /// nor a group has.
    pub fn allocate(
        &mut self,
        kind: IdKind,
        name: &str,
        reserved: &BTreeSet<u32>,
    ) -> Result<u32, AllocateError> {
        if let Some(number) = self.get(kind, name) {
            return Ok(number);
        }
        if words::account(name).is_some() {
            return Err(AllocateError::BadName {
                name: name.to_owned(),
            });
        }
        let other = match kind {
            IdKind::User => IdKind::Group,
            IdKind::Group => IdKind::User,
        };
        let twin = self.get(other, name).filter(|number| {
            !reserved.contains(number) && !self.map(kind).values().any(|used| used == number)
        });
        let number = match twin {
            Some(number) => number,
            None => {
                let used: BTreeSet<u32> = self
                    .users
                    .values()
                    .chain(self.groups.values())
                    .copied()
                    .collect();
                (FIRST_ID..=LAST_ID)
                    .find(|number| !used.contains(number) && !reserved.contains(number))
                    .ok_or_else(|| AllocateError::Full {
                        name: name.to_owned(),
                    })?
            }
        };
        let map = match kind {
            IdKind::User => &mut self.users,
            IdKind::Group => &mut self.groups,
        };
        map.insert(name.to_owned(), number);
        Ok(number)
    }

    /// Enters a number that `name` has already, e.g. in a layer that was built elsewhere.
    ///
    /// A name that is listed keeps its number; a number that another name of this kind has is
    /// refused.
    pub fn fix(&mut self, kind: IdKind, name: &str, number: u32) -> Result<(), AllocateError> {
        if self.get(kind, name).is_some() {
            return Ok(());
        }
        if let Some((holder, _)) = self.iter(kind).find(|(_, used)| *used == number) {
            return Err(AllocateError::Taken {
                name: name.to_owned(),
                number,
                holder: holder.to_owned(),
            });
        }
        let map = match kind {
            IdKind::User => &mut self.users,
            IdKind::Group => &mut self.groups,
        };
        map.insert(name.to_owned(), number);
        Ok(())
    }

    fn map(&self, kind: IdKind) -> &BTreeMap<String, u32> {
        match kind {
            IdKind::User => &self.users,
            IdKind::Group => &self.groups,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::IdKind::{Group, User};
    use super::*;

    fn parse(text: &str) -> Result<IdTable, String> {
        IdTable::parse(&SourceFile::new("layers/ids.toml", text)).map_err(|e| e.to_string())
    }

    #[test]
    fn numbers_come_from_100_up_and_skip_both_tables_and_reserved_ones() {
        let mut ids = parse("[users]\nnginx = 101\n[groups]\nssl-cert = 102\n").unwrap();
        let reserved = BTreeSet::from([100, 104]);
        assert_eq!(ids.allocate(User, "postgres", &reserved), Ok(103));
        assert_eq!(ids.allocate(Group, "postgres", &reserved), Ok(103));
        assert_eq!(ids.allocate(Group, "nginx", &reserved), Ok(101));
        assert_eq!(ids.allocate(User, "exim", &reserved), Ok(105));
        assert_eq!(ids.allocate(User, "exim", &reserved), Ok(105));
    }

    #[test]
    fn a_group_whose_users_number_is_taken_gets_another() {
        let mut ids = parse("users.a = 100\ngroups.b = 100\n").unwrap();
        assert_eq!(ids.allocate(Group, "a", &BTreeSet::new()), Ok(101));
    }

    #[test]
    fn a_full_table_and_a_bad_name_are_errors() {
        let mut ids = IdTable::default();
        let reserved: BTreeSet<u32> = (FIRST_ID..LAST_ID).collect();
        assert_eq!(ids.allocate(User, "last", &reserved), Ok(LAST_ID));
        assert!(matches!(
            ids.allocate(User, "more", &reserved),
            Err(AllocateError::Full { .. })
        ));
        assert!(matches!(
            ids.allocate(User, "a:b", &reserved),
            Err(AllocateError::BadName { .. })
        ));
    }

    #[test]
    fn writing_sorts_and_keeps_the_opening_comment() {
        let mut ids = parse("# ours\n# alone\n\n[users]\nz = 120\n'a.b' = 110\n").unwrap();
        ids.allocate(Group, "m", &BTreeSet::new()).unwrap();
        let text = ids.to_toml();
        assert_eq!(
            text,
            "# ours\n# alone\n\n[users]\n\"a.b\" = 110\nz = 120\n\n[groups]\nm = 100\n"
        );
        assert_eq!(parse(&text).unwrap(), ids);
        let empty = IdTable::default();
        assert_eq!(parse(&empty.to_toml()).unwrap(), empty);
    }

    #[test]
    fn faults_point_at_the_line() {
        for (text, expected) in [
            (
                "[users]\nb = 101\na = 101\n",
                "layers/ids.toml:3:5: 101 is already the number of 'b' (give the newer of the two another number)",
            ),
            (
                "[users]\na = 0\n",
                "layers/ids.toml:2:5: 0 cannot be given to 'a'",
            ),
            (
                "[groups]\na = '1'\n",
                "layers/ids.toml:2:5: 'groups.a' must be an integer, not a string",
            ),
            (
                "[groups]\n'a:b' = 1\n",
                "layers/ids.toml:2:1: 'a:b' is not the name of a user or group",
            ),
            (
                "[user]\na = 1\n",
                "layers/ids.toml:1:2: unknown key 'user' (did you mean 'users'?)",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err(), expected);
        }
    }
}
