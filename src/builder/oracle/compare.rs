//! Two trees, path by path: kind, mode, owner, group, extended attributes, contents and hard links;
//! not times.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::id::ObjectId;
use crate::path::RelPath;
use crate::store::StoreError;
use crate::tree::{Inode, Node, Tree};

/// Files above this size are not searched for differing lines, in bytes.
const SAMPLE_LIMIT: u64 = 1 << 20;
/// How many lines of each side are shown.
const SAMPLE_LINES: usize = 5;
/// How much of a line is shown, in characters.
const SAMPLE_WIDTH: usize = 160;

/// One path that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OracleDifference {
    /// Where.
    pub path: RelPath,
    /// What differs, e.g. `mode` and `contents`; `existence` where one side has nothing.
    pub differs: Vec<&'static str>,
    /// What the composed tree has.
    pub composed: Option<InodeFacts>,
    /// What one installation gave.
    pub installed: Option<InodeFacts>,
    /// Lines that one side has more often, where both are small texts.
    pub lines: Option<LineSample>,
    /// What kind of difference it is, where that shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<DifferenceKind>,
}

/// A difference whose kind shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DifferenceKind {
    /// Each installation makes it anew, and only its owner reads it.
    Secret,
    /// A script of the package asked for a program that another layer brings.
    AskedBeside,
}

impl DifferenceKind {
    /// Says what it means.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Secret => {
                "each installation makes it anew, and only its owner reads it: a secret, until \
                 [secrets] says how each machine makes its own"
            }
            Self::AskedBeside => {
                "a script of its package asks for a program that another layer brings: `layerset \
                 check` names it; `on` makes both see it"
            }
        }
    }
}

/// What stands at a path of one tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InodeFacts {
    /// The word for its kind.
    pub kind: &'static str,
    /// Permissions in octal digits.
    pub mode: String,
    /// The owning user.
    pub owner: String,
    /// The owning group.
    pub group: String,
    /// The object of a file with its size, the target of a link, the number of a device.
    pub content: String,
    /// Extended attributes, escaped.
    pub xattrs: BTreeMap<String, String>,
    /// All names of a file that has several.
    pub names: Vec<RelPath>,
    /// The contents of a file.
    #[serde(skip)]
    pub object: Option<ObjectId>,
}

/// Some lines that differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LineSample {
    /// Lines that the composed tree has more often.
    pub composed: Vec<String>,
    /// Lines that the installation has more often.
    pub installed: Vec<String>,
}

/// Reads contents.
pub(super) type ReadObject<'a> = dyn Fn(&ObjectId) -> Result<Vec<u8>, StoreError> + 'a;

/// Compares a composed tree with an installed one; differences come in path order.
pub(crate) fn compare(
    composed: &Tree,
    installed: &Tree,
    read: &ReadObject<'_>,
) -> Result<Vec<OracleDifference>, StoreError> {
    let (left, right) = (ComparedTree::new(composed), ComparedTree::new(installed));
    let paths: BTreeSet<&RelPath> = composed
        .iter()
        .chain(installed.iter())
        .map(|(path, _)| path)
        .collect();
    let mut found = Vec::new();
    for path in paths {
        let (a, b) = (left.facts(path), right.facts(path));
        let differs = aspects(a.as_ref(), b.as_ref());
        if differs.is_empty() {
            continue;
        }
        let mut difference = OracleDifference {
            path: path.clone(),
            differs,
            composed: a,
            installed: b,
            lines: None,
            kind: None,
        };
        difference.kind = difference.is_secret().then_some(DifferenceKind::Secret);
        difference.lines = sample(&difference, composed, installed, read)?;
        found.push(difference);
    }
    Ok(found)
}

impl OracleDifference {
    /// Says whether both sides have a file that only its owner reads, with other contents.
    fn is_secret(&self) -> bool {
        let is_private = |facts: &Option<InodeFacts>| {
            facts.as_ref().is_some_and(|facts| {
                let for_all = u32::from_str_radix(&facts.mode, 8).map(|mode| mode & 0o004);
                facts.object.is_some() && for_all == Ok(0)
            })
        };
        self.differs.contains(&"contents")
            && is_private(&self.composed)
            && is_private(&self.installed)
    }
}

