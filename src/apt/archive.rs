//! What an archive is called, whichever mirror it is read from.

/// Ties an archive's label to one of its addresses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Archive {
    /// The label, as locks name it.
    pub label: String,
    /// The root's address, with a slash at its end.
    pub root: String,
}

impl Archive {
    /// Reads `root<TAB>Label`. The label is in the signed Release file, so it is the same on every
    /// mirror; an archive without one goes by the last part of its path.
    pub(super) fn from_target(line: &str) -> Option<Self> {
        let (root, label) = line.split_once('\t')?;
        let root = format!("{}/", root.trim_end_matches('/'));
        let last = root
            .trim_end_matches('/')
            .rsplit(['/', ':'])
            .next()
            .unwrap_or_default();
        let label = if label.trim().is_empty() { last } else { label };
        let label: String = label
            .to_lowercase()
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || ".+_".contains(c) {
                    c
                } else {
                    '-'
                }
            })
            .collect();
        Some(Self { label, root })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_goes_by_its_label_and_else_by_its_path() {
        let label = |line| Archive::from_target(line).unwrap().label;
        assert_eq!(
            label("http://security.example/debian-security/\tDebian-Security"),
            "debian-security"
        );
        assert_eq!(label("http://a.example/mirror/debian\tDebian"), "debian");
        assert_eq!(label("file:/srv/flat/\t"), "flat");
        assert_eq!(label("https://b.example/apt\tMy Vendor/x"), "my-vendor-x");
    }
}
