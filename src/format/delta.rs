//! The index of a delta: which objects it makes, and of what.
//!
//! A delta is a file: [`MAGIC`], the version as a 16-bit number, the sizes of the packed and of the
//! unpacked index as 64-bit numbers (all little-endian), the index as a frame, the frames of the
//! new manifest and of the new tree, and the frames of fresh data in order. Every frame is a
//! [`crate::codec::patch`]. The prefix of the index's frame is the old tree: ids of what the
//! receiver has stand there.
//!
//! The index is a list of numbers as LEB128 in the shortest form, and of ids as 32 bytes. GVariant,
//! which the other formats use, writes each of these numbers with its full width and adds offsets:
//! four times the bytes for what is read once, in order. Reader rule as there: decode, check,
//! encode again, compare.
//!
//! **Fresh data** is one stream of bytes, cut into frames of at most [`MAX_FRAME`] bytes that are
//! decoded one by one. Objects take from it in order, each byte once: nothing can ask for more work
//! than the sizes that it declares.

use std::fmt::Write as _;

use super::error::FormatError;
use super::release::ReleaseId;
use crate::codec::{Coding, Form, GzipCoding, XzCoding, ZstdCoding};
use crate::id::{LayerId, ObjectId};

/// What a delta starts with.
pub const MAGIC: &[u8; 14] = b"layerset.delta";
/// The version that this program reads and writes.
pub const VERSION: u16 = 1;
/// Bytes before the index: magic, version, and its two sizes.
pub const HEADER_BYTES: usize = 32;
/// The most bytes that a frame of fresh data holds.
pub const MAX_FRAME: u64 = 8 << 20;
/// The most bytes that the prefix of such a frame has.
pub const MAX_PREFIX: u64 = 16 << 20;
/// The most bytes of a manifest or a tree.
pub const MAX_DOCUMENT: u64 = 1 << 30;
/// The most bytes of an object.
pub const MAX_OBJECT: u64 = 1 << 44;

/// What a delta says about itself; only its shape is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeltaIndex {
    /// What the receiver has.
    pub from: ReleaseId,
    /// What the delta leads to.
    pub to: ReleaseId,
    /// The new manifest.
    pub manifest: DeltaDocument,
    /// The new tree or changeset.
    pub tree: DeltaDocument,
    /// Objects that the receiver has, in the order of their first use.
    pub bases: Vec<ObjectId>,
    /// Objects that the delta makes, in an order in which they can be made.
    pub objects: Vec<DeltaObject>,
    /// The frames of fresh data.
    pub frames: Vec<DeltaFrame>,
}

/// A manifest or a tree: one frame, with the old one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeltaDocument {
    /// Size in bytes.
    pub size: u64,
    /// Size of its frame in bytes.
    pub packed: u64,
    /// How the bytes were changed before they were packed.
    pub offsets: u64,
}

/// An object that a delta makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeltaObject {
    /// Its id.
    pub id: ObjectId,
    /// Size in bytes.
    pub size: u64,
    /// What it is made of, in order.
    pub segments: Vec<Segment>,
}

/// A part of an object: contents, and what is made of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// How the contents are compressed; none where they stand as they are.
    pub coding: Option<Coding>,
    /// The contents.
    pub pieces: Vec<Piece>,
}

/// A part of some contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// The next bytes of the fresh data.
    Fresh(u64),
    /// A part of another object.
    Copy(Extent),
}

impl Piece {
    /// Returns its size in bytes.
    pub const fn len(&self) -> u64 {
        match self {
            Self::Fresh(len) => *len,
            Self::Copy(extent) => extent.len,
        }
    }

    /// Says whether it has no bytes; no piece of a valid index is empty.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A part of an object, or of what is compressed in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Extent {
    /// Which object: first the bases count, then the objects of the delta.
    pub source: u64,
    /// How it is read.
    pub form: Form,
    /// Where in it the compressed part starts, in bytes; 0 for [`Form::Raw`].
    pub start: u64,
    /// The first byte, in that form.
    pub offset: u64,
    /// Size in bytes.
    pub len: u64,
}

