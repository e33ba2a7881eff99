//! Unified kernel images: programs of UEFI with an initramfs in a section (`UKI` of the UAPI group).

use std::io::{self, Read, Seek, SeekFrom};

use super::{Visit, invalid};

/// Sections with files in them.
const FILES: [&[u8]; 3] = [b".initrd", b".linux", b".ucode"];
const SECTION: usize = 40;

/// Says whether a program of UEFI or Windows starts with these bytes.
pub(super) fn is_start(head: &[u8]) -> bool {
    head.starts_with(b"MZ")
}

/// Reads the sections with files in them, if there are any.
pub(super) fn walk(source: &mut (impl Read + Seek), visit: &mut Visit<'_>) -> io::Result<()> {
    let mut head = Vec::new();
    source.seek(SeekFrom::Start(0))?;
    source.take(64 << 10).read_to_end(&mut head)?;
    let number = |at: usize, len: usize| {
        let bytes = head.get(at..at + len)?;
        let digits = bytes.iter().rev();
        Some(digits.fold(0_u64, |number, byte| number << 8 | u64::from(*byte)))
    };
    let Some(start) = number(60, 4).map(|at| at as usize) else {
        return Ok(());
    };
    if head.get(start..start + 4) != Some(b"PE\0\0") {
        return Ok(());
    }
    let (Some(count), Some(optional)) = (number(start + 6, 2), number(start + 20, 2)) else {
        return Err(invalid("a program of UEFI is cut"));
    };
    for section in 0..count as usize {
        let at = start + 24 + optional as usize + section * SECTION;
        let Some(name) = head.get(at..at + 8) else {
            return Err(invalid("a program of UEFI is cut"));
        };
        let name = name.split(|byte| *byte == 0).next().unwrap_or(name);
        let sizes = (number(at + 8, 4), number(at + 16, 4), number(at + 20, 4));
        let (Some(size), Some(padded), Some(place)) = sizes else {
            return Err(invalid("a program of UEFI is cut"));
        };
        if FILES.contains(&name) {
            source.seek(SeekFrom::Start(place))?;
            visit(name, &mut source.take(size.min(padded)))?;
        }
    }
    Ok(())
}
