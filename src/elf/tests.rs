//! Facts of objects made here, in every class and byte order.

use super::*;

/// Parses, and holds what is read in small parts against that.
fn parse(bytes: &[u8]) -> Result<Option<ElfFacts>, ElfError> {
    let facts = super::parse(bytes);
    let length = bytes.len() as u64;
    let mut windows = Windows::of_steps(length, 256.max(length / 8));
    let by_parts = loop {
        let facts = super::parse(&windows);
        let Some(range) = windows.missed() else {
            break facts;
        };
        let part = &bytes[range.start as usize..range.end as usize];
        windows.fill(range.start, part.to_vec());
    };
    assert_eq!(by_parts, facts);
    facts
}

/// Where the sample's segments are loaded, so that addresses differ from offsets.
const BASE: u64 = 0x10000;
const TABLES: usize = 0x200;
const LENGTH: usize = 0x600;

const STRINGS: &[u8] =
    b"\0libsample.so.1\0libc.so.6\0GLIBC_2.34\0SAMPLE_1\0$ORIGIN/../lib\0/opt/lib\0SAMPLE_2\0";

fn name(text: &str) -> u64 {
    let text = format!("\0{text}\0");
    let at = STRINGS
        .windows(text.len())
        .position(|window| window == text.as_bytes());
    at.unwrap() as u64 + 1
}

/// Writes a small library in any class and byte order.
struct Sample {
    bytes: Vec<u8>,
    class: ElfClass,
    order: ByteOrder,
}

impl Sample {
    fn number(&mut self, at: &mut usize, size: usize, value: u64) {
        let (little, big) = (value.to_le_bytes(), value.to_be_bytes());
        let value = match self.order {
            ByteOrder::Little => &little[..size],
            ByteOrder::Big => &big[8 - size..],
        };
        self.bytes[*at..*at + size].copy_from_slice(value);
        *at += size;
    }

    fn numbers(&mut self, at: usize, fields: &[(usize, u64)]) -> usize {
        let mut at = at;
        for (size, value) in fields {
            self.number(&mut at, *size, *value);
        }
        at
    }

