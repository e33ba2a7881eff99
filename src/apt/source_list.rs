//! Lists of archive sources in both styles of sources.list(5).

use super::deb822;
use super::key_file;
use std::path::Path;

/// Names one archive suite, as a `deb` line does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ArchiveSource {
    /// Options between brackets, in their order.
    pub options: Vec<(String, String)>,
    /// The key, where the source has it with it instead of naming a file in `signed-by`.
    pub key: Option<Vec<u8>>,
    /// The archive's root.
    pub uri: String,
    /// The suite, or a path ending in `/` for a flat archive.
    pub suite: String,
    /// The components; none for a flat archive.
    pub components: Vec<String>,
    /// Where people wrote it, for messages: `sources.list:3`; empty for the default archives.
    pub place: String,
}

impl ArchiveSource {
    /// Returns the archive's root with a slash at its end.
    pub(super) fn root(&self) -> String {
        format!("{}/", self.uri.trim_end_matches('/'))
    }

    /// Returns the archive's root without the credentials that a sources file may hold.
    pub(super) fn shown(&self) -> String {
        without_credentials(&self.uri)
    }

    /// Says whether it is a flat archive, which has no suites.
    pub(super) fn is_flat(&self) -> bool {
        self.suite.ends_with('/')
    }

    fn render(&self, keys: &Path) -> String {
        let mut words = vec!["deb".to_owned()];
        let key = self.key.as_ref();
        let key = key.map(|key| keys.join(key_file::name(key)).display().to_string());
        let mut options: Vec<String> = self
            .options
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
        options.extend(key.map(|key| format!("signed-by={key}")));
        if !options.is_empty() {
            words.push(format!("[{}]", options.join(" ")));
        }
        words.extend([self.uri.clone(), self.suite.clone()]);
        words.extend(self.components.iter().cloned());
        words.join(" ")
    }
}

