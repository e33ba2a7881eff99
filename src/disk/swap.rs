//! Swap space: the header that `mkswap` writes (mkswap(8), linux/swap.h).

use std::io;

use super::bytes::Record;
use super::medium::Medium;
use super::uuid::Uuid;

const PAGE: u64 = 4096;

/// Writes the header of version 1 for pages of 4096 bytes. A label has 16 bytes at most.
pub fn write_swap(medium: &mut dyn Medium, uuid: Uuid, label: Option<&str>) -> io::Result<()> {
    let pages = medium.size() / PAGE;
    // The kernel takes no less.
    if pages < 10 {
        let message = format!("swap needs 40 KiB, and has {} bytes", medium.size());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let last = u32::try_from(pages - 1).unwrap_or(u32::MAX);
    let label = label.unwrap_or_default().as_bytes();
    let mut page = Record::new(PAGE as usize);
    page.u32(1024, 1)
        .u32(1028, last)
        .put(1036, &uuid.0)
        .put(1052, &label[..label.len().min(16)])
        .put(4086, b"SWAPSPACE2");
    // The first 1024 bytes belong to boot code.
    medium.write_at(1024, &page.bytes()[1024..])
}
