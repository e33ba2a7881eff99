//! Zip archives, which jars and wheels are too: APPNOTE.TXT of PKWARE. They are read from their end,
//! so that something else may stand before them.

use std::io::{self, Read, Seek, SeekFrom};

use super::invalid;

/// The record at the end, without its comment.
const END: usize = 22;
const MAX_COMMENT: u64 = 0xffff;
/// The record that points to the long form of the one at the end.
const LOCATOR: u64 = 20;
/// A directory has at most this many bytes.
const MAX_DIRECTORY: u64 = 256 << 20;

/// What is called with each member: its name, and its contents where they can be read.
type VisitZip<'v> = dyn FnMut(&[u8], Option<&mut dyn Read>) -> io::Result<()> + 'v;

fn u16_at(bytes: &[u8], at: usize) -> u64 {
    let bytes = bytes.get(at..at + 2).and_then(|b| b.try_into().ok());
    bytes.map_or(0, u16::from_le_bytes).into()
}

fn u32_at(bytes: &[u8], at: usize) -> u64 {
    let bytes = bytes.get(at..at + 4).and_then(|b| b.try_into().ok());
    bytes.map_or(0, u32::from_le_bytes).into()
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let bytes = bytes.get(at..at + 8).and_then(|b| b.try_into().ok());
    bytes.map_or(0, u64::from_le_bytes)
}

/// Where the directory of an archive is.
struct Directory {
    bytes: Vec<u8>,
    /// Where the archive starts; offsets count from there.
    start: u64,
}

/// Reads the archive at the end of `source`, if there is one.
pub(super) fn walk(source: &mut (impl Read + Seek), visit: &mut VisitZip<'_>) -> io::Result<()> {
    let Some(directory) = directory(source)? else {
        return Ok(());
    };
    let mut rest = directory.bytes.as_slice();
    while rest.starts_with(b"PK\x01\x02") {
        let fixed = 46;
        let (name_len, extra_len) = (u16_at(rest, 28) as usize, u16_at(rest, 30) as usize);
        let len = fixed + name_len + extra_len + u16_at(rest, 32) as usize;
        let (Some(name), Some(extra)) = (
            rest.get(fixed..fixed + name_len),
            rest.get(fixed + name_len..fixed + name_len + extra_len),
        ) else {
            return Err(invalid("the directory of a zip is cut"));
        };
        let entry = Entry::read(rest, extra);
        if !name.ends_with(b"/") {
            entry.visit(source, directory.start, name, visit)?;
        }
        rest = rest.get(len..).unwrap_or_default();
    }
    Ok(())
}

fn directory(source: &mut (impl Read + Seek)) -> io::Result<Option<Directory>> {
    let len = source.seek(SeekFrom::End(0))?;
    let from = len.saturating_sub(END as u64 + MAX_COMMENT);
    let tail = read_at(source, from, len - from)?;
    let Some(last) = tail.len().checked_sub(END) else {
        return Ok(None);
    };
    let is_end = |at: &usize| {
        let rest = &tail[*at..];
        rest.starts_with(b"PK\x05\x06") && u16_at(rest, 20) as usize == rest.len() - END
    };
    let Some(at) = (0..=last).rev().find(is_end) else {
        return Ok(None);
    };
    let end = &tail[at..];
    let mut position = from + at as u64;
    let (mut size, mut offset) = (u32_at(end, 12), u32_at(end, 16));
    if size == 0xffff_ffff || offset == 0xffff_ffff || u16_at(end, 10) == 0xffff {
        let locator = read_at(source, position.saturating_sub(LOCATOR), LOCATOR)?;
        if locator.starts_with(b"PK\x06\x07") {
            position = u64_at(&locator, 8);
            let long = read_at(source, position, 56)?;
            (size, offset) = (u64_at(&long, 40), u64_at(&long, 48));
        }
    }
    let start = position
        .checked_sub(size)
        .and_then(|at| at.checked_sub(offset));
    let Some(start) = start.filter(|_| size <= MAX_DIRECTORY) else {
        return Err(invalid("a zip has no directory where it says"));
    };
    let bytes = read_at(source, start + offset, size)?;
    Ok(Some(Directory { bytes, start }))
}

fn read_at(source: &mut (impl Read + Seek), at: u64, len: u64) -> io::Result<Vec<u8>> {
    source.seek(SeekFrom::Start(at))?;
    let mut bytes = Vec::new();
    source.take(len).read_to_end(&mut bytes)?;
    if (bytes.len() as u64) < len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

/// One entry of a directory.
struct Entry {
    is_encrypted: bool,
    method: u64,
    packed_size: u64,
    offset: u64,
}

impl Entry {
    fn read(fixed: &[u8], mut extra: &[u8]) -> Self {
        let mut entry = Self {
            is_encrypted: u16_at(fixed, 8) & 1 != 0,
            method: u16_at(fixed, 10),
            packed_size: u32_at(fixed, 20),
            offset: u32_at(fixed, 42),
        };
        // Sizes that do not fit stand in a field of their own, in this order.
        let is_long = |value: u64| value == 0xffff_ffff;
        while extra.len() >= 4 {
            let len = u16_at(extra, 2) as usize;
            if u16_at(extra, 0) == 1 {
                let mut at = 4 + if is_long(u32_at(fixed, 24)) { 8 } else { 0 };
                for value in [&mut entry.packed_size, &mut entry.offset] {
                    if is_long(*value) {
                        *value = u64_at(extra, at);
                        at += 8;
                    }
                }
            }
            extra = extra.get(4 + len..).unwrap_or_default();
        }
        entry
    }

    fn visit(
        &self,
        source: &mut (impl Read + Seek),
        start: u64,
        name: &[u8],
        visit: &mut VisitZip<'_>,
    ) -> io::Result<()> {
        let at = start.checked_add(self.offset);
        let at = at.ok_or_else(|| invalid("a zip has a member at no place"))?;
        let local = read_at(source, at, 30)?;
        if !local.starts_with(b"PK\x03\x04") {
            return Err(invalid("a zip has no member where it says"));
        }
        let data = at + 30 + u16_at(&local, 26) + u16_at(&local, 28);
        source.seek(SeekFrom::Start(data))?;
        let mut packed = source.take(self.packed_size);
        match self.method {
            _ if self.is_encrypted => visit(name, None),
            0 => visit(name, Some(&mut packed)),
            8 => visit(name, Some(&mut flate2::read::DeflateDecoder::new(packed))),
            _ => visit(name, None),
        }
    }
}
