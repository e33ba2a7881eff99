//! What a profile is checked against: a disk and its image as values.

use std::collections::{BTreeMap, BTreeSet};

use crate::export::formats::{DiskFormat, Firmware};

/// A partition table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// GUID partition table.
    Gpt,
    /// The PC's old table.
    Mbr,
    /// One bare filesystem.
    None,
}

/// How a disk holds the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// With a repository and deployments, for updates.
    Updatable,
    /// As an ordinary writable root.
    Plain,
}

/// What a partition or a volume is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// A filesystem.
    Filesystem,
    /// The EFI system partition.
    Esp,
    /// Where GRUB lies on a GPT.
    BiosBoot,
    /// Swap.
    Swap,
    /// A physical volume of LVM.
    Lvm,
}

/// A partition, or a logical volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// What messages call it.
    pub name: String,
    /// What it is for.
    pub usage: Use,
    /// The filesystem's type, such as `ext4`.
    pub filesystem: Option<String>,
    /// Where it is mounted, such as `/boot`.
    pub mount_point: Option<String>,
    /// Whether it lies in a volume group, and not in the table.
    pub is_volume: bool,
}

/// What `sshd` lets in, as far as its configuration says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SshLogin {
    /// root may log in by password.
    pub root_by_password: bool,
    /// Others may log in by password.
    pub by_password: bool,
}

/// A disk that is to be written, and the image in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The formats that were asked for.
    pub formats: Vec<DiskFormat>,
    /// The disk's size in bytes.
    pub virtual_size: u64,
    /// Its table.
    pub table: Table,
    /// How it holds the image.
    pub layout: Layout,
    /// What starts it.
    pub firmware: Vec<Firmware>,
    /// What is in the table and in volume groups.
    pub partitions: Vec<Partition>,
    /// The kernel's arguments, one an item.
    pub kernel_arguments: Vec<String>,
    /// The names of the packages that are installed.
    pub packages: BTreeSet<String>,
    /// The kernel modules that the initrd holds or the kernel has built in; `-` and `_` are one.
    pub initrd_modules: BTreeSet<String>,
    /// The image's regular files without a slash in front, with their sizes in bytes.
    pub files: BTreeMap<String, u64>,
    /// Accounts into which a password lets; see [`accounts_with_password`].
    pub passwords: Vec<String>,
    /// What `sshd` lets in, where it is installed.
    pub ssh: Option<SshLogin>,
}

impl Description {
    /// Says whether one of the packages is installed.
    pub(super) fn has_one_of(&self, packages: &[&str]) -> bool {
        packages.iter().any(|name| self.packages.contains(*name))
    }

    /// Says whether the initrd has a module.
    pub(super) fn has_module(&self, name: &str) -> bool {
        let same = |a: &str, b: &str| a.replace('-', "_") == b.replace('-', "_");
        self.initrd_modules.iter().any(|module| same(module, name))
    }

    /// Says whether the kernel gets an argument: exactly, or with a value where `name` has none.
    pub(super) fn has_argument(&self, name: &str) -> bool {
        self.kernel_arguments.iter().any(|argument| {
            let key = argument.split_once('=').map_or(&**argument, |(key, _)| key);
            argument == name || key == name
        })
    }
}

/// Returns the accounts of `/etc/shadow` that a password, or none at all, opens.
pub fn accounts_with_password(shadow: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(shadow);
    let opens = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let hash = fields.next()?;
        // What no hash can be locks the account (shadow(5)).
        let is_locked = hash.starts_with(['!', '*']);
        (!is_locked).then(|| name.to_owned())
    };
    text.lines().filter_map(opens).collect()
}

impl SshLogin {
    /// Reads `sshd`'s configuration: files in the order in which `sshd` reads them. The first value
    /// counts, and what follows a `Match` concerns some only (sshd_config(5)).
    pub fn of_config(files: &[&[u8]]) -> Self {
        let mut root = None;
        let mut password = None;
        for file in files {
            let text = String::from_utf8_lossy(file);
            for line in text.lines() {
                let mut words = line.split(|c: char| c.is_whitespace() || c == '=');
                let mut words = words.by_ref().filter(|word| !word.is_empty());
                let (Some(key), value) = (words.next(), words.next().unwrap_or_default()) else {
                    continue;
                };
                let value = value.trim_matches('"').to_ascii_lowercase();
                match &*key.to_ascii_lowercase() {
                    "match" => break,
                    "permitrootlogin" => root = root.or(Some(value)),
                    "passwordauthentication" => password = password.or(Some(value)),
                    _ => {}
                }
            }
        }
        // The defaults are `prohibit-password` and `yes`.
        let by_password = password.is_none_or(|value| value != "no");
        Self {
            root_by_password: by_password && root.is_some_and(|value| value == "yes"),
            by_password,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_open_where_a_password_or_none_lets_in() {
        let shadow = b"root:*:1:\na:!:1:\nb:!!:1:\nc:$y$x:1:\nd::1:\ne:!$y$x:1:\n\nbad\n";
        assert_eq!(accounts_with_password(shadow), ["c", "d"]);
    }

    #[test]
    fn the_first_setting_of_sshd_counts_outside_of_a_match() {
        let check = |files: &[&[u8]], root_by_password: bool, by_password: bool| {
            let expect = SshLogin {
                root_by_password,
                by_password,
            };
            assert_eq!(SshLogin::of_config(files), expect, "{files:?}");
        };
        check(&[b"# nothing\n"], false, true);
        check(&[b"PermitRootLogin yes\n"], true, true);
        check(
            &[
                b"passwordauthentication=no\n",
                b"PasswordAuthentication yes\nPermitRootLogin yes",
            ],
            false,
            false,
        );
        check(&[b"Match User x\nPasswordAuthentication no\n"], false, true);
    }
}
