//! `[[bootstrap.sources]]` and `[[apt.sources]]`: archives of packages in the words of a deb822
//! sources file (sources.list(5)).
//!
//! A definition holds no credentials: apt takes them from the machine's apt_auth.conf(5).

use std::collections::BTreeSet;

use crate::path::RelPath;

use super::error::{RecipeError, suggest};
use super::reader::{Table, Value};
use super::sections;
use super::shapes::SOURCE;
use super::together::{Together as _, all};
use super::words;

/// One archive, or several that differ in address or suite only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveSection {
    /// `uris`: the roots, never empty.
    pub uris: Vec<String>,
    /// `suites`: never empty; one that ends in `/` is the path of a flat archive.
    pub suites: Vec<String>,
    /// `components`: empty exactly for flat archives.
    pub components: Vec<String>,
    /// `architectures`: all when empty.
    pub architectures: Vec<String>,
    /// `signed_by`: whose signature is taken; the distribution's own when not given.
    pub signed_by: Option<SignedBy>,
    /// `trusted`: taken without a signature.
    pub trusted: bool,
    /// `check_valid_until`: whether an archive that has expired is refused; true when not given.
    pub check_valid_until: bool,
}

/// Where the key of an archive is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignedBy {
    /// In a file, relative to the layer's folder.
    File(RelPath),
    /// In the definition itself, armoured.
    Block(String),
}

/// An archive with the key itself. Equal ones may be named at different places.
#[derive(Debug, Clone)]
pub struct PackageArchive {
    /// What the definition says.
    pub section: ArchiveSection,
    /// The key, armoured or not.
    pub key: Option<Vec<u8>>,
    /// Where the definition says it: `layers/shop/layer.toml:7:1`.
    pub place: String,
}

impl PartialEq for PackageArchive {
    fn eq(&self, other: &Self) -> bool {
        (&self.section, &self.key) == (&other.section, &other.key)
    }
}

impl Eq for PackageArchive {}

impl ArchiveSection {
    /// Returns address and suite of each archive.
    pub(super) fn addresses(&self) -> impl Iterator<Item = String> {
        let of = |uri: &String| {
            let root = uri.trim_end_matches('/').to_owned();
            let suites = self.suites.iter();
            suites.map(move |suite| format!("{root} {suite}"))
        };
        self.uris.iter().flat_map(of)
    }
}

impl PackageArchive {
    /// Says whether both are taken under the same conditions.
    pub(super) fn is_trusted_as(&self, other: &Self) -> bool {
        let terms = |archive: &Self| (archive.section.trusted, archive.section.check_valid_until);
        self.key == other.key && terms(self) == terms(other)
    }
}

/// Says what keeps a file from being a public OpenPGP key that apt can read: `is …`.
pub fn key_problem(key: &[u8]) -> Option<&'static str> {
    const ARMOUR: &[u8] = b"-----BEGIN PGP PUBLIC KEY BLOCK-----";
    let text = key.trim_ascii_start();
    let contains = |word: &[u8]| text.windows(word.len()).any(|at| at == word);
    if contains(b"PRIVATE KEY BLOCK") {
        return Some("is a private key, which belongs to nobody but its owner");
    }
    if text.starts_with(ARMOUR) {
        return (!contains(b"-----END PGP PUBLIC KEY BLOCK-----")).then_some("is cut short");
    }
    // Packet tags of RFC 9580: public key 6, secret key 5, in the old and the new format.
    match key.first() {
        None => Some("is empty"),
        Some(0x98..=0x9b | 0xc6) => None,
        Some(0x94..=0x97 | 0xc5) => Some("is a private key, which belongs to nobody but its owner"),
        _ if key.get(8..12) == Some(b"KBXf") => {
            Some("is a keybox, which apt does not read: write one with `gpg --export`")
        }
        _ if text.starts_with(b"<") => Some("is a web page, not a key"),
        _ => Some("is no OpenPGP key"),
    }
}

/// Reads `sources` of a table.
pub(super) fn parse(table: &Table<'_>) -> Result<Vec<ArchiveSection>, RecipeError> {
    let Some(list) = table.get("sources") else {
        return Ok(Vec::new());
    };
    all(list.list()?.iter().map(archive))
}

/// Reads `snapshots` of a table: roots at which files are looked for that left their archive.
pub(super) fn snapshots(table: &Table<'_>) -> Result<Vec<String>, RecipeError> {
    let list = table.get("snapshots");
    list.map_or(Ok(Vec::new()), |list| addresses(&list))
}

