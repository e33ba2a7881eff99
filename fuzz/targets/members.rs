//! Archives: whatever a file says, listing what it holds ends, and small members are left out.
//!
//! The input is the file.
#![no_main]

use std::collections::BTreeSet;
use std::io::Cursor;

use layerset::codec::members::{may_hold, members};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let all = members(&mut Cursor::new(bytes), 0).expect("memory can be read");
    let large = members(&mut Cursor::new(bytes), 64).expect("memory can be read");
    assert!(large.members.len() <= all.members.len());
    let known: BTreeSet<_> = all
        .members
        .iter()
        .map(|member| (&member.name, &member.id))
        .collect();
    let mut rest = large.members.iter();
    assert!(rest.all(|member| known.contains(&(&member.name, &member.id))));
    may_hold(bytes);
});
