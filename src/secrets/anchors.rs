//! What is looked for in every file: literals, and the reader that decides at each of them.

use super::plausible::{is_example, is_random, is_random_bytes};
use super::tokens::{TOKENS, TokenShape, aws_pair, is_aws_secret, jwt};
use super::{armour, hashes};

/// Decides about the literal at a place.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reader {
    /// A function of the text, the place and the literal's length.
    Of(fn(&[u8], usize, usize) -> Option<&'static str>),
    /// A literal of PEM in base64, and its place within a group of four characters.
    Base64(usize),
    /// A token.
    Token(&'static TokenShape),
}

/// Literals and their readers. A reader tells fast that a literal is nothing.
const LITERALS: &[(&str, Reader)] = &[
    ("PRIVATE KEY-----", Reader::Of(armour::pem)),
    ("PRIVATE KEY BLOCK-----", Reader::Of(armour::pgp)),
    ("PRIVATE KEY ----", Reader::Of(armour::ssh_com)),
    ("BEGIN OpenVPN ", Reader::Of(armour::openvpn)),
    (
        "PuTTY-User-Key-File-",
        Reader::Of(|text, at, _| armour::putty(text, at)),
    ),
    // `-----BEGIN ` at the start of base64, and `PRIVATE KEY-----` at each of its three places.
    ("LS0tLS1CRUdJTi", Reader::Base64(0)),
    ("UFJJVkFURSBLRVktLS0tL", Reader::Base64(0)),
    ("BSSVZBVEUgS0VZLS0tLS", Reader::Base64(2)),
    ("QUklWQVRFIEtFWS0tLS0t", Reader::Base64(3)),
    ("AGE-SECRET-KEY-1", Reader::Of(age)),
    ("PrivateKey", Reader::Of(wireguard)),
    ("PresharedKey", Reader::Of(wireguard)),
    ("Private-key-format: v", Reader::Of(dnssec)),
    ("algorithm hmac-", Reader::Of(tsig)),
    ("algorithm \"hmac-", Reader::Of(tsig)),
    ("algorithm: hmac-", Reader::Of(tsig)),
    (
        "11:private-key(",
        Reader::Of(|_, _, _| Some("a private key of gpg-agent")),
    ),
    (
        "21:protected-private-key(",
        Reader::Of(|_, _, _| Some("a private key of gpg-agent")),
    ),
    (
        "Key: (private-key",
        Reader::Of(|_, _, _| Some("a private key of gpg-agent")),
    ),
    (
        "Key: (protected-private-key",
        Reader::Of(|_, _, _| Some("a private key of gpg-agent")),
    ),
    ("$1$", Reader::Of(hash)),
    ("$5$", Reader::Of(hash)),
    ("$6$", Reader::Of(hash)),
    ("$7$", Reader::Of(hash)),
    ("$y$", Reader::Of(hash)),
    ("$gy$", Reader::Of(hash)),
    ("$2a$", Reader::Of(hash)),
    ("$2b$", Reader::Of(hash)),
    ("$2y$", Reader::Of(hash)),
    ("$apr1$", Reader::Of(hash)),
    ("$argon2", Reader::Of(hash)),
    ("{SHA", Reader::Of(braced)),
    ("{SSHA", Reader::Of(braced)),
    ("{SMD5}", Reader::Of(braced)),
    ("{CRYPT}", Reader::Of(braced)),
    ("olcRootPW:", Reader::Of(root_password)),
    ("eyJ", Reader::Of(|text, at, _| jwt(text, at))),
    ("AKIA", Reader::Of(|text, at, _| aws_pair(text, at))),
    ("ASIA", Reader::Of(|text, at, _| aws_pair(text, at))),
    ("ecret_access_key", Reader::Of(aws_secret)),
    ("ECRET_ACCESS_KEY", Reader::Of(aws_secret)),
    ("ecretAccessKey", Reader::Of(aws_secret)),
    ("AccountKey=", Reader::Of(azure)),
    ("hooks.slack.com/services/T", Reader::Of(slack_hook)),
];

/// Returns all literals with their readers.
pub(super) fn all() -> impl Iterator<Item = (&'static str, Reader)> {
    let tokens = TOKENS
        .iter()
        .map(|shape| (shape.prefix, Reader::Token(shape)));
    LITERALS.iter().copied().chain(tokens)
}

/// An identity of age(1): Bech32 of 32 bytes.
fn age(text: &[u8], at: usize, mark: usize) -> Option<&'static str> {
    let word = word(&text[at + mark..], |byte| {
        byte.is_ascii_uppercase() || byte.is_ascii_digit()
    });
    (word.len() == 58 && is_random(word)).then_some("an age identity")
}

/// A key of wg(8): base64 of 32 bytes. Private ones are clamped as Curve25519 has it.
///
/// A key of a zone for Ed25519 has the same name and length, and one of 32 looks clamped by chance: it
/// stands below the head that dnssec-keygen(8) writes.
fn wireguard(text: &[u8], at: usize, mark: usize) -> Option<&'static str> {
    let before = &text[at.saturating_sub(400)..at];
    let head = b"Private-key-format:";
    if before.windows(head.len()).any(|part| part == head) {
        return None;
    }
    let rest = text[at + mark..].trim_ascii_start();
    let rest = rest
        .strip_prefix(b"=")
        .or_else(|| rest.strip_prefix(b":"))?;
    let value = word(rest.trim_ascii_start().trim_prefix_quote(), is_of_base64);
    let bytes = armour::base64(value).filter(|bytes| value.len() == 44 && bytes.len() == 32)?;
    let is_private = text[at..].starts_with(b"Private");
    let is_clamped = bytes[0] & 7 == 0 && bytes[31] & 0xc0 == 0x40;
    let is_key = is_random_bytes(&bytes) && (is_clamped || !is_private);
    is_key.then_some(if is_private {
        "a WireGuard private key"
    } else {
        "a WireGuard preshared key"
    })
}

