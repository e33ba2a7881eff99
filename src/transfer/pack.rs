//! Packs: made for publishing, read by ranges.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use sha2::{Digest as _, Sha256 as Hasher};

use super::TransferError;
use super::hashing::HashingFile;
use crate::format::pack::{
    Digest, FRAME_BYTES, PACK_TAIL_BYTES, PackContent, PackFrame, PackIndex, WINDOW_LOG,
    encode_pack_index, pack_tail,
};
use crate::format::release::PackRef;
use crate::sha256::Sha256;

/// Contents that go into a pack, in the order in which they are laid.
pub(super) struct PackInput<'a> {
    /// The BLAKE3 digest.
    pub digest: Digest,
    /// Size in bytes.
    pub size: u64,
    /// Gives the bytes.
    pub open: Box<dyn Fn() -> Result<Box<dyn Read + 'a>, TransferError> + Send + Sync + 'a>,
}

/// Packs `ingredients` into the file `path`, and returns how to name the pack. `level` is zstd's, 1
/// to 19; `advance` is told the unpacked bytes as they go. The same ingredients give the same pack.
pub(super) fn write_pack(
    path: &Path,
    ingredients: &[PackInput<'_>],
    level: i32,
    threads: usize,
    advance: &(dyn Fn(u64) -> Result<(), TransferError> + Sync),
) -> Result<PackRef, TransferError> {
    let fail = |source| TransferError::io("write", path, source);
    let file = File::create(path).map_err(fail)?;
    let mut out = HashingFile::new(file);
    let frames = frames_of(ingredients);
    let mut index = PackIndex::default();
    // A few frames at a time: packed in parallel, written in order, bounded in memory.
    for batch in frames.chunks(threads.max(1) * 4) {
        let next = std::sync::atomic::AtomicUsize::new(0);
        let packed: Vec<std::sync::Mutex<Option<Result<PackedFrame, TransferError>>>> =
            batch.iter().map(|_| std::sync::Mutex::default()).collect();
        std::thread::scope(|scope| {
            for _ in 0..threads.clamp(1, batch.len()) {
                scope.spawn(|| {
                    loop {
                        let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        let Some(frame) = batch.get(at) else { break };
                        let result = pack_frame(path, &ingredients[frame.clone()], level, advance);
                        *packed[at].lock().unwrap_or_else(|e| e.into_inner()) = Some(result);
                    }
                });
            }
        });
        for (range, packed) in batch.iter().zip(packed) {
            let Some(packed) = packed.into_inner().unwrap_or_else(|e| e.into_inner()) else {
                continue;
            };
            let packed = packed?;
            let number = u32::try_from(index.frames.len()).unwrap_or(u32::MAX);
            let mut offset = 0;
            for ingredient in &ingredients[range.clone()] {
                index.contents.push(PackContent {
                    digest: ingredient.digest,
                    frame: number,
                    offset,
                    size: ingredient.size,
                });
                offset += ingredient.size;
            }
            let bytes = packed.copy_to(&mut out).map_err(fail)?;
            index.frames.push(PackFrame {
                packed: bytes,
                unpacked: offset,
            });
        }
    }
    index.contents.sort();
    let bytes = encode_pack_index(&index)?;
    let index_bytes = bytes.len() as u64;
    out.write_all(&bytes).map_err(fail)?;
    out.write_all(&pack_tail(index_bytes)).map_err(fail)?;
    out.file.flush().map_err(fail)?;
    Ok(PackRef {
        blob: Sha256::from_bytes(out.hasher.finalize().into()),
        bytes: out.bytes,
        index_bytes,
        index: Sha256::from_bytes(Hasher::digest(&bytes).into()),
    })
}

/// Groups neighbours into frames of at most [`FRAME_BYTES`]; what is larger has a frame of its own.
fn frames_of(ingredients: &[PackInput<'_>]) -> Vec<std::ops::Range<usize>> {
    let mut frames = Vec::new();
    let (mut start, mut bytes) = (0, 0u64);
    for (at, ingredient) in ingredients.iter().enumerate() {
        if at > start && bytes.saturating_add(ingredient.size) > FRAME_BYTES {
            frames.push(start..at);
            (start, bytes) = (at, 0);
        }
        bytes = bytes.saturating_add(ingredient.size);
    }
    if start < ingredients.len() {
        frames.push(start..ingredients.len());
    }
    frames
}

/// A frame, in memory unless it is large.
enum PackedFrame {
    Memory(Vec<u8>),
    Scratch(File),
}

/// Unpacked bytes above which a frame is written to a scratch file.
const LARGE_BYTES: u64 = 4 << 20;

impl PackedFrame {
    fn copy_to(self, out: &mut impl Write) -> io::Result<u64> {
        match self {
            Self::Memory(bytes) => {
                out.write_all(&bytes)?;
                Ok(bytes.len() as u64)
            }
            Self::Scratch(mut file) => {
                io::Seek::rewind(&mut file)?;
                io::copy(&mut file, out)
            }
        }
    }
}

fn pack_frame(
    path: &Path,
    ingredients: &[PackInput<'_>],
    level: i32,
    advance: &(dyn Fn(u64) -> Result<(), TransferError> + Sync),
) -> Result<PackedFrame, TransferError> {
    let size: u64 = ingredients.iter().map(|ingredient| ingredient.size).sum();
    if size <= LARGE_BYTES {
        return fill_frame(Vec::new(), ingredients, size, level, advance).map(PackedFrame::Memory);
    }
    let scratch = unnamed_file(path)?;
    fill_frame(scratch, ingredients, size, level, advance).map(PackedFrame::Scratch)
}

/// Makes a file without a name, on the filesystem of `beside`.
pub(super) fn unnamed_file(beside: &Path) -> Result<File, TransferError> {
    let dir = beside.parent().unwrap_or(Path::new("."));
    let flags =
        rustix::fs::OFlags::TMPFILE | rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
    let file = rustix::fs::open(dir, flags, rustix::fs::Mode::from_raw_mode(0o600));
    file.map(File::from)
        .map_err(|error| TransferError::io("make a file in", dir, error.into()))
}

fn fill_frame<W: Write>(
    out: W,
    ingredients: &[PackInput<'_>],
    size: u64,
    level: i32,
    advance: &(dyn Fn(u64) -> Result<(), TransferError> + Sync),
) -> Result<W, TransferError> {
    let fail = |source| TransferError::io("pack into", Path::new("a frame"), source);
    let mut encoder = zstd::stream::write::Encoder::new(out, level).map_err(fail)?;
    encoder.set_pledged_src_size(Some(size)).map_err(fail)?;
    if size > 1 << WINDOW_LOG {
        encoder.window_log(WINDOW_LOG).map_err(fail)?;
    }
    encoder.include_checksum(false).map_err(fail)?;
    let mut buffer = vec![0; 128 << 10];
    for ingredient in ingredients {
        let mut source = (ingredient.open)()?;
        let mut left = ingredient.size;
        while left > 0 {
            let want = buffer
                .len()
                .min(usize::try_from(left).unwrap_or(usize::MAX));
            let count = source.read(&mut buffer[..want]).map_err(fail)?;
            if count == 0 {
                return Err(fail(io::ErrorKind::UnexpectedEof.into()));
            }
            encoder.write_all(&buffer[..count]).map_err(fail)?;
            left -= count as u64;
            advance(count as u64)?;
        }
    }
    encoder.finish().map_err(fail)
}

/// Returns where the index of a pack is.
pub(super) fn index_range(pack: &PackRef) -> Option<std::ops::Range<u64>> {
    let end = pack.bytes.checked_sub(PACK_TAIL_BYTES)?;
    let start = end.checked_sub(pack.index_bytes)?;
    Some(start..end)
}

/// Reads the contents of one frame in order, in bounded memory.
pub(super) struct FrameReader<R: io::BufRead> {
    decoder: zstd::stream::read::Decoder<'static, R>,
    at: Cell<u64>,
}

impl<R: io::BufRead> FrameReader<R> {
    /// Opens a frame.
    pub(super) fn new(packed: R) -> io::Result<Self> {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?.single_frame();
        decoder.window_log_max(WINDOW_LOG)?;
        Ok(Self {
            decoder,
            at: Cell::new(0),
        })
    }

    /// Goes forward to `offset` of the unpacked frame, and copies `size` bytes into `out`.
    pub(super) fn copy(&mut self, offset: u64, size: u64, out: &mut dyn Write) -> io::Result<()> {
        let skip = offset
            .checked_sub(self.at.get())
            .ok_or(io::ErrorKind::InvalidInput)?;
        self.take(skip, &mut io::sink())?;
        self.take(size, out)
    }

    fn take(&mut self, bytes: u64, out: &mut dyn Write) -> io::Result<()> {
        let copied = io::copy(&mut (&mut self.decoder).take(bytes), out)?;
        self.at.set(self.at.get() + copied);
        if copied < bytes {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the frame ends too early",
            ));
        }
        Ok(())
    }
}
