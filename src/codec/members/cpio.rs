//! Archives of cpio's format `newc`, as of initramfs images: kernel, `buffer-format.rst`.

use std::io::{self, Read as _};

use super::feed::Feed;
use super::{Visit, invalid};

const HEADER: usize = 110;
/// Linux takes no longer path.
const MAX_NAME: usize = 4096;

/// Reads one archive, up to and with its trailer.
pub(super) fn walk(feed: &mut Feed<'_>, visit: &mut Visit<'_>) -> io::Result<()> {
    loop {
        let mut header = [0; HEADER];
        feed.read_exact(&mut header)?;
        if !header.starts_with(b"070701") && !header.starts_with(b"070702") {
            return Err(invalid("no header of cpio"));
        }
        let field = |n: usize| {
            let digits = std::str::from_utf8(&header[6 + 8 * n..14 + 8 * n]).ok();
            let number = digits.and_then(|digits| usize::from_str_radix(digits, 16).ok());
            number.ok_or_else(|| invalid("no number in a header of cpio"))
        };
        let (mode, size, name_size) = (field(1)?, field(6)?, field(11)?);
        if name_size > MAX_NAME {
            return Err(invalid("a name in an archive of cpio is too long"));
        }
        let mut name = vec![0; name_size];
        feed.read_exact(&mut name)?;
        feed.skip(padding(HEADER + name_size))?;
        let name = name.strip_suffix(b"\0").unwrap_or(&name);
        if name == b"TRAILER!!!" {
            return Ok(());
        }
        let is_file = mode & 0o170_000 == 0o100_000;
        feed.part(size as u64, |contents| match is_file {
            true => visit(name, contents),
            false => Ok(()),
        })?;
        feed.skip(padding(size))?;
    }
}

fn padding(len: usize) -> u64 {
    (len.next_multiple_of(4) - len) as u64
}
