//! A flat archive on this machine, made of locked packages only.

use super::cache::DebCache;
use super::error::AptError;
use super::package::LockedPackage;
use std::fs;
use std::path::{Path, PathBuf};

/// Offers a set of packages to apt.
///
/// apt is told to trust it without a signature, because every file's digest was compared with the
/// lock when the archive was made, and the archive is made anew for each use.
#[derive(Debug)]
pub struct LocalRepo {
    dir: PathBuf,
}

impl LocalRepo {
    /// Makes the archive at `dir`, which must not exist or be empty; each package is verified
    /// first.
    ///
    /// Files are hard links into the cache where the filesystem allows it: offer the directory
    /// read-only.
    pub fn create(
        dir: &Path,
        debs: &DebCache,
        packages: &[LockedPackage],
    ) -> Result<Self, AptError> {
        let dir = std::path::absolute(dir).map_err(AptError::io("find", dir))?;
        fs::create_dir_all(&dir).map_err(AptError::io("create", &dir))?;
        let mut index = String::new();
        let mut sorted: Vec<&LockedPackage> = packages.iter().collect();
        sorted.sort();
        for package in sorted {
            let file = debs.verify(package)?;
            let name = file_name(package);
            let target = dir.join(&name);
            if fs::hard_link(&file, &target).is_err() {
                fs::copy(&file, &target).map_err(AptError::io("copy to", &target))?;
            }
            let mut stanza = debs.control(package)?;
            stanza.set("Filename", &format!("./{name}"));
            stanza.set("Size", &package.size.to_string());
            stanza.set("SHA256", &package.sha256.to_string());
            index.push_str(&stanza.render());
        }
        let path = dir.join("Packages");
        fs::write(&path, index).map_err(AptError::io("write", &path))?;
        Ok(Self { dir })
    }

    /// Returns the directory.
    pub fn path(&self) -> &Path {
        &self.dir
    }
}

/// Names a file as Debian's pool does: without the epoch, whose colon would need escapes.
fn file_name(package: &LockedPackage) -> String {
    let version = package
        .version
        .split_once(':')
        .map_or(package.version.as_str(), |(_, v)| v);
    format!("{}_{}_{}.deb", package.name, version, package.architecture)
}