/// A frame of fresh data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeltaFrame {
    /// Size of the data in bytes.
    pub size: u64,
    /// Size of the frame in bytes.
    pub packed: u64,
    /// What it was compressed against.
    pub prefix: Vec<Extent>,
}

fn fail(reason: impl Into<String>) -> FormatError {
    FormatError::Binary {
        what: "delta",
        reason: reason.into(),
    }
}

/// Writes the 32 bytes before the index.
pub fn encode_delta_header(packed: u64, size: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..14].copy_from_slice(MAGIC);
    header[14..16].copy_from_slice(&VERSION.to_le_bytes());
    header[16..24].copy_from_slice(&packed.to_le_bytes());
    header[24..].copy_from_slice(&size.to_le_bytes());
    header
}

/// Reads them: the sizes of the packed and of the unpacked index.
pub fn decode_delta_header(header: &[u8; HEADER_BYTES]) -> Result<(u64, u64), FormatError> {
    if &header[..14] != MAGIC {
        return Err(fail("it does not start with 'layerset.delta'"));
    }
    let version = u16::from_le_bytes([header[14], header[15]]);
    if version != VERSION {
        return Err(fail(format!(
            "it has format version {version}, this program reads {VERSION}"
        )));
    }
    let number = |at: usize| {
        let bytes = header[at..at + 8].iter().rev();
        bytes.fold(0, |n, byte| n << 8 | u64::from(*byte))
    };
    Ok((number(16), number(24)))
}

/// Encodes an index.
pub fn encode_delta_index(index: &DeltaIndex) -> Vec<u8> {
    let mut out = Writer::default();
    out.bytes.extend_from_slice(index.from.layer().as_bytes());
    out.bytes.extend_from_slice(index.to.layer().as_bytes());
    for document in [&index.manifest, &index.tree] {
        out.number(document.size);
        out.number(document.packed);
        out.number(document.offsets);
    }
    out.number(index.bases.len() as u64);
    for base in &index.bases {
        out.bytes.extend_from_slice(base.as_bytes());
    }
    out.number(index.objects.len() as u64);
    for object in &index.objects {
        out.bytes.extend_from_slice(object.id.as_bytes());
    }
    for object in &index.objects {
        out.number(object.size);
    }
    for object in &index.objects {
        out.number(object.segments.len() as u64);
        for segment in &object.segments {
            out.coding(segment.coding.as_ref());
            out.number(segment.pieces.len() as u64);
            for piece in &segment.pieces {
                match piece {
                    // A byte that no extent starts with.
                    Piece::Fresh(len) => {
                        out.number(FRESH);
                        out.number(*len);
                    }
                    Piece::Copy(extent) => out.extent(extent),
                }
            }
        }
    }
    out.number(index.frames.len() as u64);
    for frame in &index.frames {
        out.number(frame.size);
        out.number(frame.packed);
        out.number(frame.prefix.len() as u64);
        for extent in &frame.prefix {
            out.extent(extent);
        }
    }
    out.bytes
}

/// In place of an extent's first byte.
const FRESH: u64 = 16;
/// Bits of an extent's first byte beside its form: a start and an offset follow.
const HAS_START: u64 = 4;
const HAS_OFFSET: u64 = 8;

#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
    /// The source that is most likely next: the one after the last.
    next: u64,
}

impl Writer {
    fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    fn extent(&mut self, extent: &Extent) {
        let form = match extent.form {
            Form::Raw => 0,
            Form::Xz => 1,
            Form::Gzip => 2,
            Form::Zstd => 3,
        };
        let bit = |value: u64, bit| if value == 0 { 0 } else { bit };
        self.number(form | bit(extent.start, HAS_START) | bit(extent.offset, HAS_OFFSET));
        // Zigzag: small differences of either sign are small numbers.
        let step = extent.source.wrapping_sub(self.next) as i64;
        self.number(((step << 1) ^ (step >> 63)) as u64);
        self.next = extent.source.wrapping_add(1);
        for part in [extent.start, extent.offset] {
            if part != 0 {
                self.number(part);
            }
        }
        self.number(extent.len);
    }

