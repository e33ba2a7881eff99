//! Heads: what is accepted comes back when it is written and read again.
#![no_main]

mod frame;

use layerset::format::{decode_head, encode_head};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // What looks like JSON is put into a frame; the rest is taken for one.
    let framed = bytes.starts_with(b"{").then(|| frame::stored(bytes));
    let bytes = framed.as_deref().unwrap_or(bytes);
    if let Ok(contents) = decode_head(bytes) {
        let again = encode_head(&contents).expect("what was read can be written");
        assert!(
            decode_head(&again).as_ref() == Ok(&contents),
            "what is written is something else"
        );
    }
});
