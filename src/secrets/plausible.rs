//! Tells random text from examples, placeholders and references to where a secret is.

use std::collections::BTreeSet;

/// Words that no generated secret has, and that people write where one would stand.
const EXAMPLES: [&str; 22] = [
    "example",
    "changeme",
    "change_me",
    "change-me",
    "change me",
    "placeholder",
    "your",
    "xxxx",
    "redacted",
    "dummy",
    "insert",
    "replace",
    "sample",
    "foobar",
    "deadbeef",
    "0123456789",
    "1234567890",
    "abcdefgh",
    "secret-here",
    "todo",
    "fixme",
    "hidden",
];
/// Values that say that there is none, or name what a program asks for.
const NONE: [&str; 27] = [
    "",
    "none",
    "null",
    "nil",
    "false",
    "true",
    "yes",
    "no",
    "ask",
    "prompt",
    "password",
    "passwd",
    "secret",
    "pass",
    "foo",
    "bar",
    "test",
    "token",
    "string",
    "str",
    "optional",
    "required",
    "default",
    "undefined",
    "unset",
    "empty",
    "key",
];

/// Says whether a value of a setting stands for a secret that is not there.
pub(super) fn is_placeholder(value: &str) -> bool {
    let value = value.trim();
    let lower = value.to_ascii_lowercase();
    NONE.contains(&lower.as_str())
        || !value.contains(|c: char| c.is_alphanumeric())
        || is_reference(value)
        || is_example(value.as_bytes())
}

/// Says whether a value is filled in elsewhere: a variable, a template, a path.
fn is_reference(value: &str) -> bool {
    let is_variable = value.strip_prefix('$').is_some_and(|rest| {
        rest.starts_with(|c: char| c.is_alphabetic() || "_({".contains(c))
            && !rest.starts_with("y$")
    });
    is_variable && !value.starts_with("$argon2")
        || [
            "%", "<", "{", "[", "@", "!", "/", "file:", "env:", "vault:", "ENC(", "..", "__",
        ]
        .iter()
        .any(|start| value.starts_with(start))
            && !value.starts_with("{S")
        || value.contains("${")
        || value.contains("{{")
        || value.contains("%(")
}

/// Says whether bytes are an example: a known word, few different characters, or one repeated.
pub(super) fn is_example(value: &[u8]) -> bool {
    let lower = value.to_ascii_lowercase();
    let has = |word: &&str| memchr::memmem::find(&lower, word.as_bytes()).is_some();
    let dull = value.len() >= 6
        && value
            .iter()
            .all(|byte| *byte == value[0] || b"*.-_ ".contains(byte));
    EXAMPLES.iter().any(has) || dull || value.iter().all(|byte| b"*.xX?-".contains(byte))
}

/// Says whether a token has as many different characters as a random one of its length, and is no
/// example. Digits and letters are both there, as in all but one of a thousand random tokens.
pub(super) fn is_random(token: &[u8]) -> bool {
    let letters = token
        .iter()
        .filter(|byte| byte.is_ascii_alphabetic())
        .count();
    let digits = token.iter().filter(|byte| byte.is_ascii_digit()).count();
    letters > 0 && digits > 0 && !is_example(token) && entropy(token) >= least_entropy(token.len())
}

/// Says whether bytes vary like those of a key.
pub(super) fn is_random_bytes(bytes: &[u8]) -> bool {
    let different: BTreeSet<u8> = bytes.iter().copied().collect();
    different.len() * 2 >= bytes.len().min(64)
}

/// The entropy of one character, in bits, as the counts of this text give it.
fn entropy(text: &[u8]) -> f64 {
    let mut counts = [0u32; 256];
    text.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
    let all = text.len().max(1) as f64;
    let used = counts.iter().filter(|count| **count > 0);
    used.map(|count| f64::from(*count) / all)
        .map(|share| -share * share.log2())
        .sum()
}

/// Random hexadecimal digits have at most 4 bits and short texts not all their characters.
fn least_entropy(length: usize) -> f64 {
    match length {
        0..24 => 2.8,
        24..40 => 3.0,
        _ => 3.2,
    }
}
