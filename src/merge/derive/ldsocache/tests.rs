//! Caches of images in memory, one of them against what a real `ldconfig` wrote.

use super::*;
use crate::elf::{ByteOrder, ElfClass, ElfFacts};
use crate::tree::testing::{MemoryView, library};
use crate::tree::view::{FileFacts, ViewNode, resolve};

const DEBIAN: &[u8] =
    b"...\0ldconfig (%s)\0ldconfig (Debian GLIBC 2.41-12+deb13u4) stable release \
version 2.41\0/lib/x86_64-linux-gnu/\0/usr/lib/x86_64-linux-gnu/\0/lib/\0/usr/lib/\0";

const LIBS: &str = "usr/lib/x86_64-linux-gnu";

/// What `ldconfig` has built in is read from the program's bytes; in memory it is ELF and has
/// contents.
struct WithProgram<'a> {
    view: &'a MemoryView,
    machine: u16,
}

impl ImageView for WithProgram<'_> {
    fn node(&self, path: &[u8]) -> Option<ViewNode> {
        self.view.node(path)
    }

    fn names(&self, dir: &[u8]) -> Vec<Vec<u8>> {
        self.view.names(dir)
    }

    fn read(&self, path: &[u8]) -> Result<Vec<u8>, ViewError> {
        self.view.read(path)
    }

    fn facts(&self, path: &[u8]) -> Result<FileFacts, ViewError> {
        if path == b"usr/sbin/ldconfig" {
            let facts = library(self.machine, ElfClass::Elf64, "");
            return Ok(FileFacts::Elf(Box::new(facts)));
        }
        self.view.facts(path)
    }
}

fn debian() -> MemoryView {
    MemoryView::new()
        .link("lib", "usr/lib")
        .link("sbin", "usr/sbin")
        .file("usr/sbin/ldconfig", DEBIAN)
        .dir(LIBS)
}

fn derived(view: &MemoryView) -> LdSoCache {
    let view = WithProgram { view, machine: 62 };
    derive(&view).unwrap().unwrap()
}

/// The entries as `ldconfig -p` shows them, shorter.
fn listed(cache: &LdSoCache) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let entries = cache.entries.iter();
    entries
        .map(|entry| {
            let hwcaps = entry
                .hwcaps
                .as_deref()
                .map(|name| format!(" {}", text(name)));
            format!(
                "{} ({:x}{}) => {}",
                text(&entry.soname),
                entry.flags,
                hwcaps.unwrap_or_default(),
                text(&entry.path)
            )
        })
        .collect()
}

fn links(cache: &LdSoCache) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let links = cache.links.iter();
    links
        .map(|link| format!("{} -> {}", text(&link.path), text(&link.target)))
        .collect()
}

fn with_isa(soname: &str, isa: u32) -> ElfFacts {
    ElfFacts {
        x86_isa_needed: isa,
        ..library(62, ElfClass::Elf64, soname)
    }
}

