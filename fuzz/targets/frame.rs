//! What targets share whose input is compressed: mutations seldom survive in a compressed frame.

/// Returns a zstd frame of raw blocks (RFC 8878, 3.1.1): no compression, no checksum.
pub fn stored(bytes: &[u8]) -> Vec<u8> {
    // The magic; a frame header without anything optional but the window descriptor (128 KiB).
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38];
    let mut blocks = bytes.chunks(1 << 16).peekable();
    loop {
        let block = blocks.next().unwrap_or_default();
        let last = u32::from(blocks.peek().is_none());
        // The size is above three bits: a raw block, and whether it is the last one.
        let header = u32::try_from(block.len()).expect("a block is small") << 3 | last;
        frame.extend_from_slice(&header.to_le_bytes()[..3]);
        frame.extend_from_slice(block);
        if last == 1 {
            return frame;
        }
    }
}
