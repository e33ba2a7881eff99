//! Remotes: one suite for all kinds, and what hostile ones do.

mod conformance;
mod hostile;
pub mod registry;
mod secrets;
pub mod servers;

use std::fs::File;
use std::io::{Seek as _, Write as _};

use layerset::remote::{
    Environment, Remote, RemoteError, RemoteOptions, WritableRemote, open, open_writable,
};
use layerset::sha256::Sha256;
use sha2::Digest as _;

fn digest(bytes: &[u8]) -> Sha256 {
    Sha256::from_bytes(sha2::Sha256::digest(bytes).into())
}

fn put(remote: &dyn WritableRemote, bytes: &[u8]) -> Result<Sha256, RemoteError> {
    let blob = digest(bytes);
    put_as(remote, &blob, bytes)?;
    Ok(blob)
}

fn put_as(remote: &dyn WritableRemote, blob: &Sha256, bytes: &[u8]) -> Result<(), RemoteError> {
    let mut file: File = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    remote.put_blob(blob, &mut file, bytes.len() as u64, &mut |_| {})
}

fn read(
    remote: &dyn Remote,
    blob: &Sha256,
    range: std::ops::Range<u64>,
) -> Result<Vec<u8>, RemoteError> {
    let mut bytes = Vec::new();
    remote.read_blob(blob, range, &mut |part| {
        bytes.extend_from_slice(part);
        Ok(())
    })?;
    Ok(bytes)
}

fn reader(location: &str, options: &RemoteOptions) -> Box<dyn Remote> {
    open(&location.parse().unwrap(), options).unwrap()
}

fn writer(location: &str, options: &RemoteOptions) -> Box<dyn WritableRemote> {
    open_writable(&location.parse().unwrap(), options).unwrap()
}

/// Options with an environment of their own: what the person who runs the tests has set must not count.
fn options<'a>(environment: impl IntoIterator<Item = (&'a str, &'a str)>) -> RemoteOptions {
    RemoteOptions {
        environment: Environment::of_pairs(environment),
        ..RemoteOptions::default()
    }
}

/// Bytes that are not regular.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
