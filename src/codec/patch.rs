//! Patches: zstd frames of what differs from a prefix, bytes that the reader has.
//!
//! New bytes that stand against alike old ones ([`super::diff`]) are packed as their differences. A patch is the size of what is
//! packed, as LEB128, and a zstd frame of: the new bytes, those of runs as differences; and for each run, as LEB128, the bytes
//! between the last run and it, its length, and by how much it stands elsewhere in the prefix than where the last one ended
//! (zigzag). zstd itself does not see the prefix: it found nothing more there, in twice the time.
//!
//! Patches carry neither size nor checksum: whoever stores them says how many bytes they make, and checks the result by its
//! digest. That size is checked against a bound before anything is allocated.

use std::io;

use zstd::zstd_safe::{self, CCtx, CParameter, DCtx};

use super::diff::{Run, runs};

/// Tells what does not compress: a high level would only take longer.
const QUICK_LEVEL: i32 = 1;

/// Compresses `raw` against `prefix`.
pub fn compress(raw: &[u8], prefix: &[u8], level: i32) -> io::Result<Vec<u8>> {
    let runs = runs(raw, prefix);
    let mut bytes = Vec::with_capacity(raw.len() + runs.len() * 6);
    bytes.extend_from_slice(raw);
    let (mut at, mut from) = (0, 0);
    for Run { at: start, from: old, len } in runs {
        let pairs = bytes[start..start + len].iter_mut().zip(&prefix[old..]);
        pairs.for_each(|(new, old)| *new = new.wrapping_sub(*old));
        put(&mut bytes, start - at);
        put(&mut bytes, len);
        let step = old as i64 - from as i64;
        put(&mut bytes, ((step << 1) ^ (step >> 63)) as usize);
        (at, from) = (start + len, old + len);
    }
    let mut packed = Vec::new();
    put(&mut packed, bytes.len());
    let quick = pack(&bytes, level.min(QUICK_LEVEL))?;
    let is_hopeless = quick.len() > bytes.len() - bytes.len() / 64;
    if is_hopeless || level <= QUICK_LEVEL {
        packed.extend(quick);
    } else {
        packed.extend(pack(&bytes, level)?);
    }
    Ok(packed)
}

fn put(bytes: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn take(bytes: &mut &[u8]) -> Option<usize> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn pack(bytes: &[u8], level: i32) -> io::Result<Vec<u8>> {
    let mut context = CCtx::create();
    let window = (usize::BITS - bytes.len().leading_zeros()).clamp(10, 27);
    for parameter in [
        CParameter::CompressionLevel(level),
        CParameter::WindowLog(window),
        CParameter::ContentSizeFlag(false),
        CParameter::ChecksumFlag(false),
    ] {
        context.set_parameter(parameter).map_err(failed)?;
    }
    let mut packed = Vec::with_capacity(zstd_safe::compress_bound(bytes.len()));
    context.compress2(&mut packed, bytes).map_err(failed)?;
    packed.shrink_to_fit();
    Ok(packed)
}

/// The most bytes that are packed for `size` bytes: with one run for every few bytes.
const fn bound(size: usize) -> usize {
    size.saturating_add(size / 2).saturating_add(64)
}

/// Makes exactly `size` bytes of a patch and the prefix that it was compressed with; `size` was checked against a bound.
pub fn decompress(mut packed: &[u8], prefix: &[u8], size: usize) -> io::Result<Vec<u8>> {
    let declared = take(&mut packed).filter(|declared| (size..=bound(size)).contains(declared));
    let declared = declared.ok_or_else(|| damaged("it declares an impossible size".to_owned()))?;
    let mut context = DCtx::try_create().ok_or(io::ErrorKind::OutOfMemory)?;
    let mut bytes = Vec::new();
    bytes
        .try_reserve_exact(declared)
        .map_err(|_| io::ErrorKind::OutOfMemory)?;
    let made = context.decompress(&mut bytes, packed).map_err(failed)?;
    if made != declared {
        return Err(damaged(format!("it holds {made} bytes, not the {declared} declared")));
    }
    let runs = bytes.split_off(size);
    add(&mut bytes, &runs, prefix).ok_or_else(|| damaged("its runs are not sound".to_owned()))?;
    Ok(bytes)
}

/// Makes new bytes of differences.
fn add(bytes: &mut [u8], mut runs: &[u8], prefix: &[u8]) -> Option<()> {
    let (mut at, mut from) = (0usize, 0usize);
    while !runs.is_empty() {
        let (gap, len, step) = (take(&mut runs)?, take(&mut runs)?, take(&mut runs)?);
        let step = (step >> 1) as isize ^ -((step & 1) as isize);
        at = at.checked_add(gap)?;
        from = from.checked_add_signed(step)?;
        let new = bytes.get_mut(at..at.checked_add(len)?)?;
        let old = prefix.get(from..from.checked_add(len)?)?;
        for (new, old) in new.iter_mut().zip(old) {
            *new = new.wrapping_add(*old);
        }
        (at, from) = (at + len, from + len);
    }
    Some(())
}

fn damaged(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

fn failed(code: usize) -> io::Error {
    damaged(zstd_safe::get_error_name(code).to_owned())
}
