//! Archives of ar, as `.deb` files are: ar(5).

use std::io::{self, Read as _};

use super::feed::Feed;
use super::{Visit, invalid};

pub(super) const MAGIC: &[u8] = b"!<arch>\n";

const HEADER: usize = 60;

/// Reads one archive to the end of the reader.
pub(super) fn walk(feed: &mut Feed<'_>, visit: &mut Visit<'_>) -> io::Result<()> {
    feed.skip(MAGIC.len() as u64)?;
    while !feed.head(HEADER)?.is_empty() {
        let mut header = [0; HEADER];
        feed.read_exact(&mut header)?;
        let size = std::str::from_utf8(&header[48..58]).ok();
        let size: Option<u64> = size.and_then(|size| size.trim_end().parse().ok());
        let size = size.filter(|_| header.ends_with(b"`\n"));
        let size = size.ok_or_else(|| invalid("no header of ar"))?;
        let name = header[..16].trim_ascii_end();
        let name = name.strip_suffix(b"/").unwrap_or(name).to_vec();
        feed.part(size, |contents| visit(&name, contents))?;
        feed.skip(size % 2)?;
    }
    Ok(())
}
