//! What is known of a Debian that runs: from dpkg, apt and systemd.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use md5::{Digest as _, Md5};

use super::super::AgentError;

/// A Debian that runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// What it calls itself.
    pub system: String,
    /// Debian's name of its architecture.
    pub architecture: String,
    /// Its kernel.
    pub kernel: String,
    /// Its packages, with their versions.
    pub packages: BTreeMap<String, String>,
    /// Those that somebody asked for.
    pub manual: BTreeSet<String>,
    /// Services that run, with the package of their unit.
    pub services: BTreeMap<String, String>,
    /// Configuration files that are not as their package brought them, with that package.
    pub edited: BTreeMap<PathBuf, String>,
}

impl HostFacts {
    /// Looks at the system that runs.
    pub fn look() -> Result<Self, AgentError> {
        let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        let name = release
            .lines()
            .find_map(|line| line.strip_prefix("PRETTY_NAME="));
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let installed = ask(
            "dpkg-query",
            &[
                "--show",
                "--showformat",
                "${db:Status-Abbrev}\t${Package}\t${Version}\n",
            ],
        )?;
        let conffiles = ask(
            "dpkg-query",
            &["--show", "--showformat", "@${Package}\n${Conffiles}\n"],
        )?;
        Ok(Self {
            system: name
                .unwrap_or("an unknown system")
                .trim_matches('"')
                .to_owned(),
            architecture: ask("dpkg", &["--print-architecture"])?.trim().to_owned(),
            kernel: kernel.trim().to_owned(),
            packages: packages(&installed),
            // Without apt, nobody wrote down who asked for what.
            manual: ask("apt-mark", &["showmanual"])
                .unwrap_or_default()
                .lines()
                .map(|line| line.split(':').next().unwrap_or(line).to_owned())
                .collect(),
            services: services(),
            edited: edited(&conffiles, &|path| std::fs::read(path).ok()),
        })
    }
}

/// Runs a tool of the system, and returns what it prints.
fn ask(tool: &str, words: &[&str]) -> Result<String, AgentError> {
    let failed = |why: String| AgentError::Host {
        message: format!("'{tool}' {why}: this does not look like a Debian"),
    };
    let output = Command::new(tool)
        .args(words)
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(format!("cannot be run ({error})")))?;
    if !output.status.success() {
        return Err(failed(format!("ended with {}", output.status)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn packages(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter_map(|line| {
        let mut fields = line.split('\t');
        let (status, name, version) = (fields.next()?, fields.next()?, fields.next()?);
        // `ii`: wanted and installed; `hi`: held.
        status
            .get(1..2)
            .is_some_and(|state| state == "i")
            .then(|| (name.to_owned(), version.to_owned()))
    });
    lines.collect()
}

/// Lists the services that run. Without systemd there are none that could be named.
fn services() -> BTreeMap<String, String> {
    let words = [
        "list-units",
        "--type=service",
        "--state=running",
        "--plain",
        "--no-legend",
    ];
    let listed = ask("systemctl", &words).unwrap_or_default();
    let units = listed
        .lines()
        .filter_map(|line| line.split_ascii_whitespace().next());
    let mut found = BTreeMap::new();
    for unit in units {
        let shown = ask(
            "systemctl",
            &["show", "--property=FragmentPath", "--value", "--", unit],
        );
        let path = shown.unwrap_or_default();
        // dpkg knows the place before /usr was merged, or the one after.
        let path = path.trim();
        let old = path.strip_prefix("/usr").unwrap_or(path);
        let owner = [path, old].into_iter().find_map(|path| {
            let text = ask("dpkg-query", &["--search", "--", path]).ok()?;
            let (package, _) = text.lines().next()?.split_once(": ")?;
            Some(
                package
                    .split([',', ':'])
                    .next()
                    .unwrap_or(package)
                    .to_owned(),
            )
        });
        if let Some(owner) = owner {
            found.insert(unit.to_owned(), owner);
        }
    }
    found
}

/// Finds the configuration files whose content is not that of their package (`Conffiles`, deb-conffiles(5):
/// dpkg remembers the MD5 of each).
fn edited(text: &str, read: &dyn Fn(&Path) -> Option<Vec<u8>>) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut package = "";
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('@') {
            package = name;
            continue;
        }
        let mut words = line.split_ascii_whitespace();
        let (Some(path), Some(digest)) = (words.next(), words.next()) else {
            continue;
        };
        // What a package dropped, or never brought, is nobody's edit.
        if words.next().is_some() || digest.len() != 32 {
            continue;
        }
        let path = Path::new(path);
        let is_edited = read(path).is_some_and(|bytes| {
            let now = Md5::digest(&bytes);
            crate::id::hex(&now) != digest
        });
        if is_edited {
            found.insert(path.to_owned(), package.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_those_that_are_installed() {
        let text = "ii \tnginx\t1.22\nrc \told\t1\nhi \tkept\t2\nun \tnever\t\n";
        let found: Vec<_> = packages(text).into_iter().collect();
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(found, [pair("kept", "2"), pair("nginx", "1.22")]);
    }

    #[test]
    fn a_configuration_file_is_edited_where_its_digest_differs() {
        let text = "@nginx\n /etc/nginx/nginx.conf 0cc175b9c0f1b6a831c399e269772661\n \
                    /etc/nginx/same 0cc175b9c0f1b6a831c399e269772661\n\
                    /etc/nginx/old 0cc175b9c0f1b6a831c399e269772661 obsolete\n\
                    /etc/nginx/gone 0cc175b9c0f1b6a831c399e269772661\n @empty\n@none\n newconffile\n";
        let read = |path: &Path| match path.to_str()? {
            "/etc/nginx/same" => Some(b"a".to_vec()),
            "/etc/nginx/gone" => None,
            _ => Some(b"edited".to_vec()),
        };
        let found: Vec<_> = edited(text, &read).into_iter().collect();
        assert_eq!(
            found,
            [(PathBuf::from("/etc/nginx/nginx.conf"), "nginx".to_owned())]
        );
    }

    #[test]
    fn this_system_can_be_looked_at() {
        // Tests need dpkg anyway.
        let host = HostFacts::look().unwrap();
        assert!(
            host.packages.contains_key("dpkg"),
            "{:?}",
            host.packages.len()
        );
        assert!(!host.kernel.is_empty() && !host.architecture.is_empty());
    }
}
