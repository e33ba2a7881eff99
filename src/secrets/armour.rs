//! Keys in a text: PEM (RFC 7468), OpenPGP (RFC 9580), SSH's (RFC 4716) and PuTTY's formats, however
//! the text is packed: indented, quoted, commented out, on one line with `\n`, or in base64.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

use super::der;
use super::plausible::is_random_bytes;

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// A label of PEM is not longer, in bytes.
const LABEL: usize = 48;

const fn is_of_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
}

/// Decodes base64 with or without padding; a last character that stands for no byte is left out.
pub(super) fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let end = text
        .iter()
        .position(|byte| *byte == b'=')
        .unwrap_or(text.len());
    let end = if end % 4 == 1 { end - 1 } else { end };
    LENIENT.decode(&text[..end]).ok()
}

/// A block of text between its first and last line.
struct Block {
    body: Vec<u8>,
    is_encrypted: bool,
    /// Whether its last line is there.
    is_ended: bool,
}

/// Says which key the block is whose first line has `PRIVATE KEY-----` at `at`.
pub(super) fn pem(text: &[u8], at: usize, mark: usize) -> Option<&'static str> {
    let label = label(&text[..at], b"-----BEGIN ")?;
    let block = block(&text[at + mark..]);
    let bytes = base64(&block.body)?;
    let is_long = bytes.len() >= 32 && is_random_bytes(&bytes);
    if bytes.starts_with(b"openssh-key-v1\0") && bytes.len() >= 100 {
        return Some("an OpenSSH private key");
    }
    if block.is_encrypted {
        return (bytes.len() >= 48 && is_long).then_some("an encrypted private key");
    }
    match label {
        b"" | b"RSA " | b"DSA " | b"EC " | b"ENCRYPTED " | b"OPENSSH " | b"ANY " => {
            let whole = der::key(&bytes).filter(|_| is_long);
            // Cut off, but with its last line: somebody's key may be damaged.
            whole.or_else(|| {
                (block.is_ended && der::is_start_of_key(&bytes)).then_some("a private key")
            })
        }
        _ => is_long.then_some("a private key"),
    }
}

/// Says whether the OpenPGP block with `PRIVATE KEY BLOCK-----` at `at` begins with a secret key.
pub(super) fn pgp(text: &[u8], at: usize, mark: usize) -> Option<&'static str> {
    label(&text[..at], b"-----BEGIN PGP ").filter(|label| label.is_empty())?;
    let bytes = base64(&block(&text[at + mark..]).body)?;
    super::stores::is_secret_packet(&bytes).then_some("an OpenPGP private key")
}

/// Says whether the block with `PRIVATE KEY ----` at `at` is one of ssh.com's.
pub(super) fn ssh_com(text: &[u8], at: usize, mark: usize) -> Option<&'static str> {
    label(&text[..at], b"---- BEGIN ")?;
    let bytes = base64(&block(&text[at + mark..]).body)?;
    bytes
        .starts_with(&[0x3f, 0x6f, 0xf9, 0xeb])
        .then_some("an SSH private key")
}

/// Says whether `BEGIN OpenVPN Static key` at `at` is followed by a key in hexadecimal digits.
pub(super) fn openvpn(text: &[u8], at: usize, mark: usize) -> Option<&'static str> {
    let rest = &text[at + mark..];
    let end = memchr::memmem::find(rest, b"-----")? + 5;
    let body = block(&rest[end..]).body;
    let is_key = if memchr::memmem::find(&rest[..end], b"Static").is_some() {
        body.len() >= 256 && body.iter().all(u8::is_ascii_hexdigit)
    } else {
        body.len() >= 256
    };
    (is_key && is_random_bytes(&base64(&body)?)).then_some("an OpenVPN key")
}

/// Says whether a PuTTY key file that begins at `at` has its private part.
pub(super) fn putty(text: &[u8], at: usize) -> Option<&'static str> {
    let lines = plain(&text[at..]);
    let place = memchr::memmem::find(&lines, b"Private-Lines: ")?;
    let after = &lines[place..];
    let line = memchr::memchr(b'\n', after)?;
    let is_margin = |byte: &&u8| byte.is_ascii_whitespace() || b"#>*|;".contains(byte);
    let margin = after[line..].iter().take_while(is_margin).count();
    let key = &after[line + margin..];
    (key.iter().take_while(|byte| is_of_base64(**byte)).count() >= 24)
        .then_some("a PuTTY private key")
}

/// Finds a key in the base64 that has a literal of PEM at `at`: `phase` is its place within a group
/// of four characters. Returns where the base64 begins too.
pub(super) fn in_base64(text: &[u8], at: usize, phase: usize) -> Option<(&'static str, usize)> {
    let before = text[..at]
        .iter()
        .rev()
        .take_while(|byte| is_of_base64(**byte) && **byte != b'=')
        .count();
    let start = at - before + (before + 4 - phase) % 4;
    let start = if start <= at { start } else { return None };
    let decoded = base64(&block(&text[start..]).body)?;
    let mut from = 0;
    while let Some(found) = memchr::memmem::find(&decoded[from..], PEM) {
        let place = from + found;
        if let Some(kind) = pem(&decoded, place, PEM.len()) {
            return Some((kind, start));
        }
        from = place + PEM.len();
    }
    None
}

