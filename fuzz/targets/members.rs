//! Archives: whatever a file says, listing what it holds ends, and small members are left out.
//!
//! The input is the file.
#![no_main]

use std::io::Cursor;

use layerset::codec::members::{may_hold, members};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let all = members(&mut Cursor::new(bytes), 0).expect("memory can be read");
    let large = members(&mut Cursor::new(bytes), 64).expect("memory can be read");
    assert!(large.members.len() <= all.members.len());
    assert!(large.members.iter().all(|member| all.members.contains(member)));
    may_hold(bytes);
});
