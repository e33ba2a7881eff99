//! Indexes of packs: what is accepted comes back when it is written and read again, and lies within the pack.
//!
//! The input is the size of the pack's data as a little-endian 64-bit number, and the index as it is before it is packed.
#![no_main]

mod frame;

use layerset::format::pack::{decode_pack_index, dump_pack_index, encode_pack_index};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((size, raw)) = bytes.split_first_chunk() else {
        return;
    };
    let size = u64::from_le_bytes(*size);
    if let Ok(index) = decode_pack_index(&frame::stored(raw), size) {
        let again = encode_pack_index(&index).expect("what was read can be written");
        assert!(
            decode_pack_index(&again, size).as_ref() == Ok(&index),
            "what is written is something else"
        );
        assert_eq!(index.offsets().last(), Some(&size));
        for content in &index.contents {
            assert_eq!(index.get(&content.digest), Some(content));
        }
        dump_pack_index(&index);
    }
});
