//! Keys of archives as files of the private apt, named by their content.

use super::error::AptError;
use super::scratch::write_atomic;
use sha2::{Digest as _, Sha256 as Hasher};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

pub(super) use crate::recipe::key_problem as problem;

/// Returns the name of a key's file: apt tells the form of a key by the end of its name.
pub(super) fn name(key: &[u8]) -> String {
    let digest = Hasher::digest(key);
    let hex: String = digest.iter().take(16).map(|b| format!("{b:02x}")).collect();
    let form = match key.trim_ascii_start().starts_with(b"-----BEGIN") {
        true => "asc",
        false => "gpg",
    };
    format!("{hex}.{form}")
}

/// Writes a key into the folder `keys`, for apt's unprivileged user to read.
pub(super) fn write(keys: &Path, key: &[u8]) -> Result<(), AptError> {
    let path = keys.join(name(key));
    write_atomic(&path, key)?;
    for (path, mode) in [(keys, 0o755), (&path, 0o644)] {
        let permissions = fs::Permissions::from_mode(mode);
        fs::set_permissions(path, permissions).map_err(AptError::io("set the mode of", path))?;
    }
    Ok(())
}
