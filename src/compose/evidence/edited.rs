//! What a script made of files below without copying them as they are: a file that it edited, files
//! that it put together, an image of a filesystem.
//!
//! A definition that ships such a file ships what its author wants, whatever becomes of the origin.

use std::collections::{BTreeMap, BTreeSet};

use super::candidates::Candidates;
use super::contents::Contents;
use super::ground::Ground;
use super::origins::Origins;
use super::{Evidence, Found, origin_at};
use crate::compose::error::ComposeError;
use crate::compose::member::Member;
use crate::format::Origin;
use crate::id::ObjectId;
use crate::path::RelPath;
use crate::tree::Node;

/// Larger texts are not compared, in bytes.
const MAX_BYTES: u64 = 1 << 20;
/// So many files of one name are compared.
const MAX_NAMED: usize = 16;
/// Fewer common lines say the same by chance.
const MIN_LINES: usize = 5;
/// Shorter lines say the same everywhere, in bytes.
const MIN_LINE: usize = 3;
/// How modules of languages end: libraries carry each other's.
const MODULES: [&[u8]; 9] = [
    b".c", b".h", b".hpp", b".js", b".mjs", b".pm", b".py", b".pyi", b".rb",
];
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";
/// How files of certificates end.
const CERTIFICATES: [&[u8]; 3] = [b".crt", b".cer", b".pem"];
/// Images whose contents nobody looks into: what is at an offset.
const IMAGES: [(usize, &[u8]); 6] = [
    (0, b"hsqs"),
    (0, b"7z\xbc\xaf\x27\x1c"),
    (0, b"QFI\xfb"),
    (0, b"\x45\x3d\xcd\x28"),
    (1024, b"\xe2\xe1\xf5\xe0"),
    (1080, b"\x53\xef"),
];
/// What such an image may hold.
const IN_IMAGES: [&str; 4] = ["etc", "opt", "srv", "usr"];

/// Adds what a script made of files below.
pub(super) fn add(
    evidence: &Evidence<'_>,
    member: &Member,
    candidates: &Candidates,
    (ground, origins): (&Ground<'_>, &Origins<'_>),
    contents: &Contents<'_>,
    found: &mut Found,
) -> Result<(), ComposeError> {
    let mut bundles = Bundles::new(ground, contents);
    for (path, object) in &candidates.files {
        let is_known = found.files.contains_key(path) || candidates.own.contains(object);
        // What a layer edits in its place is merged with what the base makes of it.
        if is_known || ground.get(path).is_some() || !is_made(evidence, path, object) {
            continue;
        }
        let head = contents.head(object)?;
        let is_at =
            |(at, magic): &(usize, &[u8])| head.get(*at..).is_some_and(|h| h.starts_with(magic));
        if IMAGES.iter().any(is_at) {
            let all = IN_IMAGES
                .iter()
                .filter_map(|dir| origins.directory(dir, None));
            found.add(path, all.collect());
        } else if size(member, path) <= MAX_BYTES && !head.contains(&0) {
            let bytes = contents.read(object)?;
            let text = String::from_utf8_lossy(&bytes);
            let mut made_of = bundles.origins(&text, origins)?;
            let is_module = MODULES.iter().any(|end| path.name().ends_with(end));
            if made_of.is_empty() && !is_module {
                made_of.extend(edited(path, &text, origins, contents)?);
            }
            found.add(path, made_of);
        }
    }
    Ok(())
}

/// Says whether a script made a file. Where nobody has the definition at hand, what was said of the
/// file before counts.
fn is_made(evidence: &Evidence<'_>, path: &RelPath, object: &ObjectId) -> bool {
    match evidence.brought {
        Some(brought) => !brought.contains(object),
        None => {
            let mut earlier = evidence.earlier.iter().flat_map(|files| files.iter());
            earlier.any(|known| known.path == *path && !known.is_brought)
        }
    }
}

