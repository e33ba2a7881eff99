#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::io::{Cursor, Write as _};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use proptest::prelude::*;

use super::*;
use crate::id::LayerId;

/// Objects in memory, with their paths.
#[derive(Default)]
struct World {
    objects: Mutex<HashMap<ObjectId, Vec<u8>>>,
}

impl ObjectReader for World {
    fn open(&self, id: &ObjectId) -> io::Result<Box<dyn ReadSeek + '_>> {
        let bytes = self.objects.lock().unwrap().get(id).cloned();
        Ok(Box::new(Cursor::new(bytes.ok_or(io::ErrorKind::NotFound)?)))
    }
}

impl DeltaSink for World {
    fn put(&self, id: &ObjectId, size: u64, fill: &mut Fill<'_>) -> Result<(), PutError> {
        let mut bytes = Vec::new();
        fill(&mut bytes).map_err(|error| PutError::Content(error.to_string()))?;
        if bytes.len() as u64 != size || ObjectId::of(&bytes) != *id {
            return Err(PutError::Content("other bytes than expected".to_owned()));
        }
        self.objects.lock().unwrap().insert(*id, bytes);
        Ok(())
    }
}

type Files = Vec<(String, Vec<u8>)>;

impl World {
    fn items(&self, files: &Files) -> Vec<DeltaItem> {
        let mut items: Vec<DeltaItem> = Vec::new();
        for (path, bytes) in files {
            let id = ObjectId::of(bytes);
            self.objects.lock().unwrap().insert(id, bytes.clone());
            let path = RelPath::new(path.as_bytes()).unwrap();
            match items.iter_mut().find(|item| item.id == id) {
                Some(item) => item.paths.push(path),
                None => items.push(DeltaItem {
                    id,
                    size: bytes.len() as u64,
                    paths: vec![path],
                }),
            }
        }
        items
    }
}

const DOCUMENTS: [&[u8]; 2] = [b"the old manifest", b"the new manifest"];

/// Encodes the way from old to new files.
fn encoded(old: &Files, new: &Files) -> Vec<u8> {
    let world = World::default();
    let old = world.items(old);
    let mut new = world.items(new);
    new.retain(|item| !old.iter().any(|known| known.id == item.id));
    let request = DeltaRequest {
        from: LayerId::from_digest([1; 32]).into(),
        to: LayerId::from_digest([2; 32]).into(),
        manifests: DOCUMENTS,
        trees: DOCUMENTS,
        old: &old,
        also: &[],
        new: &new,
        full_cost: &|id| world.objects.lock().unwrap()[id].len() as u64,
    };
    let mut out = Vec::new();
    let options = EncodeOptions {
        level: 3,
        ..EncodeOptions::default()
    };
    let mut spool = Cursor::new(Vec::new());
    let cancel = AtomicBool::new(false);
    encode(&request, &world, &mut spool, &mut out, &options, &cancel).unwrap();
    out
}

/// Applies a delta where the old files are; returns what was made.
fn applied(old: &Files, delta: &[u8]) -> Result<(ApplyReport, World), DeltaError> {
    let world = World::default();
    world.items(old);
    let delta = Delta::open(&delta, DOCUMENTS[0], DOCUMENTS[0], &DeltaLimits::default())?;
    delta.manifest()?;
    delta.tree()?;
    let cancel = AtomicBool::new(false);
    let done = delta.apply(&world, &world, &|_| true, 2, &|_| {}, &cancel)?;
    Ok((done, world))
}

pub(super) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let bytes = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    });
    bytes.take(len).collect()
}

/// Changes a byte in each thousand.
fn changed(mut bytes: Vec<u8>) -> Vec<u8> {
    for byte in bytes.iter_mut().skip(500).step_by(1000) {
        *byte = byte.wrapping_add(3);
    }
    bytes
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 2);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

#[test]
fn files_whose_names_differ_in_numbers_alone_get_the_base_that_is_like_them() {
    let library = |n: u64| noise(n, 20_000);
    let name = |n: u64, version: u64| format!("usr/lib/libx{n}.so.{version}");
    let old = |n| (name(n, 1), library(n));
    let old: Files = (0..4).map(old).collect();
    for n in 0..4 {
        // Their names went round by one: nothing but the contents says which is which. Each alone,
        // for a frame of several files has the bases of all.
        let new: Files = vec![(name((n + 1) % 4, 2), changed(library(n)))];
        let delta = encoded(&old, &new);
        assert!(delta.len() < 1000, "{}", delta.len());
        let (done, _) = applied(&old, &delta).unwrap();
        assert_eq!((done.made, done.failed.len()), (1, 0));
    }
}

#[test]
fn a_renamed_file_finds_its_base_in_its_folder() {
    let old: Files = vec![
        ("usr/share/words/first".to_owned(), noise(1, 30_000)),
        ("usr/share/words/second".to_owned(), noise(2, 30_000)),
        ("usr/share/words/third".to_owned(), noise(3, 30_000)),
    ];
    let new: Files = vec![(
        "usr/share/words/another".to_owned(),
        changed(noise(2, 30_000)),
    )];
    let delta = encoded(&old, &new);
    assert!(delta.len() < 1000, "{}", delta.len());
}