    fn coding(&mut self, coding: Option<&Coding>) {
        match coding {
            None => self.number(0),
            Some(Coding::Xz(xz)) => {
                self.number(1);
                let flags = u8::from(xz.extreme) | u8::from(xz.sized) << 1;
                self.bytes
                    .extend([xz.check, xz.dictionary, xz.preset, flags]);
            }
            Some(Coding::Gzip(gzip)) => {
                self.number(2);
                self.bytes
                    .extend([gzip.level, gzip.extra_flags, gzip.system]);
                self.number(u64::from(gzip.mtime));
                let name = gzip.name.as_ref();
                self.number(name.map_or(0, |name| name.len() as u64 + 1));
                self.bytes.extend(name.into_iter().flatten());
            }
            Some(Coding::Zstd(zstd)) => {
                self.number(3);
                let flags = [zstd.workers, zstd.checksum, zstd.sized];
                let flags = flags
                    .iter()
                    .rev()
                    .fold(0, |n, flag| n << 1 | u8::from(*flag));
                self.bytes.extend([zstd.level, flags]);
            }
        }
    }
}

/// Decodes an index, and refuses anything but the canonical bytes of a sound one.
pub fn decode_delta_index(bytes: &[u8]) -> Result<DeltaIndex, FormatError> {
    let mut reader = Reader { bytes, next: 0 };
    let index = reader.index()?;
    if !reader.bytes.is_empty() {
        return Err(fail("bytes follow its end"));
    }
    check(&index)?;
    if encode_delta_index(&index) != bytes {
        return Err(fail("the bytes are not in normal form"));
    }
    Ok(index)
}

struct Reader<'a> {
    bytes: &'a [u8],
    next: u64,
}

