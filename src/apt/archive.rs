//! What an archive is called, whichever mirror it is read from.

use super::source_list::without_credentials;

/// Ties an archive's name to one of its addresses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Archive {
    /// The name, as locks have it.
    pub label: String,
    /// The root's address, with a slash at its end.
    pub root: String,
}

/// What the `Release` file of one suite says about itself, as `apt-get indextargets` prints it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ReleaseInfo {
    /// The root's address, with a slash at its end.
    root: String,
    /// The suite as the source names it, or the path of a flat archive.
    suite: String,
    /// [`ReleaseInfo::FIELDS`], each empty where there is none.
    values: [String; 4],
}

/// A value of a `Release` file that is another one than at the last update.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ReleaseChange {
    /// Address and suite of the archive.
    pub archive: String,
    /// `Label`, `Origin`, `Codename` or `Suite`.
    pub field: &'static str,
    /// The value before; empty where there was none.
    pub before: String,
    /// The value now; empty where there is none.
    pub after: String,
}

impl ReleaseInfo {
    /// The fields, by how well they name an archive.
    const FIELDS: [&'static str; 4] = ["Label", "Origin", "Codename", "Suite"];

    /// What `apt-get indextargets` is to print for each index.
    pub(super) const FORMAT: &'static str =
        "--format=$(REPO_URI)\t$(RELEASE)\t$(LABEL)\t$(ORIGIN)\t$(CODENAME)\t$(SUITE)";

    /// Reads a line in [`ReleaseInfo::FORMAT`].
    pub(super) fn from_target(line: &str) -> Option<Self> {
        let mut words = line.split('\t');
        let root = format!("{}/", words.next()?.trim_end_matches('/'));
        let suite = words.next()?.to_owned();
        // apt leaves a variable without a value as it stands.
        let values = Self::FIELDS.map(|field| {
            let value = words.next().unwrap_or_default();
            let unset = format!("$({})", field.to_uppercase());
            if value == unset { "" } else { value.trim() }.to_owned()
        });
        Some(Self {
            root,
            suite,
            values,
        })
    }

    /// Names the archive: by what its signed `Release` file calls it, which is the same on every
    /// mirror; one that says nothing goes by the last part of its path.
    pub(super) fn archive(&self) -> Archive {
        let path = self.root.split_once("://").map_or_else(
            || self.root.split_once(':').map_or("", |(_, path)| path),
            // The host is no part of a name.
            |(_, rest)| rest.split_once('/').map_or("", |(_, path)| path),
        );
        let last = path.trim_end_matches('/').rsplit('/').next();
        let names = self.values.iter().map(String::as_str);
        let mut words = names.chain(last).map(word).filter(|word| !word.is_empty());
        Archive {
            label: words.next().unwrap_or_else(|| "archive".to_owned()),
            root: self.root.clone(),
        }
    }

    /// Lists what is other in `after` than it was in `before`. Suites that only one of them has say
    /// nothing.
    pub(super) fn changes(before: &[Self], after: &[Self]) -> Vec<ReleaseChange> {
        let mut changes = Vec::new();
        for now in after {
            let same = |old: &&Self| old.root == now.root && old.suite == now.suite;
            let Some(old) = before.iter().find(same) else {
                continue;
            };
            // An archive that was never read whole says nothing about itself either.
            if old.values.iter().all(String::is_empty) {
                continue;
            }
            let pairs = old.values.iter().zip(&now.values);
            for (field, (before, after)) in Self::FIELDS.into_iter().zip(pairs) {
                if before != after {
                    changes.push(ReleaseChange {
                        archive: format!("{} {}", without_credentials(&now.root), now.suite),
                        field,
                        before: before.clone(),
                        after: after.clone(),
                    });
                }
            }
        }
        changes
    }
}

/// Makes a word that a lock may hold of any text; empty where nothing of it can stand there.
fn word(text: &str) -> String {
    let fitting = |c: char| c.is_ascii_alphanumeric() || "._".contains(c);
    let lower = text.to_lowercase();
    let word: String = lower
        .chars()
        .map(|c| if fitting(c) { c } else { '-' })
        .collect();
    word.trim_matches(|c: char| !c.is_ascii_alphanumeric())
        .to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn info(line: &str) -> ReleaseInfo {
        ReleaseInfo::from_target(line).unwrap()
    }

    #[test]
    fn an_archive_goes_by_what_it_calls_itself_and_else_by_its_path() {
        for (line, name) in [
            (
                "http://security.example/debian-security/\tx\tDebian-Security\tDebian",
                "debian-security",
            ),
            ("https://b.example/apt\tx\tMy Vendor/x\t", "my-vendor-x"),
            ("https://b.example/apt\tx\t$(LABEL)\tAcme\tc\ts", "acme"),
            ("https://b.example/\tx\t\t$(ORIGIN)\tc\ts", "c"),
            ("https://b.example/\tx\t\t$(ORIGIN)\t$(CODENAME)\ts", "s"),
            (
                "file:/srv/flat/\t./\t$(LABEL)\t$(ORIGIN)\t$(CODENAME)\t$(SUITE)",
                "flat",
            ),
            ("file:///srv/flat/\t./", "flat"),
            ("https://b.example:8080/\t./", "archive"),
            ("https://b.example/\tx\t日本\t-- \t", "archive"),
            ("https://b.example/a/\tx\t(C++) tools!\t", "c----tools"),
        ] {
            assert_eq!(info(line).archive().label, name, "{line}");
        }
    }

    #[test]
    fn what_an_archive_calls_itself_is_told_when_it_changes_and_only_then() {
        let (old, new) = (
            info("http://a/d\tx\tOne\tO\t$(CODENAME)\ts"),
            info("http://a/d\tx\tTwo\tO\tc\ts"),
        );
        let changes = ReleaseInfo::changes(std::slice::from_ref(&old), std::slice::from_ref(&new));
        let told: Vec<_> = changes
            .iter()
            .map(|c| (&*c.archive, c.field, &*c.before, &*c.after))
            .collect();
        assert_eq!(
            told,
            [
                ("http://a/d/ x", "Label", "One", "Two"),
                ("http://a/d/ x", "Codename", "", "c"),
            ]
        );
        let other = info("http://a/d\ty\tOne\tO\t\ts");
        let unread = info("http://a/d\tx\t$(LABEL)\t$(ORIGIN)\t$(CODENAME)\t$(SUITE)");
        for before in [&[][..], std::slice::from_ref(&new), &[other], &[unread]] {
            assert_eq!(ReleaseInfo::changes(before, std::slice::from_ref(&new)), []);
        }
    }
}
