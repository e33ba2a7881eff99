//! A private apt: its own configuration, indexes and state, untouched by the host's.
//!
//! ```text
//! <work>/default-sources/…      what mmdebstrap answered, by suite and components
//! <work>/<key>/apt.conf         key = digest of sources and configuration
//!              sources.list
//!              archives         label, tab, root: kept by `update` for later fetches
//!              lists/ cache/ status …
//! ```

use super::cache::DebCache;
use super::command::{ToolOutput, in_plain_words, run};
use super::error::AptError;
use super::package::Bootstrap;
use super::scratch::write_atomic;
use super::{source_list, sources};
use sha2::{Digest, Sha256 as Hasher};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Trusted where a source names no key itself: the archive keys that the distribution's own package
/// installs.
const DEFAULT_KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Parts of the host's `Acquire` settings that describe its way to the network. Nothing about trust
/// or validity.
const TRANSPORT: [&str; 7] = [
    "http",
    "https",
    "ftp",
    "Retries",
    "ForceIPv4",
    "ForceIPv6",
    "Queue-Mode",
];

/// Owns the private apt state for one suite, architecture and set of sources.
#[derive(Debug)]
pub struct AptRoot {
    dir: PathBuf,
    debs: DebCache,
    arch: String,
    spec: Bootstrap,
    place: String,
}

impl AptRoot {
    /// Opens the state below `work`; needs no network. `sources` is a user's sources file to use
    /// instead of the defaults.
    pub fn open(
        work: &Path,
        debs: DebCache,
        spec: &Bootstrap,
        arch: &str,
        sources: Option<&Path>,
    ) -> Result<Self, AptError> {
        let work = std::path::absolute(work).map_err(AptError::io("find", work))?;
        let lines = source_list::render(&sources::sources(&work, spec, sources)?);
        // The configuration is part of the key, because apt's caches depend on it.
        let digest = Hasher::digest(format!("{}{lines}", config(Path::new(""), arch, "")));
        let key: String = digest
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let dir = work.join(key);
        for sub in ["lists/partial", "cache/archives/partial", "log", "empty"] {
            let path = dir.join(sub);
            fs::create_dir_all(&path).map_err(AptError::io("create", &path))?;
        }
        write_atomic(&dir.join("status"), b"")?;
        write_atomic(&dir.join("sources.list"), lines.as_bytes())?;
        write_atomic(
            &dir.join("apt.conf"),
            config(&dir, arch, &host_transport()?).as_bytes(),
        )?;
        let place = format!("{} {}", spec.suites().join(", "), spec.components.join(" "));
        Ok(Self {
            dir,
            debs,
            arch: arch.to_owned(),
            spec: spec.clone(),
            place,
        })
    }

    /// Runs one of apt's tools on the private state.
    pub(super) fn apt<S: AsRef<std::ffi::OsStr>>(
        &self,
        tool: &str,
        arguments: &[S],
    ) -> Result<ToolOutput, AptError> {
        run(self.command(tool).args(arguments))
    }

    /// Makes a command that sees the private state only.
    pub(super) fn command(&self, tool: &str) -> Command {
        let mut command = Command::new(tool);
        in_plain_words(&mut command).env("APT_CONFIG", self.dir.join("apt.conf"));
        command
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn debs(&self) -> &DebCache {
        &self.debs
    }

    pub(super) fn arch(&self) -> &str {
        &self.arch
    }

    /// Returns what the base asks for.
    pub(super) fn spec(&self) -> &Bootstrap {
        &self.spec
    }

    /// Returns suites and components, for messages.
    pub(super) fn place(&self) -> &str {
        &self.place
    }
}

/// Writes the private configuration: every path leads into `dir`, and the host's parts are not
/// read.
fn config(dir: &Path, arch: &str, transport: &str) -> String {
    let dir = dir.display();
    let mut text = String::new();
    for (key, path) in [
        ("Dir::State", ""),
        ("Dir::State::lists", "lists/"),
        ("Dir::State::status", "status"),
        ("Dir::State::extended_states", "extended_states"),
        ("Dir::Cache", "cache/"),
        ("Dir::Log", "log/"),
        ("Dir::Etc", ""),
        ("Dir::Etc::main", "apt.conf"),
        ("Dir::Etc::parts", "empty/"),
        ("Dir::Etc::sourcelist", "sources.list"),
        ("Dir::Etc::sourceparts", "empty/"),
        ("Dir::Etc::preferences", "preferences"),
        ("Dir::Etc::preferencesparts", "empty/"),
        ("Dir::Etc::trustedparts", "empty/"),
    ] {
        let _ = writeln!(text, "{key} \"{dir}/{path}\";");
    }
    let _ = writeln!(text, "Dir::Etc::trusted \"{DEFAULT_KEYRING}\";");
    let _ = writeln!(
        text,
        "APT::Architecture \"{arch}\";\nAPT::Architectures {{ \"{arch}\"; }};"
    );
    // apt takes itself for essential unless told of another list; mmdebstrap does the same for its
    // leanest variant.
    text.push_str("pkgCacheGen::ForceEssential \",\";\n");
    text.push_str(
        "APT::Install-Recommends \"false\";\nAPT::Install-Suggests \"false\";\n\
         Acquire::Languages \"none\";\nAcquire::AllowInsecureRepositories \"false\";\n\
         Acquire::AllowDowngradeToInsecureRepositories \"false\";\nAcquire::ForceHash \"SHA256\";\n",
    );
    text.push_str(transport);
    text
}

/// Returns the host's settings for reaching the network, as configuration lines.
fn host_transport() -> Result<String, AptError> {
    let dump = run(Command::new("apt-config")
        .args(["dump", "Acquire"])
        .env_remove("APT_CONFIG"))?;
    Ok(transport_lines(&dump.checked("apt-config dump")?))
}

fn transport_lines(dump: &str) -> String {
    let is_transport = |line: &&str| {
        let key = line.split_whitespace().next().unwrap_or_default();
        let mut parts = key.split("::");
        parts.next() == Some("Acquire")
            && parts
                .next()
                .is_some_and(|part| TRANSPORT.iter().any(|t| t.eq_ignore_ascii_case(part)))
    };
    dump.lines()
        .filter(is_transport)
        .map(|line| format!("{line}\n"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_host_only_the_way_to_the_network_is_taken() {
        let dump = "Acquire \"\";\nAcquire::AllowInsecureRepositories \"1\";\nAcquire::http \"\";\n\
                    Acquire::http::Proxy \"http://proxy.example:3128\";\nAcquire::Check-Valid-Until \"false\";\n\
                    Acquire::Retries \"3\";\nAcquire::IndexTargets::deb::DEP-11 \"\";\n";
        assert_eq!(
            transport_lines(dump),
            "Acquire::http \"\";\nAcquire::http::Proxy \"http://proxy.example:3128\";\nAcquire::Retries \"3\";\n"
        );
    }
}