struct ComparedTree<'a> {
    tree: &'a Tree,
    links: BTreeMap<u32, Vec<&'a RelPath>>,
}

impl<'a> ComparedTree<'a> {
    fn new(tree: &'a Tree) -> Self {
        let mut links: BTreeMap<u32, Vec<&RelPath>> = BTreeMap::new();
        for (path, inode) in tree.iter().filter(|(_, inode)| inode.hardlink != 0) {
            links.entry(inode.hardlink).or_default().push(path);
        }
        Self { tree, links }
    }

    fn facts(&self, path: &RelPath) -> Option<InodeFacts> {
        let inode = self.tree.get(path.as_bytes())?;
        let names = self.links.get(&inode.hardlink);
        Some(InodeFacts {
            kind: inode.node.kind(),
            mode: format!("{:04o}", inode.mode),
            owner: inode.owner.to_string(),
            group: inode.group.to_string(),
            content: content(inode),
            xattrs: inode
                .xattrs
                .iter()
                .map(|(name, value)| {
                    (
                        name.escape_ascii().to_string(),
                        value.escape_ascii().to_string(),
                    )
                })
                .collect(),
            names: names
                .filter(|names| names.len() > 1)
                .map_or(Vec::new(), |names| {
                    names.iter().map(|name| (*name).clone()).collect()
                }),
            object: inode.object(),
        })
    }
}

fn content(inode: &Inode) -> String {
    match &inode.node {
        Node::File { object, size } => format!("{} ({size} bytes)", object.short()),
        Node::Symlink { target } => crate::path::escape(target),
        Node::CharDevice(number) | Node::BlockDevice(number) => number.to_string(),
        Node::Directory | Node::Fifo | Node::Socket => String::new(),
    }
}

fn aspects(a: Option<&InodeFacts>, b: Option<&InodeFacts>) -> Vec<&'static str> {
    let (a, b) = match (a, b) {
        (Some(a), Some(b)) => (a, b),
        (None, None) => return Vec::new(),
        _ => return vec!["existence"],
    };
    if a.kind != b.kind {
        return vec!["kind"];
    }
    [
        ("mode", a.mode != b.mode),
        ("owner", a.owner != b.owner),
        ("group", a.group != b.group),
        ("contents", a.object != b.object || a.content != b.content),
        ("extended attributes", a.xattrs != b.xattrs),
        ("hard links", a.names != b.names),
    ]
    .into_iter()
    .filter_map(|(what, differs)| differs.then_some(what))
    .collect()
}

fn sample(
    difference: &OracleDifference,
    composed: &Tree,
    installed: &Tree,
    read: &ReadObject<'_>,
) -> Result<Option<LineSample>, StoreError> {
    let path = difference.path.as_bytes();
    // What is not for everybody in the image may hold passwords: it is not for logs either.
    let small = |tree: &Tree| match tree.get(path)? {
        inode if inode.mode & 0o004 == 0 => None,
        Inode {
            node: Node::File { object, size },
            ..
        } if *size <= SAMPLE_LIMIT => Some(*object),
        _ => None,
    };
    let (Some(a), Some(b)) = (small(composed), small(installed)) else {
        return Ok(None);
    };
    let (a, b) = (read(&a)?, read(&b)?);
    if a == b || a.contains(&0) || b.contains(&0) {
        return Ok(None);
    }
    let surplus = |of: &[u8], over: &[u8]| -> Vec<String> {
        let mut count: BTreeMap<&[u8], usize> = BTreeMap::new();
        for line in over.split(|byte| *byte == b'\n') {
            *count.entry(line).or_default() += 1;
        }
        let more = of.split(|byte| *byte == b'\n').filter(|line| {
            let left = count.get_mut(line).filter(|left| **left > 0);
            left.map(|left| *left -= 1).is_none()
        });
        more.take(SAMPLE_LINES).map(shown).collect()
    };
    Ok(Some(LineSample {
        composed: surplus(&a, &b),
        installed: surplus(&b, &a),
    }))
}

fn shown(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(SAMPLE_WIDTH)
        .collect()
}
