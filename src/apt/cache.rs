//! The cache of package files: `<sha256>.deb`, and beside them the control data of packages.
//!
//! A file appears here by a rename after its size and digest were verified. It is verified again
//! whenever it is used, because disks and people change files. Everything may be deleted at any
//! time.

use super::command::run;
use super::deb822::{self, ControlStanza};
use super::error::AptError;
use super::package::{LockedPackage, Sha256};
use super::scratch::{ScratchDir, write_atomic};
use sha2::{Digest, Sha256 as Hasher};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Fields that only an archive's index has: they say where the file is and what its bytes are.
const INDEX_FIELDS: [&str; 7] = [
    "Filename",
    "Size",
    "MD5sum",
    "SHA1",
    "SHA256",
    "SHA512",
    "Description-md5",
];

/// Where the first header of an `ar` archive has its date, in decimal digits: after the magic and a
/// name of 16 bytes.
const DATE: std::ops::Range<usize> = 24..36;

/// Keeps verified `.deb` files by digest.
#[derive(Clone, Debug)]
pub struct DebCache {
    dir: PathBuf,
}

impl DebCache {
    /// Opens the cache at `dir`, which is made when something is first stored.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Returns where the package's file is, or would be.
    pub fn path(&self, package: &LockedPackage) -> PathBuf {
        self.dir.join(format!("{}.deb", package.sha256))
    }

    /// Returns the packages whose file is absent, each file once; presence is judged by size, not
    /// by digest.
    pub fn missing<'a>(&self, packages: &'a [LockedPackage]) -> Vec<&'a LockedPackage> {
        let mut missing: Vec<&LockedPackage> = packages
            .iter()
            .filter(|p| !fs::metadata(self.path(p)).is_ok_and(|m| m.is_file() && m.len() == p.size))
            .collect();
        missing.sort_unstable_by_key(|p| p.sha256);
        missing.dedup_by_key(|p| p.sha256);
        missing
    }

    /// Reads the whole file and returns its path if the bytes are the locked ones.
    pub fn verify(&self, package: &LockedPackage) -> Result<PathBuf, AptError> {
        let path = self.path(package);
        check(&path, package)?;
        Ok(path)
    }

    /// Returns when the package was made, in seconds since 1970; its file must be present, and is
    /// verified.
    ///
    /// A package is an `ar` archive (deb(5)), and its first header has the moment that dpkg-deb was
    /// given as `SOURCE_DATE_EPOCH`: the date of the changelog's last entry. No file in the package
    /// is newer. It is part of the bytes that a lock names, and so the same for everybody who locks
    /// the package.
    pub fn date(&self, package: &LockedPackage) -> Result<i64, AptError> {
        let path = self.verify(package)?;
        let mut start = [0; DATE.end];
        let mut file = File::open(&path).map_err(AptError::io("open", &path))?;
        let malformed = |detail: &str| AptError::Malformed {
            place: format!("'{}', the file of {}", path.display(), package.label()),
            detail: detail.to_owned(),
        };
        file.read_exact(&mut start)
            .map_err(|_| malformed("it is too short for a package"))?;
        if !start.starts_with(b"!<arch>\n") {
            return Err(malformed("it is no ar archive"));
        }
        let date = std::str::from_utf8(&start[DATE]).ok();
        date.and_then(|text| text.trim_end().parse().ok())
            .ok_or_else(|| malformed("its first header has no date"))
    }

    /// Makes a directory for downloads on the same filesystem.
    pub(super) fn scratch(&self) -> Result<ScratchDir, AptError> {
        ScratchDir::new(&self.dir, "partial")
    }

    /// Moves a downloaded file in, after verifying it. The file is in a directory from
    /// [`DebCache::scratch`].
    pub(super) fn admit(&self, downloaded: &Path, package: &LockedPackage) -> Result<(), AptError> {
        // For a `file:` archive apt leaves a link to the archive's own file, which may change
        // later.
        if downloaded.is_symlink() {
            let copy = downloaded.with_extension("copy");
            fs::copy(downloaded, &copy).map_err(AptError::io("copy", downloaded))?;
            fs::rename(&copy, downloaded).map_err(AptError::io("rename to", downloaded))?;
        }
        check(downloaded, package)?;
        let path = self.path(package);
        fs::rename(downloaded, &path).map_err(AptError::io("rename to", &path))
    }

    /// Returns the control data inside the package's file, which must be present and verified.
    pub(super) fn control(&self, package: &LockedPackage) -> Result<ControlStanza, AptError> {
        let kept = self.dir.join(format!("control/{}", package.sha256));
        if let Some(stanza) = read_stanza(&kept, package) {
            return Ok(stanza);
        }
        let text = run(Command::new("dpkg-deb")
            .arg("--field")
            .arg(self.path(package)))?
        .checked("dpkg-deb --field")?;
        let stanza = deb822::parse(&text)
            .into_iter()
            .next()
            .filter(|s| is_about(s, package));
        let stanza = stanza.ok_or_else(|| AptError::Malformed {
            place: format!("the control file of '{}'", self.path(package).display()),
            detail: format!("it is not about {}", package.label()),
        })?;
        write_atomic(&kept, stanza.render().as_bytes())?;
        Ok(stanza)
    }

    /// Remembers a package's index entry, because the index will drop it.
    pub(super) fn remember(
        &self,
        package: &LockedPackage,
        stanza: &ControlStanza,
    ) -> Result<(), AptError> {
        let mut stanza = stanza.clone();
        stanza.remove(&INDEX_FIELDS);
        let kept = self.index_path(package);
        // All indexes agree about a digest, so an entry that exists is as good.
        if kept.exists() {
            Ok(())
        } else {
            write_atomic(&kept, stanza.render().as_bytes())
        }
    }

    /// Returns what is known of a package's relations without its archive: from an index seen
    /// earlier, or its file.
    pub(super) fn remembered(&self, package: &LockedPackage) -> Option<ControlStanza> {
        read_stanza(&self.index_path(package), package).or_else(|| {
            self.verify(package).ok()?;
            self.control(package).ok()
        })
    }

    /// Returns the package's record as dpkg would keep it, once installed; `None` where its relations
    /// are not known here.
    pub fn status_stanza(&self, package: &LockedPackage) -> Option<String> {
        let mut stanza = self.remembered(package)?;
        stanza.set("Status", "install ok installed");
        Some(stanza.render())
    }

    fn index_path(&self, package: &LockedPackage) -> PathBuf {
        self.dir.join(format!("index/{}", package.sha256))
    }
}

