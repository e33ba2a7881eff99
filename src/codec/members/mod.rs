//! What files hold that hold others: the names and ids of the members of archives, however deep.
//!
//! Archives are cpio (`newc`), tar, zip (jars, wheels), ar (`.deb`) and unified kernel images, also
//! several one after another as in an initramfs, and packed by gzip, xz, lzma, zstd or lz4. Any bytes are safe: what
//! cannot be read ends the list, and the list says so.

mod ar;
mod cpio;
mod feed;
mod lz4;
mod pe;
mod tar;
mod zip;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::io::{self, Cursor, Read, Seek, SeekFrom};

use serde::{Deserialize, Serialize};

use crate::elf::{BuildId, build_id};
use crate::id::ObjectId;
use crate::path::escape;
use feed::{Feed, Tee};

/// How many bytes of a file tell what it is, the build id of a program included.
pub const HEAD_BYTES: usize = 4096;
/// How deep archives may be in each other.
const MAX_DEPTH: usize = 6;
/// The most bytes that are unpacked of one file.
const MAX_BYTES: u64 = 16 << 30;
/// A zip inside another archive is read up to this size, in bytes: it is read from its end.
const MAX_INNER_ZIP: u64 = 256 << 20;
/// The most memory that a decoder takes, in bytes.
const DECODER_MEMORY: u64 = 256 << 20;

/// A member of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveMember {
    /// Its name, escaped; behind `!` the name in an archive that is itself a member. Empty for what
    /// a packed file holds that is no archive.
    pub name: String,
    /// The id of its contents.
    pub id: ObjectId,
    /// The build id of a program or library, which stays when it is stripped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build_id: Option<BuildId>,
}

/// What a file holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveContents {
    /// The members, in their order.
    pub members: Vec<ArchiveMember>,
    /// Whether these are all.
    pub is_whole: bool,
}

/// What the first bytes of a file or a member promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ar,
    Cpio,
    Tar,
    Zip,
    Packed(Packing),
    /// Packed in a way that nobody here can read.
    Sealed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    Gzip,
    Lz4,
    Lzma,
    Xz,
    Zstd,
}

impl Kind {
    fn of(head: &[u8]) -> Option<Self> {
        Some(match head {
            [b'0', b'7', b'0', b'7', b'0', b'1' | b'2', ..] => Self::Cpio,
            [b'P', b'K', 3, 4, ..] => Self::Zip,
            [0x1f, 0x8b, 8, ..] => Self::Packed(Packing::Gzip),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Packed(Packing::Xz),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Packed(Packing::Zstd),
            [0x02 | 0x04, 0x21 | 0x22, 0x4c | 0x4d, 0x18, ..] if lz4::is_start(head) => {
                Self::Packed(Packing::Lz4)
            }
            // Properties of lzma's own programs, a dictionary of 2^n, an unknown size.
            [0x5d, 0, 0, _, _, 0xff, 0xff, 0xff, 0xff, 0xff, ..] => Self::Packed(Packing::Lzma),
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, ..] => Self::Sealed,
            [0x89, b'L', b'Z', b'O', 0, ..] => Self::Sealed,
            _ if head.starts_with(ar::MAGIC) => Self::Ar,
            _ if tar::is_start(head) => Self::Tar,
            _ => return None,
        })
    }
}

/// Says whether a file that starts with `head` may hold others: [`members`] is worth its time.
pub fn may_hold(head: &[u8]) -> bool {
    // Programs of Python, and of others, are zips behind a first line.
    Kind::of(head).is_some() || head.starts_with(b"#!") || pe::is_start(head)
}

/// Lists the members of a file that are at least `min_bytes` long.
///
/// Fails where the file itself cannot be read. Damage ends the list.
pub fn members(source: &mut (impl Read + Seek), min_bytes: u64) -> io::Result<ArchiveContents> {
    let mut walk = Walk {
        found: ArchiveContents {
            members: Vec::new(),
            is_whole: true,
        },
        min_bytes,
        left: MAX_BYTES,
    };
    let mut head = Vec::new();
    source.take(HEAD_BYTES as u64).read_to_end(&mut head)?;
    source.seek(SeekFrom::Start(0))?;
    let outcome = match Kind::of(&head) {
        None if pe::is_start(&head) => pe::walk(source, &mut |name, contents| {
            walk.member(&escape(name), contents, 0)
        }),
        Some(Kind::Zip) | None => walk.zip(source, "", 0),
        Some(_) => walk.series(&mut Feed::new(source), "", 0),
    };
    walk.found.is_whole &= outcome.is_ok();
    Ok(walk.found)
}

/// A member's name behind that of the archive that it is in.
fn inside(archive: &str, name: &[u8]) -> String {
    let name = name.strip_prefix(b"./").unwrap_or(name);
    let name = escape(name.strip_prefix(b"/").unwrap_or(name));
    if archive.is_empty() {
        name
    } else {
        format!("{archive}!{name}")
    }
}

