//! The files that apt would download: what `apt-get --print-uris` prints.

use super::error::AptError;

/// Holds one line of `--print-uris`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ChosenPackage {
    /// The package.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The file's address, escapes undone.
    pub address: String,
}

/// Reads `'address' name_version_arch.deb size digest` lines; other lines are skipped.
pub(super) fn parse_uris(output: &str) -> Result<Vec<ChosenPackage>, AptError> {
    let lines = output
        .lines()
        .filter_map(|line| line.strip_prefix('\'')?.split_once("' "));
    let choice = |(address, rest): (&str, &str)| {
        let file = unescape(rest.split_whitespace().next()?.strip_suffix(".deb")?);
        let mut parts = file.split('_');
        let (name, version) = (parts.next()?.to_owned(), parts.next()?.to_owned());
        Some(ChosenPackage {
            name,
            version,
            address: unescape(address),
        })
    };
    lines
        .map(|line| {
            choice(line).ok_or_else(|| AptError::Malformed {
                place: "the output of apt-get --print-uris".to_owned(),
                detail: format!("'{}' names no package", line.1),
            })
        })
        .collect()
}

fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = (first == b'%')
            .then(|| after.get(..2))
            .flatten()
            .and_then(|h| std::str::from_utf8(h).ok());
        match hex.and_then(|h| u8::from_str_radix(h, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = &after[2..];
            }
            None => {
                out.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_yields_name_version_with_epoch_and_plain_address() {
        let output = "Reading package lists...\nThe following NEW packages will be installed:\n  zlib1g\n\
            'http://s.example/debian-security/pool/updates/main/z/zlib/zlib1g_1.3.dfsg%2breally1.3.1-1%2bdeb13u1_amd64.deb' \
            zlib1g_1%3a1.3.dfsg+really1.3.1-1+deb13u1_amd64.deb 88720 SHA256:8c27\n";
        let choices = parse_uris(output).unwrap();
        assert_eq!(
            choices,
            [ChosenPackage {
                name: "zlib1g".into(),
                version: "1:1.3.dfsg+really1.3.1-1+deb13u1".into(),
                address: "http://s.example/debian-security/pool/updates/main/z/zlib/\
                          zlib1g_1.3.dfsg+really1.3.1-1+deb13u1_amd64.deb"
                    .into(),
            }]
        );
    }

    #[test]
    fn a_line_without_a_package_file_is_refused() {
        assert!(parse_uris("'http://a/x' x 3 SHA256:00").is_err());
    }
}