/// A key of a zone, as dnssec-keygen(8) writes it.
fn dnssec(text: &[u8], at: usize, _: usize) -> Option<&'static str> {
    let near = &text[at..text.len().min(at + 4096)];
    let lines = near.split(|byte| *byte == b'\n');
    let value = |line: &[u8]| {
        let rest = [
            "PrivateExponent:",
            "PrivateKey:",
            "Private_value(x):",
            "Key:",
        ]
        .iter()
        .find_map(|name| line.trim_ascii_start().strip_prefix(name.as_bytes()))?;
        armour::base64(rest.trim_ascii())
    };
    let mut keys = lines.filter_map(value);
    keys.any(|bytes| bytes.len() >= 16 && is_random_bytes(&bytes))
        .then_some("a DNSSEC private key")
}

/// A key of rndc(8), nsupdate(1) and of transfers: `secret` beside `algorithm`.
fn tsig(text: &[u8], at: usize, _: usize) -> Option<&'static str> {
    // Both stand in one block.
    let start = text[..at]
        .iter()
        .rev()
        .take(400)
        .take_while(|byte| **byte != b'{')
        .count();
    let after = text[at..]
        .iter()
        .take(400)
        .take_while(|byte| !matches!(byte, b'}' | b'{'))
        .count();
    let near = &text[at - start..at + after];
    let place = memchr::memmem::find(near, b"secret")? + b"secret".len();
    let rest = near[place..].trim_ascii_start();
    let rest = rest.strip_prefix(b":").unwrap_or(rest).trim_ascii_start();
    let value = word(rest.trim_prefix_quote(), is_of_base64);
    let bytes = armour::base64(value)?;
    (bytes.len() >= 8 && is_random_bytes(&bytes) && !is_example(value) && !is_example(&bytes))
        .then_some("a TSIG key")
}

fn hash(text: &[u8], at: usize, _: usize) -> Option<&'static str> {
    hashes::marked(&text[at..]).map(|_| "a password hash")
}

fn braced(text: &[u8], at: usize, _: usize) -> Option<&'static str> {
    hashes::braced(&text[at..]).then_some("a password hash")
}

/// The password of slapd's administrator, plain, hashed, or (`::`) in base64.
fn root_password(text: &[u8], at: usize, mark: usize) -> Option<&'static str> {
    let rest = &text[at + mark..];
    let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
    let value = rest[..end]
        .strip_prefix(b":")
        .unwrap_or(&rest[..end])
        .trim_ascii();
    let value = std::str::from_utf8(value).ok()?;
    let is_line = at == 0 || text[at - 1] == b'\n' || text[at - 1] == b' ';
    (is_line && !super::plausible::is_placeholder(value)).then_some("slapd's root password")
}

fn aws_secret(text: &[u8], at: usize, mark: usize) -> Option<&'static str> {
    let rest = &text[at + mark..];
    let gap = rest
        .iter()
        .take(8)
        .take_while(|byte| b" \t\"'=:>".contains(byte))
        .count();
    let value = word(&rest[gap..], |byte| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'+')
    });
    (gap > 0 && is_aws_secret(value)).then_some("an AWS key")
}

/// A key of an Azure storage account: base64 of 64 bytes.
fn azure(text: &[u8], at: usize, mark: usize) -> Option<&'static str> {
    let value = word(&text[at + mark..], is_of_base64);
    let bytes = armour::base64(value)?;
    // The emulator's key is the same everywhere.
    let is_emulator = value.starts_with(b"Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1");
    (value.len() == 88 && bytes.len() == 64 && is_random_bytes(&bytes) && !is_emulator)
        .then_some("an Azure storage key")
}

fn slack_hook(text: &[u8], at: usize, mark: usize) -> Option<&'static str> {
    let path = word(&text[at + mark - 1..], |byte| {
        byte.is_ascii_alphanumeric() || byte == b'/'
    });
    let mut parts = path.split(|byte| *byte == b'/');
    let (team, hook, key) = (parts.next()?, parts.next()?, parts.next()?);
    let is_hook = team.len() >= 9 && hook.starts_with(b"B") && key.len() >= 20 && is_random(key);
    is_hook.then_some("the address of a Slack hook")
}

const fn is_of_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
}

/// Returns the word at the start of `text`.
fn word(text: &[u8], is_of: impl Fn(u8) -> bool) -> &[u8] {
    let length = text
        .iter()
        .take(256)
        .take_while(|byte| is_of(**byte))
        .count();
    &text[..length]
}

trait TrimQuote {
    fn trim_prefix_quote(&self) -> &[u8];
}

impl TrimQuote for [u8] {
    fn trim_prefix_quote(&self) -> &[u8] {
        match self {
            [b'\\', b'"', rest @ ..] | [b'"' | b'\'', rest @ ..] => rest,
            whole => whole,
        }
    }
}
