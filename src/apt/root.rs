//! A private apt: its own configuration, indexes and state, untouched by the host's.
//!
//! ```text
//! <work>/default-sources/…      what mmdebstrap answered, by suite and components
//! <work>/<key>/apt.conf         key = digest of sources and configuration
//!              sources.list
//!              archives         name, tab, root: kept by `update` for later fetches
//!              lists/ cache/ status …
//!              views/<key>/     apt.conf, sources.list and caches of some of the sources
//! <work>/keys/…                 keys that definitions and sources files hold, by content
//! ```

use super::cache::DebCache;
use super::command::{ToolOutput, in_plain_words, run};
use super::error::AptError;
use super::fetch::DebFinder;
use super::package::Bootstrap;
use super::scratch::{write_atomic, write_private};
use super::source_list::ArchiveSource;
use super::sources::{self, PackageSources, of_definitions};
use super::{key_file, source_list};
use crate::recipe::PackageArchive;
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
    conf: PathBuf,
    debs: DebCache,
    arch: String,
    spec: Bootstrap,
    place: String,
    base: Vec<ArchiveSource>,
    /// Whether those of the base are what its definition names.
    has_own_archives: bool,
    /// Those of the base first.
    sources: Vec<ArchiveSource>,
    snapshots: Vec<String>,
    elsewhere: Option<DebFinder>,
    transport: String,
}

impl AptRoot {
    /// Opens the state below `work`; needs no network.
    pub fn open(
        work: &Path,
        debs: DebCache,
        spec: &Bootstrap,
        arch: &str,
        from: &PackageSources<'_>,
    ) -> Result<Self, AptError> {
        let work = std::path::absolute(work).map_err(AptError::io("find", work))?;
        let base = sources::sources(&work, spec, from)?;
        let mut sources = base.clone();
        sources.extend(of_definitions(from.added));
        let keys = work.join("keys");
        for key in sources.iter().filter_map(|source| source.key.as_ref()) {
            key_file::write(&keys, key)?;
        }
        // A user's file may hold passwords.
        let lines = source_list::render(&sources, &keys);
        // The configuration is part of the key, because apt's caches depend on it.
        let dir = work.join(key_of(&format!(
            "{}{lines}",
            config(Path::new(""), arch, "")
        )));
        for sub in ["lists/partial", "cache/archives/partial", "log", "empty"] {
            let path = dir.join(sub);
            fs::create_dir_all(&path).map_err(AptError::io("create", &path))?;
        }
        write_atomic(&dir.join("status"), b"")?;
        write_private(&dir.join("sources.list"), lines.as_bytes())?;
        let transport = host_transport()?;
        let conf = dir.join("apt.conf");
        write_atomic(&conf, config(&dir, arch, &transport).as_bytes())?;
        let place = format!("{} {}", spec.suites().join(", "), spec.components.join(" "));
        Ok(Self {
            dir,
            conf,
            debs,
            arch: arch.to_owned(),
            spec: spec.clone(),
            place,
            base,
            has_own_archives: from.file.is_none() && !from.base.is_empty(),
            sources,
            snapshots: Vec::new(),
            elsewhere: None,
            transport,
        })
    }

    /// Looks at these roots for files that left their archive.
    pub fn with_snapshots(mut self, roots: Vec<String>) -> Self {
        self.snapshots = roots;
        self
    }

    /// Looks there for what no archive and no snapshot has.
    pub fn with_elsewhere(mut self, finder: Option<DebFinder>) -> Self {
        self.elsewhere = finder;
        self
    }

    /// Returns the same state as it looks with the base's archives and `added` alone: what a layer
    /// sees that does not stand on those which name the others.
    pub fn view(&self, added: &[PackageArchive]) -> Result<Self, AptError> {
        let mut sources = self.base.clone();
        sources.extend(of_definitions(added));
        let keys = self.dir.parent().unwrap_or(&self.dir).join("keys");
        let lines = source_list::render(&sources, &keys);
        let dir = self.dir.join("views").join(key_of(&lines));
        let cache = dir.join("cache/archives/partial");
        fs::create_dir_all(&cache).map_err(AptError::io("create", &cache))?;
        write_private(&dir.join("sources.list"), lines.as_bytes())?;
        let mut text = config(&self.dir, &self.arch, &self.transport);
        // apt reads the main file after the one that it is given, so that is the same one too.
        for (key, name) in [
            ("Dir::Etc::main", "apt.conf"),
            ("Dir::Etc::sourcelist", "sources.list"),
            ("Dir::Cache", "cache/"),
        ] {
            let _ = writeln!(text, "{key} \"{}/{name}\";", dir.display());
        }
        let conf = dir.join("apt.conf");
        write_atomic(&conf, text.as_bytes())?;
        let mut place = self.place.clone();
        for source in sources.iter().skip(self.base.len()) {
            let _ = write!(place, ", {} {}", source.shown(), source.suite);
        }
        Ok(Self {
            dir: self.dir.clone(),
            conf,
            debs: self.debs.clone(),
            arch: self.arch.clone(),
            spec: self.spec.clone(),
            place,
            base: self.base.clone(),
            has_own_archives: self.has_own_archives,
            sources,
            snapshots: self.snapshots.clone(),
            elsewhere: self.elsewhere.clone(),
            transport: self.transport.clone(),
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
        in_plain_words(&mut command).env("APT_CONFIG", &self.conf);
        command
    }

    /// Returns where the state is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn has_own_archives(&self) -> bool {
        self.has_own_archives
    }

    /// Returns the sources of the base.
    pub(super) fn base_sources(&self) -> &[ArchiveSource] {
        &self.base
    }

    /// Returns all sources, those of the base first.
    pub(super) fn sources(&self) -> &[ArchiveSource] {
        &self.sources
    }

    pub(super) fn snapshots(&self) -> &[String] {
        &self.snapshots
    }

    pub(super) fn elsewhere(&self) -> Option<&DebFinder> {
        self.elsewhere.as_ref()
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

fn key_of(text: &str) -> String {
    let digest = Hasher::digest(text);
    let bytes = digest.iter().take(8);
    bytes.map(|byte| format!("{byte:02x}")).collect()
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

/// Returns the host's settings for reaching the network and its credentials (apt_auth.conf(5)), as
/// configuration lines.
fn host_transport() -> Result<String, AptError> {
    let dump = run(Command::new("apt-config")
        .args(["dump", "Acquire"])
        .env_remove("APT_CONFIG"))?;
    let mut lines = transport_lines(&dump.checked("apt-config dump")?);
    let names = ["Dir::Etc::netrc", "Dir::Etc::netrcparts"];
    let found = run(Command::new("apt-config")
        .args([
            "shell",
            "FILE",
            "Dir::Etc::netrc/f",
            "PARTS",
            "Dir::Etc::netrcparts/f",
        ])
        .env_remove("APT_CONFIG"))?;
    for (name, line) in names
        .into_iter()
        .zip(found.checked("apt-config shell")?.lines())
    {
        // VARIABLE='/the/path'
        if let Some(path) = line.split('\'').nth(1) {
            let _ = writeln!(lines, "{name} \"{path}\";");
        }
    }
    Ok(lines)
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
