use std::io::Write as _;

use super::*;

/// One archive of cpio, with its trailer.
fn cpio(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut add = |name: &str, mode: u32, contents: &[u8]| {
        let fields = [1, mode, 0, 0, 1, 0, contents.len() as u32, 0, 0, 0, 0];
        let mut header = "070701".to_owned();
        for field in fields {
            header += &format!("{field:08x}");
        }
        header += &format!("{:08x}{:08x}", name.len() + 1, 0);
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(name.as_bytes());
        out.push(0);
        out.resize(out.len().next_multiple_of(4), 0);
        out.extend_from_slice(contents);
        out.resize(out.len().next_multiple_of(4), 0);
    };
    for (name, contents) in members {
        add(name, 0o100_644, contents);
    }
    add("bin", 0o120_777, b"usr/bin");
    add("TRAILER!!!", 0, b"");
    out
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    liblzma::encode_all(bytes, 6).unwrap()
}

fn zst(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

fn lzma(bytes: &[u8]) -> Vec<u8> {
    let options = liblzma::stream::LzmaOptions::new_preset(6).unwrap();
    let stream = liblzma::stream::Stream::new_lzma_encoder(&options).unwrap();
    let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A zip with one packed and one stored member, behind other bytes.
fn zip(before: &[u8], members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = before.to_vec();
    let mut directory = Vec::new();
    for (number, (name, contents)) in members.iter().enumerate() {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), Default::default());
        encoder.write_all(contents).unwrap();
        let (method, data) = match number {
            0 => (8u16, encoder.finish().unwrap()),
            _ => (0, contents.to_vec()),
        };
        let offset = (out.len() - before.len()) as u32;
        let mut fields = vec![20, 0, 0, 0, 0, 0];
        fields[4..6].copy_from_slice(&method.to_le_bytes());
        fields = vec![20, 0, 0, 0, method as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        fields.extend_from_slice(&(data.len() as u32).to_le_bytes());
        fields.extend_from_slice(&(contents.len() as u32).to_le_bytes());
        fields.extend_from_slice(&(name.len() as u16).to_le_bytes());
        fields.extend_from_slice(&[0, 0]);
        out.extend_from_slice(b"PK\x03\x04");
        // The local header has no version of the maker, and sizes where the directory has them.
        out.extend_from_slice(&fields);
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(&data);
        directory.extend_from_slice(b"PK\x01\x02\x14\x03");
        directory.extend_from_slice(&fields);
        directory.extend_from_slice(&[0; 10]);
        directory.extend_from_slice(&offset.to_le_bytes());
        directory.extend_from_slice(name.as_bytes());
    }
    let at = (out.len() - before.len()) as u32;
    out.extend_from_slice(&directory);
    out.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    out.extend_from_slice(&(members.len() as u16).to_le_bytes());
    out.extend_from_slice(&(members.len() as u16).to_le_bytes());
    out.extend_from_slice(&(directory.len() as u32).to_le_bytes());
    out.extend_from_slice(&at.to_le_bytes());
    out.extend_from_slice(&[0, 0]);
    out
}

fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = ar::MAGIC.to_vec();
    for (name, contents) in members {
        let size = contents.len();
        out.extend_from_slice(
            format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 0, 0, 0, 644).as_bytes(),
        );
        out.extend_from_slice(contents);
        out.resize(out.len().next_multiple_of(2), b'\n');
    }
    out
}

/// What the tar of this system makes of one file with a long name.
fn tar(format: &str, name: &str, contents: &[u8]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, contents).unwrap();
    let tar = std::process::Command::new("tar")
        .arg("-C")
        .arg(dir.path())
        .args(["-c", &format!("--format={format}"), "."])
        .output()
        .unwrap();
    assert!(tar.status.success());
    tar.stdout
}

