//! Patterns of names and paths: one engine, whose two options say what is special in a name, and
//! how far a path reaches.
//!
//! [`Glob`] is a path pattern of layer definitions (`[state]`, `[rebuild]`): `*` within a
//! component, `**` for any number of components. If it matches a path it matches everything below
//! it too, so a plain path stands for itself and its subtree. No other character is special; the
//! usual suspects (`? [ ] { } \`) are refused rather than taken literally in silence.

use std::cmp::Reverse;
use std::fmt;

use crate::path::RelPath;

/// A checked pattern.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Glob {
    text: String,
}

impl Glob {
    /// Reads `text`, which may start with one `/`, or says what is wrong with it.
    pub fn new(text: &str) -> Result<Self, &'static str> {
        let text = text.strip_prefix('/').unwrap_or(text);
        if text.is_empty() {
            return Err("it is empty");
        }
        if let Some(problem) = RelPath::problem(text.as_bytes()) {
            return Err(problem);
        }
        if text.contains(['?', '[', ']', '{', '}', '\\']) {
            return Err("only '*' and '**' are special; '?[]{}\\' are not allowed");
        }
        if text.split('/').any(|c| c.contains("**") && c != "**") {
            return Err("'**' must be a whole component");
        }
        Ok(Self {
            text: text.to_owned(),
        })
    }

    /// Returns the pattern without a leading `/`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Says whether `path`, or a directory that it lies in, matches.
    pub fn matches(&self, path: &[u8]) -> bool {
        let plain = self.text.find('*').unwrap_or(self.text.len());
        let Some(rest) = path.strip_prefix(&self.text.as_bytes()[..plain]) else {
            return false;
        };
        if plain == self.text.len() {
            return rest.is_empty() || rest[0] == b'/';
        }
        let parts: Vec<GlobPart<'_>> = self
            .text
            .as_bytes()
            .split(is_slash)
            .map(GlobPart::of)
            .collect();
        path_matches(&parts, path, MatchScope::AndBelow)
    }

    /// Orders patterns from the least to the most specific: more literal bytes, then fewer stars,
    /// then by text.
    pub fn specificity(&self) -> (usize, Reverse<usize>, &str) {
        let stars = self.text.bytes().filter(|b| *b == b'*').count();
        (self.text.len() - stars, Reverse(stars), self.text.as_str())
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl serde::Serialize for Glob {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

fn is_slash(byte: &u8) -> bool {
    *byte == b'/'
}

/// One component of a path pattern.
#[derive(Debug, Clone, Copy)]
pub enum GlobPart<'a> {
    /// This name.
    Name(&'a [u8]),
    /// Names with stars: [`GlobSyntax::Stars`].
    Stars(&'a [u8]),
    /// Any number of names; at the end of a pattern at least one, for `a/**` is what lies below
    /// `a`.
    Any,
}

impl<'a> GlobPart<'a> {
    /// Reads one component of a pattern.
    pub fn of(text: &'a [u8]) -> Self {
        match text {
            b"**" => Self::Any,
            text if text.contains(&b'*') => Self::Stars(text),
            text => Self::Name(text),
        }
    }
}

/// What a path pattern stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatchScope {
    /// The paths that it matches.
    Itself,
    /// Those and everything below them.
    AndBelow,
}

/// Says whether `path` matches a pattern of `parts`.
pub fn path_matches(parts: &[GlobPart<'_>], path: &[u8], reach: MatchScope) -> bool {
    // reached[i]: the first i components of the pattern match the names seen so far.
    let mut reached = vec![false; parts.len() + 1];
    let mut next = reached.clone();
    reached[0] = true;
    skip_any(parts, &mut reached);
    for name in path.split(is_slash) {
        next.fill(false);
        for (i, part) in parts.iter().enumerate().filter(|(i, _)| reached[*i]) {
            match part {
                GlobPart::Any => {
                    next[i] = true;
                    next[i + 1] |= i + 1 == parts.len();
                }
                GlobPart::Name(expect) => next[i + 1] |= *expect == name,
                GlobPart::Stars(pattern) => {
                    next[i + 1] |= name_matches(pattern, name, GlobSyntax::Stars);
                }
            }
        }
        skip_any(parts, &mut next);
        std::mem::swap(&mut reached, &mut next);
        if reach == MatchScope::AndBelow && reached[parts.len()] {
            return true;
        }
        if !reached.contains(&true) {
            return false;
        }
    }
    reached[parts.len()]
}

/// Lets a `**` that is not the last component match no component at all.
fn skip_any(parts: &[GlobPart<'_>], reached: &mut [bool]) {
    for i in 0..parts.len().saturating_sub(1) {
        if reached[i] && matches!(parts[i], GlobPart::Any) {
            reached[i + 1] = true;
        }
    }
}

/// What is special in a pattern of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GlobSyntax {
    /// `*` alone.
    Stars,
    /// `*`, `?`, `[...]` without character classes, and `\`, as in glob(7); a leading dot must be
    /// written out.
    Shell,
}

/// Matches one name, going back to the last star on a mismatch.
pub fn name_matches(pattern: &[u8], name: &[u8], syntax: GlobSyntax) -> bool {
    let is_hidden = syntax == GlobSyntax::Shell && name.starts_with(b".");
    if is_hidden && !pattern.starts_with(b".") && !pattern.starts_with(b"\\.") {
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
            Some(byte) => one(&pattern[p..], *byte, syntax),
            None => None,
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

/// Matches one byte against the start of a pattern that is no star, and returns how much of the
/// pattern that took.
fn one(pattern: &[u8], byte: u8, syntax: GlobSyntax) -> Option<usize> {
    match pattern {
        [literal, ..] if syntax == GlobSyntax::Stars => (*literal == byte).then_some(1),
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
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn check(pattern: &str, yes: &[&str], no: &[&str]) {
        let glob = Glob::new(pattern).unwrap();
        for path in yes {
            assert!(glob.matches(path.as_bytes()), "'{pattern}' on '{path}'");
        }
        for path in no {
            assert!(
                !glob.matches(path.as_bytes()),
                "'{pattern}' not on '{path}'"
            );
        }
    }

    #[test]
    fn a_plain_path_matches_itself_and_everything_below() {
        check(
            "var/lib/nginx",
            &["var/lib/nginx", "var/lib/nginx/body/1"],
            &["var/lib", "var/lib/nginx2", "srv/var/lib/nginx", ""],
        );
    }

    #[test]
    fn one_star_stays_within_a_component() {
        check(
            "usr/lib/python3.*",
            &[
                "usr/lib/python3.13",
                "usr/lib/python3.13/os.py",
                "usr/lib/python3.",
            ],
            &["usr/lib/python3", "usr/lib/x/python3.13"],
        );
        check("a/*/c", &["a/b/c", "a/b/c/d"], &["a/c", "a/b/b/c"]);
        check("*-old", &["status-old", "-old"], &["status-older"]);
        check("a*b*c", &["abc", "axbxbxc"], &["abcd", "acb"]);
    }

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
            let found = name_matches(pattern.as_bytes(), name.as_bytes(), GlobSyntax::Shell);
            assert_eq!(found, expect, "'{pattern}' on '{name}'");
        }
        // Where stars alone are special, the rest stands for itself.
        for (pattern, name, expect) in [
            ("*.conf", ".conf", true),
            ("[?]", "[?]", true),
            ("?", "a", false),
        ] {
            let found = name_matches(pattern.as_bytes(), name.as_bytes(), GlobSyntax::Stars);
            assert_eq!(found, expect, "'{pattern}' on '{name}'");
        }
    }

    #[test]
    fn two_stars_cross_components() {
        check("**/x", &["x", "a/x", "a/b/x/y"], &["a", "xa"]);
        check("a/**/z", &["a/z", "a/b/z", "a/b/c/z"], &["a", "z", "a/b"]);
        check("a/**", &["a/b", "a/b/c"], &["a", "b"]);
        check("a/**/*.log", &["a/x.log", "a/b/x.log"], &["a/x.txt"]);
        check("a/**/**", &["a/b"], &["a"]);
    }

    #[test]
    fn long_names_of_stars_and_letters_end_quickly() {
        let pattern = format!("{}b", "a*".repeat(60));
        let glob = Glob::new(&pattern).unwrap();
        assert!(!glob.matches("a".repeat(200).as_bytes()));
    }

    #[test]
    fn bytes_that_are_not_text_match_stars() {
        check("a/*", &[], &["a"]);
        assert!(Glob::new("a/*").unwrap().matches(b"a/\xff\xfe"));
    }

    #[test]
    fn other_specials_and_escapes_from_the_root_are_refused() {
        for bad in [
            "", "/", "a?", "a[0-9]", "{a,b}", "a**", "../a", "a//b", "a/", "a\\*",
        ] {
            assert!(Glob::new(bad).is_err(), "{bad}");
        }
        assert_eq!(Glob::new("/var/lib").unwrap().as_str(), "var/lib");
    }

    #[test]
    fn more_literal_bytes_are_more_specific() {
        let patterns = [
            "var/cache/**",
            "var/cache/*",
            "var/cache/x",
            "var/cache/x/*-old",
        ]
        .map(|text| Glob::new(text).unwrap());
        assert!(patterns.is_sorted_by_key(Glob::specificity));
    }
}
