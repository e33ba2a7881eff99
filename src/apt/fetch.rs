//! Downloads locked packages by apt's own methods, many at once.

use super::archive::Archive;
use super::command::tail;
use super::error::AptError;
use super::package::LockedPackage;
use super::root::AptRoot;
use super::source_list::ArchiveSource;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

/// Where Debian keeps apt's helper; it is not in `PATH`.
const APT_HELPER: &str = "/usr/lib/apt/apt-helper";

/// How many files one helper gets: bounds its command line, and keeps apt's queues full.
const BATCH: usize = 200;

/// Looks for files of packages elsewhere than in archives: called with the packages and a directory,
/// it writes what it finds there as `<sha256>.deb`. Nothing of that is trusted.
#[derive(Clone)]
pub struct DebFinder(pub Arc<FindDebs>);

/// Writes what it finds of packages to a directory.
pub type FindDebs = dyn Fn(&[&LockedPackage], &Path) + Send + Sync;

impl std::fmt::Debug for DebFinder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("DebFinder")
    }
}

impl AptRoot {
    /// Brings every package into the cache. With all of them there, it returns at once and touches
    /// no network.
    ///
    /// `progress` gets the bytes done and the bytes in all, of this call. Files that arrive before
    /// a failure are kept.
    pub fn fetch(
        &self,
        packages: &[LockedPackage],
        progress: &dyn Fn(u64, u64),
    ) -> Result<(), AptError> {
        let mut missing = self.debs().missing(packages);
        if missing.is_empty() {
            return Ok(());
        }
        let total: u64 = missing.iter().map(|p| p.size).sum();
        let places = self.places()?;
        let mut said = String::new();
        // A file may be at several addresses: what fails at one is tried at the next.
        for attempt in 0.. {
            let mut jobs = Vec::new();
            for package in &missing {
                if let Some(address) = places.of(package).into_iter().nth(attempt) {
                    jobs.push((*package, address));
                }
            }
            if jobs.is_empty() {
                break;
            }
            for batch in jobs.chunks(BATCH) {
                let before = total - missing.iter().map(|p| p.size).sum::<u64>();
                said +=
                    &self.download(batch, &|done| progress((before + done).min(total), total))?;
                missing = self.debs().missing(packages);
            }
            if missing.is_empty() {
                progress(total, total);
                return Ok(());
            }
        }
        self.find_elsewhere(&missing)?;
        missing = self.debs().missing(packages);
        if missing.is_empty() {
            progress(total, total);
            return Ok(());
        }
        Err(places.failure(&missing, &said))
    }

