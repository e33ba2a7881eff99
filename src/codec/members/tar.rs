//! Archives of tar: the format `ustar` with the long names of GNU and POSIX.

use std::io::{self, Read as _};

use super::feed::Feed;
use super::{Visit, invalid};

const BLOCK: usize = 512;
/// Long names and extended headers have at most this many bytes.
const MAX_META: u64 = 1 << 20;

/// Says whether an archive starts with these bytes.
pub(super) fn is_start(head: &[u8]) -> bool {
    head.get(257..262) == Some(b"ustar")
}

/// Reads one archive, up to and with its first block of zeros, or to the end of the reader.
pub(super) fn walk(feed: &mut Feed<'_>, visit: &mut Visit<'_>) -> io::Result<()> {
    let mut long: Extension = Extension::default();
    while !feed.head(1)?.is_empty() {
        let mut header = [0; BLOCK];
        feed.read_exact(&mut header)?;
        if header == [0; BLOCK] {
            return Ok(());
        }
        if !is_start(&header) {
            return Err(invalid("no header of tar"));
        }
        let size = match long.size {
            Some(size) => size,
            None => number(&header[124..136]).ok_or_else(|| invalid("no size in a tar"))?,
        };
        let kind = header[156];
        if matches!(kind, b'L' | b'x') {
            if size > MAX_META {
                return Err(invalid("a name in a tar is too long"));
            }
            let mut text = Vec::new();
            feed.part(size, |contents| contents.read_to_end(&mut text).map(drop))?;
            match kind {
                b'L' => long.name = Some(until_nul(&text).to_vec()),
                _ => long.read(&text),
            }
        } else {
            let name = std::mem::take(&mut long).name;
            let name = name.unwrap_or_else(|| short_name(&header));
            let is_file = matches!(kind, b'0' | 0 | b'7');
            feed.part(size, |contents| match is_file {
                true => visit(&name, contents),
                false => Ok(()),
            })?;
        }
        feed.skip(size.next_multiple_of(BLOCK as u64) - size)?;
    }
    Ok(())
}

/// What stands before a header and counts instead of its fields.
#[derive(Default)]
struct Extension {
    name: Option<Vec<u8>>,
    size: Option<u64>,
}

impl Extension {
    /// Reads records `LENGTH KEY=VALUE\n`; what is none ends them.
    fn read(&mut self, mut text: &[u8]) {
        loop {
            let space = text.iter().position(|byte| *byte == b' ');
            let Some((digits, len)) = space.and_then(|space| {
                let digits = std::str::from_utf8(&text[..space]).ok()?;
                Some((space, digits.parse::<usize>().ok()?))
            }) else {
                return;
            };
            let Some(record) = text.get(digits + 1..len.max(1) - 1) else {
                return;
            };
            match record.iter().position(|byte| *byte == b'=') {
                Some(4) if record.starts_with(b"path") => self.name = Some(record[5..].to_vec()),
                Some(4) if record.starts_with(b"size") => {
                    let digits = std::str::from_utf8(&record[5..]).ok();
                    self.size = digits.and_then(|digits| digits.parse().ok());
                }
                _ => {}
            }
            text = &text[len.min(text.len())..];
        }
    }
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or(bytes)
}

fn short_name(header: &[u8; BLOCK]) -> Vec<u8> {
    let (name, prefix) = (until_nul(&header[..100]), until_nul(&header[345..500]));
    // GNU's own format has other things where POSIX has the prefix.
    if prefix.is_empty() || &header[257..263] != b"ustar\0" {
        return name.to_vec();
    }
    [prefix, b"/", name].concat()
}

/// Reads a number: octal digits, or bytes behind a first bit.
fn number(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        let bytes: [u8; 8] = field[field.len() - 8..].try_into().ok()?;
        let size = u64::from_be_bytes(bytes);
        return (size < 1 << 62).then_some(size);
    }
    let digits = std::str::from_utf8(until_nul(field)).ok()?.trim();
    u64::from_str_radix(digits, 8).ok()
}
