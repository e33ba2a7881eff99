//! Heads: what is accepted comes back when it is written and read again.
#![no_main]

use layerset::format::{decode_head, encode_head};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // Mutations seldom survive in a compressed frame: what looks like JSON is put into a frame that stores it.
    let framed = bytes.starts_with(b"{").then(|| stored(bytes));
    let bytes = framed.as_deref().unwrap_or(bytes);
    if let Ok(contents) = decode_head(bytes) {
        let again = encode_head(&contents).expect("what was read can be written");
        assert!(
            decode_head(&again).as_ref() == Ok(&contents),
            "what is written is something else"
        );
    }
});

/// Returns a zstd frame of raw blocks (RFC 8878, 3.1.1): no compression, no checksum.
fn stored(bytes: &[u8]) -> Vec<u8> {
    // The magic; a frame header without anything optional but the window descriptor (128 KiB).
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38];
    let mut blocks = bytes.chunks(1 << 16).peekable();
    while let Some(block) = blocks.next() {
        let last = u32::from(blocks.peek().is_none());
        // The size is above three bits: a raw block, and whether it is the last one.
        let header = u32::try_from(block.len()).expect("a block is small") << 3 | last;
        frame.extend_from_slice(&header.to_le_bytes()[..3]);
        frame.extend_from_slice(block);
    }
    frame
}