    /// Takes what no archive has from elsewhere. A file with other bytes is as good as none.
    fn find_elsewhere(&self, missing: &[&LockedPackage]) -> Result<(), AptError> {
        let Some(DebFinder(find)) = self.elsewhere() else {
            return Ok(());
        };
        let scratch = self.debs().scratch()?;
        find(missing, scratch.path());
        for package in missing {
            let file = scratch.path().join(format!("{}.deb", package.sha256));
            match self.debs().admit(&file, package) {
                Ok(()) | Err(AptError::NotCached { .. } | AptError::HashMismatch { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Finds out where packages may be. What the archives call themselves is asked of them where it
    /// is not known, and goes unused where they do not say.
    fn places(&self) -> Result<Places, AptError> {
        let mut archives = self.archives()?;
        if archives.is_empty() && self.update().is_ok() {
            archives = self.archives()?;
        }
        let snapshots = self.snapshots().iter();
        let snapshots = snapshots.map(|root| format!("{}/", root.trim_end_matches('/')));
        Ok(Places {
            archives,
            sources: self.sources().iter().map(ArchiveSource::root).collect(),
            snapshots: snapshots.collect(),
        })
    }

    /// Downloads one batch, admits what arrived whole, and returns what apt said.
    fn download(
        &self,
        jobs: &[(&LockedPackage, String)],
        progress: &dyn Fn(u64),
    ) -> Result<String, AptError> {
        let scratch = self.debs().scratch()?;
        let log = scratch.path().join("log");
        let output = File::create(&log).map_err(AptError::io("create", &log))?;
        let errors = output
            .try_clone()
            .map_err(AptError::io("duplicate", &log))?;
        let mut command = self.command(APT_HELPER);
        command.args(["-q", "download-file"]);
        for (package, address) in jobs {
            let target = scratch.path().join(format!("{}.deb", package.sha256));
            // apt checks the digest as well, and so refuses a truncated file while it can still
            // retry.
            command
                .arg(address)
                .arg(target)
                .arg(format!("SHA256:{}", package.sha256));
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(|source| AptError::Spawn {
                program: APT_HELPER.to_owned(),
                source,
            })?;
        while child
            .try_wait()
            .map_err(AptError::io("wait for", Path::new(APT_HELPER)))?
            .is_none()
        {
            progress(arrived(scratch.path()));
            std::thread::sleep(Duration::from_millis(40));
        }
        for (package, _) in jobs {
            let file = scratch.path().join(format!("{}.deb", package.sha256));
            if file.exists() {
                self.debs().admit(&file, package)?;
            }
        }
        fs::read_to_string(&log).map_err(AptError::io("read", &log))
    }
}

/// Where packages may be.
struct Places {
    /// The archives by what they call themselves.
    archives: Vec<Archive>,
    /// The roots of all sources.
    sources: Vec<String>,
    /// The roots of what has files that left their archives.
    snapshots: Vec<String>,
}

impl Places {
    /// Returns the addresses at which a package is looked for: in its archive first, then in all
    /// others, for archives change their names, and files move between them. The digest decides.
    ///
    /// A snapshot has it by the path that it had in its archive, and the cache of another repository
    /// by its digest.
    fn of(&self, package: &LockedPackage) -> Vec<String> {
        let (own, others): (Vec<&Archive>, Vec<&Archive>) = self
            .archives
            .iter()
            .partition(|a| a.label == package.archive);
        let known = own.into_iter().chain(others).map(|a| &a.root);
        let by_path = known
            .chain(&self.sources)
            .map(|root| address(root, &package.pool_path));
        let kept = format!("{}.deb", package.sha256);
        let by_either = self
            .snapshots
            .iter()
            .flat_map(|root| [address(root, &package.pool_path), address(root, &kept)]);
        let mut addresses: Vec<String> = Vec::new();
        for address in by_path.chain(by_either) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        addresses
    }

    /// Says why packages could not be had, from what apt said at all their addresses.
    fn failure(&self, missing: &[&LockedPackage], said: &str) -> AptError {
        let errors = |package: &LockedPackage| -> Vec<&str> {
            let file = package.pool_path.rsplit('/').next().unwrap_or_default();
            let names = [address("", file), format!("{}.deb", package.sha256)];
            let lines = said.lines().filter_map(|line| line.strip_prefix("E: "));
            lines
                .filter(|line| names.iter().any(|name| line.contains(name)))
                .collect()
        };
        // What one of its addresses did not answer about may be there.
        let gone = missing.iter().filter(|package| {
            let errors = errors(package);
            !errors.is_empty() && errors.iter().all(|line| is_absence(line))
        });
        let mut by_archive: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for package in gone {
            by_archive
                .entry(&package.archive)
                .or_default()
                .push(package.label());
        }
        let is_known = |archive: &str| self.archives.iter().any(|a| a.label == archive);
        match by_archive.into_iter().next() {
            Some((archive, packages)) if is_known(archive) || self.archives.is_empty() => {
                AptError::Gone {
                    archive: archive.to_owned(),
                    packages,
                }
            }
            Some((archive, mut packages)) => {
                let mut known: Vec<String> =
                    self.archives.iter().map(|a| a.label.clone()).collect();
                known.dedup();
                AptError::UnknownArchive {
                    archive: archive.to_owned(),
                    package: packages.swap_remove(0),
                    known,
                }
            }
            None => {
                let told = missing.iter().flat_map(|package| errors(package));
                let told: Vec<&str> = told.filter(|line| !is_absence(line)).take(3).collect();
                let reason = match told.is_empty() {
                    true => tail(said, 3),
                    false => told.join("; "),
                };
                AptError::Download {
                    packages: missing.len(),
                    reason,
                }
            }
        }
    }
}

/// Joins an archive's root and a pool path, with the escapes that an address needs.
fn address(root: &str, pool_path: &str) -> String {
    let mut address = root.to_owned();
    for byte in pool_path.trim_start_matches("./").bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._:=@,".contains(&byte) {
            address.push(char::from(byte));
        } else {
            address.push_str(&format!("%{byte:02x}"));
        }
    }
    address
}

fn arrived(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else {
        return 0;
    };
    let debs = entries
        .flatten()
        .filter(|e| e.path().extension().is_some_and(|x| x == "deb"));
    debs.filter_map(|e| e.metadata().ok())
        .map(|m| m.len())
        .sum()
}

/// Recognises the words of apt's http and file methods for a file that is not there.
fn is_absence(line: &str) -> bool {
    line.contains(" 404 ") || line.contains("File not found")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_carry_the_escapes_apt_uses() {
        let path = "pool/updates/main/z/zlib/zlib1g_1.3.dfsg+really1.3.1-1+deb13u1~x_amd64.deb";
        assert_eq!(
            address("http://a/debian/", path),
            "http://a/debian/pool/updates/main/z/zlib/zlib1g_1.3.dfsg%2breally1.3.1-1%2bdeb13u1%7ex_amd64.deb"
        );
        assert_eq!(
            address("file:/srv/flat/", "./a_1_all.deb"),
            "file:/srv/flat/a_1_all.deb"
        );
    }
}
