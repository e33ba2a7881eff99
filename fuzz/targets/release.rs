//! Releases and channels: what is accepted is what the writer makes of it.
#![no_main]

use layerset::format::release::{Channel, ChannelName, Release};
use layerset::format::{from_canonical_json, to_canonical_json};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(release) = from_canonical_json::<Release>("release", bytes) {
        assert_eq!(to_canonical_json("release", &release).as_deref(), Ok(bytes));
    }
    if let Ok(channel) = from_canonical_json::<Channel>("channel", bytes) {
        assert_eq!(to_canonical_json("channel", &channel).as_deref(), Ok(bytes));
    }
    let text = str::from_utf8(bytes).unwrap_or_default();
    if let Ok(name) = text.parse::<ChannelName>() {
        assert_eq!(name.to_string(), text);
    }
});