/// Checks that a base that names its components and its archives has each of the former in one of
/// the latter.
pub(super) fn offer_all(
    sources: &[ArchiveSection],
    components: &Value<'_>,
) -> Result<(), RecipeError> {
    // A flat archive has no components: it alone can stand for all of them.
    if sources.is_empty() || sources.iter().any(|source| source.components.is_empty()) {
        return Ok(());
    }
    let offered: BTreeSet<&str> = sources
        .iter()
        .flat_map(|source| source.components.iter().map(String::as_str))
        .collect();
    all(components.list()?.iter().map(|item| {
        let component = item.string()?;
        match offered.contains(component) {
            true => Ok(()),
            false => Err(item.fault_with(
                format!("no archive of 'bootstrap.sources' has the component '{component}'"),
                suggest(component, offered.iter().copied()),
            )),
        }
    }))
    .map(|_| ())
}

fn archive(item: &Value<'_>) -> Result<ArchiveSection, RecipeError> {
    let (table, keys) = item.open(&SOURCE)?;
    let uris = table.need("uris");
    let uris = uris.and_then(|list| full(&list, addresses(&list)?));
    let suites = table.need("suites");
    let suites = suites.and_then(|list| full(&list, list.strings(words::source_suite)?));
    let words = |key, check: fn(&str) -> Option<&'static str>| {
        let list = table.get(key);
        list.map_or(Ok(Vec::new()), |list| list.strings(check))
    };
    let head = (
        keys,
        uris,
        suites,
        words("components", words::suite),
        words("architectures", words::architecture),
    );
    let key = table.get("signed_by").map(|key| signed_by(&key));
    let switch = |name, default| table.get(name).map_or(Ok(default), |v| v.boolean());
    let trust = (
        key.transpose(),
        switch("trusted", false),
        switch("check_valid_until", true),
    );
    let (head, trust) = (head.together(), trust.together()).together()?;
    let (_, uris, suites, components, architectures) = head;
    let (signed_by, trusted, check_valid_until) = trust;
    let section = ArchiveSection {
        uris,
        suites,
        components,
        architectures,
        signed_by,
        trusted,
        check_valid_until,
    };
    let kinds = all(table.need("suites")?.list()?.iter().map(|suite| {
        let text = suite.string()?;
        match (text.ends_with('/'), section.components.is_empty()) {
            (true, false) => Err(suite.fault_with(
                format!("the flat archive '{text}' takes no components"),
                Some("leave 'components' out, or leave the slash away for a suite".into()),
            )),
            (false, true) => Err(suite.fault_with(
                format!("the suite '{text}' needs components"),
                Some(
                    "e.g. components = [\"main\"]; a flat archive's path ends in '/', as in \"./\""
                        .into(),
                ),
            )),
            _ => Ok(()),
        }
    }));
    let both = match (section.trusted, table.get("signed_by")) {
        (true, Some(key)) => Err(key.key_fault(
            "'signed_by' says nothing where 'trusted' takes everything",
            Some("leave 'trusted' out".into()),
        )),
        _ => Ok(()),
    };
    (kinds, both).together().map(|_| section)
}

fn full(list: &Value<'_>, words: Vec<String>) -> Result<Vec<String>, RecipeError> {
    match words.is_empty() {
        true => Err(list.fault(format!("'{}' is empty", list.name()))),
        false => Ok(words),
    }
}

/// Reads a list of addresses. Errors do not repeat what may be a password.
fn addresses(list: &Value<'_>) -> Result<Vec<String>, RecipeError> {
    let open = all(list.list()?.iter().map(|item| {
        let text = item.string()?;
        match credentials(text) {
            None => Ok(()),
            Some((secret, host)) => Err(item.fault_hiding(
                secret,
                format!("the address on '{host}' holds credentials, which everybody who has this file could use"),
                format!(
                    "take them out, and write on each machine that locks or builds, to /etc/apt/auth.conf.d/{host}.conf: machine {host} login USER password PASSWORD"
                ),
            )),
        }
    }));
    open?;
    list.strings(words::archive_uri)
}

/// Returns user and password of an address, and the host that follows them. A password may hold
/// what ends the host of an address, so all up to the last `@` counts where the port is no number.
fn credentials(text: &str) -> Option<(&str, &str)> {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    let is_port = |port: &str| port.bytes().all(|b| b.is_ascii_digit());
    let has_port = authority
        .rsplit_once(':')
        .is_none_or(|(_, port)| is_port(port) || port.ends_with(']'));
    let whole = match has_port || authority.contains('@') {
        true => authority,
        false => rest,
    };
    let (secret, host) = whole.rsplit_once('@')?;
    Some((secret, host.split('/').next().unwrap_or_default()))
}

