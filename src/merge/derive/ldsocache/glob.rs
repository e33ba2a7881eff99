//! Shell patterns as in glob(7), on the paths of an image: `*`, `?`, `[...]` and `\`, without character classes.

use crate::tree::view::{ImageView, join, resolve};

/// Returns the paths of the image that match `pattern`, an absolute one, in byte order; they are absolute as well.
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
        names.retain(|name| matches(part, name));
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

/// Says whether one name matches one part of a pattern; a leading dot must be written out.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    if name.starts_with(b".") && !pattern.starts_with(b".") && !pattern.starts_with(b"\\.") {
        return false;
    }
    let (mut p, mut n) = (0, 0);
    // Where to go on should the last star have to take one byte more.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            retry = Some((p, n));
            continue;
        }
        if p == pattern.len() && n == name.len() {
            return true;
        }
        let taken = match name.get(n) {
            Some(byte) if p < pattern.len() => one(&pattern[p..], *byte),
            _ => None,
        };
        match (taken, retry) {
            (Some(length), _) => {
                p += length;
                n += 1;
            }
            (None, Some((star, from))) if from < name.len() => {
                p = star;
                n = from + 1;
                retry = Some((star, n));
            }
            (None, _) => return false,
        }
    }
}

/// Matches one byte against the start of a pattern that is no star, and returns how much of the pattern that took.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [b'?', ..] => Some(1),
        [b'\\', literal, ..] => (*literal == byte).then_some(2),
        [b'[', rest @ ..] => match set(rest, byte) {
            Some((length, inside)) => inside.then_some(1 + length),
            // Without an end it is an ordinary character.
            None => (byte == b'[').then_some(1),
        },
        [literal, ..] => (*literal == byte).then_some(1),
        [] => None,
    }
}

/// Returns the length of a bracket expression after its `[`, and whether `byte` is in it.
fn set(rest: &[u8], byte: u8) -> Option<(usize, bool)> {
    let negated = matches!(rest.first(), Some(b'!' | b'^'));
    let start = usize::from(negated);
    let mut at = start;
    let mut inside = false;
    loop {
        let mut low = *rest.get(at)?;
        if low == b']' && at > start {
            return Some((at + 1, inside != negated));
        }
        if low == b'\\' {
            at += 1;
            low = *rest.get(at)?;
        }
        at += 1;
        match rest.get(at..at + 2) {
            Some([b'-', high]) if *high != b']' => {
                inside |= (low..=*high).contains(&byte);
                at += 2;
            }
            _ => inside |= low == byte,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::testing::MemoryView;

    #[test]
    fn patterns_match_names_as_in_a_shell() {
        for (pattern, name, expect) in [
            ("*.conf", "a.conf", true),
            ("*.conf", ".conf", false),
            (".*", ".conf", true),
            ("?.conf", ".conf", false),
            ("*", "", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b-", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            ("[]x]", "]", true),
            ("[a-]", "-", true),
            ("[", "[", true),
            ("[ab", "[ab", true),
            (r"\*", "*", true),
            (r"\*", "a", false),
            (r"[\]]", "]", true),
            ("*a", "aaab", false),
        ] {
            let found = matches(pattern.as_bytes(), name.as_bytes());
            assert_eq!(found, expect, "'{pattern}' on '{name}'");
        }
    }

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
