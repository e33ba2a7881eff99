//! Indexes of deltas: what is accepted is what the writer makes of it, and can be shown.
#![no_main]

use layerset::format::delta::{decode_delta_index, dump_delta, encode_delta_index};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(index) = decode_delta_index(bytes) {
        assert_eq!(encode_delta_index(&index), bytes);
        dump_delta(&index);
    }
});