fn size(member: &Member, path: &RelPath) -> u64 {
    let change = member.changeset.get(path.as_bytes());
    match change
        .and_then(|change| change.post.as_ref())
        .map(|inode| &inode.node)
    {
        Some(Node::File { size, .. }) => *size,
        _ => 0,
    }
}

/// Finds the file of the same name of which most lines are there.
fn edited(
    path: &RelPath,
    text: &str,
    origins: &Origins<'_>,
    contents: &Contents<'_>,
) -> Result<Option<Origin>, ComposeError> {
    let own: BTreeSet<&str> = lines(text).collect();
    let mut best: Option<(usize, Origin)> = None;
    for (from, object, size) in origins.named(path.name()).iter().take(MAX_NAMED) {
        if *size > MAX_BYTES {
            continue;
        }
        let bytes = contents.read(object)?;
        let before = String::from_utf8_lossy(&bytes);
        let all = lines(&before).count();
        let common = lines(&before).filter(|line| own.contains(line)).count();
        let is_most = common >= MIN_LINES && common * 2 >= all;
        if is_most && best.as_ref().is_none_or(|(most, _)| common > *most) {
            best = Some((common, origin_at(from, *object, None)));
        }
    }
    Ok(best.map(|(_, origin)| origin))
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(str::trim)
        .filter(|line| line.len() >= MIN_LINE)
}

/// A file below, and its certificates.
struct Bundle {
    path: RelPath,
    object: ObjectId,
    certificates: Vec<String>,
}

/// Certificates below; read where a layer has a file of certificates that is no copy.
struct Bundles<'a> {
    ground: &'a Ground<'a>,
    contents: &'a Contents<'a>,
    /// By directory.
    known: Option<BTreeMap<RelPath, Vec<Bundle>>>,
}

impl<'a> Bundles<'a> {
    fn new(ground: &'a Ground<'a>, contents: &'a Contents<'a>) -> Self {
        Self {
            ground,
            contents,
            known: None,
        }
    }

    /// Finds the files whose certificates are all in a text; where these are all in a directory, the
    /// directory, for what comes into it would be taken, too.
    fn origins(&mut self, text: &str, origins: &Origins<'_>) -> Result<Vec<Origin>, ComposeError> {
        let held: BTreeSet<String> = certificates(text).into_iter().collect();
        if held.is_empty() {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for (dir, files) in self.read()? {
            let of_text = files
                .iter()
                .filter(|bundle| bundle.certificates.iter().all(|one| held.contains(one)));
            let of_text: Vec<_> = of_text.collect();
            match of_text.len() == files.len() && files.len() > 1 {
                true => found.extend(origins.directory(&dir.to_string(), None)),
                false => found.extend(
                    of_text
                        .iter()
                        .map(|bundle| origin_at(&bundle.path, bundle.object, None)),
                ),
            }
        }
        Ok(found)
    }

    fn read(&mut self) -> Result<&BTreeMap<RelPath, Vec<Bundle>>, ComposeError> {
        if self.known.is_none() {
            let mut known: BTreeMap<RelPath, Vec<_>> = BTreeMap::new();
            for (path, object, size) in self.ground.files() {
                let is_named = CERTIFICATES.iter().any(|end| path.name().ends_with(end));
                if !is_named || size > MAX_BYTES {
                    continue;
                }
                let bytes = self.contents.read(&object)?;
                let own = certificates(&String::from_utf8_lossy(&bytes));
                if !own.is_empty() {
                    let dir = path.parent().unwrap_or_default();
                    known.entry(dir).or_default().push(Bundle {
                        path: path.clone(),
                        object,
                        certificates: own,
                    });
                }
            }
            self.known = Some(known);
        }
        Ok(self.known.get_or_insert_default())
    }
}

/// Returns the certificates of a text in PEM, without white space.
fn certificates(text: &str) -> Vec<String> {
    let parts = text.split(BEGIN).skip(1);
    let bodies = parts.filter_map(|part| part.split_once(END));
    bodies
        .map(|(body, _)| body.split_whitespace().collect())
        .collect()
}
