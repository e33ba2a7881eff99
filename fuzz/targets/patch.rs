//! Patches: whatever they say, they make the size that was asked for or nothing; and what is made of two texts leads from one to
//! the other.
//!
//! The input is the length of the prefix as a little-endian 16-bit number, the prefix, and the patch.
#![no_main]

use layerset::codec::patch;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((length, rest)) = bytes.split_first_chunk() else {
        return;
    };
    let (prefix, rest) = rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()));
    for size in [0, 1, 100, 1 << 16] {
        if let Ok(raw) = patch::decompress(rest, prefix, size) {
            assert_eq!(raw.len(), size);
        }
    }
    let _ = patch::needs_prefix(rest);
    let packed = patch::compress(rest, prefix, 1).expect("anything can be compressed");
    let raw = patch::decompress(&packed, prefix, rest.len()).expect("and made again");
    assert_eq!(raw, rest);
});