struct Walk {
    found: ArchiveContents,
    min_bytes: u64,
    /// How many bytes may still be unpacked.
    left: u64,
}

impl Walk {
    /// Reads archives and packed files one after another, zeros between them.
    fn series(&mut self, feed: &mut Feed<'_>, archive: &str, depth: usize) -> io::Result<()> {
        if depth > MAX_DEPTH {
            return Err(invalid("archives are too deep in each other"));
        }
        loop {
            feed.skip_zeros()?;
            let mut member = |name: &[u8], contents: &mut dyn Read| {
                self.member(&inside(archive, name), contents, depth)
            };
            match Kind::of(feed.head(HEAD_BYTES)?) {
                Some(Kind::Ar) => ar::walk(feed, &mut member)?,
                Some(Kind::Cpio) => cpio::walk(feed, &mut member)?,
                Some(Kind::Tar) => tar::walk(feed, &mut member)?,
                Some(Kind::Packed(packing)) => self.packed(packing, feed, archive, depth)?,
                Some(Kind::Sealed) => return Err(invalid("packed in an unknown way")),
                // What follows an archive is of no interest, a signature for example.
                Some(Kind::Zip) | None => return Ok(()),
            }
        }
    }

    /// Reads what is packed: an archive, or one file without a name of its own.
    fn packed(
        &mut self,
        packing: Packing,
        feed: &mut Feed<'_>,
        archive: &str,
        depth: usize,
    ) -> io::Result<()> {
        let mut unpacked = unpack(packing, feed)?;
        let mut inner = Feed::new(&mut unpacked);
        match Kind::of(inner.head(HEAD_BYTES)?) {
            None | Some(Kind::Zip) => {
                let name = match archive {
                    "" => String::new(),
                    archive => format!("{archive}!"),
                };
                self.member(&name, &mut inner, depth)?;
            }
            Some(_) => self.series(&mut inner, archive, depth + 1)?,
        }
        // The reader stands behind what was packed only when all of it was read.
        io::copy(&mut inner, &mut io::sink()).map(drop)
    }

    /// Takes one member, and what it holds itself.
    fn member(&mut self, name: &str, contents: &mut dyn Read, depth: usize) -> io::Result<()> {
        let mut tee = Tee::new(contents, self.left);
        let mut feed = Feed::new(&mut tee);
        let head = feed.head(HEAD_BYTES)?;
        let build_id = build_id(head);
        let outcome = match Kind::of(head) {
            None => Ok(()),
            Some(Kind::Zip) => {
                let mut bytes = Vec::new();
                let read = (&mut feed)
                    .take(MAX_INNER_ZIP + 1)
                    .read_to_end(&mut bytes)?;
                if read as u64 > MAX_INNER_ZIP {
                    Err(invalid("a zip in an archive is too large"))
                } else {
                    self.zip(&mut Cursor::new(bytes), name, depth + 1)
                }
            }
            Some(_) => self.series(&mut feed, name, depth + 1),
        };
        self.found.is_whole &= outcome.is_ok();
        io::copy(&mut feed, &mut io::sink())?;
        let (id, size) = tee.finish();
        self.left = self.left.saturating_sub(size);
        if size >= self.min_bytes {
            let name = name.to_owned();
            let member = ArchiveMember { name, id, build_id };
            self.found.members.push(member);
        }
        Ok(())
    }

    fn zip(
        &mut self,
        source: &mut (impl Read + Seek),
        archive: &str,
        depth: usize,
    ) -> io::Result<()> {
        if depth > MAX_DEPTH {
            return Err(invalid("archives are too deep in each other"));
        }
        let mut all = true;
        zip::walk(source, &mut |name, contents| match contents {
            Some(contents) => self.member(&inside(archive, name), contents, depth),
            None => {
                all = false;
                Ok(())
            }
        })?;
        self.found.is_whole &= all;
        Ok(())
    }
}

/// What is called with each member of an archive: its name and its contents, all of which need not
/// be read.
type Visit<'v> = dyn FnMut(&[u8], &mut dyn Read) -> io::Result<()> + 'v;

fn unpack<'a>(packing: Packing, packed: &'a mut Feed<'_>) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match packing {
        Packing::Gzip => Box::new(flate2::bufread::GzDecoder::new(packed)),
        Packing::Lz4 => Box::new(lz4::Decoder::new(packed)),
        Packing::Lzma => {
            let stream = liblzma::stream::Stream::new_lzma_decoder(DECODER_MEMORY)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(packed, stream))
        }
        Packing::Xz => {
            let stream = liblzma::stream::Stream::new_stream_decoder(DECODER_MEMORY, 0)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(packed, stream))
        }
        Packing::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?.single_frame();
            decoder.window_log_max(DECODER_MEMORY.ilog2())?;
            Box::new(decoder)
        }
    })
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}