fn list(bytes: &[u8]) -> (Vec<String>, bool) {
    let found = members(&mut Cursor::new(bytes), 1).unwrap();
    let known = [LIBRARY, OTHER].map(ObjectId::of);
    let line = |member: &ArchiveMember| {
        let what = known.iter().position(|id| *id == member.id);
        let what = what.map_or("?", |at| ["library", "other"][at]);
        format!("{}={what}", member.name)
    };
    (found.members.iter().map(line).collect(), found.is_whole)
}

const LIBRARY: &[u8] = b"the bytes of a library, the bytes of a library";
const OTHER: &[u8] = b"other";

fn assert_list(bytes: &[u8], expect: &[&str]) {
    let (found, is_whole) = list(bytes);
    assert_eq!(found, expect);
    assert!(is_whole);
    assert!(may_hold(&bytes[..bytes.len().min(HEAD_BYTES)]));
}

#[test]
fn an_initramfs_is_a_series_of_archives_however_packed() {
    let early = cpio(&[("kernel/x86/microcode/a.bin", OTHER)]);
    let main = cpio(&[("usr/lib/libz.so.1", LIBRARY), ("./init", OTHER)]);
    let padded = [early.as_slice(), &[0; 700]].concat();
    for packed in [
        main.clone(),
        gzip(&main),
        xz(&main),
        zst(&main),
        lzma(&main),
    ] {
        assert_list(
            &[padded.as_slice(), &packed, &[0; 5]].concat(),
            &[
                "kernel/x86/microcode/a.bin=other",
                "usr/lib/libz.so.1=library",
                "init=other",
            ],
        );
    }
    let two = [gzip(&early), zst(&main), cpio(&[("end", OTHER)])].concat();
    assert_eq!(list(&two).0.len(), 4);
}

#[test]
fn archives_are_read_and_those_inside_them() {
    let module = cpio(&[("lib/modules/x.ko.xz", &xz(LIBRARY))]);
    assert_list(
        &module,
        &["lib/modules/x.ko.xz!=library", "lib/modules/x.ko.xz=?"],
    );
    let jar = zip(b"", &[("a/B.class", LIBRARY), ("c", OTHER)]);
    assert_list(&jar, &["a/B.class=library", "c=other"]);
    let war = zip(b"#!/usr/bin/python3\n", &[("lib/x.jar", &jar)]);
    assert_list(
        &war,
        &[
            "lib/x.jar!a/B.class=library",
            "lib/x.jar!c=other",
            "lib/x.jar=?",
        ],
    );
    let long = format!("{}/{}/libz.so", "d".repeat(90), "e".repeat(90));
    for format in ["gnu", "posix", "ustar"] {
        let tar = tar(format, &long, LIBRARY);
        let expect = format!("{long}=library");
        assert_list(&tar, &[&expect]);
        assert_list(&gzip(&tar), &[&expect]);
        let deb = ar(&[("debian-binary", b"2.0"), ("data.tar.xz", &xz(&tar))]);
        let name = format!("data.tar.xz!{expect}");
        assert_list(&deb, &["debian-binary=?", &name, "data.tar.xz=?"]);
    }
    assert_list(&gzip(LIBRARY), &["=library"]);
}

const OLD_LZ4: &str = "
    02214c1817000000bf303132333435363738390a0b00ffff7350363738390a
";
const CHECKED_LZ4: &str = "
    04224d187440bd17000000bf303132333435363738390a0b00ffff7350363738390ac69aa0c200000000db7e
    cd03
";
const LINKED_LZ4: &str = "
    04224d1844405e15010000bf303132333435363738390a0b00ffffffffffffffffffffffffffffffffffffff
    ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff
    ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff
    ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff
    ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff
    ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff
    ffffffffffffffffffffffffffffffffffdd5034353637380a0100000ff7ffffffffffffffffffffffffffff
    ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff
    ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff
    ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff
    ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff
    ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff
    ffffffffffffffffffffffffffffffffffffffffffffffe850323334353615010000bf3738390a3031323334
    35360b00ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff
    ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff
    ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff
    ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff
    ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff
    ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffdd503031
    323334650000000ff7ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff
    ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff
    ffffffffffffffffffffffffffa350363738390a0000000067fd23a3