/// Takes user and password out of an address.
pub(super) fn without_credentials(uri: &str) -> String {
    let Some((scheme, rest)) = uri.split_once("://") else {
        return uri.to_owned();
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

/// Writes sources as a one-line-style file; keys lie in `keys`.
pub(super) fn render(sources: &[ArchiveSource], keys: &Path) -> String {
    sources.iter().map(|s| s.render(keys) + "\n").collect()
}

/// Reads a file of either style; the error is a one-based line and what is wrong there.
///
/// The places of sources are their lines: the caller puts the file's name before them.
pub(super) fn parse(text: &str) -> Result<Vec<ArchiveSource>, (usize, String)> {
    let mut sources = Vec::new();
    let mut block = String::new();
    let mut block_start = 0;
    let mut add = |line: usize, found: Result<Vec<ArchiveSource>, String>| {
        let found = found.map_err(|detail| (line, detail))?;
        sources.extend(found.into_iter().map(|source| ArchiveSource {
            place: line.to_string(),
            ..source
        }));
        Ok(())
    };
    // A trailing blank line closes the last deb822 stanza.
    for (index, line) in text.lines().chain([""]).enumerate() {
        let trimmed = line.trim();
        if trimmed.starts_with('#') {
        } else if block.is_empty() && (trimmed.starts_with("deb ") || trimmed.starts_with("deb\t"))
        {
            add(index + 1, one_line(trimmed).map(|source| vec![source]))?;
        } else if block.is_empty() && trimmed.starts_with("deb-src")
            || block.is_empty() && trimmed.is_empty()
        {
        } else if trimmed.is_empty() {
            add(block_start, stanza(&block))?;
            block.clear();
        } else if block.is_empty() && !line.contains(':') {
            return Err((index + 1, "neither a 'deb' line nor a field".to_owned()));
        } else {
            if block.is_empty() {
                block_start = index + 1;
            }
            block.push_str(line);
            block.push('\n');
        }
    }
    Ok(sources)
}

fn one_line(line: &str) -> Result<ArchiveSource, String> {
    let line = line.split_once(" #").map_or(line, |(before, _)| before);
    let mut rest = line["deb".len()..].trim_start();
    let mut options = Vec::new();
    if let Some(inner) = rest.strip_prefix('[') {
        let (inside, after) = inner
            .split_once(']')
            .ok_or("the option list is not closed")?;
        for option in inside.split_whitespace() {
            let (key, value) = option
                .split_once('=')
                .ok_or_else(|| format!("option '{option}' has no value"))?;
            options.push((key.to_owned(), value.to_owned()));
        }
        rest = after;
    }
    let mut words = rest.split_whitespace().map(str::to_owned);
    let (Some(uri), Some(suite)) = (words.next(), words.next()) else {
        return Err("a 'deb' line needs an address and a suite".to_owned());
    };
    checked(ArchiveSource {
        options,
        key: None,
        uri,
        suite,
        components: words.collect(),
        place: String::new(),
    })
}

/// Both styles know the same options under other names: sources.list(5), "THE DEB AND DEB-SRC
/// TYPES: OPTIONS".
const OPTIONS: [(&str, &str); 13] = [
    ("Signed-By", "signed-by"),
    ("Trusted", "trusted"),
    ("Architectures", "arch"),
    ("Check-Valid-Until", "check-valid-until"),
    ("Valid-Until-Min", "valid-until-min"),
    ("Valid-Until-Max", "valid-until-max"),
    ("Check-Date", "check-date"),
    ("Date-Max-Future", "date-max-future"),
    ("By-Hash", "by-hash"),
    ("PDiffs", "pdiffs"),
    ("InRelease-Path", "inrelease-path"),
    ("Allow-Insecure", "allow-insecure"),
    ("Allow-Weak", "allow-weak"),
];

fn stanza(block: &str) -> Result<Vec<ArchiveSource>, String> {
    let stanzas = deb822::parse(block);
    let stanza = stanzas.first().ok_or("an empty stanza")?;
    let words = |name: &str| -> Vec<String> {
        stanza
            .get(name)
            .unwrap_or_default()
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    };
    let enabled = !matches!(stanza.get("Enabled"), Some("no" | "false" | "0"));
    if !enabled || !words("Types").iter().any(|t| t == "deb") {
        return Ok(Vec::new());
    }
    let signed_by = stanza.get("Signed-By").unwrap_or_default();
    let key = signed_by
        .contains("-----BEGIN")
        .then(|| block_of(signed_by));
    if let Some(problem) = key.as_deref().and_then(key_file::problem) {
        return Err(format!("the key in Signed-By {problem}"));
    }
    let mut options = Vec::new();
    for (field, option) in OPTIONS {
        let values = words(field);
        let is_given = key.is_some() && field == "Signed-By";
        if !(values.is_empty() || is_given) {
            options.push((option.to_owned(), values.join(",")));
        }
    }
    let (uris, suites, components) = (words("URIs"), words("Suites"), words("Components"));
    if uris.is_empty() || suites.is_empty() {
        return Err("a stanza needs URIs and Suites".to_owned());
    }
    each(&uris, &suites, |uri, suite| {
        checked(ArchiveSource {
            options: options.clone(),
            key: key.clone(),
            uri: uri.to_owned(),
            suite: suite.to_owned(),
            components: components.clone(),
            place: String::new(),
        })
    })
}

/// Makes one source for each address and suite.
pub(super) fn each<E>(
    uris: &[String],
    suites: &[String],
    mut make: impl FnMut(&str, &str) -> Result<ArchiveSource, E>,
) -> Result<Vec<ArchiveSource>, E> {
    let pairs = uris
        .iter()
        .flat_map(|uri| suites.iter().map(move |s| (uri, s)));
    pairs.map(|(uri, suite)| make(uri, suite)).collect()
}

/// Takes a key out of a field: its lines are indented, and a dot stands for an empty one.
fn block_of(field: &str) -> Vec<u8> {
    let lines = field.trim().lines().map(|line| match line.trim() {
        "." => "",
        line => line,
    });
    lines
        .flat_map(|line| [line, "\n"])
        .collect::<String>()
        .into_bytes()
}

fn checked(source: ArchiveSource) -> Result<ArchiveSource, String> {
    match (source.suite.ends_with('/'), source.components.is_empty()) {
        (true, false) => Err(format!(
            "the flat archive '{}' takes no components",
            source.suite
        )),
        (false, true) => Err(format!("the suite '{}' needs components", source.suite)),
        _ => Ok(source),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_line_is_reported_by_number() {
        for (text, line) in [
            (
                "deb http://a trixie main\ndeb [arch=amd64 http://a trixie main",
                2,
            ),
            ("\n\nhello", 3),
            ("deb http://a trixie", 1),
            ("deb http://a ./ main", 1),
            ("\nTypes: deb\nURIs: http://a\n", 2),
        ] {
            assert_eq!(parse(text).unwrap_err().0, line, "{text}");
        }
    }

    #[test]
    fn a_key_inside_a_stanza_becomes_a_file() {
        let text = "Types: deb\nURIs: http://a\nSuites: s t\nComponents: c\nSigned-By:\n \
                    -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n AAAA\n -----END PGP PUBLIC KEY BLOCK-----\n";
        let sources = parse(text).unwrap();
        let key =
            b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n-----END PGP PUBLIC KEY BLOCK-----\n";
        assert_eq!(sources[1].key.as_deref(), Some(&key[..]));
        assert_eq!((sources.len(), &*sources[1].place), (2, "1"));
        let list = render(&sources, Path::new("/k"));
        assert!(list.starts_with("deb [signed-by=/k/"), "{list}");
        assert!(list.ends_with(".asc] http://a t c\n"), "{list}");
        let private = text.replace("PUBLIC", "PRIVATE");
        assert!(parse(&private).unwrap_err().1.contains("private"));
    }
}