#[test]
fn what_is_compressed_is_compared_unpacked() {
    let text = |seed| -> Vec<u8> { noise(seed, 40_000).iter().map(|b| b'a' + b % 16).collect() };
    let file = |path: &str, bytes: Vec<u8>| (path.to_owned(), bytes);
    let old: Files = vec![
        file("lib/modules/6.1/a.ko.xz", xz(&text(1))),
        file("boot/b.zst", zstd(&text(2))),
    ];
    let new: Files = vec![
        file("lib/modules/6.2/a.ko.xz", xz(&changed(text(1)))),
        file("boot/b.zst", zstd(&changed(text(2)))),
    ];
    let delta = encoded(&old, &new);
    assert!(delta.len() < 2500, "{}", delta.len());
    let (done, _) = applied(&old, &delta).unwrap();
    assert_eq!((done.made, done.failed.len()), (2, 0));
}

#[test]
fn an_archive_is_made_of_the_objects_in_it() {
    let member = |name: &str, bytes: &[u8]| {
        let (size, name_size) = (bytes.len(), name.len() + 1);
        let mut out = b"070701".to_vec();
        for field in [1, 0o100_644, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0] {
            out.extend(format!("{field:08X}").bytes());
        }
        out.extend(name.bytes());
        out.push(0);
        out.resize(out.len().next_multiple_of(4), 0);
        out.extend(bytes);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    };
    let archive = |files: &[&[u8]]| -> Vec<u8> {
        let members = files.iter().map(|bytes| member("lib/x.ko", bytes));
        members
            .chain([member("TRAILER!!!", b"")])
            .collect::<Vec<_>>()
            .concat()
    };
    let (one, two) = (noise(1, 50_000), noise(2, 50_000));
    let initrd = |one: &[u8], two: &[u8]| [archive(&[one]), zstd(&archive(&[two, one]))].concat();
    let old: Files = vec![
        ("lib/one.ko".to_owned(), one.clone()),
        ("lib/two.ko".to_owned(), two.clone()),
        ("boot/initrd.img-1".to_owned(), initrd(&one, &two)),
    ];
    let new: Files = vec![
        ("lib/one.ko".to_owned(), changed(one.clone())),
        ("boot/initrd.img-2".to_owned(), initrd(&changed(one), &two)),
    ];
    let delta = encoded(&old, &new);
    assert!(delta.len() < 2500, "{}", delta.len());
    let (done, _) = applied(&old, &delta).unwrap();
    assert_eq!((done.made, done.failed.len()), (2, 0));
}

fn files() -> impl Strategy<Value = (Files, Files)> {
    let file = (0usize..6, 0u64..5, 0usize..9000, 0u8..4, any::<bool>());
    let files = || prop::collection::vec(file.clone(), 0..7);
    let made = |files: Vec<(usize, u64, usize, u8, bool)>| -> Files {
        let files = files.into_iter().enumerate();
        let files = files.map(|(n, (name, seed, len, form, is_changed))| {
            let mut bytes = noise(seed, len);
            if is_changed {
                bytes = changed(bytes);
            }
            let bytes = match form {
                1 => xz(&bytes),
                2 => zstd(&bytes),
                _ => bytes,
            };
            (format!("d{name}/file{n}.{form}"), bytes)
        });
        files.collect()
    };
    (files(), files()).prop_map(move |(old, new)| (made(old), made(new)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_was_encoded_is_made_again((old, new) in files()) {
        let delta = encoded(&old, &new);
        let (done, world) = applied(&old, &delta).unwrap();
        prop_assert_eq!(done.failed, vec![]);
        let objects = world.objects.lock().unwrap();
        for (path, bytes) in &new {
            prop_assert!(objects.contains_key(&ObjectId::of(bytes)), "{} is missing", path);
        }
    }

    #[test]
    fn a_damaged_delta_is_refused_or_says_what_it_did_not_make(
        (old, new) in files(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut delta = encoded(&old, &new);
        for (at, flip) in flips {
            let at = at.index(delta.len());
            delta[at] ^= flip;
        }
        if let Some(cut) = cut {
            delta.truncate(cut.index(delta.len()));
        }
        // The sink takes nothing but what has its digest, so that whatever was made is right.
        if let Ok((done, world)) = applied(&old, &delta) {
            let objects = world.objects.lock().unwrap();
            for (id, _) in &done.failed {
                prop_assert!(!objects.contains_key(id) || old.iter().any(|(_, bytes)| ObjectId::of(bytes) == *id));
            }
        }
    }

    #[test]
    fn random_bytes_are_no_delta(bytes in prop::collection::vec(any::<u8>(), 0..400), with_header in any::<bool>()) {
        let mut delta = bytes;
        if with_header {
            let rest = delta.len() as u64;
            let header = crate::format::delta::encode_delta_header(rest / 2, rest * 3);
            delta.splice(0..0, header);
        }
        prop_assert!(applied(&Files::new(), &delta).is_err());
    }
}