";

#[test]
fn the_initramfs_of_a_unified_kernel_image_is_read() {
    let initrd = zst(&cpio(&[("usr/lib/libz.so.1", LIBRARY)]));
    let section = |name: &[u8], size: usize, place: usize| {
        let mut section = [0; 40];
        section[..name.len()].copy_from_slice(name);
        for (at, value) in [(8, size), (16, size.next_multiple_of(512)), (20, place)] {
            section[at..at + 4].copy_from_slice(&(value as u32).to_le_bytes());
        }
        section
    };
    let mut image = b"MZ".to_vec();
    image.resize(60, 0);
    image.extend_from_slice(&[64, 0, 0, 0]);
    image.extend_from_slice(b"PE\0\0\x64\x86\x02\0");
    image.resize(64 + 24, 0);
    image.extend_from_slice(&section(b".osrel", 5, 512));
    image.extend_from_slice(&section(b".initrd", initrd.len(), 1024));
    image.resize(1024, 0);
    image.extend_from_slice(&initrd);
    image.resize(image.len().next_multiple_of(512), 0);
    assert_list(&image, &[".initrd!usr/lib/libz.so.1=library", ".initrd=?"]);
    for at in 0..300 {
        let mut damaged = image.clone();
        damaged[at] ^= 0xff;
        members(&mut Cursor::new(&damaged), 1).unwrap();
    }
    assert_list(b"MZ and nothing else", &[]);
}

#[test]
fn lz4_is_read_as_its_own_program_packs_it() {
    // Of so many times the same line: `lz4 -l`, `lz4 -BX --content-size`, `lz4 -B4 -BD`.
    let samples = [(60, OLD_LZ4), (60, CHECKED_LZ4), (20_000, LINKED_LZ4)];
    for (lines, packed) in samples {
        let packed = packed.split_ascii_whitespace().collect::<String>();
        let digits = |at: usize| u8::from_str_radix(&packed[at..at + 2], 16).unwrap();
        let packed: Vec<u8> = (0..packed.len()).step_by(2).map(digits).collect();
        let found = members(&mut Cursor::new(&packed), 1).unwrap();
        assert!(found.is_whole);
        let expect = ObjectId::of("0123456789\n".repeat(lines).as_bytes());
        let ids: Vec<ObjectId> = found.members.iter().map(|member| member.id).collect();
        assert_eq!(ids, [expect], "{lines}");
        for at in 0..packed.len() {
            let mut damaged = packed.clone();
            damaged[at] ^= 0xff;
            members(&mut Cursor::new(&damaged), 1).unwrap();
            members(&mut Cursor::new(&packed[..at]), 1).unwrap();
        }
    }
}

#[test]
fn damage_ends_the_list_and_never_panics() {
    let tar = tar("gnu", "x", LIBRARY);
    let initramfs = cpio(&[("x", LIBRARY), ("y.xz", &xz(OTHER))]);
    let jar = zip(b"", &[("x", LIBRARY), ("y", OTHER)]);
    let samples = [
        gzip(&tar),
        ar(&[("x", LIBRARY)]),
        zst(&initramfs),
        initramfs,
        jar,
        tar,
    ];
    for sample in &samples {
        for at in 0..sample.len().min(300) {
            let mut damaged = sample.clone();
            damaged[at] ^= 0xff;
            members(&mut Cursor::new(&damaged), 1).unwrap();
            members(&mut Cursor::new(&sample[..at]), 1).unwrap();
        }
    }
    // A tar without its end is nothing unusual.
    for sample in &samples[..5] {
        let found = members(&mut Cursor::new(&sample[..sample.len() - 30]), 1).unwrap();
        assert!(!found.is_whole || found.members.is_empty());
    }
    let sealed = cpio(&[("x.bz2", b"BZh91AY&SY and so on")]);
    assert!(!members(&mut Cursor::new(sealed), 1).unwrap().is_whole);
}