    fn bytes(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn word(&self) -> usize {
        match self.class {
            ElfClass::Elf32 => 4,
            ElfClass::Elf64 => 8,
        }
    }

    fn segment(&mut self, at: usize, kind: u32, offset: usize, size: usize, align: u64) -> usize {
        let (word, kind, offset, size) = (self.word(), kind.into(), offset as u64, size as u64);
        let place = [(word, offset), (word, BASE + offset), (word, 0)];
        let size = [(word, size), (word, size)];
        let mut fields = vec![(4, kind)];
        match self.class {
            ElfClass::Elf32 => {
                fields.extend(place.into_iter().chain(size));
                fields.extend([(4, 4), (4, align)]);
            }
            ElfClass::Elf64 => {
                fields.push((4, 4));
                fields.extend(place.into_iter().chain(size));
                fields.push((8, align));
            }
        }
        self.numbers(at, &fields)
    }
}

fn sample(class: ElfClass, order: ByteOrder, machine: u16) -> Vec<u8> {
    let mut sample = Sample {
        bytes: vec![0; LENGTH],
        class,
        order,
    };
    let word = sample.word();
    let ident = [
        0x7f,
        b'E',
        b'L',
        b'F',
        if word == 8 { 2 } else { 1 },
        if order == ByteOrder::Little { 1 } else { 2 },
        1,
    ];
    sample.bytes(0, &ident);
    let (header, segment) = if word == 8 { (64, 56) } else { (52, 32) };
    let fields = [(2, 3), (2, machine.into()), (4, 1), (word, 0)];
    let at = sample.numbers(16, &fields);
    let fields = [(word, header), (word, 0), (4, 0), (2, header), (2, segment)];
    let at = sample.numbers(at, &fields);
    sample.numbers(at, &[(2, 5)]);

    let (interp, note, property) = (TABLES, TABLES + 0x20, TABLES + 0x40);
    let (needs, defs, dynamic, strings) =
        (TABLES + 0x80, TABLES + 0xc0, TABLES + 0x140, TABLES + 0x280);
    let mut at = sample.segment(header as usize, 1, 0, LENGTH, 0x1000);
    at = sample.segment(at, 2, dynamic, 0x140, word as u64);
    at = sample.segment(at, 3, interp, 13, 1);
    at = sample.segment(at, 4, note, 32, 4);
    let padded = |size: u64| size.next_multiple_of(word as u64);
    let properties = 2 * padded(12);
    sample.segment(
        at,
        0x6474_e553,
        property,
        16 + properties as usize,
        word as u64,
    );

    sample.bytes(interp, b"/lib/ld.so.1\0");
    let at = sample.numbers(note, &[(4, 4), (4, 16), (4, 1)]);
    sample.bytes(at, b"GNU\0");
    sample.numbers(at + 4, &[(4, 0), (4, 3), (4, 2), (4, 1)]);
    // Two properties, of which the second says x86-64-v3.
    let fields = [(4, 4), (4, properties), (4, 5)];
    let at = sample.numbers(property, &fields);
    sample.bytes(at, b"GNU\0");
    let fields = [(4, 0xc000_0002), (4, 4), (4, 3)];
    sample.numbers(at + 4, &fields);
    let fields = [(4, 0xc000_8002), (4, 4), (4, 0b101)];
    sample.numbers(at + 4 + padded(12) as usize, &fields);

    // One file with two versions, the second one weak.
    let (libc, glibc, weak) = (name("libc.so.6"), name("GLIBC_2.34"), name("SAMPLE_2"));
    let fields = [(2, 1), (2, 2), (4, libc), (4, 16), (4, 0)];
    let at = sample.numbers(needs, &fields);
    let fields = [(4, 0), (2, 0), (2, 2), (4, glibc), (4, 16)];
    let at = sample.numbers(at, &fields);
    sample.numbers(at, &[(4, 0), (2, 2), (2, 3), (4, weak), (4, 0)]);
    // The base, and one version that succeeds it.
    let (base, one) = (name("libsample.so.1"), name("SAMPLE_1"));
    let fields = [(2, 1), (2, 1), (2, 1), (2, 1), (4, 0), (4, 20), (4, 28)];
    let at = sample.numbers(defs, &fields);
    let at = sample.numbers(at, &[(4, base), (4, 0)]);
    let fields = [(2, 1), (2, 0), (2, 2), (2, 2), (4, 0), (4, 20), (4, 0)];
    let at = sample.numbers(at, &fields);
    sample.numbers(at, &[(4, one), (4, 8), (4, base), (4, 0)]);

    let entries: [(u64, u64); 12] = [
        (1, libc),
        (1, name("libsample.so.1")),
        (14, name("libsample.so.1")),
        (15, name("/opt/lib")),
        (29, name("$ORIGIN/../lib")),
        (5, BASE + strings as u64),
        (0x6fff_fffb, 0x800),
        (0x6fff_fffe, BASE + needs as u64),
        (0x6fff_ffff, 1),
        (0x6fff_fffc, BASE + defs as u64),
        (0x6fff_fffd, 2),
        (0, 0),
    ];
    let mut at = dynamic;
    for (tag, value) in entries {
        at = sample.numbers(at, &[(word, tag), (word, value)]);
    }
    // What follows the end does not count.
    sample.numbers(at, &[(word, 1), (word, name("SAMPLE_1"))]);
    sample.bytes(strings, STRINGS);
    sample.bytes
}

#[test]
fn facts_are_read_in_every_class_and_byte_order() {
    for (class, order, machine) in [
        (ElfClass::Elf64, ByteOrder::Little, 62),
        (ElfClass::Elf32, ByteOrder::Little, 3),
        (ElfClass::Elf64, ByteOrder::Big, 62),
        (ElfClass::Elf32, ByteOrder::Big, 62),
    ] {
        let bytes = sample(class, order, machine);
        let expect = ElfFacts {
            class,
            order,
            machine,
            flags: 0,
            kind: ElfKind::Shared,
            dynamic: true,
            interp: Some("/lib/ld.so.1".into()),
            soname: Some("libsample.so.1".into()),
            needed: vec!["libc.so.6".into(), "libsample.so.1".into()],
            rpath: Some("/opt/lib".into()),
            runpath: Some("$ORIGIN/../lib".into()),
            nodeflib: true,
            version_needs: vec![
                VersionNeed {
                    file: "libc.so.6".into(),
                    version: "GLIBC_2.34".into(),
                    weak: false,
                },
                VersionNeed {
                    file: "libc.so.6".into(),
                    version: "SAMPLE_2".into(),
                    weak: true,
                },
            ],
            version_defs: vec!["SAMPLE_1".into()],
            abi_tag: Some(AbiTag {
                os: 0,
                version: [3, 2, 1],
            }),
            x86_isa_needed: 0b101,
        };
        assert_eq!(parse(&bytes).unwrap().unwrap(), expect);
        assert_eq!(expect.isa_level(), 2);
        let json = serde_json::to_vec(&expect).unwrap();
        assert_eq!(serde_json::from_slice::<ElfFacts>(&json).unwrap(), expect);
        // An object within a pack starts anywhere.
        let shifted = [&[0], bytes.as_slice()].concat();
        assert_eq!(parse(&shifted[1..]).unwrap().unwrap(), expect);
    }
}

#[test]
fn what_does_not_start_like_elf_has_no_facts() {
    for bytes in [&b""[..], b"\x7fEL", b"#!/bin/sh\n", b"GROUP ( libc.so.6 )"] {
        assert_eq!(parse(bytes), Ok(None));
    }
}

#[test]
fn no_damage_makes_the_reader_panic() {
    let bytes = sample(ElfClass::Elf64, ByteOrder::Little, 62);
    let whole = parse(&bytes).unwrap();
    let mut refused = 0;
    for length in 4..bytes.len() {
        match parse(&bytes[..length]) {
            Ok(facts) => assert_eq!(facts, whole, "cut to {length} bytes"),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > TABLES, "{refused} cuts were noticed");
    for at in 0..bytes.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut bytes = bytes.clone();
            bytes[at] = value;
            let _ = parse(&bytes);
        }
    }
}

