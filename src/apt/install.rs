//! How to install an upper layer's packages inside a sandbox: files to put there, a command, and
//! how to read it.
//!
//! The sandbox offers the local archive read-only at [`InstallPlan::REPO`] and the files of the
//! plan below [`InstallPlan::DIR`]; `/run` and `/tmp` are its own and writable. The image's own apt
//! does the work, with none of the image's configuration, and keeps its indexes, caches and logs
//! outside of the image.

use super::package::{LockedPackage, is_name};
use std::fmt::Write as _;

/// Holds everything that a sandbox needs to install packages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstallPlan {
    /// Files to offer read-only, by absolute path in the sandbox.
    pub files: Vec<(String, String)>,
    /// The command.
    pub argv: Vec<String>,
    /// Its environment, beside what the sandbox declares itself.
    pub env: Vec<(String, String)>,
}

impl InstallPlan {
    /// Where the plan's files are, in the sandbox.
    pub const DIR: &'static str = "/run/layerset";
    /// Where the local archive is, in the sandbox.
    pub const REPO: &'static str = "/run/layerset/repo";
    /// Where apt keeps what must not end up in the image.
    const STATE: &'static str = "/run/layerset-apt";

    /// Plans the installation of exactly `packages` over lower layers.
    ///
    /// `requested` are the layer's own specifications: one that a lower layer already satisfies
    /// becomes a package that was asked for, as it would on a running system.
    pub fn new(packages: &[LockedPackage], requested: &[String], arch: &str) -> Self {
        let mut packages: Vec<&LockedPackage> = packages.iter().collect();
        packages.sort();
        let dir = Self::DIR;
        Self {
            files: vec![
                (format!("{dir}/apt.conf"), apt_conf(arch)),
                (
                    format!("{dir}/sources.list"),
                    format!("deb [trusted=yes] file:{} ./\n", Self::REPO),
                ),
                (format!("{dir}/install.sh"), script(&packages, requested)),
            ],
            argv: vec!["/bin/sh".to_owned(), format!("{dir}/install.sh")],
            env: vec![
                ("APT_CONFIG".to_owned(), format!("{dir}/apt.conf")),
                ("DEBIAN_FRONTEND".to_owned(), "noninteractive".to_owned()),
                ("DEBCONF_NONINTERACTIVE_SEEN".to_owned(), "true".to_owned()),
                ("LC_ALL".to_owned(), "C.UTF-8".to_owned()),
            ],
        }
    }
}

/// Writes apt's configuration. `Dir::Etc` leads away from the image's `/etc/apt`; `extended_states`
/// and dpkg's own database stay where they are, because they belong to the image.
fn apt_conf(arch: &str) -> String {
    let (dir, state) = (InstallPlan::DIR, InstallPlan::STATE);
    format!(
        "Dir::Etc \"{dir}/\";\n\
         Dir::Etc::main \"none\";\nDir::Etc::parts \"{state}/empty/\";\n\
         Dir::Etc::sourcelist \"{dir}/sources.list\";\nDir::Etc::sourceparts \"{state}/empty/\";\n\
         Dir::Etc::preferences \"none\";\nDir::Etc::preferencesparts \"{state}/empty/\";\n\
         Dir::Etc::trusted \"none\";\nDir::Etc::trustedparts \"{state}/empty/\";\n\
         Dir::State::lists \"{state}/lists/\";\n\
         Dir::Cache \"{state}/cache/\";\n\
         Dir::Log \"{state}/log/\";\n\
         APT::Architecture \"{arch}\";\n\
         APT::Architectures {{ \"{arch}\"; }};\n\
         APT::Install-Recommends \"false\";\n\
         APT::Install-Suggests \"false\";\n\
         APT::Get::Assume-Yes \"true\";\n\
         APT::Get::Remove \"false\";\n\
         APT::Sandbox::User \"root\";\n\
         Acquire::Languages \"none\";\n\
         Dpkg::Use-Pty \"false\";\n\
         DPkg::Options {{ \"--force-confold\"; \"--force-unsafe-io\"; \"--log={state}/log/dpkg.log\"; }};\n"
    )
}