impl Reader<'_> {
    fn byte(&mut self) -> Result<u8, FormatError> {
        let (first, rest) = self
            .bytes
            .split_first()
            .ok_or_else(|| fail("it is cut off"))?;
        self.bytes = rest;
        Ok(*first)
    }

    fn number(&mut self) -> Result<u64, FormatError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(fail("a number is too long"))
    }

    /// Reads how many things of at least `least` bytes follow: never more than there are bytes for.
    fn count(&mut self, least: usize) -> Result<usize, FormatError> {
        let count = self.number()?;
        let possible = (self.bytes.len() / least) as u64;
        if count > possible {
            return Err(fail(format!(
                "it announces {count} items, and there is room for {possible}"
            )));
        }
        Ok(count as usize)
    }

    fn digest(&mut self) -> Result<[u8; 32], FormatError> {
        let (first, rest) = self
            .bytes
            .split_first_chunk()
            .ok_or_else(|| fail("it is cut off"))?;
        self.bytes = rest;
        Ok(*first)
    }

    fn index(&mut self) -> Result<DeltaIndex, FormatError> {
        let from = LayerId::from_digest(self.digest()?).into();
        let to = LayerId::from_digest(self.digest()?).into();
        let (manifest, tree) = (self.document()?, self.document()?);
        let ids = |reader: &mut Self| -> Result<Vec<ObjectId>, FormatError> {
            let count = reader.count(32)?;
            (0..count)
                .map(|_| reader.digest().map(ObjectId::from_digest))
                .collect()
        };
        let bases = ids(self)?;
        let ids = ids(self)?;
        let sizes: Vec<u64> = ids
            .iter()
            .map(|_| self.number())
            .collect::<Result<_, _>>()?;
        let mut objects = Vec::new();
        for (id, size) in ids.into_iter().zip(sizes) {
            let segments = (0..self.count(2)?)
                .map(|_| self.segment())
                .collect::<Result<_, _>>()?;
            objects.push(DeltaObject { id, size, segments });
        }
        let frames = (0..self.count(3)?)
            .map(|_| self.frame())
            .collect::<Result<_, _>>()?;
        Ok(DeltaIndex {
            from,
            to,
            manifest,
            tree,
            bases,
            objects,
            frames,
        })
    }

    fn document(&mut self) -> Result<DeltaDocument, FormatError> {
        Ok(DeltaDocument {
            size: self.number()?,
            packed: self.number()?,
            offsets: self.number()?,
        })
    }

    fn segment(&mut self) -> Result<Segment, FormatError> {
        let coding = self.coding()?;
        let pieces = (0..self.count(2)?)
            .map(|_| match self.number()? {
                FRESH => Ok(Piece::Fresh(self.number()?)),
                flags => self.extent(flags).map(Piece::Copy),
            })
            .collect::<Result<_, _>>()?;
        Ok(Segment { coding, pieces })
    }

    fn frame(&mut self) -> Result<DeltaFrame, FormatError> {
        let (size, packed) = (self.number()?, self.number()?);
        let prefix = (0..self.count(3)?)
            .map(|_| {
                let flags = self.number()?;
                self.extent(flags)
            })
            .collect::<Result<_, _>>()?;
        Ok(DeltaFrame {
            size,
            packed,
            prefix,
        })
    }

    fn extent(&mut self, flags: u64) -> Result<Extent, FormatError> {
        if flags & !(HAS_START | HAS_OFFSET | 3) != 0 {
            return Err(fail(format!("unknown flags {flags} of an extent")));
        }
        let form = match flags & 3 {
            0 => Form::Raw,
            1 => Form::Xz,
            2 => Form::Gzip,
            _ => Form::Zstd,
        };
        let step = self.number()?;
        let step = (step >> 1) as i64 ^ -((step & 1) as i64);
        let source = self.next.wrapping_add(step as u64);
        self.next = source.wrapping_add(1);
        let mut part = |bit| {
            if flags & bit == 0 {
                Ok(0)
            } else {
                self.number()
            }
        };
        let (start, offset) = (part(HAS_START)?, part(HAS_OFFSET)?);
        Ok(Extent {
            source,
            form,
            start,
            offset,
            len: self.number()?,
        })
    }

    fn coding(&mut self) -> Result<Option<Coding>, FormatError> {
        let flag = |flags: u8, bit: u8| flags >> bit & 1 == 1;
        Ok(match self.number()? {
            0 => None,
            1 => {
                let (check, dictionary, preset, flags) =
                    (self.byte()?, self.byte()?, self.byte()?, self.byte()?);
                Some(Coding::Xz(XzCoding {
                    check,
                    dictionary,
                    preset,
                    extreme: flag(flags, 0),
                    sized: flag(flags, 1),
                }))
            }
            2 => {
                let (level, extra_flags, system) = (self.byte()?, self.byte()?, self.byte()?);
                let mtime =
                    u32::try_from(self.number()?).map_err(|_| fail("an impossible time"))?;
                let name = match self.count(1)? {
                    0 => None,
                    count => Some((1..count).map(|_| self.byte()).collect::<Result<_, _>>()?),
                };
                Some(Coding::Gzip(GzipCoding {
                    level,
                    mtime,
                    extra_flags,
                    system,
                    name,
                }))
            }
            3 => {
                let (level, flags) = (self.byte()?, self.byte()?);
                Some(Coding::Zstd(ZstdCoding {
                    level,
                    workers: flag(flags, 0),
                    checksum: flag(flags, 1),
                    sized: flag(flags, 2),
                }))
            }
            other => return Err(fail(format!("unknown coding {other}"))),
        })
    }
}

