//! Trees: what is accepted is what the writer makes of it, and its text twin says the same.
#![no_main]

use layerset::format::{decode_tree, dump_tree, encode_tree, parse_tree};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(tree) = decode_tree(bytes) {
        assert_eq!(encode_tree(&tree), bytes);
        let twin = parse_tree(&dump_tree(&tree)).expect("the text twin of a tree parses");
        assert!(twin == tree, "the text twin is another tree");
    }
});