/// Says whether a stanza describes exactly this package; guards against cache files cut short.
pub(super) fn is_about(stanza: &ControlStanza, package: &LockedPackage) -> bool {
    stanza.get("Package") == Some(package.name.as_str())
        && stanza.get("Version") == Some(package.version.as_str())
        && stanza.get("Architecture") == Some(package.architecture.as_str())
}

fn read_stanza(path: &Path, package: &LockedPackage) -> Option<ControlStanza> {
    let text = fs::read_to_string(path).ok()?;
    // Every writer ends a stanza with a blank line: without it the file was cut short.
    if !text.ends_with("\n\n") {
        return None;
    }
    deb822::parse(&text)
        .into_iter()
        .next()
        .filter(|s| is_about(s, package))
}

fn check(path: &Path, package: &LockedPackage) -> Result<(), AptError> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(AptError::NotCached {
                package: package.label(),
                path: path.to_path_buf(),
            });
        }
        Err(e) => return Err(AptError::io("open", path)(e)),
    };
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 256 * 1024];
    let mut length = 0;
    loop {
        let count = file.read(&mut buffer).map_err(AptError::io("read", path))?;
        if count == 0 {
            break;
        }
        length += count as u64;
        hasher.update(&buffer[..count]);
    }
    let found = Sha256::from_bytes(hasher.finalize().into());
    if found == package.sha256 && length == package.size {
        return Ok(());
    }
    Err(AptError::HashMismatch {
        package: package.label(),
        expected: package.sha256,
        found,
        path: path.to_path_buf(),
    })
}
