//! Keys: Ed25519, as PKCS#8 in PEM files that only their owner can read; found by key id, whatever
//! a file is called.

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tough::schema::decoded::{Decoded, Hex};
use tough::schema::key::Key;

use super::TrustError;
use super::state::read_limited;
use crate::durable::{Disk, DurableError, make_dirs};

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";

/// The most bytes that a key file has.
const MAX_BYTES: u64 = 16 << 10;

/// The id of a key: the SHA-256 digest of its public part as TUF writes it, in hexadecimal digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(String);

impl KeyId {
    /// Returns the first digits, for messages.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }

    /// Returns all digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn of(bytes: &[u8]) -> Self {
        Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    pub(super) fn decoded(&self) -> Result<Decoded<Hex>, TrustError> {
        self.0
            .parse()
            .map_err(|error| TrustError::Internal(format!("{error}")))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({})", self.short())
    }
}

/// The public part of a key: what others need to let its owner sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    id: KeyId,
    key: Key,
    hex: String,
}

impl PublicKey {
    /// Reads the 64 hexadecimal digits that [`PublicKey::hex`] gives.
    pub fn from_hex(text: &str) -> Result<Self, TrustError> {
        let fail = |reason: &str| TrustError::PublicKey {
            text: text.chars().take(80).collect(),
            reason: reason.to_owned(),
        };
        let text = text.trim();
        let is_lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() != 64 || !text.bytes().all(is_lower) {
            return Err(fail("it does not have 64 lower-case hexadecimal digits"));
        }
        let key: Key = text.parse().map_err(|_| fail("it is not an Ed25519 key"))?;
        let id = key
            .key_id()
            .map_err(|error| TrustError::Internal(error.to_string()))?;
        Ok(Self {
            id: KeyId::of(&id),
            key,
            hex: text.to_owned(),
        })
    }

    /// Takes over a key of the metadata, which is an Ed25519 key if it is one of ours.
    pub(super) fn of(key: &Key) -> Result<Self, TrustError> {
        match key {
            Key::Ed25519 { keyval, .. } => Self::from_hex(&KeyId::of(&keyval.public).0),
            _ => Err(TrustError::Refused(
                "a role has a key that is not an Ed25519 key".to_owned(),
            )),
        }
    }

    /// Returns the key's id.
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// Returns the key in text form: 64 hexadecimal digits.
    pub fn hex(&self) -> &str {
        &self.hex
    }

    pub(super) fn key(&self) -> &Key {
        &self.key
    }
}

struct KeyPair {
    public: PublicKey,
    pair: Ed25519KeyPair,
    path: PathBuf,
}

/// The keys of a directory.
pub struct KeyStore {
    dir: PathBuf,
    keys: BTreeMap<KeyId, KeyPair>,
}

impl fmt::Debug for KeyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "KeyStore({}, {:?})",
            self.dir.display(),
            self.keys.keys()
        )
    }
}

impl KeyStore {
    /// Reads the key files of a directory; one that is not there has none. Files that hold no
    /// private key are left alone, and a private key that others can read is an error.
    pub fn open(dir: &Path) -> Result<Self, TrustError> {
        let mut store = Self {
            dir: dir.to_owned(),
            keys: BTreeMap::new(),
        };
        let fail = |source| TrustError::Read {
            path: dir.to_owned(),
            source,
        };
        let entries = match std::fs::read_dir(dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(store),
            entries => entries.map_err(fail)?,
        };
        for entry in entries {
            let path = entry.map_err(fail)?.path();
            if path.is_file()
                && let Some(pair) = read_key(&path)?
            {
                store.keys.insert(pair.public.id.clone(), pair);
            }
        }
        Ok(store)
    }

