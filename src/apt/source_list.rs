//! Lists of archive sources in both styles of sources.list(5).

use super::deb822;

/// Names one archive suite, as a `deb` line does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ArchiveSource {
    /// Options between brackets, in their order.
    pub options: Vec<(String, String)>,
    /// The archive's root.
    pub uri: String,
    /// The suite, or a path ending in `/` for a flat archive.
    pub suite: String,
    /// The components; none for a flat archive.
    pub components: Vec<String>,
}

impl ArchiveSource {
    fn render(&self) -> String {
        let mut words = vec!["deb".to_owned()];
        if !self.options.is_empty() {
            let options: Vec<String> = self
                .options
                .iter()
                .map(|(k, v)| format!("{k}={v}"))
                .collect();
            words.push(format!("[{}]", options.join(" ")));
        }
        words.extend([self.uri.clone(), self.suite.clone()]);
        words.extend(self.components.iter().cloned());
        words.join(" ")
    }
}

/// Writes sources as a one-line-style file.
pub(super) fn render(sources: &[ArchiveSource]) -> String {
    sources.iter().map(|s| s.render() + "\n").collect()
}

/// Reads a file of either style; the error is a one-based line and what is wrong there.
pub(super) fn parse(text: &str) -> Result<Vec<ArchiveSource>, (usize, String)> {
    let mut sources = Vec::new();
    let mut block = String::new();
    let mut block_start = 0;
    // A trailing blank line closes the last deb822 stanza.
    for (index, line) in text.lines().chain([""]).enumerate() {
        let trimmed = line.trim();
        if trimmed.starts_with('#') {
        } else if block.is_empty() && (trimmed.starts_with("deb ") || trimmed.starts_with("deb\t"))
        {
            sources.push(one_line(trimmed).map_err(|detail| (index + 1, detail))?);
        } else if block.is_empty() && trimmed.starts_with("deb-src")
            || block.is_empty() && trimmed.is_empty()
        {
        } else if trimmed.is_empty() {
            sources.extend(stanza(&block).map_err(|detail| (block_start, detail))?);
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
        uri,
        suite,
        components: words.collect(),
    })
}

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
    // Both styles know the same options under other names: sources.list(5), "THE DEB AND DEB-SRC
    // TYPES: OPTIONS".
    const OPTIONS: [(&str, &str); 5] = [
        ("Signed-By", "signed-by"),
        ("Trusted", "trusted"),
        ("Architectures", "arch"),
        ("Check-Valid-Until", "check-valid-until"),
        ("By-Hash", "by-hash"),
    ];
    let mut options = Vec::new();
    for (field, option) in OPTIONS {
        let values = words(field);
        if field == "Signed-By" && stanza.get(field).is_some_and(|v| v.contains("PGP")) {
            return Err(
                "a key inside the stanza is not supported: name a key file in Signed-By".to_owned(),
            );
        }
        if !values.is_empty() {
            options.push((option.to_owned(), values.join(",")));
        }
    }
    let (uris, suites, components) = (words("URIs"), words("Suites"), words("Components"));
    if uris.is_empty() || suites.is_empty() {
        return Err("a stanza needs URIs and Suites".to_owned());
    }
    let mut sources = Vec::new();
    for uri in &uris {
        for suite in &suites {
            let (options, components) = (options.clone(), components.clone());
            sources.push(checked(ArchiveSource {
                options,
                uri: uri.clone(),
                suite: suite.clone(),
                components,
            })?);
        }
    }
    Ok(sources)
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
}