fn script(packages: &[&LockedPackage], requested: &[String]) -> String {
    let state = InstallPlan::STATE;
    let mut text = format!(
        "set -e\n\
         command -v apt-get >/dev/null || {{ echo 'no apt in the lower layers: their base needs variant apt or minbase' >&2; exit 1; }}\n\
         mkdir -p {state}/lists/partial {state}/cache/archives/partial {state}/log {state}/empty\n\
         apt-get -q update\n"
    );
    if !packages.is_empty() {
        // All are named, so that apt cannot choose otherwise; then those that were only pulled in
        // are marked so. apt closes the status descriptor for its children: given 1 itself, scripts
        // would have no standard output.
        text.push_str("apt-get -q -o APT::Status-Fd=3 install");
        for package in packages {
            let _ = write!(text, " \\\n  {}={}", package.name, package.version);
        }
        text.push_str(" 3>&1\n");
    }
    let automatic: Vec<&str> = packages
        .iter()
        .filter(|p| !p.manual)
        .map(|p| p.name.as_str())
        .collect();
    let here = |name: &&str| packages.iter().any(|p| p.name == *name);
    let lower: Vec<&str> = requested
        .iter()
        .map(|r| r.split([':', '=', '/']).next().unwrap_or(r))
        .filter(|name| is_name(name) && !here(name))
        .collect();
    mark(&mut text, "auto", &automatic);
    // A virtual name was satisfied by a package under another name: there is nothing to mark then.
    for name in lower {
        let _ = writeln!(
            text,
            "if dpkg-query -W {name} >/dev/null 2>&1; then apt-mark manual {name} >/dev/null; fi"
        );
    }
    text
}

fn mark(text: &mut String, how: &str, names: &[&str]) {
    if !names.is_empty() {
        let _ = writeln!(text, "apt-mark {how} {} >/dev/null", names.join(" "));
    }
}

/// Holds one progress line of apt's standard output (`README.progress-reporting` of apt).
#[derive(Clone, Debug, PartialEq)]
pub struct StatusLine {
    /// The package, or what is being done.
    pub subject: String,
    /// How much is done, from 0 to 1.
    pub fraction: f64,
    /// What is being done, for people.
    pub message: String,
    /// Whether the line reports a failed package.
    pub failed: bool,
}

impl StatusLine {
    /// Reads a line; `None` means that it is output for the log.
    pub fn parse(line: &str) -> Option<Self> {
        let mut parts = line.trim_end().splitn(4, ':');
        let failed = match parts.next()? {
            "pmstatus" | "dlstatus" => false,
            "pmerror" => true,
            _ => return None,
        };
        let subject = parts.next()?.to_owned();
        let percent: f64 = parts.next()?.parse().ok()?;
        let message = parts.next()?.trim().to_owned();
        Some(Self {
            subject,
            fraction: (percent / 100.0).clamp(0.0, 1.0),
            message,
            failed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apt::Sha256;

    fn package(name: &str, manual: bool) -> LockedPackage {
        LockedPackage {
            name: name.into(),
            version: "1:2-3".into(),
            architecture: "all".into(),
            sha256: Sha256::from_bytes([0; 32]),
            size: 0,
            pool_path: String::new(),
            archive: String::new(),
            manual,
        }
    }

    #[test]
    fn every_package_is_named_and_marked_as_the_lock_says() {
        let packages = [package("nginx", true), package("libx", false)];
        let plan = InstallPlan::new(
            &packages,
            &["nginx/trixie".into(), "curl=8".into()],
            "amd64",
        );
        let script = &plan.files[2].1;
        assert!(
            script.contains(" install \\\n  libx=1:2-3 \\\n  nginx=1:2-3 3>&1\n"),
            "{script}"
        );
        assert!(script.contains("apt-mark auto libx >"), "{script}");
        assert!(
            script.contains("apt-mark manual curl >") && !script.contains("manual nginx"),
            "{script}"
        );
    }

    #[test]
    fn status_lines_are_told_from_the_log() {
        let line = StatusLine::parse("pmstatus:nginx:42.5000:Installing nginx (amd64)\n").unwrap();
        assert_eq!(
            (line.subject.as_str(), line.fraction, line.failed),
            ("nginx", 0.425, false)
        );
        assert!(
            StatusLine::parse("pmerror:x:50:dpkg: trouble: with: colons")
                .unwrap()
                .failed
        );
        assert_eq!(StatusLine::parse("Setting up nginx (1.26) ..."), None);
        assert_eq!(StatusLine::parse("pmstatus:broken"), None);
    }
}
