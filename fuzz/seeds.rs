//! Makes the seeds of the fuzz targets: `fuzz-seeds OUT [REPOSITORY]...`.
//!
//! Each target gets a folder of files below OUT: small ones that are written here, and parts of what the repositories hold,
//! because mutating a tree of a megabyte finds little in a night. `fuzz/run.sh` runs this.

use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::io::{self, Cursor};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use layerset::codec::{Form, patch};
use layerset::delta::{DeltaItem, DeltaRequest, ObjectReader, ReadSeek, encode};
use layerset::format::delta::{
    DeltaDocument, DeltaFrame, DeltaIndex, DeltaObject, Extent, Piece, Segment, decode_delta_index,
    encode_delta_index,
};
use layerset::format::pack::{PackContent, PackFrame, PackIndex, encode_pack_index};
use layerset::format::release::{
    Channel, DeltaRef, Downgrade, PackRef, Release, ReleaseId, ReleaseKind, Rollout,
};
use layerset::format::{
    Baseline, HeadContents, Image, Layer, decode_changeset, decode_tree, encode_changeset,
    encode_head, encode_tree, from_canonical_json, parse_tree, to_canonical_json,
};
use layerset::id::{LayerId, ObjectId, TreeId};
use layerset::path::RelPath;
use layerset::sha256::Sha256;
use layerset::tree::{Change, Changeset, Tree};

#[path = "sample.rs"]
mod sample;

type Fallible<T = ()> = Result<T, Box<dyn Error>>;

/// Larger manifests are cut.
const MANIFEST_BYTES: usize = 16 << 10;

/// A tree with every kind of entry, in its text twin.
const TREE: &str = include_str!("tree.txt");

/// Objects in memory.
struct Memory(HashMap<ObjectId, Vec<u8>>);

impl ObjectReader for Memory {
    fn open(&self, id: &ObjectId) -> io::Result<Box<dyn ReadSeek + '_>> {
        let bytes = self.0.get(id).cloned();
        Ok(Box::new(Cursor::new(bytes.ok_or(io::ErrorKind::NotFound)?)))
    }
}

fn main() -> Fallible {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let out = Seeds(
        arguments
            .next()
            .ok_or("usage: fuzz-seeds OUT [REPOSITORY]...")?,
    );
    let tree = parse_tree(TREE)?;
    out.put("tree", &encode_tree(&Tree::new()))?;
    out.put("changeset", &encode_changeset(&Changeset::new()))?;
    out.trees(&tree)?;
    out.releases(
        "golden",
        LayerId::from_digest([1; 32]),
        TreeId::from_digest([2; 32]),
    )?;
    out.pack_index()?;
    out.delta()?;
    out.patches()?;
    out.archives()?;
    out.whole_delta()?;
    for repository in arguments {
        for bytes in files(&repository.join("trees"))? {
            if let Ok(tree) = decode_tree(&bytes) {
                out.trees(&tree)?;
            } else if let Ok(changeset) = decode_changeset(&bytes) {
                out.changesets(&changeset)?;
            }
        }
        for bytes in files(&repository.join("layers"))? {
            let mut layer: Layer = from_canonical_json("layer", &bytes)?;
            out.releases(&layer.name, LayerId::from_digest([3; 32]), layer.changeset)?;
            if bytes.len() > MANIFEST_BYTES {
                layer.packages.truncate(10);
                layer.pre_images.truncate(10);
            }
            out.put("manifest", &to_canonical_json("layer", &layer)?)?;
        }
        for bytes in files(&repository.join("images"))? {
            from_canonical_json::<Image>("image", &bytes)?;
            out.put("manifest", &bytes)?;
        }
    }
    Ok(())
}

/// Reads all files of a folder.
fn files(dir: &Path) -> Fallible<Vec<Vec<u8>>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(|error| format!("'{}': {error}", dir.display()))? {
        found.push(fs::read(entry?.path())?);
    }
    Ok(found)
}

struct Seeds(PathBuf);

impl Seeds {
    /// Writes a seed under the name of its digest.
    fn put(&self, target: &str, bytes: &[u8]) -> Fallible {
        let dir = self.0.join(target);
        fs::create_dir_all(&dir)?;
        fs::write(dir.join(blake3::hash(bytes).to_hex().as_str()), bytes)?;
        Ok(())
    }

    /// Cuts a tree into parts of several sizes, and makes changesets of them.
    fn trees(&self, tree: &Tree) -> Fallible {
        let entries: Vec<_> = tree.iter().collect();
        for (size, parts) in [(3, 4), (20, 4), (150, 3)] {
            let step = (entries.len() / parts).max(1);
            let mut before = Tree::new();
            for from in (0..entries.len()).step_by(step).take(parts) {
                let part = entries[from..].iter().take(size);
                let part = part.map(|(path, inode)| ((*path).clone(), (*inode).clone()));
                let part = with_parents(part.collect(), tree);
                // A part of a hard-link group is none.
                if part.validate().is_err() {
                    continue;
                }
                self.put("tree", &encode_tree(&part))?;
                self.put(
                    "changeset",
                    &encode_changeset(&Changeset::between(&before, &part)),
                )?;
                before = part;
            }
        }
        Ok(())
    }

