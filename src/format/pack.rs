//! The index of a pack: which frame holds which contents.
//!
//! A pack is a sequence of independent zstd frames, then the index, then 16 bytes: the size of the
//! index (little-endian, 64 bits) and the word `lspack01`. The index is a zstd frame of the
//! GVariant `(suatatayauatat)`: the word `layerset.pack`, the format version, for each frame its
//! packed and its unpacked size in bytes; and, sorted by digest, for each content its 32-byte
//! BLAKE3 digest, the number of its frame, its offset in the unpacked frame, its size. Columns,
//! because they compress better than rows.
//!
//! The index does not say whether a content is an object, a tree or a manifest: whoever asks for a
//! digest knows.

use std::io::Read as _;

use gvariant::{Marker, Structure, gv};

use super::error::FormatError;
use super::gv::aligned;

const MAGIC: &str = "layerset.pack";
const VERSION: u32 = 1;
const TAIL: &[u8; 8] = b"lspack01";

/// Bytes after the index of a pack.
pub const PACK_TAIL_BYTES: u64 = 16;

/// The most bytes of several contents in one frame, unpacked; a larger content has a frame of its
/// own.
pub const FRAME_BYTES: u64 = 256 << 10;

/// The most bytes of an index on the wire.
pub const MAX_INDEX_BYTES: u64 = 256 << 20;

/// The most contents in a pack.
const MAX_CONTENTS: usize = 4 << 20;

/// An upper bound of an index's bytes for each content, unpacked.
const BYTES_EACH: usize = 80;

/// The binary logarithm of the memory that unpacking a frame takes at most.
pub const WINDOW_LOG: u32 = 23;

/// A digest of contents, whatever kind they are of.
pub type Digest = [u8; 32];

/// The contents of a pack, and where they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PackIndex {
    /// The frames, in the order of the pack.
    pub frames: Vec<PackFrame>,
    /// The contents, sorted by digest.
    pub contents: Vec<PackContent>,
}

/// One frame of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackFrame {
    /// Size in the pack, in bytes.
    pub packed: u64,
    /// Size unpacked, in bytes.
    pub unpacked: u64,
}

/// One content in a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PackContent {
    /// The BLAKE3 digest of the content.
    pub digest: Digest,
    /// The number of its frame.
    pub frame: u32,
    /// Where it begins in the unpacked frame, in bytes.
    pub offset: u64,
    /// Its size, in bytes.
    pub size: u64,
}

impl PackIndex {
    /// Finds a content by its digest.
    pub fn get(&self, digest: &Digest) -> Option<&PackContent> {
        let at = self
            .contents
            .binary_search_by(|content| content.digest.cmp(digest));
        at.ok().map(|at| &self.contents[at])
    }

    /// Returns where each frame begins in the pack, and at last where the index begins.
    pub fn offsets(&self) -> Vec<u64> {
        let mut offsets = vec![0];
        let mut end = 0u64;
        for frame in &self.frames {
            end = end.saturating_add(frame.packed);
            offsets.push(end);
        }
        offsets
    }
}

/// Encodes an index, without the tail of the pack.
pub fn encode_pack_index(index: &PackIndex) -> Result<Vec<u8>, FormatError> {
    zstd::bulk::compress(&canonical(index), 3).map_err(|error| fail(error.to_string()))
}

/// Returns the last bytes of a pack.
pub fn pack_tail(index_bytes: u64) -> [u8; 16] {
    let mut tail = [0; 16];
    tail[..8].copy_from_slice(&index_bytes.to_le_bytes());
    tail[8..].copy_from_slice(TAIL);
    tail
}

fn canonical(index: &PackIndex) -> Vec<u8> {
    let packed: Vec<u64> = index.frames.iter().map(|frame| frame.packed).collect();
    let unpacked: Vec<u64> = index.frames.iter().map(|frame| frame.unpacked).collect();
    let digests: Vec<u8> = index.contents.iter().flat_map(|c| c.digest).collect();
    let frames: Vec<u32> = index.contents.iter().map(|c| c.frame).collect();
    let offsets: Vec<u64> = index.contents.iter().map(|c| c.offset).collect();
    let sizes: Vec<u64> = index.contents.iter().map(|c| c.size).collect();
    gv!("(suatatayauatat)").serialize_to_vec(&(
        MAGIC,
        VERSION,
        packed.as_slice(),
        unpacked.as_slice(),
        digests.as_slice(),
        frames.as_slice(),
        offsets.as_slice(),
        sizes.as_slice(),
    ))
}