/// The tree that `tests/fixtures/ldsocache/make.sh` makes on disk.
fn golden() -> MemoryView {
    let i386 = |soname| library(3, ElfClass::Elf32, soname);
    let libs = |name: &str| format!("{LIBS}/{name}");
    let hwcaps = |name: &str| format!("{LIBS}/glibc-hwcaps/{name}");
    debian()
        .link("lib32", "usr/lib32")
        .file(
            "etc/ld.so.conf",
            b"include ld.so.conf.d/*.conf # relative\n\ninclude /etc/none /etc/more\n",
        )
        .file(
            "etc/ld.so.conf.d/app.conf",
            b"# ours\n  /opt/app/lib// \nhwcap 0 nosegneg\n/opt/gone\n",
        )
        .file(
            "etc/ld.so.conf.d/b.conf",
            b"/lib/x86_64-linux-gnu\n/usr/lib/x86_64-linux-gnu",
        )
        .file("etc/ld.so.conf.d/.hidden.conf", b"/opt/ignored\n")
        .file(
            "etc/more",
            b"/lib32\n/usr/lib32\n/opt/link\ninclude /etc/ld.so.conf\n",
        )
        .lib(&libs("libfoo.so.1.2"), "libfoo.so.1")
        .link(&libs("libfoo.so.1"), "libfoo.so.1.2")
        .link(&libs("libfoo.so"), "libfoo.so.1")
        .lib(&libs("libbar.so.1.9"), "libbar.so.1")
        .lib(&libs("libbar.so.1.10"), "libbar.so.1")
        .lib(&libs("libplain.so"), "")
        .lib(&libs("libodd-9.so"), "libodd.so.4")
        .link(&libs("libodd.so.3"), "libodd-9.so")
        .link(&libs("libgone.so.1"), "nowhere")
        .link(&libs("libgone.so"), "nowhere")
        .file(&libs("libtext.so"), b"GROUP ( libfoo.so.1 )")
        .lib(&libs("libnew.so.1.dpkg-new"), "libfoo.so.1")
        .lib(&libs("ld-linux-x86-64.so.2"), "ld-linux-x86-64.so.2")
        .dir(&libs("libdir.so"))
        .link(&libs("libdirlink.so"), "libdir.so")
        .lib(&libs("notalib.so.1"), "notalib.so.1")
        .elf(
            &hwcaps("x86-64-v2/libfoo.so.1.2"),
            with_isa("libfoo.so.1", 0b11),
        )
        .link(&hwcaps("x86-64-v2/libfoo.so.1"), "libfoo.so.1.2")
        .elf(
            &hwcaps("x86-64-v3/libfoo.so.1.2"),
            with_isa("libfoo.so.1", 0b111),
        )
        .link(&hwcaps("x86-64-v3/nolibname"), "libfoo.so.1.2")
        .dir(&hwcaps("unused"))
        .dir(&hwcaps("a:b"))
        .dir(&hwcaps(".hidden"))
        .link(&hwcaps("zz"), "unused")
        .elf("usr/lib32/libfoo.so.1", i386("libfoo.so.1"))
        .elf("usr/lib32/libfoo32.so.1.0", i386("libfoo32.so.1"))
        .lib("opt/app/lib/libfoo.so.1", "libfoo.so.1")
        .lib("opt/app/lib/libx.so.10", "libx.so.10")
        .elf(
            "opt/app/lib/libx.so.9",
            library(62, ElfClass::Elf32, "libx.so.9"),
        )
        .link("opt/link", "/opt/app/lib")
        .lib("usr/lib/libold.so.1", "libold.so.1")
        // Not on disk: what no ldconfig would look at.
        .broken_elf(&libs("libbroken.so.1"))
        .fifo(&libs("libfifo.so.1"))
}

#[test]
fn the_golden_cache_of_a_real_ldconfig_is_derived_byte_for_byte() {
    let cache = derived(&golden());
    let golden = include_bytes!("../../../../tests/fixtures/ldsocache/golden.cache");
    assert_eq!(
        listed(&cache),
        [
            "libx.so.10 (303) => /opt/app/lib/libx.so.10",
            "libx.so.9 (803) => /opt/app/lib/libx.so.9",
            "libplain.so (303) => /lib/x86_64-linux-gnu/libplain.so",
            "libold.so.1 (303) => /lib/libold.so.1",
            "libodd.so.4 (303) => /lib/x86_64-linux-gnu/libodd.so.4",
            "libfoo32.so.1 (3) => /lib32/libfoo32.so.1",
            "libfoo.so.1 (303 x86-64-v2) => /lib/x86_64-linux-gnu/glibc-hwcaps/x86-64-v2/libfoo.so.1.2",
            "libfoo.so.1 (303 x86-64-v3) => /lib/x86_64-linux-gnu/glibc-hwcaps/x86-64-v3/nolibname",
            "libfoo.so.1 (303) => /opt/app/lib/libfoo.so.1",
            "libfoo.so.1 (303) => /lib/x86_64-linux-gnu/libfoo.so.1",
            "libfoo.so.1 (3) => /lib32/libfoo.so.1",
            "libfoo.so (303) => /lib/x86_64-linux-gnu/libfoo.so",
            "libbar.so.1 (303) => /lib/x86_64-linux-gnu/libbar.so.1",
            "ld-linux-x86-64.so.2 (303) => /lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
        ]
    );
    assert_eq!(cache.file.path, b"etc/ld.so.cache");
    assert_eq!(cache.file.contents, golden);
}

