//! Hashes of passwords: crypt(5), and those of web servers and LDAP.

use super::plausible::is_example;

const fn is_of_crypt(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/')
}

/// Returns the length of the hash with a method's mark that `text` begins with, if it is one: with
/// all parts, of the length that its method has.
pub(super) fn marked(text: &[u8]) -> Option<usize> {
    let rest = text.strip_prefix(b"$")?;
    let end = rest.iter().position(|byte| *byte == b'$')?;
    let (method, rest) = (&rest[..end], &rest[end + 1..]);
    let (salt, digest) = match method {
        b"1" | b"apr1" => (0..=8, 22),
        b"5" => (0..=16, 43),
        b"6" => (0..=16, 86),
        b"2a" | b"2b" | b"2x" | b"2y" => {
            return bcrypt(rest).map(|length| text.len() - rest.len() + length);
        }
        b"y" | b"gy" => (1..=86, 43),
        b"7" => (11..=97, 43),
        b"argon2i" | b"argon2id" | b"argon2d" => return argon(text),
        _ => return None,
    };
    let mut after = rest;
    // Cost: `rounds=N$` in SHA-2, a word in yescrypt.
    let has_cost = matches!(method, b"y" | b"gy") || after.starts_with(b"rounds=");
    if has_cost {
        let end = after.iter().take(24).position(|byte| *byte == b'$')?;
        after = &after[end + 1..];
    }
    let length = run(after, is_of_crypt);
    if !salt.contains(&length) || after.get(length) != Some(&b'$') {
        return None;
    }
    let body = &after[length + 1..];
    let is_whole =
        run(body, is_of_crypt) == digest && !is_example(&body[..digest]) && varies(&body[..digest]);
    is_whole.then(|| text.len() - body.len() + digest)
}

fn bcrypt(rest: &[u8]) -> Option<usize> {
    let cost = rest.get(..3)?;
    let is_cost = cost[0].is_ascii_digit() && cost[1].is_ascii_digit() && cost[2] == b'$';
    let body = &rest[3..];
    let is_whole =
        is_cost && run(body, is_of_crypt) == 53 && !is_example(&body[..53]) && varies(&body[..53]);
    is_whole.then_some(56)
}

fn argon(text: &[u8]) -> Option<usize> {
    let length = run(text, |byte| is_of_crypt(byte) || b"$+=,".contains(&byte));
    let parts: Vec<&[u8]> = text[..length].split(|byte| *byte == b'$').collect();
    let [.., cost, salt, digest] = parts.as_slice() else {
        return None;
    };
    let is_whole =
        cost.starts_with(b"m=") && salt.len() >= 11 && digest.len() >= 16 && varies(digest);
    is_whole.then_some(length)
}

/// Says whether a field of an account database has a hash that opens something, or opened it before
/// it was locked: with a mark, or of DES or BSDi.
pub(super) fn in_field(field: &[u8]) -> bool {
    let locked = field
        .iter()
        .take_while(|byte| matches!(byte, b'!' | b'*'))
        .count();
    let hash = &field[locked..];
    let is_of = |text: &[u8]| text.iter().all(|byte| is_of_crypt(*byte));
    match hash {
        [b'$', ..] => marked(hash).is_some(),
        [b'_', rest @ ..] => rest.len() == 19 && is_of(rest),
        // Words of 13 letters are no hashes: those have digits, points and both cases.
        _ => hash.len() == 13 && is_of(hash) && is_mixed(hash),
    }
}

fn is_mixed(hash: &[u8]) -> bool {
    let has = |kind: fn(&u8) -> bool| hash.iter().any(kind);
    has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase)
        || has(u8::is_ascii_digit)
        || has(|byte| matches!(byte, b'.' | b'/'))
}

/// Says whether `text` begins with the hash of an LDAP or web server, such as `{SSHA}…`.
pub(super) fn braced(text: &[u8]) -> bool {
    let Some(end) = text.iter().take(16).position(|byte| *byte == b'}') else {
        return false;
    };
    let (scheme, rest) = (text[1..end].to_ascii_uppercase(), &text[end + 1..]);
    let digest = match scheme.as_slice() {
        b"SHA" | b"SSHA" => 20,
        b"MD5" | b"SMD5" => 16,
        b"SHA256" | b"SSHA256" => 32,
        b"SHA512" | b"SSHA512" => 64,
        b"CRYPT" => return marked(rest).is_some() || rest.len() >= 13 && in_field(&rest[..13]),
        _ => return false,
    };
    let length = run(rest, |byte| {
        byte.is_ascii_alphanumeric() || b"+/=".contains(&byte)
    });
    let Some(bytes) = super::armour::base64(&rest[..length]) else {
        return false;
    };
    let salt = bytes.len().checked_sub(digest);
    let is_salted = scheme.starts_with(b"SS") || scheme.starts_with(b"SM");
    let fits = if is_salted {
        salt.is_some_and(|salt| (4..=32).contains(&salt))
    } else {
        salt == Some(0)
    };
    fits && !is_example(&rest[..length])
}

fn run(text: &[u8], is_of: impl Fn(u8) -> bool) -> usize {
    text.iter().take_while(|byte| is_of(**byte)).count()
}

fn varies(digest: &[u8]) -> bool {
    let different: std::collections::BTreeSet<&u8> = digest.iter().collect();
    different.len() >= 10
}
