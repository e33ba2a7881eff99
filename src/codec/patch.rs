//! Patches: zstd frames that refer to a prefix, bytes that the reader has.
//!
//! Frames carry neither size nor checksum: whoever stores them says how many bytes they make, and checks the result by its
//! digest. That size is checked against a bound before anything is allocated.

use std::io;

use zstd::zstd_safe::{self, CCtx, CParameter, DCtx};

/// Compresses `raw` with `prefix` before it.
pub fn compress(raw: &[u8], prefix: &[u8], level: i32) -> io::Result<Vec<u8>> {
    let mut context = CCtx::create();
    let span = (raw.len() + prefix.len()).max(1) as u64;
    let window = (u64::BITS - (span - 1).leading_zeros()).clamp(10, 27);
    for parameter in [
        CParameter::CompressionLevel(level),
        CParameter::WindowLog(window),
        CParameter::ContentSizeFlag(false),
        CParameter::ChecksumFlag(false),
    ] {
        context.set_parameter(parameter).map_err(failed)?;
    }
    context.ref_prefix(prefix).map_err(failed)?;
    let mut packed = Vec::with_capacity(zstd_safe::compress_bound(raw.len()));
    context.compress2(&mut packed, raw).map_err(failed)?;
    packed.shrink_to_fit();
    Ok(packed)
}

/// Makes exactly `size` bytes of a frame and the prefix that it was compressed with; `size` was checked against a bound.
pub fn decompress(packed: &[u8], prefix: &[u8], size: usize) -> io::Result<Vec<u8>> {
    let mut context = DCtx::try_create().ok_or(io::ErrorKind::OutOfMemory)?;
    context.ref_prefix(prefix).map_err(failed)?;
    let mut raw = Vec::new();
    raw.try_reserve_exact(size)
        .map_err(|_| io::ErrorKind::OutOfMemory)?;
    let made = context.decompress(&mut raw, packed).map_err(failed)?;
    if made != size {
        let message = format!("a frame holds {made} bytes, not the {size} declared");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(raw)
}

fn failed(code: usize) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, zstd_safe::get_error_name(code))
}