#[test]
fn the_links_that_a_real_ldconfig_makes_and_removes_are_told() {
    let cache = derived(&golden());
    assert_eq!(
        links(&cache),
        [
            "usr/lib/x86_64-linux-gnu/libbar.so.1 -> libbar.so.1.10",
            "usr/lib/x86_64-linux-gnu/libodd.so.4 -> libodd.so.3",
            "usr/lib32/libfoo32.so.1 -> libfoo32.so.1.0",
        ]
    );
    assert_eq!(cache.stale, [format!("{LIBS}/libgone.so.1").into_bytes()]);
}

#[test]
fn making_the_links_changes_neither_the_cache_nor_the_links() {
    let before = derived(&golden());
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let after = before.links.iter().fold(golden(), |view, link| {
        view.link(&text(&link.path), &text(&link.target))
    });
    let after = derived(&after);
    assert_eq!(after.file, before.file);
    assert_eq!(links(&after), [] as [&str; 0]);
}

#[test]
fn a_link_to_an_older_library_is_pointed_at_the_newer_one() {
    let view = debian()
        .lib("usr/lib/liba.so.1.2", "liba.so.1")
        .lib("usr/lib/liba.so.1.10", "liba.so.1")
        .link("usr/lib/liba.so.1", "liba.so.1.2")
        .lib("usr/lib/libb.so.1", "libb.so.1")
        .lib("usr/lib/libb.so.2", "libb.so.1")
        .lib("usr/lib/libc.so.7", "libc.so.1")
        .link("usr/lib/libc.so.1", "gone");
    let cache = derived(&view);
    // The place of libb's is taken by a file, which is never replaced.
    assert_eq!(
        links(&cache),
        [
            "usr/lib/liba.so.1 -> liba.so.1.10",
            "usr/lib/libc.so.1 -> libc.so.7"
        ]
    );
}

#[test]
fn a_soname_cannot_make_a_link_outside_its_directory() {
    let view = debian()
        .lib("usr/lib/liba.so.1", "../../etc/passwd")
        .lib("usr/lib/libb.so.1", "..")
        .lib("usr/lib/libc.so.1", "sub/libc.so");
    assert_eq!(links(&derived(&view)), [] as [&str; 0]);
}

#[test]
fn libraries_of_machines_that_the_image_is_not_for_are_left_out() {
    let view = debian()
        .lib("usr/lib/liba.so.1", "liba.so.1")
        .elf(
            "usr/lib/libb.so.1",
            library(183, ElfClass::Elf64, "libb.so.1"),
        )
        .elf(
            "usr/lib/libc.so.1",
            library(3, ElfClass::Elf64, "libc.so.1"),
        )
        .elf(
            "usr/lib/libd.so.1",
            ElfFacts {
                order: ByteOrder::Big,
                ..library(62, ElfClass::Elf64, "libd.so.1")
            },
        );
    assert_eq!(
        listed(&derived(&view)),
        ["liba.so.1 (303) => /lib/liba.so.1"]
    );
}

#[test]
fn an_image_without_ldconfig_wants_no_cache() {
    let view = MemoryView::new().lib("usr/lib/libc.so", "libc.so");
    assert!(derive(&view).unwrap().is_none());
    // A wrapper script or a busybox applet is no ldconfig either.
    let view = view.file(
        "sbin/ldconfig",
        b"#!/bin/sh\nldconfig (x) stable release version 1\0",
    );
    assert!(derive(&view).unwrap().is_none());
}

#[test]
fn a_cache_without_libraries_is_valid() {
    let contents = derived(&debian()).file.contents;
    assert_eq!(&contents[..20], b"glibc-ld.so.cache1.1");
    assert_eq!(contents[20..28], [0; 8]);
    assert!(contents.ends_with(b"stable release version 2.41"));
}

#[test]
fn configuration_that_multiplies_without_end_is_refused() {
    let mut view = debian().file("etc/ld.so.conf", b"include /etc/00 /etc/00\n");
    for n in 0..20 {
        let next = format!("include /etc/{:02} /etc/{:02}\n", n + 1, n + 1);
        view = view.file(&format!("etc/{n:02}"), next.as_bytes());
    }
    let view = WithProgram {
        view: &view,
        machine: 62,
    };
    let error = derive(&view).unwrap_err();
    assert!(matches!(error, LdSoCacheError::TooManyIncludes { .. }));
}

