use super::*;

const STRINGS: &[u8] = b"\0gone\0weak\0versioned\0own\0late\0";

fn put(bytes: &mut [u8], at: usize, numbers: &[(usize, u64)]) {
    let mut at = at;
    for (size, number) in numbers {
        bytes[at..at + size].copy_from_slice(&number.to_le_bytes()[..*size]);
        at += size;
    }
}

/// A library of 64 bits, each address its offset: `gone` is in a relocation of data, `late` is not.
fn sample(flags: u64) -> Vec<u8> {
    let mut bytes = vec![0; 0x400];
    let length = bytes.len() as u64;
    bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    let header = [
        (2, 3),
        (2, 62),
        (4, 1),
        (8, 0),
        (8, 64),
        (8, 0),
        (4, 0),
        (2, 64),
        (2, 56),
        (2, 2),
    ];
    put(&mut bytes, 16, &header);
    let load = [
        (4, 1),
        (4, 4),
        (8, 0),
        (8, 0),
        (8, 0),
        (8, length),
        (8, length),
        (8, 8),
    ];
    put(&mut bytes, 64, &load);
    let dynamic = [
        (4, 2),
        (4, 4),
        (8, 0x100),
        (8, 0x100),
        (8, 0),
        (8, 0xc0),
        (8, 0xc0),
        (8, 8),
    ];
    put(&mut bytes, 120, &dynamic);
    let entries = [
        (elf::DT_STRTAB, 0x200),
        (elf::DT_SYMTAB, 0x240),
        (elf::DT_HASH, 0x300),
        (elf::DT_VERSYM, 0x340),
        (elf::DT_RELA, 0x360),
        (elf::DT_RELASZ, 24),
        (elf::DT_FLAGS, flags),
        (elf::DT_JMPREL, 0x3b0),
        (elf::DT_PLTRELSZ, 24),
        (elf::DT_PLTREL, 7),
    ];
    for (number, (tag, value)) in entries.into_iter().enumerate() {
        put(
            &mut bytes,
            0x100 + number * 16,
            &[(8, tag.0 as u64), (8, value)],
        );
    }
    bytes[0x200..0x200 + STRINGS.len()].copy_from_slice(STRINGS);
    let symbols = [
        (1, 0x12, 0),
        (6, 0x22, 0),
        (11, 0x12, 0),
        (21, 0x12, 1),
        (25, 0x12, 0),
    ];
    for (number, (name, info, section)) in symbols.into_iter().enumerate() {
        let symbol = [(4, name), (1, info), (1, 0), (2, section), (8, 0), (8, 0)];
        put(&mut bytes, 0x240 + (number + 1) * 24, &symbol);
    }
    put(&mut bytes, 0x300, &[(4, 1), (4, 6)]);
    put(
        &mut bytes,
        0x340,
        &[(2, 0), (2, 1), (2, 1), (2, 2), (2, 1), (2, 1)],
    );
    put(&mut bytes, 0x360, &[(8, 0x3f0), (8, (1 << 32) | 6), (8, 0)]);
    put(&mut bytes, 0x3b0, &[(8, 0x3f8), (8, (5 << 32) | 7), (8, 0)]);
    bytes
}

#[test]
fn what_an_object_needs_is_told_with_the_time_of_its_binding() {
    let undefined = |bytes: &[u8]| -> Vec<(String, bool)> {
        let found = symbols(bytes).unwrap();
        assert_eq!(found.defined, [symbol_number(b"own")]);
        let own = found.undefined.into_iter();
        own.map(|symbol| (symbol.name, symbol.at_start)).collect()
    };
    let of = |late| {
        let needed = [("gone", true), ("late", late), ("versioned", late)];
        needed
            .map(|(name, at_start)| (name.to_owned(), at_start))
            .to_vec()
    };
    assert_eq!(undefined(&sample(0)), of(false));
    assert_eq!(undefined(&sample(elf::DF_BIND_NOW.0)), of(true));
    assert_eq!(symbols(b"#!/bin/sh\n").unwrap(), ElfSymbols::default());
}

#[test]
fn the_gnu_hash_table_counts_the_same_symbols() {
    let mut bytes = sample(0);
    put(
        &mut bytes,
        0x120,
        &[(8, elf::DT_GNU_HASH.0 as u64), (8, 0x380)],
    );
    // One bucket with the symbols from the fourth one on: two, the last of which ends the chain.
    put(
        &mut bytes,
        0x380,
        &[
            (4, 1),
            (4, 4),
            (4, 1),
            (4, 0),
            (8, 0),
            (4, 4),
            (4, 2),
            (4, 3),
        ],
    );
    assert_eq!(symbols(&bytes).unwrap(), symbols(&sample(0)).unwrap());
}

#[test]
fn what_only_relocations_name_is_found_too() {
    // A program that defines nothing for others has an empty table.
    let mut bytes = sample(0);
    put(
        &mut bytes,
        0x120,
        &[(8, elf::DT_GNU_HASH.0 as u64), (8, 0x380)],
    );
    put(
        &mut bytes,
        0x380,
        &[(4, 1), (4, 1), (4, 1), (4, 0), (8, 0), (4, 0)],
    );
    assert_eq!(symbols(&bytes).unwrap(), symbols(&sample(0)).unwrap());
}

#[test]
fn no_damage_makes_the_reader_of_symbols_panic() {
    let bytes = sample(0);
    for length in 0..bytes.len() {
        let _ = symbols(&bytes[..length]);
    }
    for at in 0..bytes.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut bytes = bytes.clone();
            bytes[at] = value;
            let _ = symbols(&bytes);
        }
    }
}
