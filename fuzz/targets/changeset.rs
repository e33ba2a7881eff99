//! Changesets: what is accepted is what the writer makes of it, and can be shown.
#![no_main]

use layerset::format::{decode_changeset, dump_changeset, encode_changeset};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(changeset) = decode_changeset(bytes) {
        assert_eq!(encode_changeset(&changeset), bytes);
        dump_changeset(&changeset);
    }
});
