//! The paths of an image that match a shell pattern, as glob(3) finds them.

use crate::glob::{GlobSyntax, name_matches};
use crate::tree::view::{ImageView, join, resolve};

/// Returns the paths of the image that match `pattern`, an absolute one, in byte order; they are
/// absolute as well.
pub(super) fn glob(view: &dyn ImageView, pattern: &[u8]) -> Vec<Vec<u8>> {
    let mut found = vec![Vec::new()];
    for part in pattern.split(|byte| *byte == b'/').skip(1) {
        if part.is_empty() {
            continue;
        }
        found = found.iter().flat_map(|dir| step(view, dir, part)).collect();
    }
    found.sort();
    found
}

fn step(view: &dyn ImageView, dir: &[u8], part: &[u8]) -> Vec<Vec<u8>> {
    let Some(real) = resolve(view, dir) else {
        return Vec::new();
    };
    let names = if part.iter().any(|byte| b"*?[".contains(byte)) {
        let mut names = view.names(&real);
        names.retain(|name| name_matches(part, name, GlobSyntax::Shell));
        names
    } else {
        let name = unescape(part);
        let exists = name == b"." || name == b".." || view.node(&join(&real, &name)).is_some();
        if exists { vec![name] } else { Vec::new() }
    };
    names
        .into_iter()
        .map(|name| [dir, b"/", &name].concat())
        .collect()
}

fn unescape(part: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(part.len());
    let mut bytes = part.iter();
    while let Some(byte) = bytes.next() {
        name.push(match byte {
            b'\\' => *bytes.next().unwrap_or(byte),
            _ => *byte,
        });
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::testing::MemoryView;

    #[test]
    fn a_pattern_finds_paths_through_symlinks_in_byte_order() {
        let view = MemoryView::new()
            .file("etc/b.d/2.conf", b"")
            .file("etc/b.d/1.conf", b"")
            .file("etc/b.d/readme", b"")
            .link("etc/a.d", "b.d");
        let check = |pattern: &str, expect: &[&str]| {
            let expect: Vec<Vec<u8>> = expect.iter().map(|path| path.as_bytes().into()).collect();
            assert_eq!(glob(&view, pattern.as_bytes()), expect, "'{pattern}'");
        };
        check("/etc/a.d/*.conf", &["/etc/a.d/1.conf", "/etc/a.d/2.conf"]);
        check("/etc/?.d/[2-9]*", &["/etc/a.d/2.conf", "/etc/b.d/2.conf"]);
        check("/etc/b.d/readme", &["/etc/b.d/readme"]);
        check(r"/etc/b\.d/read*", &["/etc/b.d/readme"]);
        check("/etc/c.d/*", &[]);
    }
}