fn signed_by(value: &Value<'_>) -> Result<SignedBy, RecipeError> {
    let text = value.string()?;
    if !text.contains("-----BEGIN") {
        return sections::beside(value).map(SignedBy::File);
    }
    match key_problem(text.as_bytes()) {
        Some(problem) => Err(value.fault(format!("the key {problem}"))),
        None => Ok(SignedBy::Block(text.to_owned())),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::recipe::{Definition, SourceFile};

    fn read(text: &str) -> Result<Definition, RecipeError> {
        Definition::parse(&SourceFile::new("layers/shop/layer.toml", text), "shop")
    }

    fn layer(source: &str) -> String {
        format!("on = ['base']\n[apt]\npackages = ['shop']\n[[apt.sources]]\n{source}\n")
    }

    #[test]
    fn all_mistakes_of_an_archive_are_told_at_once() {
        let text = layer(
            "uris = ['ftp://a/x', 'http://']\nsuites = ['a b']\ncomponents = 'main'\nsigned-by = 'x'\ntrusted = 'yes'",
        );
        let said = read(&text).unwrap_err().to_string();
        for place in [
            "5:9: 'ftp://a/x' is not an address that starts",
            "5:22: 'http://' names no host",
            "6:11: 'a b' is not a suite",
            "7:14: 'apt.sources.components' must be a list",
            "8:1: unknown key 'signed-by' (did you mean 'signed_by'?)",
            "9:11: 'apt.sources.trusted' must be true or false",
        ] {
            assert!(
                said.contains(&format!("layer.toml:{place}")),
                "{place}: {said}"
            );
        }
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for (source, said) in [
            (
                "uris = ['file:/a']\nsuites = ['s']",
                "6:11: the suite 's' needs components",
            ),
            (
                "uris = ['file:/a']\nsuites = ['./']\ncomponents = ['main']",
                "6:11: the flat archive './' takes no components",
            ),
            ("uris = []\nsuites = ['./']", "5:8: 'uris' is empty"),
            ("uris = ['file:/a']\nsuites = []", "6:10: 'suites' is empty"),
            (
                "uris = ['file:/a']\nsuites = ['./']\nsigned_by = 'k.asc'\ntrusted = true",
                "7:1: 'signed_by' says nothing",
            ),
            (
                "uris = ['file:/a']\nsuites = ['./']\nsigned_by = '../k.asc'",
                "7:13: ",
            ),
            (
                "uris = ['file:/a']\nsuites = ['./']\nsigned_by = '-----BEGIN PGP PRIVATE KEY BLOCK-----'",
                "7:13: the key is a private key",
            ),
        ] {
            let error = read(&layer(source)).unwrap_err().to_string();
            assert!(error.contains(&format!("layer.toml:{said}")), "{error}");
        }
        let base = "[bootstrap]\nsuite = 's'\ncomponents = ['main', 'contirb']\n[[bootstrap.sources]]\n\
                    uris = ['file:/a']\nsuites = ['s']\ncomponents = ['main', 'contrib']\n";
        let error = read(base).unwrap_err().to_string();
        assert!(
            error.contains("3:23: no archive of 'bootstrap.sources' has the component 'contirb' (did you mean 'contrib'?)"),
            "{error}"
        );
        read(&base.replace("contirb", "contrib")).unwrap();
        read(&base.replace("components = ['main', 'contirb']\n", "")).unwrap();
    }

    #[test]
    fn passwords_are_refused_and_shown_nowhere() {
        for (address, host) in [
            ("https://bob:hunter2@apt.example/x", "apt.example"),
            ("https://hunter2@apt.example/x", "apt.example"),
            ("https://bob:hunter2@apt.example:8443", "apt.example:8443"),
            ("https://bob:hunt/hunter2@apt.example/x", "apt.example"),
            ("bob:hunter2@apt.example/x", "apt.example"),
            ("https://bob:hunter2 x@apt.example/x", "apt.example"),
        ] {
            let text = layer(&format!(
                "uris = ['file:/a', '{address}', 'ftp://x']\nsuites = ['./']\nzzz = 'no hunter2'"
            ));
            let error = read(&text).unwrap_err();
            let said = error.to_string();
            assert!(
                said.contains(&format!("5:20: the address on '{host}' holds credentials")),
                "{said}"
            );
            assert!(!said.contains("hunter2"), "{said}");
            assert_eq!(error.faults().len(), 2, "{said}");
            // Nor do the lines that are drawn, for any of the mistakes.
            for fault in error.faults() {
                let mut drawn = String::new();
                miette::GraphicalReportHandler::new_themed(miette::GraphicalTheme::none())
                    .render_report(&mut drawn, fault)
                    .unwrap();
                let shown = drawn.replace("no hunter2", "");
                assert!(!shown.contains("hunter2"), "{drawn}");
            }
        }
        // What looks alike and is none.
        for address in [
            "https://a.example/@scope/x",
            "https://[::1]/a@b",
            "file:/srv/a@b",
        ] {
            let text = layer(&format!("uris = ['{address}']\nsuites = ['./']"));
            read(&text).unwrap();
        }
    }
}
