//! Path patterns of layer definitions (`[state]`, `[rebuild]`): `*` within a component, `**` for any number of components.
//!
//! A pattern that matches a path matches everything below it too, so a plain path stands for itself and its subtree.
//! No other character is special; the usual suspects (`? [ ] { } \`) are refused rather than taken literally in silence.

use std::cmp::Reverse;
use std::fmt;

use crate::path::RelPath;

/// A checked pattern.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Glob {
    text: String,
}

impl Glob {
    /// Checks `text`, which may start with one `/`; says what is wrong with it else.
    pub fn new(text: &str) -> Result<Self, &'static str> {
        let text = text.strip_prefix('/').unwrap_or(text);
        if text.is_empty() {
            return Err("it is empty");
        }
        if let Some(problem) = RelPath::problem(text.as_bytes()) {
            return Err(problem);
        }
        if text.contains(['?', '[', ']', '{', '}', '\\']) {
            return Err("only '*' and '**' are special: none of '?[]{}\\' may be used");
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
        let pattern: Vec<&[u8]> = self.text.as_bytes().split(is_slash).collect();
        let names: Vec<&[u8]> = path.split(is_slash).collect();
        // reached[i]: the first i components of the pattern match the names seen so far.
        let mut reached = vec![false; pattern.len() + 1];
        reached[0] = true;
        skip_stars(&pattern, &mut reached);
        for name in names {
            let mut next = vec![false; pattern.len() + 1];
            for (i, part) in pattern.iter().enumerate().filter(|(i, _)| reached[*i]) {
                if *part == b"**" {
                    next[i] = true;
                    // A closing `**` takes at least one name: `a/**` is what lies below `a`.
                    next[i + 1] |= i + 1 == pattern.len();
                } else if name_matches(part, name) {
                    next[i + 1] = true;
                }
            }
            skip_stars(&pattern, &mut next);
            if next[pattern.len()] {
                return true;
            }
            reached = next;
        }
        false
    }

    /// Orders patterns from the least to the most specific: more literal bytes, then fewer stars, then by text.
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

/// Lets a `**` that is not the last component match no component at all.
fn skip_stars(pattern: &[&[u8]], reached: &mut [bool]) {
    for i in 0..pattern.len().saturating_sub(1) {
        if reached[i] && pattern[i] == b"**" {
            reached[i + 1] = true;
        }
    }
}

/// Matches one component against a pattern with `*`, going back to the last star on a mismatch.
pub fn name_matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star = None;
    while n < name.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, n));
            p += 1;
        } else if pattern.get(p) == Some(&name[n]) {
            p += 1;
            n += 1;
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            p = at + 1;
            n = from + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|b| *b == b'*')
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