#[test]
fn an_old_ldconfig_calls_i386_libraries_without_libc_plain_elf() {
    let old = String::from_utf8_lossy(DEBIAN).replace("2.41", "2.36");
    let alone = ElfFacts {
        needed: Vec::new(),
        ..library(3, ElfClass::Elf32, "libb.so.1")
    };
    let view = debian()
        .elf(
            "usr/lib/liba.so.1",
            library(3, ElfClass::Elf32, "liba.so.1"),
        )
        .elf("usr/lib/libb.so.1", alone);
    let expect = |first: &str| {
        [
            format!("libb.so.1 ({first}) => /lib/libb.so.1"),
            "liba.so.1 (3) => /lib/liba.so.1".to_owned(),
        ]
    };
    assert_eq!(listed(&derived(&view)), expect("3"));
    let view = view.file("usr/sbin/ldconfig", old.as_bytes());
    assert_eq!(listed(&derived(&view)), expect("1"));
}

#[test]
fn the_directories_built_into_ldconfig_are_read_from_the_program() {
    let check = |program: &[u8], machine: u16, expect: &[&str]| {
        let view = MemoryView::new().file("usr/sbin/ldconfig", program);
        let view = WithProgram {
            view: &view,
            machine,
        };
        let found = LdConfig::of_image(&view).unwrap().unwrap().system_dirs;
        let expect: Vec<Vec<u8>> = expect.iter().map(|dir| dir.as_bytes().into()).collect();
        assert_eq!(found, expect);
    };
    let multiarch = "/lib/x86_64-linux-gnu /usr/lib/x86_64-linux-gnu /lib /usr/lib";
    let multiarch: Vec<&str> = multiarch.split(' ').collect();
    check(DEBIAN, 62, &multiarch);
    let fedora = b"\0ldconfig (GNU libc) stable release version 2.41\0/lib64/\0/usr/lib64/\0";
    let plain = [
        "/lib",
        "/lib64",
        "/libx32",
        "/usr/lib",
        "/usr/lib64",
        "/usr/libx32",
    ];
    check(fedora, 62, &plain);
    check(fedora, 183, &["/lib", "/lib64", "/usr/lib", "/usr/lib64"]);
}

#[test]
fn a_big_endian_ldconfig_writes_big_endian_numbers() {
    let ldconfig = LdConfig {
        generator: b"ldconfig (x) stable release version 2.41".to_vec(),
        system_dirs: vec![b"/lib".to_vec()],
        machine: 22,
        order: ByteOrder::Big,
    };
    let facts = ElfFacts {
        order: ByteOrder::Big,
        ..library(22, ElfClass::Elf64, "liba.so.1")
    };
    let view = MemoryView::new().elf("lib/liba.so.1", facts);
    let contents = derive_as(&view, &ldconfig).unwrap().file.contents;
    assert_eq!(contents[20..24], [0, 0, 0, 1]);
    assert_eq!(contents[28], 3);
    assert_eq!(contents[48..52], [0, 0, 4, 3]);
    // The soname is the end of the path and shares its bytes.
    assert_eq!(contents[52..60], [0, 0, 0, 77, 0, 0, 0, 72]);
}

#[test]
fn five_hundred_libraries_make_one_sorted_cache_of_existing_paths() {
    let mut view = debian();
    for n in 0..500 {
        view = view
            .lib(&format!("{LIBS}/lib{n}.so.1.{n}"), &format!("lib{n}.so.1"))
            .link(&format!("{LIBS}/lib{n}.so.1"), &format!("lib{n}.so.1.{n}"));
    }
    let cache = derived(&view);
    assert_eq!(cache.entries.len(), 500);
    assert!(
        cache
            .entries
            .is_sorted_by(|a, b| order::compare_entries(a, b).is_lt())
    );
    for entry in &cache.entries {
        assert!(resolve(&view, &entry.path).is_some(), "{entry:?}");
    }
}