/// What the first line of every private key in PEM ends with.
pub(super) const PEM: &[u8] = b"PRIVATE KEY-----";

/// Returns what stands between `begin` and the end of `before`.
fn label<'a>(before: &'a [u8], begin: &[u8]) -> Option<&'a [u8]> {
    let tail = &before[before.len().saturating_sub(LABEL)..];
    let start = memchr::memmem::rfind(tail, begin)? + begin.len();
    let label = &tail[start..];
    let is_label = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b' ';
    label.iter().all(is_label).then_some(label)
}

/// Reads a block up to its last line, or to where it is none any more.
fn block(text: &[u8]) -> Block {
    let plain = plain(text);
    // An empty line ends the headers. Where somebody packed it away, the last colon does.
    let block = read_block(&plain, true);
    if block.body.is_empty() {
        read_block(&plain, false)
    } else {
        block
    }
}

fn read_block(plain: &[u8], has_empty_line: bool) -> Block {
    let mut block = Block {
        body: Vec::new(),
        is_encrypted: false,
        is_ended: false,
    };
    let mut in_headers = false;
    for line in plain.split(|byte| *byte == b'\n') {
        let line = line.trim_ascii();
        let line = line.strip_prefix(b"// ").unwrap_or(line);
        let is_margin = |byte: &&u8| byte.is_ascii_whitespace() || b"#>*|;,)".contains(byte);
        let margin = line.iter().take_while(is_margin).count();
        let line = &line[margin..];
        let end = line.iter().rev().take_while(is_margin).count();
        let line = &line[..line.len() - end];
        if block.body.is_empty() && line.contains(&b':') {
            block.is_encrypted |= memchr::memmem::find(line, b"ENCRYPTED").is_some();
            in_headers = has_empty_line;
            continue;
        }
        if in_headers {
            in_headers = !line.is_empty();
            continue;
        }
        // The checksum of OpenPGP.
        if line.len() == 5 && line[0] == b'=' {
            break;
        }
        for word in line
            .split(u8::is_ascii_whitespace)
            .filter(|word| !matches!(*word, b"" | b"+"))
        {
            let length = word.iter().take_while(|byte| is_of_base64(**byte)).count();
            block.body.extend_from_slice(&word[..length]);
            if length < word.len() {
                block.is_ended = word[length..].starts_with(b"-----");
                return block;
            }
        }
    }
    block
}

/// Takes escapes and quotes away: what is left is what a program would read.
fn plain(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len().min(8 << 10));
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        at += 1;
        match byte {
            b'\\' => {
                at += text[at..].iter().take_while(|byte| **byte == b'\\').count();
                at += escape(&text[at..], &mut out);
            }
            b'%' | b'&' => match coded(&text[at - 1..]) {
                Some((length, byte)) => {
                    out.push(byte);
                    at += length - 1;
                }
                None => out.push(byte),
            },
            b'\r' => out.push(b'\n'),
            b'"' | b'\'' | b'`' => {
                // After a closing quote, an operator may join the next piece.
                if out.last().is_some_and(|byte| !byte.is_ascii_whitespace()) {
                    at += text[at..]
                        .iter()
                        .take_while(|byte| b" \t+.,;&)".contains(byte))
                        .count();
                    out.push(b'\n');
                }
            }
            byte => out.push(byte),
        }
        // What has no line end for so long is no armour.
        if out.ends_with(b"-----") && out.len() > 64 {
            break;
        }
    }
    out
}

/// Reads what stands after backslashes, and returns its length.
fn escape(text: &[u8], out: &mut Vec<u8>) -> usize {
    match text {
        [b'n' | b'r', ..] => {
            out.push(b'\n');
            1
        }
        [b't', ..] => {
            out.push(b' ');
            1
        }
        [b'u', b'0', b'0', b'0', b'a' | b'A' | b'd' | b'D', ..] => {
            out.push(b'\n');
            5
        }
        [b'x', b'0', b'a' | b'A' | b'd' | b'D', ..] | [b'0', b'1', b'2', ..] => {
            out.push(b'\n');
            3
        }
        _ => 0,
    }
}

/// Reads a character of a URL or of HTML, and returns its length.
fn coded(text: &[u8]) -> Option<(usize, u8)> {
    const CODES: [(&[u8], u8); 9] = [
        (b"%0A", b'\n'),
        (b"%0a", b'\n'),
        (b"%0D", b'\n'),
        (b"%2B", b'+'),
        (b"%2F", b'/'),
        (b"%3D", b'='),
        (b"%20", b' '),
        (b"&#10;", b'\n'),
        (b"&#xA;", b'\n'),
    ];
    let found = CODES.iter().find(|(code, _)| text.starts_with(code));
    found.map(|(code, byte)| (code.len(), *byte))
}
