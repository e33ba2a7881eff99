//! Random trees, written and read back.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use layerset::disk::ext4::{Entry, EntryKind, Kind};
use proptest::prelude::*;

use super::support::*;

/// What a random entry is; its place comes from the entries before it.
#[derive(Debug, Clone)]
enum What {
    Directory,
    File { length: usize, hole: bool },
    Symlink(usize),
    Link(usize),
}

#[derive(Debug, Clone)]
struct Random {
    what: What,
    parent: usize,
    name: String,
    xattr: usize,
}

fn random() -> impl Strategy<Value = Random> {
    let what = prop_oneof![
        2 => Just(What::Directory),
        6 => (0..200_000usize, any::<bool>()).prop_map(|(length, hole)| What::File { length, hole }),
        1 => (1..200usize).prop_map(What::Symlink),
        1 => any::<usize>().prop_map(What::Link),
    ];
    let name = prop_oneof!["[a-z]{1,8}", "[A-Za-z0-9._+-]{100,240}"];
    (what, any::<usize>(), name, 0..400usize).prop_map(|(what, parent, name, xattr)| Random {
        what,
        parent,
        name,
        xattr,
    })
}

/// Makes a tree: each entry lies in one of the directories before it.
fn tree(all: &[Random]) -> Vec<Entry> {
    let mut entries = vec![directory("")];
    let mut directories = vec![String::new()];
    let mut files = Vec::new();
    for (number, random) in all.iter().enumerate() {
        let parent = &directories[random.parent % directories.len()];
        // The number makes the name unique.
        let at = format!("{parent}{}{number}", random.name);
        let mut made = match &random.what {
            What::Directory => {
                directories.push(format!("{at}/"));
                directory(&at)
            }
            What::File { length, hole } => {
                let mut content = bytes(number as u64, *length);
                if *hole && *length > 30_000 {
                    content[5000..25_000].fill(0);
                }
                files.push(at.clone());
                file(&at, &content)
            }
            What::Symlink(length) => symlink(&at, &"t".repeat(*length)),
            What::Link(_) if files.is_empty() => continue,
            What::Link(which) => link(&at, &files[which % files.len()]),
        };
        if random.xattr > 200 && !matches!(made.kind, EntryKind::Symlink(_)) {
            made = with_xattr(made, "user.some", &bytes(1, random.xattr - 200));
        }
        entries.push(made);
    }
    entries
}

/// Every path with its content or target; directories have none.
type Listing = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Adds every path below `below`, relative to `folder`.
fn read(folder: &Path, below: &Path, out: &mut Listing) {
    for found in std::fs::read_dir(below).unwrap() {
        let path = found.unwrap().path();
        let kind = path.symlink_metadata().unwrap().file_type();
        let relative = path
            .strip_prefix(folder)
            .unwrap()
            .as_os_str()
            .as_bytes()
            .to_vec();
        let content = if kind.is_dir() {
            read(folder, &path, out);
            None
        } else if kind.is_symlink() {
            Some(
                std::fs::read_link(&path)
                    .unwrap()
                    .as_os_str()
                    .as_bytes()
                    .to_vec(),
            )
        } else {
            Some(std::fs::read(&path).unwrap())
        };
        out.insert(relative, content);
    }
}

fn expected(entries: &[Entry]) -> Listing {
    let mut out = Listing::new();
    for entry in entries.iter().filter(|entry| !entry.path.is_root()) {
        let content = match &entry.kind {
            EntryKind::File { content, .. } => match content {
                layerset::disk::ext4::Content::Bytes(bytes) => Some(bytes.to_vec()),
                _ => unreachable!(),
            },
            EntryKind::Symlink(target) => Some(target.to_vec()),
            EntryKind::HardLink(target) => out[target.as_bytes()].clone(),
            _ => None,
        };
        out.insert(entry.path.as_bytes().to_vec(), content);
    }
    out.insert(b"lost+found".to_vec(), None);
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn random_trees_are_clean_and_come_back(
        all in prop::collection::vec(random(), 0..120),
        kind in prop_oneof![Just(Kind::Ext2), Just(Kind::Ext3), Just(Kind::Ext4)],
        exact in any::<bool>(),
    ) {
        if !has_tools("random_trees_are_clean_and_come_back") {
            return Ok(());
        }
        let entries = tree(&all);
        let image = if exact {
            Image::smallest(entries.clone(), kind)
        } else {
            Image::new(entries.clone(), &options(kind, 300 * MIB))
        };
        image.is_clean();
        let dump = image.dump();
        let mut found = BTreeMap::new();
        read(&dump, &dump, &mut found);
        prop_assert!(found == expected(&entries), "the dump differs");
    }
}
