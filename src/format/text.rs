//! The text twins: one line an entry, for people, diffs and tests.
//!
//! A line is `PATH KIND MODE OWNER GROUP SEC.NSEC PAYLOAD [SIZE] [XATTR=HEX …] [link=GROUP]`, with
//! paths and targets escaped as [`crate::path::escape`] does. A changeset has a `-` line (before)
//! and a `+` line (after) a path.

use std::fmt::Write as _;

use super::error::FormatError;
use crate::id::hex;
use crate::path::{RelPath, escape, unescape};
use crate::time::Timestamp;
use crate::tree::{Changeset, Inode, Node, Owner, Tree, Xattrs};

/// Writes a tree as text.
pub fn dump_tree(tree: &Tree) -> String {
    let mut text = String::new();
    for (path, inode) in tree.iter() {
        dump_entry(&mut text, path, inode);
    }
    text
}

/// Writes a changeset as text.
pub fn dump_changeset(changeset: &Changeset) -> String {
    let mut text = String::new();
    for (path, change) in changeset.iter() {
        for (sign, inode) in [('-', &change.pre), ('+', &change.post)] {
            if let Some(inode) = inode {
                text.push(sign);
                dump_entry(&mut text, path, inode);
            }
        }
    }
    text
}

fn dump_entry(text: &mut String, path: &RelPath, inode: &Inode) {
    let payload = match &inode.node {
        Node::Directory | Node::Fifo | Node::Socket => "-".to_owned(),
        Node::File { object, size } => format!("{object} {size}"),
        Node::Symlink { target } => escape(target),
        Node::CharDevice(device) | Node::BlockDevice(device) => device.to_string(),
    };
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "{path} {} {:04o} {} {} {}.{} {payload}",
        inode.node.kind(),
        inode.mode,
        inode.owner,
        inode.group,
        inode.mtime.sec,
        inode.mtime.nsec
    );
    for (name, value) in &inode.xattrs {
        let _ = write!(text, " {}={}", attribute(name), hex(value));
    }
    if inode.hardlink != 0 {
        let _ = write!(text, " link={}", inode.hardlink);
    }
    text.push('\n');
}

/// Escapes the name of an extended attribute so that it ends at the first `=`, and is no `link=`.
fn attribute(name: &[u8]) -> String {
    let text = escape(name).replace('=', "\\x3d");
    if text == "link" {
        return "\\x6cink".to_owned();
    }
    text
}

/// Reads what [`dump_tree`] writes; empty lines and lines that start with `#` are passed over.
pub fn parse_tree(text: &str) -> Result<Tree, FormatError> {
    let mut tree = Tree::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let fail = |reason: &str| FormatError::Text {
            line: index + 1,
            reason: reason.to_owned(),
        };
        let (path, inode) = parse_entry(line).map_err(fail)?;
        if tree.insert(path, inode).is_some() {
            return Err(fail("the path is listed twice"));
        }
    }
    Ok(tree)
}

fn parse_entry(line: &str) -> Result<(RelPath, Inode), &'static str> {
    let mut words = line.split(' ');
    let mut next = |what: &'static str| words.next().filter(|word| !word.is_empty()).ok_or(what);
    let path = next("no path")?
        .strip_prefix('/')
        .and_then(unescape)
        .ok_or("not an escaped path")?;
    let path = RelPath::new(&path).map_err(|error| error.reason)?;
    let kind = next("no kind")?;
    let mode = u16::from_str_radix(next("no mode")?, 8).map_err(|_| "not an octal mode")?;
    let owner = Owner::from_text(next("no owner")?).ok_or("not an owner")?;
    let group = Owner::from_text(next("no group")?).ok_or("not a group")?;
    let (sec, nsec) = next("no time")?.split_once('.').ok_or("not a time")?;
    let mtime = Timestamp {
        sec: sec.parse().map_err(|_| "not a time")?,
        nsec: nsec.parse().map_err(|_| "not a time")?,
    };
    let payload = next("no payload")?;
    let device = || payload.parse().map_err(|_| "not a device number");
    let node = match kind {
        "dir" => Node::Directory,
        "file" => Node::File {
            object: payload.parse().map_err(|_| "not an object id")?,
            size: next("no size")?.parse().map_err(|_| "not a size")?,
        },
        "link" => Node::Symlink {
            target: unescape(payload).ok_or("not an escaped target")?.into(),
        },
        "char" => Node::CharDevice(device()?),
        "block" => Node::BlockDevice(device()?),
        "fifo" => Node::Fifo,
        "socket" => Node::Socket,
        _ => return Err("not a kind: dir, file, link, char, block, fifo, socket"),
    };
    let (mut xattrs, mut hardlink) = (Xattrs::new(), 0);
    for word in words {
        let (name, value) = word.split_once('=').ok_or("not NAME=VALUE")?;
        if name == "link" {
            hardlink = value.parse().map_err(|_| "not a hard-link group")?;
        } else {
            let bytes = (0..value.len() / 2)
                .map(|i| u8::from_str_radix(value.get(i * 2..i * 2 + 2).unwrap_or("?"), 16));
            let bytes = bytes
                .collect::<Result<_, _>>()
                .map_err(|_| "not hexadecimal")?;
            xattrs.insert(unescape(name).ok_or("not an escaped name")?, bytes);
        }
    }
    Ok((
        path,
        Inode {
            node,
            mode,
            owner,
            group,
            mtime,
            xattrs,
            hardlink,
        },
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn attributes_of_any_name_come_back() {
        let mut root = Inode::directory(0o755);
        for name in ["user.a=b", "=", "link", "user.link", "a b\\"] {
            root.xattrs.insert(name.as_bytes().to_vec(), vec![1]);
        }
        let mut tree = Tree::new();
        tree.insert(RelPath::root(), root);
        assert_eq!(parse_tree(&dump_tree(&tree)).unwrap(), tree);
    }
}