#[test]
fn a_few_bytes_cannot_ask_for_endless_memory() {
    let mut bytes = sample(ElfClass::Elf64, ByteOrder::Little, 62);
    // A dynamic section of nothing but needed files, which all have the same long name.
    let (dynamic, entries) = (bytes.len(), 100_000);
    let strings = dynamic + (entries + 2) * 16;
    let mut section: Vec<u8> = [5_u64, BASE + strings as u64]
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .collect();
    for _ in 0..entries {
        section.extend([1_u64, 0].iter().flat_map(|number| number.to_le_bytes()));
    }
    section.extend([0; 16]);
    bytes.extend_from_slice(&section);
    bytes.extend([b'x'; 1000]);
    bytes.push(0);
    let length = bytes.len() as u64;
    // Both the loaded and the dynamic segment reach to the end.
    for size in [64 + 32, 64 + 40] {
        bytes[size..size + 8].copy_from_slice(&length.to_le_bytes());
    }
    let segment = 64 + 56;
    bytes[segment + 8..segment + 16].copy_from_slice(&(dynamic as u64).to_le_bytes());
    let size = (section.len() as u64).to_le_bytes();
    bytes[segment + 32..segment + 40].copy_from_slice(&size);
    assert!(matches!(parse(&bytes), Err(ElfError::TooMuch { .. })));
}

#[test]
fn a_soname_that_is_not_utf8_is_refused() {
    let mut bytes = sample(ElfClass::Elf64, ByteOrder::Little, 62);
    let at = bytes
        .windows(9)
        .position(|window| window == b"libsample")
        .unwrap();
    bytes[at] = 0xff;
    assert!(matches!(parse(&bytes), Err(ElfError::Encoding { .. })));
}

#[test]
fn ldconfigs_flags_follow_machine_class_and_header_flags() {
    use ElfClass::{Elf32, Elf64};
    let order = ByteOrder::Little;
    let facts = parse(&sample(Elf64, order, 62)).unwrap().unwrap();
    for (machine, class, flags, expect) in [
        (62, Elf64, 0, Some(0x0303)),
        (62, Elf32, 0, Some(0x0803)),
        (3, Elf32, 0, Some(0x0003)),
        (3, Elf64, 0, None),
        (183, Elf64, 0, Some(0x0a03)),
        (40, Elf32, 0x0500_0400, Some(0x0903)),
        (40, Elf32, 0x0500_0200, Some(0x0b03)),
        (40, Elf32, 0x0500_0000, Some(0x0003)),
        (22, Elf64, 0, Some(0x0403)),
        (21, Elf64, 2, Some(0x0503)),
        (243, Elf64, 5, Some(0x1003)),
        (243, Elf64, 1, Some(0x0f03)),
        (243, Elf64, 2, None),
        (258, Elf64, 0x43, Some(0x1203)),
        (258, Elf64, 2, None),
        (8, Elf64, 0, Some(0x0703)),
        (8, Elf32, 0x20, Some(0x0603)),
        (8, Elf32, 0x400, Some(0x0c03)),
    ] {
        let facts = ElfFacts {
            machine,
            class,
            flags,
            ..facts.clone()
        };
        assert_eq!(
            facts.cache_flags(),
            expect,
            "{machine} {class:?} {flags:#x}"
        );
    }
    for facts in [
        ElfFacts {
            kind: ElfKind::Executable,
            ..facts.clone()
        },
        ElfFacts {
            dynamic: false,
            ..facts.clone()
        },
    ] {
        assert_eq!(facts.cache_flags(), None);
    }
}