/// Checks what decoding does not: sizes within bounds, sums that agree, sources that exist by
/// then.
fn check(index: &DeltaIndex) -> Result<(), FormatError> {
    for document in [&index.manifest, &index.tree] {
        if document.size > MAX_DOCUMENT || document.packed > bound(document.size) {
            return Err(fail("a manifest or tree is too large"));
        }
    }
    // Without overflow: each term is bounded, and there are fewer than 2^32 of them.
    let mut fresh = 0u64;
    let mut frames = index.frames.iter();
    let mut ready = 0u64;
    let bases = index.bases.len() as u64;
    for (position, object) in index.objects.iter().enumerate() {
        let made = bases + position as u64;
        if object.size > MAX_OBJECT {
            return Err(fail("an object is too large"));
        }
        let mut raw = 0u64;
        for segment in &object.segments {
            for piece in &segment.pieces {
                if piece.is_empty() || piece.len() > MAX_OBJECT {
                    return Err(fail("a piece has an impossible size"));
                }
                if segment.coding.is_none() {
                    raw = raw.saturating_add(piece.len());
                }
                match piece {
                    Piece::Fresh(len) => fresh = fresh.saturating_add(*len),
                    Piece::Copy(extent) => check_extent(extent, made)?,
                }
            }
        }
        let coded = object.segments.iter().any(|s| s.coding.is_some());
        if raw > object.size || (!coded && raw != object.size) {
            return Err(fail("the parts of an object do not add up to its size"));
        }
        // The frames that this object reads from, in full or in part.
        while ready < fresh {
            let Some(frame) = frames.next() else {
                return Err(fail("there is less fresh data than the objects need"));
            };
            if frame.size == 0 || frame.size > MAX_FRAME || frame.packed > bound(frame.size) {
                return Err(fail("a frame has an impossible size"));
            }
            let mut prefix = 0u64;
            for extent in &frame.prefix {
                check_extent(extent, made)?;
                prefix = prefix.saturating_add(extent.len);
            }
            if prefix > MAX_PREFIX {
                return Err(fail("the prefix of a frame is too large"));
            }
            ready += frame.size;
        }
    }
    if ready != fresh || frames.next().is_some() {
        return Err(fail("there is more fresh data than the objects need"));
    }
    Ok(())
}

fn check_extent(extent: &Extent, made: u64) -> Result<(), FormatError> {
    let is_good = extent.source < made
        && extent.len > 0
        && extent.len <= MAX_OBJECT
        && extent.offset <= MAX_OBJECT
        && extent.start <= MAX_OBJECT
        && (extent.form != Form::Raw || extent.start == 0);
    if is_good {
        return Ok(());
    }
    Err(fail(
        "a piece is taken from an object that does not exist yet, or has an impossible size",
    ))
}

/// The most bytes that a frame of `size` bytes has: what does not compress is stored with a few
/// bytes more.
const fn bound(size: u64) -> u64 {
    size + size / 128 + 1024
}

/// Writes an index as text, for people and tests.
pub fn dump_delta(index: &DeltaIndex) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let mut line = |line: std::fmt::Arguments<'_>| {
        let _ = text.write_fmt(line);
        text.push('\n');
    };
    let bases = index.bases.len() as u64;
    let name = |extent: &Extent| {
        let source = usize::try_from(extent.source).unwrap_or(usize::MAX);
        let made = || index.objects.get(source.wrapping_sub(bases as usize));
        let id = index.bases.get(source).or_else(|| made().map(|o| &o.id));
        let id = id.map_or("?".to_owned(), ObjectId::short);
        let Extent {
            form,
            start,
            offset,
            len,
            ..
        } = extent;
        format!("{id} {form:?} {start} {offset}+{len}")
    };
    line(format_args!("delta {} {}", index.from, index.to));
    for (what, document) in [("manifest", &index.manifest), ("tree", &index.tree)] {
        let DeltaDocument {
            size,
            packed,
            offsets,
        } = document;
        line(format_args!(
            "{what} {size} packed {packed} offsets {offsets}"
        ));
    }
    for object in &index.objects {
        line(format_args!("object {} {}", object.id, object.size));
        for segment in &object.segments {
            match &segment.coding {
                None => line(format_args!(" raw")),
                Some(coding) => line(format_args!(" {coding:?}")),
            }
            for piece in &segment.pieces {
                match piece {
                    Piece::Fresh(len) => line(format_args!("  fresh {len}")),
                    Piece::Copy(extent) => line(format_args!("  copy {}", name(extent))),
                }
            }
        }
    }
    for frame in &index.frames {
        line(format_args!("frame {} packed {}", frame.size, frame.packed));
        for extent in &frame.prefix {
            line(format_args!(" prefix {}", name(extent)));
        }
    }
    text
}
