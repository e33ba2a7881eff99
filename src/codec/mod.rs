//! Looks inside compressed files, and patches: bytes to bytes, without files or network.
//!
//! A compressed file is worth a delta of what it holds, if the same compressed bytes can be made of
//! it again. [`find`] looks for the parameters that do, and proves them by compressing: whoever has
//! the contents and the [`Coding`] has the file ([`Recompressor`]). [`patch`] compresses bytes
//! against other bytes.

mod code_lengths;
mod deflate;
mod diff;
mod gzip;
mod huffman;
pub mod members;
pub mod patch;
mod xz;
mod zst;

use std::io::{self, BufRead, Read, Write};

pub use gzip::GzipCoding;
pub use xz::XzCoding;
pub use zst::ZstdCoding;

/// How the contents of a file, or of a part of it, are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    /// As they are.
    Raw,
    /// Unpacked by xz.
    Xz,
    /// Unpacked by gzip: one member.
    Gzip,
    /// Unpacked by zstd: one frame.
    Zstd,
}

/// What makes the compressed bytes of the contents, exactly.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Coding {
    /// An xz stream.
    Xz(XzCoding),
    /// A gzip member, as GNU gzip makes it.
    Gzip(GzipCoding),
    /// A zstd frame.
    Zstd(ZstdCoding),
}

impl Coding {
    /// Returns the form in which the contents are.
    pub const fn form(&self) -> Form {
        match self {
            Self::Xz(_) => Form::Xz,
            Self::Gzip(_) => Form::Gzip,
            Self::Zstd(_) => Form::Zstd,
        }
    }

    /// Says whether this program can carry it out, with at most about `memory` bytes.
    pub fn is_possible(&self, memory: u64) -> bool {
        match self {
            Self::Xz(coding) => coding.memory().is_some_and(|needed| needed <= memory),
            Self::Gzip(coding) => coding.is_valid(),
            Self::Zstd(coding) => coding.memory().is_some_and(|needed| needed <= memory),
        }
    }
}

/// The form that the first bytes of a file or a part promise.
pub fn form_of(bytes: &[u8]) -> Form {
    match bytes {
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Form::Xz,
        [0x1f, 0x8b, 8, ..] => Form::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Form::Zstd,
        _ => Form::Raw,
    }
}

/// The most memory that a decoder takes for its window, in bytes.
const DECODER_MEMORY: u64 = 32 << 20;

/// Reads the contents of what `packed` starts with; what follows the first stream, member or frame
/// is not read.
pub fn reader<'a>(form: Form, packed: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match form {
        Form::Raw => Box::new(packed),
        Form::Xz => xz::reader(packed)?,
        Form::Gzip => Box::new(flate2::bufread::GzDecoder::new(packed)),
        Form::Zstd => zst::reader(packed)?,
    })
}

/// The parameters that worked last, to be tried first.
#[derive(Debug, Clone, Default)]
pub struct Memo {
    xz: Vec<XzCoding>,
    gzip: Vec<u8>,
    zstd: Vec<ZstdCoding>,
}

/// Reads all contents of what `packed` starts with, if they are compressed and at most `limit`
/// bytes.
pub fn contents(packed: &[u8], limit: u64) -> Option<Vec<u8>> {
    let form = form_of(packed);
    if form == Form::Raw {
        return None;
    }
    let mut contents = Vec::new();
    let mut inside = reader(form, packed).ok()?.take(limit + 1);
    inside.read_to_end(&mut contents).ok()?;
    (contents.len() as u64 <= limit).then_some(contents)
}

/// Looks for parameters that make `packed` of its `contents`, with at most about `memory` bytes.
/// What is found was tried; `None` if nothing known does it.
pub fn find(packed: &[u8], contents: &[u8], memory: u64, memo: &mut Memo) -> Option<Coding> {
    Some(match form_of(packed) {
        Form::Raw => return None,
        Form::Xz => Coding::Xz(xz::find(packed, contents, memory, &mut memo.xz)?),
        Form::Gzip => Coding::Gzip(gzip::find(packed, contents, &mut memo.gzip)?),
        Form::Zstd => Coding::Zstd(zst::find(packed, contents, memory, &mut memo.zstd)?),
    })
}

/// Compresses what is written to it, as a [`Coding`] says, into a writer.
pub struct Recompressor<W: Write>(Engine<W>);

enum Engine<W: Write> {
    Xz(liblzma::write::XzEncoder<W>),
    Gzip(Box<gzip::Encoder<W>>),
    Zstd(zstd::stream::write::Encoder<'static, W>),
}

impl<W: Write> Recompressor<W> {
    /// Starts with contents of `size` bytes.
    pub fn new(coding: &Coding, size: u64, out: W) -> io::Result<Self> {
        Ok(Self(match coding {
            Coding::Xz(coding) => Engine::Xz(coding.encoder(out)?),
            Coding::Gzip(coding) => Engine::Gzip(Box::new(gzip::Encoder::new(coding, out)?)),
            Coding::Zstd(coding) => Engine::Zstd(coding.encoder(size, out)?),
        }))
    }

    /// Ends it, and returns the writer.
    pub fn finish(self) -> io::Result<W> {
        match self.0 {
            Engine::Xz(encoder) => encoder.finish(),
            Engine::Gzip(encoder) => encoder.finish(),
            Engine::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for Recompressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Engine::Xz(encoder) => encoder.write(bytes),
            Engine::Gzip(encoder) => encoder.write(bytes),
            Engine::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Takes exactly these bytes, and fails at the first other one.
struct ExpectWriter<'a>(&'a [u8]);

impl Write for ExpectWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.strip_prefix(bytes) {
            Some(rest) => {
                self.0 = rest;
                Ok(bytes.len())
            }
            None => Err(io::Error::other("other bytes than expected")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Says whether a coding makes exactly `packed` of `contents`.
pub fn reproduces(coding: &Coding, packed: &[u8], contents: &[u8]) -> bool {
    let attempt = || -> io::Result<bool> {
        let mut encoder = Recompressor::new(coding, contents.len() as u64, ExpectWriter(packed))?;
        encoder.write_all(contents)?;
        Ok(encoder.finish()?.0.is_empty())
    };
    attempt().unwrap_or(false)
}

/// Tries what worked before, then the others, each once, with at most about `memory` bytes; the
/// first that makes `packed` of its `contents` is remembered.
fn prove<T: Clone + PartialEq>(
    (worked, others): (impl IntoIterator<Item = T>, impl IntoIterator<Item = T>),
    coding: fn(T) -> Coding,
    (packed, contents): (&[u8], &[u8]),
    memory: u64,
    memo: &mut Vec<T>,
) -> Option<T> {
    let mut candidates: Vec<T> = worked.into_iter().collect();
    for other in others {
        if !candidates.contains(&other) {
            candidates.push(other);
        }
    }
    let found = candidates.into_iter().find(|candidate| {
        let coding = coding(candidate.clone());
        coding.is_possible(memory) && reproduces(&coding, packed, contents)
    })?;
    remember(memo, found.clone());
    Some(found)
}

/// Moves what worked to the front of what is tried first.
fn remember<T: PartialEq>(memo: &mut Vec<T>, worked: T) {
    memo.retain(|known| *known != worked);
    memo.insert(0, worked);
    memo.truncate(4);
}