    /// Makes a key and writes it to a new file `<label>-<id>.pem` with mode 0600; the directory is
    /// made when it is not there, with those above it.
    pub fn generate(&mut self, disk: &dyn Disk, label: &str) -> Result<PublicKey, TrustError> {
        let document = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new())
            .map_err(|error| TrustError::Internal(format!("cannot make a key: {error}")))?;
        let pem = to_pem(document.as_ref());
        let (public, pair) = parse_pem(&pem).map_err(TrustError::Internal)?;
        let path = self.dir.join(format!("{label}-{}.pem", public.id.short()));
        if !self.dir.is_dir() {
            // On a fresh machine, `/etc/layerset` is not there either.
            let above = self.dir.parent();
            if let Some(above) = above.filter(|above| !above.as_os_str().is_empty()) {
                make_dirs(above, 0o755)
                    .map_err(|source| DurableError::new("make", above, source))?;
            }
            disk.mkdir(&self.dir, 0o700)?;
        }
        disk.write(&path, 0o600, &mut |file| {
            std::io::Write::write_all(file, pem.as_bytes())
        })?;
        disk.sync_file(&path)?;
        disk.sync_dir(&self.dir)?;
        let made = KeyPair {
            public: public.clone(),
            pair,
            path,
        };
        self.keys.insert(public.id.clone(), made);
        Ok(public)
    }

    /// Returns the directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the public parts of all keys, with their files, sorted by id.
    pub fn public_keys(&self) -> impl Iterator<Item = (&PublicKey, &Path)> {
        self.keys
            .values()
            .map(|pair| (&pair.public, pair.path.as_path()))
    }

    /// Says whether a key is here.
    pub fn has(&self, id: &KeyId) -> bool {
        self.keys.contains_key(id)
    }

    /// Returns the key whose id starts with `prefix`, if it is the only one.
    pub fn find(&self, prefix: &str) -> Option<&PublicKey> {
        let mut found = self
            .keys
            .values()
            .filter(|pair| pair.public.id.0.starts_with(prefix));
        let first = found.next()?;
        found.next().is_none().then_some(&first.public)
    }

    /// Signs, if the key is here.
    pub(super) fn sign(&self, id: &KeyId, message: &[u8]) -> Option<Vec<u8>> {
        let pair = self.keys.get(id)?;
        Some(pair.pair.sign(message).as_ref().to_vec())
    }
}

fn read_key(path: &Path) -> Result<Option<KeyPair>, TrustError> {
    let read_error = |source| TrustError::Read {
        path: path.to_owned(),
        source,
    };
    let refuse = |reason: String| TrustError::KeyFile {
        path: path.to_owned(),
        reason,
    };
    let metadata = std::fs::metadata(path).map_err(read_error)?;
    if metadata.len() > MAX_BYTES {
        return Ok(None);
    }
    let bytes = read_limited(path, MAX_BYTES).map_err(read_error)?;
    let Ok(text) = String::from_utf8(bytes) else {
        return Ok(None);
    };
    if !text.contains("PRIVATE KEY-----") {
        return Ok(None);
    }
    if metadata.mode() & 0o077 != 0 {
        let mode = metadata.mode() & 0o7777;
        return Err(refuse(format!("others can read it (mode {mode:04o})")));
    }
    let (public, pair) = parse_pem(&text).map_err(refuse)?;
    Ok(Some(KeyPair {
        public,
        pair,
        path: path.to_owned(),
    }))
}

fn parse_pem(text: &str) -> Result<(PublicKey, Ed25519KeyPair), String> {
    let (_, rest) = text
        .split_once(BEGIN)
        .ok_or("it is not an unencrypted PKCS#8 key in PEM form")?;
    let (body, _) = rest.split_once(END).ok_or("its end is missing")?;
    let body: String = body.split_ascii_whitespace().collect();
    let der = STANDARD.decode(body).map_err(|_| "it is no base64")?;
    let pair = Ed25519KeyPair::from_pkcs8(&der).map_err(|_| "it is not an Ed25519 key")?;
    let hex = KeyId::of(pair.public_key().as_ref()).0;
    let public = PublicKey::from_hex(&hex).map_err(|error| error.to_string())?;
    Ok((public, pair))
}

fn to_pem(der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut text = format!("{BEGIN}\n");
    for (index, digit) in body.chars().enumerate() {
        if index > 0 && index % 64 == 0 {
            text.push('\n');
        }
        text.push(digit);
    }
    text.push_str(&format!("\n{END}\n"));
    text
}
