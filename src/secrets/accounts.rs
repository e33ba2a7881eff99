//! Databases of accounts: shadow(5), gshadow(5), passwd(5), group(5), htpasswd(1), and files of the
//! same form.

use super::hashes;
use super::plausible::is_placeholder;

/// A finding: a line, counted from 1, and what it has.
pub(super) type Found = (u64, &'static str);

const HASH: &str = "a password hash";
const EMPTY: &str = "an account that opens without a password";

fn lines(text: &[u8]) -> impl Iterator<Item = (u64, Vec<&[u8]>)> {
    text.split(|byte| *byte == b'\n')
        .zip(1..)
        .filter(|(line, _)| !line.starts_with(b"#") && !line.is_empty())
        .map(|(line, number)| {
            (
                number,
                line.trim_ascii_end().split(|byte| *byte == b':').collect(),
            )
        })
}

/// Reads `shadow`, `gshadow` and copies of them: the number of fields tells which it is.
pub(super) fn shadow(text: &[u8]) -> Vec<Found> {
    let judge = |(number, fields): (u64, Vec<&[u8]>)| {
        let [name, field, rest @ ..] = fields.as_slice() else {
            return None;
        };
        // Only in shadow does an empty field open anything.
        let is_shadow = rest.len() >= 6
            && rest[..6]
                .iter()
                .all(|field| field.iter().all(u8::is_ascii_digit));
        match field.is_empty() {
            true => (is_shadow && !name.is_empty()).then_some((number, EMPTY)),
            false => hashes::in_field(field).then_some((number, HASH)),
        }
    };
    lines(text).filter_map(judge).collect()
}

/// Reads `passwd`, or `group`, where an empty field opens nothing.
pub(super) fn passwd(text: &[u8]) -> Vec<Found> {
    let judge = |(number, fields): (u64, Vec<&[u8]>)| {
        let is_number = |field: &[u8]| !field.is_empty() && field.iter().all(u8::is_ascii_digit);
        match fields.as_slice() {
            [name, b"", uid, gid, _, home, _]
                if is_number(uid)
                    && is_number(gid)
                    && !name.is_empty()
                    && home.starts_with(b"/") =>
            {
                Some((number, EMPTY))
            }
            [_, field, id, ..] if is_number(id) && hashes::in_field(field) => Some((number, HASH)),
            _ => None,
        }
    };
    lines(text).filter_map(judge).collect()
}

/// Reads `htpasswd`: a name and a hash, plain in old files for other systems.
pub(super) fn htpasswd(text: &[u8]) -> Vec<Found> {
    let judge = |(number, fields): (u64, Vec<&[u8]>)| {
        let [_, field, ..] = fields.as_slice() else {
            return None;
        };
        (hashes::in_field(field) || hashes::braced(field)).then_some((number, HASH))
    };
    lines(text).filter_map(judge).collect()
}

/// Reads `htdigest`: a name, a realm, and a digest of MD5.
pub(super) fn htdigest(text: &[u8]) -> Vec<Found> {
    let judge = |(number, fields): (u64, Vec<&[u8]>)| match fields.as_slice() {
        [_, _, digest] => (digest.len() == 32 && digest.iter().all(u8::is_ascii_hexdigit))
            .then_some((number, HASH)),
        _ => None,
    };
    lines(text).filter_map(judge).collect()
}

/// Reads `.pgpass`: five fields, the last of them the password.
pub(super) fn pgpass(text: &[u8]) -> Vec<Found> {
    let judge = |(number, fields): (u64, Vec<&[u8]>)| {
        let password = std::str::from_utf8(fields.get(4..)?.first()?).ok()?;
        (!is_placeholder(password)).then_some((number, "a password"))
    };
    lines(text).filter_map(judge).collect()
}

/// Reads files of `name:password`, as exim's and rsync's are.
pub(super) fn pairs(text: &[u8]) -> Vec<Found> {
    let judge = |(number, fields): (u64, Vec<&[u8]>)| {
        let password = std::str::from_utf8(fields.get(1..)?.last()?).ok()?;
        (!is_placeholder(password)).then_some((number, "a password"))
    };
    lines(text).filter_map(judge).collect()
}

/// Reads words: `name server password`, as PPP's files have them; the one at `column` is secret.
pub(super) fn columns(text: &[u8], column: usize) -> Vec<Found> {
    let lines = String::from_utf8_lossy(text);
    let judge = |(line, number): (&str, u64)| {
        let line = line.trim_start();
        if line.starts_with('#') {
            return None;
        }
        let word = line.split_ascii_whitespace().nth(column)?.trim_matches('"');
        (!is_placeholder(word)).then_some((number, "a password"))
    };
    lines.lines().zip(1..).filter_map(judge).collect()
}

/// Reads `.netrc`: the word after `password`.
pub(super) fn netrc(text: &[u8]) -> Vec<Found> {
    let text = String::from_utf8_lossy(text);
    let mut found = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        if line.trim_start().starts_with('#') {
            continue;
        }
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let passwords = words
            .windows(2)
            .filter(|pair| matches!(pair[0], "password" | "passwd" | "account"));
        if passwords
            .filter(|pair| pair[0] != "account")
            .any(|pair| !is_placeholder(pair[1]))
        {
            found.push((number, "a password"));
        }
    }
    found
}