/// Decodes the index of a pack of which `data_bytes` are before the index, in bounded memory, and
/// refuses anything but what [`encode_pack_index`] packs.
pub fn decode_pack_index(bytes: &[u8], data_bytes: u64) -> Result<PackIndex, FormatError> {
    let raw = unpack(bytes)?;
    let aligned = aligned(&raw).map_err(fail)?;
    let (magic, version, packed, unpacked, digests, numbers, offsets, sizes) =
        gv!("(suatatayauatat)").cast(aligned.as_ref()).to_tuple();
    if magic.to_str() != MAGIC {
        return Err(fail(format!("it does not start with '{MAGIC}'")));
    }
    if *version != VERSION {
        return Err(fail(format!(
            "it has format version {version}, this program reads {VERSION}"
        )));
    }
    let count = sizes.len();
    if packed.len() != unpacked.len()
        || digests.len() != count.saturating_mul(32)
        || numbers.len() != count
        || offsets.len() != count
    {
        return Err(fail("its columns differ in length".to_owned()));
    }
    let frames = packed.iter().zip(unpacked);
    let frames = frames.map(|(packed, unpacked)| PackFrame {
        packed: *packed,
        unpacked: *unpacked,
    });
    let contents = (0..count).map(|n| PackContent {
        digest: digests[n * 32..][..32].try_into().unwrap_or_default(),
        frame: numbers[n],
        offset: offsets[n],
        size: sizes[n],
    });
    let index = PackIndex {
        frames: frames.collect(),
        contents: contents.collect(),
    };
    check(&index, data_bytes).map_err(fail)?;
    if canonical(&index) != raw {
        return Err(fail("the bytes are not in normal form".to_owned()));
    }
    Ok(index)
}

fn unpack(bytes: &[u8]) -> Result<Vec<u8>, FormatError> {
    let io = |error: std::io::Error| fail(error.to_string());
    let mut decoder = zstd::stream::read::Decoder::new(bytes)
        .map_err(io)?
        .single_frame();
    decoder.window_log_max(WINDOW_LOG).map_err(io)?;
    let limit = (MAX_CONTENTS * BYTES_EACH) as u64;
    let mut raw = Vec::new();
    (&mut decoder)
        .take(limit + 1)
        .read_to_end(&mut raw)
        .map_err(io)?;
    if raw.len() as u64 > limit {
        return Err(fail(format!("it unpacks to more than {limit} bytes")));
    }
    let mut rest = decoder.finish();
    if !std::io::BufRead::fill_buf(&mut rest).is_ok_and(<[u8]>::is_empty) {
        return Err(fail("bytes follow its end".to_owned()));
    }
    Ok(raw)
}

fn check(index: &PackIndex, data_bytes: u64) -> Result<(), String> {
    let mut end = 0u64;
    for frame in &index.frames {
        end = end.checked_add(frame.packed).ok_or("its sizes overflow")?;
    }
    if end != data_bytes {
        return Err(format!(
            "its frames take {end} bytes, the pack has {data_bytes}"
        ));
    }
    let mut holds = vec![0u32; index.frames.len()];
    let mut before: Option<&Digest> = None;
    for content in &index.contents {
        let number = content.frame as usize;
        let frame = index.frames.get(number).ok_or("a frame is missing")?;
        let end = content.offset.checked_add(content.size);
        if end.is_none_or(|end| end > frame.unpacked) {
            return Err("a content exceeds its frame".to_owned());
        }
        if before.is_some_and(|before| *before >= content.digest) {
            return Err("its digests are not sorted".to_owned());
        }
        before = Some(&content.digest);
        holds[number] += 1;
    }
    let too_large = index
        .frames
        .iter()
        .zip(holds)
        .any(|(frame, count)| count > 1 && frame.unpacked > FRAME_BYTES);
    if too_large {
        return Err("a frame of several contents is too large".to_owned());
    }
    Ok(())
}

