//! Downloads locked packages by apt's own methods, many at once.

use super::archive::Archive;
use super::command::tail;
use super::error::AptError;
use super::package::LockedPackage;
use super::root::AptRoot;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

/// Where Debian keeps apt's helper; it is not in `PATH`.
const APT_HELPER: &str = "/usr/lib/apt/apt-helper";

/// How many files one helper gets: bounds its command line, and keeps apt's queues full.
const BATCH: usize = 200;

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
        let archives = self.archives()?;
        let mut last_words = String::new();
        // An archive may have several addresses: those that fail at one are tried at the next.
        for attempt in 0.. {
            let mut jobs = Vec::new();
            for package in &missing {
                match addresses(&archives, package)?.get(attempt) {
                    Some(root) => jobs.push((*package, address(root, &package.pool_path))),
                    None => continue,
                }
            }
            if jobs.is_empty() {
                break;
            }
            for batch in jobs.chunks(BATCH) {
                let before = total - missing.iter().map(|p| p.size).sum::<u64>();
                last_words =
                    self.download(batch, &|done| progress((before + done).min(total), total))?;
                missing = self.debs().missing(packages);
            }
            if missing.is_empty() {
                progress(total, total);
                return Ok(());
            }
        }
        Err(failure(&missing, &last_words))
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

/// Returns the addresses at which the package's archive can be reached.
fn addresses<'a>(
    archives: &'a [Archive],
    package: &LockedPackage,
) -> Result<Vec<&'a str>, AptError> {
    let roots: Vec<&str> = archives
        .iter()
        .filter(|a| a.label == package.archive)
        .map(|a| a.root.as_str())
        .collect();
    if roots.is_empty() {
        let mut known: Vec<String> = archives.iter().map(|a| a.label.clone()).collect();
        known.dedup();
        return Err(AptError::UnknownArchive {
            archive: package.archive.clone(),
            package: package.label(),
            known,
        });
    }
    Ok(roots)
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

fn failure(missing: &[&LockedPackage], said: &str) -> AptError {
    let gone = |package: &&&LockedPackage| {
        let file = package.pool_path.rsplit('/').next().unwrap_or_default();
        let file = address("", file);
        said.lines()
            .any(|line| line.starts_with("E: ") && line.contains(&file) && is_absence(line))
    };
    let mut by_archive: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for package in missing.iter().filter(gone) {
        by_archive
            .entry(&package.archive)
            .or_default()
            .push(package.label());
    }
    match by_archive.into_iter().next() {
        Some((archive, packages)) => AptError::Gone {
            archive: archive.to_owned(),
            packages,
        },
        None => {
            let errors: Vec<&str> = said
                .lines()
                .filter_map(|l| l.strip_prefix("E: "))
                .take(3)
                .collect();
            let reason = if errors.is_empty() {
                tail(said, 3)
            } else {
                errors.join("; ")
            };
            AptError::Download {
                packages: missing.len(),
                reason,
            }
        }
    }
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
