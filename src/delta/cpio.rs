//! Finding members of cpio archives (format `newc`, as of initramfs images: kernel,
//! `buffer-format.rst`).

const HEADER: usize = 110;

/// Returns the ranges of the members' contents, and where the archive ends: behind its trailer.
/// None for what is no archive.
pub(super) fn members(bytes: &[u8]) -> Option<(Vec<std::ops::Range<usize>>, usize)> {
    let mut members = Vec::new();
    let mut at = 0;
    loop {
        let header = bytes.get(at..at + HEADER)?;
        if !header.starts_with(b"070701") {
            return None;
        }
        let field = |n: usize| {
            let digits = std::str::from_utf8(&header[6 + 8 * n..14 + 8 * n]).ok()?;
            usize::from_str_radix(digits, 16).ok()
        };
        let (size, name_size) = (field(6)?, field(11)?);
        let name = bytes.get(at + HEADER..(at + HEADER).checked_add(name_size)?)?;
        let start = (at + HEADER + name_size).next_multiple_of(4);
        let end = start.checked_add(size)?;
        bytes.get(start..end)?;
        if name == b"TRAILER!!!\0" {
            return Some((members, end));
        }
        if size > 0 {
            members.push(start..end);
        }
        at = end.next_multiple_of(4);
    }
}
