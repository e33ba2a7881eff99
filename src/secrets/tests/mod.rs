//! Samples are put together here: a forge's own scanner would take them for real ones.

mod accounts;
mod places;
mod silence;
mod stream;
mod tokens;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Scanner;

/// What is found in a file, one line each.
fn found(path: &str, content: &[u8]) -> Vec<String> {
    let secrets = Scanner::new()
        .scan(path.as_bytes(), &mut &content[..])
        .unwrap();
    secrets
        .iter()
        .map(|one| format!("{}: {}", one.place, one.kind))
        .collect()
}

/// Bytes as a generator would give them, always the same.
fn random(count: usize, seed: u64) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    let mut bytes = vec![0; count];
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

fn text_of(alphabet: &[u8], count: usize, seed: u64) -> String {
    let letters = random(count, seed)
        .into_iter()
        .map(|byte| alphabet[usize::from(byte) % alphabet.len()]);
    String::from_utf8(letters.collect()).unwrap()
}

const BASE62: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const CRYPT: &[u8] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// An Ed25519 key in PKCS#8, as `openssl genpkey` writes it.
fn pem(seed: u64) -> String {
    let start = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
    let key = STANDARD.encode([start.as_slice(), &random(32, seed)].concat());
    format!(
        "-----BEGIN {0}-----\n{key}\n-----END {0}-----\n",
        "PRIVATE KEY"
    )
}
