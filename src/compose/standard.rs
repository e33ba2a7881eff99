//! The standard libraries of languages: what a version of Python or Perl promises is what programs
//! import, often not before they need it.

use crate::layout::name;

/// What people take out of Python to make images smaller: nothing that runs needs it unasked.
const SPARE: [&[u8]; 10] = [
    b"dist-packages",
    b"ensurepip",
    b"idlelib",
    b"lib2to3",
    b"pydoc_data",
    b"site-packages",
    b"test",
    b"tests",
    b"tkinter",
    b"turtledemo",
];

/// Says whether a file is a module of a standard library.
pub(super) fn is_standard(path: &[u8]) -> bool {
    let ends = |ends: [&[u8]; 2]| ends.iter().any(|end| path.ends_with(end));
    let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    match parts.as_slice() {
        [b"usr", b"lib", python, ..] if python.starts_with(b"python3.") => {
            ends([b".py", b".so"]) && !is_spare(path)
        }
        [b"usr", b"share", b"perl", ..]
        | [b"usr", b"lib", _, b"perl" | b"perl-base", ..]
        | [b"usr", b"lib", b"perl", ..] => ends([b".pm", b".so"]),
        _ => false,
    }
}

/// Says whether a file of Python's own is one that nothing needs unasked.
pub(super) fn is_spare(path: &[u8]) -> bool {
    let mut parts = path.split(|byte| *byte == b'/').skip(2);
    let is_python = path.starts_with(b"usr/lib/")
        && parts
            .next()
            .is_some_and(|part| part.starts_with(b"python3."));
    is_python && (parts.any(|part| SPARE.contains(&part)) || name(path) == b"turtle.py")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_of_the_languages_themselves_are_standard() {
        for (path, expect) in [
            ("usr/lib/python3.13/locale.py", true),
            ("usr/lib/python3.13/json/__init__.py", true),
            (
                "usr/lib/python3.13/lib-dynload/_ssl.cpython-313-x86_64-linux-gnu.so",
                true,
            ),
            ("usr/lib/python3.13/test/support.py", false),
            ("usr/lib/python3.13/unittest/__init__.py", true),
            ("usr/lib/python3.13/turtle.py", false),
            ("usr/lib/python3/dist-packages/yaml/__init__.py", false),
            ("usr/share/perl/5.40.1/File/Find.pm", true),
            ("usr/lib/x86_64-linux-gnu/perl-base/POSIX.pm", true),
            (
                "usr/lib/x86_64-linux-gnu/perl/5.40.1/auto/POSIX/POSIX.so",
                true,
            ),
            ("usr/share/perl5/Debconf/Db.pm", false),
            ("usr/share/perl/5.40.1/pod/perldiag.pod", false),
        ] {
            assert_eq!(is_standard(path.as_bytes()), expect, "{path}");
        }
    }
}