    fn changesets(&self, changeset: &Changeset) -> Fallible {
        let changes: Vec<(&RelPath, &Change)> = changeset.iter().collect();
        for (size, parts) in [(3, 4), (20, 4), (150, 3)] {
            let step = (changes.len() / parts).max(1);
            for from in (0..changes.len()).step_by(step).take(parts) {
                let part = changes[from..].iter().take(size);
                let part = part.map(|(path, change)| ((*path).clone(), (*change).clone()));
                self.put("changeset", &encode_changeset(&part.collect()))?;
            }
        }
        Ok(())
    }

    /// Writes a release, channels that point at it, and a head that holds all.
    fn releases(&self, name: &str, id: LayerId, tree: TreeId) -> Fallible {
        let (blob, id) = (Sha256::from_bytes([4; 32]), ReleaseId::from(id));
        let release = Release {
            format: 1,
            kind: ReleaseKind::Layer,
            name: name.to_owned(),
            version: "1.26.3-3+deb13u1".to_owned(),
            serial: 7,
            published: 1_790_000_000,
            id,
            manifest_bytes: 4400,
            tree,
            tree_bytes: 59_149,
            corrections: None,
            baseline: Some(Baseline {
                checks: 1,
                problems: vec!["script:/usr/bin/broken".to_owned()],
                ..Baseline::default()
            }),
            layers: Vec::new(),
            objects: 1200,
            object_bytes: 40_000_000,
            packs: vec![PackRef {
                blob,
                bytes: 9_000_000,
                index_bytes: 40_000,
                index: blob,
            }],
            deltas: vec![DeltaRef {
                from: id,
                blob,
                bytes: 120_000,
            }],
        };
        let channel = Channel {
            format: 1,
            kind: ReleaseKind::Layer,
            name: name.to_owned(),
            channel: "stable".to_owned(),
            release: id,
            serial: 7,
            published: 1_790_000_000,
            rollout: Rollout::default(),
            downgrade: None,
        };
        let staged = Channel {
            rollout: Rollout {
                percent: 10,
                not_before: 1_790_001_000,
                others: Some(id),
            },
            downgrade: Some(Downgrade {
                from: 8,
                reason: "8 broke logging in".to_owned(),
            }),
            ..channel.clone()
        };
        let release = to_canonical_json("release", &release)?;
        let channel = to_canonical_json("channel", &channel)?;
        let staged = to_canonical_json("channel", &staged)?;
        for bytes in [&release, &channel, &staged] {
            self.put("release", bytes)?;
        }
        self.put("release", format!("layers/{name}/stable").as_bytes())?;
        let mut contents = HeadContents {
            format: 1,
            ..HeadContents::default()
        };
        self.head(&contents)?;
        let text = |bytes| String::from_utf8(bytes);
        contents
            .targets
            .insert(format!("layers/{name}/channels/stable.json"), text(staged)?);
        contents
            .targets
            .insert(format!("layers/{name}/releases/1.json"), text(release)?);
        let signed = "{\"signatures\":[],\"signed\":{\"_type\":\"timestamp\",\"version\":1}}";
        contents
            .metadata
            .insert("timestamp.json".to_owned(), signed.to_owned());
        self.head(&contents)
    }

    /// Writes the index of a pack, behind the size of its data, as its target takes it.
    fn pack_index(&self) -> Fallible {
        for count in [0u8, 2, 50] {
            let frame = PackFrame {
                packed: 10,
                unpacked: 100,
            };
            let content = |n: u8| PackContent {
                digest: [n; 32],
                frame: u32::from(n / 5),
                offset: u64::from(n % 5) * 20,
                size: 20,
            };
            let index = PackIndex {
                frames: vec![frame; usize::from(count.div_ceil(5))],
                contents: (0..count).map(content).collect(),
            };
            let data = index.offsets().last().copied().unwrap_or_default();
            let mut bytes = data.to_le_bytes().to_vec();
            bytes.extend(zstd::stream::decode_all(&*encode_pack_index(&index)?)?);
            self.put("pack_index", &bytes)?;
        }
        Ok(())
    }

    /// Writes the index of a delta with pieces of every kind.
    fn delta(&self) -> Fallible {
        let document = DeltaDocument {
            size: 4000,
            packed: 90,
            offsets: 0,
        };
        let extent = |source, form, start, len| Extent {
            source,
            form,
            start,
            offset: 7,
            len,
        };
        let object = |id: u8, pieces: Vec<Piece>| DeltaObject {
            id: ObjectId::from_digest([id; 32]),
            size: pieces.iter().map(Piece::len).sum(),
            segments: vec![Segment {
                coding: None,
                pieces,
            }],
        };
        let index = DeltaIndex {
            from: LayerId::from_digest([1; 32]).into(),
            to: LayerId::from_digest([2; 32]).into(),
            manifest: document,
            tree: document,
            bases: vec![
                ObjectId::from_digest([3; 32]),
                ObjectId::from_digest([4; 32]),
            ],
            objects: vec![
                object(5, vec![Piece::Fresh(300)]),
                object(
                    6,
                    vec![
                        Piece::Copy(extent(0, Form::Raw, 0, 40)),
                        Piece::Fresh(5),
                        Piece::Copy(extent(1, Form::Xz, 16, 70)),
                        Piece::Copy(extent(2, Form::Raw, 0, 9)),
                    ],
                ),
            ],
            frames: vec![DeltaFrame {
                size: 305,
                packed: 88,
                prefix: vec![extent(0, Form::Raw, 0, 50)],
            }],
        };
        let bytes = encode_delta_index(&index);
        decode_delta_index(&bytes)?;
        self.put("delta", &bytes)
    }

