//! Manifests of layers and images: what is accepted is what the writer makes of it.
#![no_main]

use layerset::format::{Image, Layer, from_canonical_json, to_canonical_json};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(layer) = from_canonical_json::<Layer>("layer", bytes) {
        assert_eq!(to_canonical_json("layer", &layer).as_deref(), Ok(bytes));
    }
    if let Ok(image) = from_canonical_json::<Image>("image", bytes) {
        assert_eq!(to_canonical_json("image", &image).as_deref(), Ok(bytes));
    }
});