fn fail(reason: String) -> FormatError {
    FormatError::Binary {
        what: "pack index",
        reason,
    }
}

/// The text twin: a line for each frame, then one for each content.
pub fn dump_pack_index(index: &PackIndex) -> String {
    let mut text = String::new();
    for (number, frame) in index.frames.iter().enumerate() {
        text.push_str(&format!(
            "frame {number} {} {}\n",
            frame.packed, frame.unpacked
        ));
    }
    for content in &index.contents {
        let id = crate::id::ObjectId::from_digest(content.digest);
        let PackContent {
            frame,
            offset,
            size,
            ..
        } = content;
        text.push_str(&format!("{id} {frame} {offset} {size}\n"));
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> PackIndex {
        let content = |byte, frame, offset, size| PackContent {
            digest: [byte; 32],
            frame,
            offset,
            size,
        };
        PackIndex {
            frames: vec![
                PackFrame {
                    packed: 10,
                    unpacked: 300,
                },
                PackFrame {
                    packed: 5,
                    unpacked: 1 << 40,
                },
            ],
            contents: vec![
                content(1, 0, 0, 100),
                content(2, 0, 100, 200),
                content(9, 1, 0, 1 << 40),
            ],
        }
    }

    #[test]
    fn an_index_round_trips_and_has_a_text_twin() {
        let bytes = encode_pack_index(&sample()).unwrap();
        let read = decode_pack_index(&bytes, 15).unwrap();
        assert_eq!(read, sample());
        assert_eq!(read.get(&[2; 32]).unwrap().offset, 100);
        assert_eq!(read.get(&[3; 32]), None);
        assert_eq!(read.offsets(), [0, 10, 15]);
        assert!(
            dump_pack_index(&read).starts_with("frame 0 10 300\nframe 1 5 1099511627776\nb3:0101")
        );
        let digest = blake3::hash(&canonical(&sample())).to_hex();
        assert_eq!(&digest[..16], "34a0bbf2159cb9a8");
    }

    #[test]
    fn what_does_not_add_up_is_refused() {
        let edit = |change: &dyn Fn(&mut PackIndex)| {
            let mut index = sample();
            change(&mut index);
            let bytes = encode_pack_index(&index).unwrap();
            decode_pack_index(&bytes, 15).unwrap_err().to_string()
        };
        assert!(edit(&|i| i.frames[0].packed = 11).contains("the pack has 15"));
        assert!(edit(&|i| i.frames[0].packed = u64::MAX).contains("overflow"));
        assert!(edit(&|i| i.contents[1].size = 201).contains("exceeds"));
        assert!(edit(&|i| i.contents[1].offset = u64::MAX).contains("exceeds"));
        assert!(edit(&|i| i.contents[1].frame = 2).contains("missing"));
        assert!(edit(&|i| i.contents.swap(0, 1)).contains("sorted"));
        assert!(edit(&|i| i.contents[1].digest = [1; 32]).contains("sorted"));
        assert!(edit(&|i| i.frames[0].unpacked = 1 << 30).contains("too large"));
        let bomb = zstd::bulk::compress(&vec![0; MAX_CONTENTS * BYTES_EACH + 1], 3).unwrap();
        assert!(
            decode_pack_index(&bomb, 0)
                .unwrap_err()
                .to_string()
                .contains("unpacks to more")
        );
        let mut padded = encode_pack_index(&sample()).unwrap();
        padded.push(0);
        assert!(
            decode_pack_index(&padded, 15)
                .unwrap_err()
                .to_string()
                .contains("follow")
        );
    }

    /// Where an empty vector is depends on the allocator: it took thousands of random cases to find
    /// this.
    #[test]
    fn an_index_of_nothing_is_refused_wherever_it_is_in_memory() {
        let nothing = zstd::bulk::compress(&[], 1).unwrap();
        for _ in 0..10_000 {
            assert!(decode_pack_index(&nothing, 15).is_err());
        }
    }

    proptest! {
        #[test]
        fn random_bytes_never_crash_a_reader(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode_pack_index(&bytes, 15);
            let _ = decode_pack_index(&zstd::bulk::compress(&bytes, 1).unwrap(), 15);
        }
    }
}