    /// Writes patches between the versions of the sample files, behind their prefixes.
    fn patches(&self) -> Fallible {
        for ((_, old), (_, new)) in sample::version(1).iter().zip(&sample::version(2)) {
            let old = old.get(..old.len().min(4000)).unwrap_or_default();
            let mut bytes = u16::try_from(old.len())?.to_le_bytes().to_vec();
            bytes.extend_from_slice(old);
            bytes.extend(patch::compress(new, old, 3)?);
            self.put("patch", &bytes)?;
        }
        Ok(())
    }

    /// Writes archives of each kind that is simple to write, one in another.
    fn archives(&self) -> Fallible {
        let cpio = cpio(&[("usr/bin/a", &[7; 90]), ("b", b"x")]);
        let size = cpio.len();
        let mut ar = format!("!<arch>\n{:<48}{size:<10}`\n", "data.tar").into_bytes();
        ar.extend_from_slice(&cpio);
        let mut zip =
            b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\x02\0\0\0\x02\0\0\0\x01\0\0\0azz".to_vec();
        let directory = u32::try_from(zip.len())?;
        zip.extend_from_slice(
            b"PK\x01\x02\x14\0\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\x02\0\0\0\x02\0\0\0\x01\0",
        );
        zip.extend_from_slice(&[0; 16]);
        zip.extend_from_slice(b"aPK\x05\x06\0\0\0\0\x01\0\x01\0\x2f\0\0\0");
        zip.extend_from_slice(&directory.to_le_bytes());
        zip.extend_from_slice(&[0; 2]);
        let packed = patch::compress(&cpio, &[], 1)?;
        for bytes in [&cpio, &ar, &zip, &packed] {
            self.put("members", bytes)?;
        }
        Ok(())
    }

    /// Writes the delta between the two versions of the sample files.
    fn whole_delta(&self) -> Fallible {
        let items = |files: &sample::Files| -> Vec<DeltaItem> {
            let items = files.iter().map(|(path, bytes)| DeltaItem {
                id: ObjectId::of(bytes),
                size: bytes.len() as u64,
                paths: RelPath::from_text(path).into_iter().collect(),
            });
            items.collect()
        };
        let (old, new) = (sample::version(1), sample::version(2));
        let contents = Memory(
            old.iter()
                .chain(&new)
                .map(|(_, bytes)| (ObjectId::of(bytes), bytes.clone()))
                .collect(),
        );
        let request = DeltaRequest {
            from: LayerId::from_digest([1; 32]).into(),
            to: LayerId::from_digest([2; 32]).into(),
            manifests: sample::DOCUMENTS,
            trees: sample::DOCUMENTS,
            old: &items(&old),
            also: &[],
            new: &items(&new),
            full_cost: &|_| 1 << 20,
        };
        let mut out = Vec::new();
        let mut spool = Cursor::new(Vec::new());
        let cancel = AtomicBool::new(false);
        let options = layerset::delta::EncodeOptions::default();
        encode(&request, &contents, &mut spool, &mut out, &options, &cancel)?;
        self.put("apply", &out)
    }

    /// Writes a head as it is published, and as its target frames it.
    fn head(&self, contents: &HeadContents) -> Fallible {
        self.put("head", &encode_head(contents)?)?;
        self.put("head", &to_canonical_json("head", contents)?)
    }
}

/// Adds the directories that lead to the entries of a part of `tree`.
fn with_parents(mut part: Tree, tree: &Tree) -> Tree {
    let paths: Vec<Vec<u8>> = part
        .iter()
        .map(|(path, _)| path.as_bytes().to_vec())
        .collect();
    for path in paths {
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        for end in ends.map(|(at, _)| at).chain([0]) {
            if let Some((path, inode)) = tree.get_key_value(&path[..end]) {
                part.insert(path.clone(), inode.clone());
            }
        }
    }
    part
}

/// Returns an archive of cpio (`newc`) with its trailer.
fn cpio(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, contents) in members.iter().chain([&("TRAILER!!!", &[][..])]) {
        let mut header = "070701".to_owned();
        let sizes = [contents.len(), 0, 0, 0, 0, name.len() + 1, 0];
        for field in [1, 0o100_644, 0, 0, 1, 0].iter().chain(&sizes) {
            header += &format!("{field:08x}");
        }
        for bytes in [header.as_bytes(), name.as_bytes(), b"\0"] {
            out.extend_from_slice(bytes);
        }
        out.resize(out.len().next_multiple_of(4), 0);
        out.extend_from_slice(contents);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    out
}
