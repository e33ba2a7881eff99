//! What of an image is for everybody, whoever brings it.

use crate::layout::{name, parent, within};

/// Where programs are started from by their names.
pub(super) const PROGRAMS: [&[u8]; 2] = [b"usr/bin", b"usr/sbin"];
/// What everybody has to be able to enter; directories of libraries besides.
const DIRECTORIES: [&[u8]; 18] = [
    b"",
    b"etc",
    b"etc/alternatives",
    b"etc/ssl",
    b"etc/ssl/certs",
    b"home",
    b"usr",
    b"usr/bin",
    b"usr/lib",
    b"usr/lib64",
    b"usr/local",
    b"usr/local/bin",
    b"usr/local/lib",
    b"usr/local/share",
    b"usr/sbin",
    b"usr/share",
    b"var",
    b"var/lib",
];
/// What the C library, TLS and the like read for everybody.
pub(super) const FILES: [&[u8]; 7] = [
    b"etc/group",
    b"etc/hosts",
    b"etc/ld.so.cache",
    b"etc/nsswitch.conf",
    b"etc/passwd",
    b"etc/services",
    b"etc/ssl/openssl.cnf",
];
/// Where what a package brings is for everybody.
const SHARED: [&[u8]; 3] = [b"usr/lib", b"usr/libexec", b"usr/share"];
/// What of it is for people and tools of packaging, is a copy of what stands elsewhere, or is closed
/// on purpose on some machines.
const APART: [&[u8]; 10] = [
    b"usr/lib/debug",
    b"usr/lib/modules",
    b"usr/lib/sysimage",
    b"usr/share/bug",
    b"usr/share/doc",
    b"usr/share/factory",
    b"usr/share/info",
    b"usr/share/lintian",
    b"usr/share/locale",
    b"usr/share/man",
];

/// How the names of files end that programs load as code.
const CODE: [&[u8]; 7] = [b".jar", b".js", b".php", b".pl", b".pm", b".py", b".rb"];

/// Says whether a directory is one that everybody has to be able to enter, whoever brings it.
pub(super) fn is_common(path: &[u8]) -> bool {
    let is_triplet = || name(path).windows(7).any(|part| part == b"-linux-");
    DIRECTORIES.contains(&path) || parent(path) == b"usr/lib" && is_triplet()
}

pub(super) fn is_shared(path: &[u8]) -> bool {
    SHARED.iter().any(|dir| within(path, dir)) && !is_apart(path)
}

pub(in crate::compose) fn is_apart(path: &[u8]) -> bool {
    APART.iter().any(|dir| within(path, dir))
}

pub(super) fn is_code(name: &[u8]) -> bool {
    CODE.iter().any(|end| name.ends_with(end))
}

pub(super) fn is_library(name: &[u8]) -> bool {
    name.ends_with(b".so") || name.windows(4).any(|part| part == b".so.")
}
