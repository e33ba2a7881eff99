//! One gzip member (RFC 1952) of many pieces, compressed side by side.
//!
//! Pieces have a fixed size, and each ends on a byte boundary (a sync flush). So the bytes are the
//! same however many threads there are. The header has no name and no date.

use std::io::{BufWriter, Seek as _, SeekFrom, Write as _};
use std::ops::Range;

use flate2::{Compress, Compression, Crc, FlushCompress, Status};

use super::error::{Share, explain_write};
use super::pipeline::ordered;
use super::source::is_zero;
use super::{FormatError, FormatOptions, Output, Source};

const PIECE: u64 = 1 << 20;

/// No flags, no date, no hint, and no known system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// A part of what is compressed.
pub(super) enum Part {
    Bytes(Vec<u8>),
    /// A range of the disk.
    Disk(Range<u64>),
}

impl Part {
    fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Disk(range) => range.end - range.start,
        }
    }
}

/// All parts, one after another.
struct Contents<'a> {
    source: &'a Source<'a>,
    parts: &'a [Part],
    /// Where each part starts; and the end.
    starts: Vec<u64>,
}

impl<'a> Contents<'a> {
    fn new(source: &'a Source<'a>, parts: &'a [Part]) -> Self {
        let mut starts = vec![0];
        let mut at = 0;
        for part in parts {
            at += part.length();
            starts.push(at);
        }
        Self {
            source,
            parts,
            starts,
        }
    }

    fn length(&self) -> u64 {
        self.starts.last().copied().unwrap_or(0)
    }

    fn read(&self, mut at: u64, mut buffer: &mut [u8]) -> Result<(), FormatError> {
        // The last part that starts at or before `at`; empty ones have nothing to read.
        let mut number = self.starts.partition_point(|start| *start <= at) - 1;
        while !buffer.is_empty() {
            let Some(part) = self.parts.get(number) else {
                return Ok(());
            };
            let inside = at - self.starts[number];
            let length = (part.length() - inside).min(buffer.len() as u64) as usize;
            let (now, later) = buffer.split_at_mut(length);
            match part {
                Part::Bytes(bytes) => {
                    now.copy_from_slice(&bytes[inside as usize..inside as usize + length]);
                }
                Part::Disk(range) => self.source.read(range.start + inside, now)?,
            }
            buffer = later;
            at += length as u64;
            number += 1;
        }
        Ok(())
    }
}

/// What one piece became.
struct Packed {
    bytes: Vec<u8>,
    crc: Crc,
    are_zeros: bool,
}

/// Compresses pieces; remembers what one of zeros becomes, as disks have many.
struct Packer {
    compress: Compress,
    zeros: Option<Vec<u8>>,
}

impl Packer {
    fn new() -> Self {
        Self {
            compress: Compress::new(Compression::default(), false),
            zeros: None,
        }
    }

    fn pack(&mut self, bytes: &[u8], is_last: bool) -> Packed {
        let mut crc = Crc::new();
        crc.update(bytes);
        let are_zeros = !is_last && bytes.len() as u64 == PIECE && is_zero(bytes);
        let packed = match self.zeros.as_ref().filter(|_| are_zeros) {
            Some(zeros) => zeros.clone(),
            None => self.deflate(bytes, is_last),
        };
        if are_zeros && self.zeros.is_none() {
            self.zeros = Some(packed.clone());
        }
        Packed {
            bytes: packed,
            crc,
            are_zeros,
        }
    }

    fn deflate(&mut self, bytes: &[u8], is_last: bool) -> Vec<u8> {
        self.compress.reset();
        let flush = match is_last {
            true => FlushCompress::Finish,
            false => FlushCompress::Sync,
        };
        let mut packed = Vec::with_capacity(bytes.len() / 2 + 1024);
        loop {
            let done = self.compress.total_in() as usize;
            let status = self
                .compress
                .compress_vec(&bytes[done..], &mut packed, flush);
            // A flush is complete when there is room left behind it.
            let is_complete = match status {
                Ok(Status::StreamEnd) | Err(_) => true,
                Ok(_) => {
                    !is_last
                        && self.compress.total_in() as usize == bytes.len()
                        && packed.len() < packed.capacity()
                }
            };
            if is_complete {
                return packed;
            }
            packed.reserve(bytes.len() / 2 + 1024);
        }
    }
}

/// Writes all parts, compressed, and returns the size of the file.
pub(super) fn write_gzip(
    source: &Source<'_>,
    output: &mut Output<'_>,
    options: &FormatOptions<'_>,
    parts: &[Part],
) -> Result<u64, FormatError> {
    let contents = Contents::new(source, parts);
    let total = contents.length();
    let place = (&*output.file, output.path);
    let (mut written, mut done) = (0, 0);
    let mut out = BufWriter::with_capacity(1 << 20, place.0);
    let mut put = |bytes: &[u8], share: Share| {
        let result = out.write_all(bytes);
        result.map_err(|error| explain_write(place, written, share, error))?;
        written += bytes.len() as u64;
        Ok(written)
    };
    let mut file = place.0;
    file.seek(SeekFrom::Start(0))
        .map_err(|error| FormatError::write(place.1, error))?;
    put(&HEADER, Share::ALL)?;
    let pieces = total.div_ceil(PIECE) as usize;
    let worker = || {
        let mut packer = Packer::new();
        let mut buffer = Vec::new();
        let contents = &contents;
        move |piece: usize| {
            let at = piece as u64 * PIECE;
            buffer.resize((total - at).min(PIECE) as usize, 0);
            contents.read(at, &mut buffer)?;
            let packed = packer.pack(&buffer, piece + 1 == pieces);
            Ok((packed, buffer.len() as u64))
        }
    };
    let mut crc = Crc::new();
    // Pieces of zeros become next to nothing.
    let mut data = Share {
        done: 0,
        total: source.data_bytes(PIECE)?,
    };
    ordered(options.threads, pieces, worker, |(packed, length)| {
        done += length;
        data.done += if packed.are_zeros { 0 } else { length };
        crc.combine(&packed.crc);
        put(&packed.bytes, data)?;
        options.require_going_on()?;
        // What is packed is not all of the disk, or more: its share counts.
        (options.progress)(Share { done, total }.of(source.size()), source.size());
        Ok(())
    })?;
    // The length modulo 2^32.
    let trailer = [crc.sum().to_le_bytes(), (total as u32).to_le_bytes()].concat();
    let written = put(&trailer, Share::ALL)?;
    out.flush()
        .map_err(|error| explain_write(place, written, Share::ALL, error))?;
    Ok(written)
}
