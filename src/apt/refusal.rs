//! Why apt takes an archive's indexes not: which archive, and what mends it.
//!
//! The words are apt's own (apt-pkg/acquire-item.cc, methods/gpgv.cc, methods/sqv.cc), in the C
//! locale, of apt 2.6 to 3.0.

use super::command::ToolOutput;
use super::error::{AptError, RefusedArchive};
use super::source_list::ArchiveSource;

/// Words of apt, what they mean, and what helps, the most telling first.
const REASONS: [(&str, Reason); 26] = [
    ("Conflicting values set for option", Reason::Conflict),
    ("NO_PUBKEY", Reason::Key),
    ("Missing key", Reason::Key),
    ("EXPKEYSIG", Reason::OldKey),
    ("REVKEYSIG", Reason::RevokedKey),
    ("certificate is revoked", Reason::RevokedKey),
    ("is not bound", Reason::WeakKey),
    ("Policy rejected", Reason::WeakSignature),
    ("BADSIG", Reason::Damaged),
    ("Message has been manipulated", Reason::Damaged),
    ("Malformed certificate in keyring", Reason::KeyFile),
    ("Failed to parse keyring", Reason::KeyFile),
    ("ERRSIG", Reason::KeyFile),
    // What gpgv says more of has its word above.
    (
        "The following signatures were invalid",
        Reason::WeakSignature,
    ),
    ("GPG error", Reason::Key),
    ("OpenPGP signature verification failed", Reason::Key),
    ("is expired (invalid since", Reason::Expired),
    ("is not valid yet (invalid for", Reason::Early),
    ("doesn't have the component", Reason::Component),
    ("does not have a Release file", Reason::NoRelease),
    ("is not signed", Reason::Unsigned),
    (" 401 ", Reason::Credentials),
    (" 403 ", Reason::Credentials),
    ("Certificate verification failed", Reason::Certificate),
    ("Hash Sum mismatch", Reason::Index),
    ("Failed to fetch", Reason::Fetch),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reason {
    Conflict,
    Key,
    OldKey,
    RevokedKey,
    WeakKey,
    WeakSignature,
    KeyFile,
    Damaged,
    Index,
    Expired,
    Early,
    Component,
    NoRelease,
    Unsigned,
    Credentials,
    Certificate,
    Fetch,
}

/// Returns the error about the first archive of `sources` that an update could not use.
///
/// apt takes a component that is not there for a warning, and then knows nothing of its packages.
pub(super) fn of_archive(updated: &ToolOutput, sources: &[ArchiveSource]) -> Option<AptError> {
    let all = format!("{}\n{}", updated.stderr, updated.stdout);
    let lines = || {
        let told = |l: &str| {
            let marks = ["E: ", "W: ", "Error: ", "Warning: "].into_iter();
            let mut rest = marks.filter_map(|mark| l.strip_prefix(mark));
            rest.next().map(str::to_owned)
        };
        all.lines().filter_map(told)
    };
    for (words, reason) in REASONS {
        if updated.success && reason != Reason::Component {
            continue;
        }
        let line = lines().find(|line| line.contains(words));
        let found = line.and_then(|line| Some((about(&line, sources)?, line)));
        let Some((source, line)) = found else {
            continue;
        };
        return Some(AptError::Refused(Box::new(RefusedArchive {
            place: source.place.clone(),
            archive: format!("{} {}", source.shown(), source.suite),
            reason: reason.text(&line),
            cure: reason.cure(source),
        })));
    }
    None
}

/// Returns the source that a line is about: of several on one server, the one whose suite it names.
pub(super) fn about<'s>(line: &str, sources: &'s [ArchiveSource]) -> Option<&'s ArchiveSource> {
    let rank = |source: &ArchiveSource| {
        let (root, shown) = (source.root(), source.shown());
        let roots = [&root, &shown].map(|root| root.trim_end_matches('/'));
        let (root, after) = roots
            .into_iter()
            .find_map(|root| Some((root, line.split_once(root)?.1)))?;
        let suite = &source.suite;
        let names_suite = after
            .split([' ', '/', '\''])
            .any(|word| word == suite.trim_end_matches('/') && !word.is_empty())
            || after.contains(&format!(" {suite} "));
        after
            .starts_with(['/', ' ', ':'])
            .then_some((names_suite, root.len()))
    };
    let ranked = sources.iter().filter_map(|s| Some((rank(s)?, s)));
    // The first of equals.
    ranked
        .rev()
        .max_by_key(|(rank, _)| *rank)
        .map(|(_, source)| source)
}

impl Reason {
    fn text(self, line: &str) -> String {
        let after = |words: &str| line.split_once(words).map(|(_, rest)| rest.trim());
        let key = |words: &str| after(words).and_then(|rest| rest.split_whitespace().next());
        match self {
            Self::Conflict => "is named twice, with another key or other trust".to_owned(),
            Self::Key => match key("NO_PUBKEY").or_else(|| key("Missing key")) {
                Some(key) => format!("is signed with the key {}, which is not the one that was named", key.trim_end_matches(',')),
                None => format!("is not signed as it should be: {line}"),
            },
            Self::OldKey => format!(
                "is signed with the key {}, which has expired",
                key("EXPKEYSIG").unwrap_or_default()
            ),
            Self::RevokedKey => format!(
                "is signed with the key {}, which its owner revoked",
                key("REVKEYSIG").or_else(|| key("Signing key on")).unwrap_or_default()
            ),
            Self::WeakSignature => {
                let detail = after("because:").map(|why| format!(": {why}"));
                format!("is signed in a way that this machine no longer takes{}", detail.unwrap_or_default())
            }
            Self::KeyFile => "cannot be checked, for the file of its key is damaged".to_owned(),
            Self::Index => "has an index that does not fit its Release file: it was changed, or is being replaced".to_owned(),
            Self::WeakKey => format!(
                "is signed with a key that this machine no longer takes: {}",
                after("error message is:").unwrap_or(line)
            ),
            Self::Damaged => "has a signature that does not fit its Release file: it was changed, or is being replaced".to_owned(),
            Self::Expired => {
                let since = after("(invalid since").and_then(|rest| rest.split(')').next());
                format!("has expired{}", since.map(|s| format!(" {s} ago")).unwrap_or_default())
            }
            Self::Early => "has a date in the future".to_owned(),
            Self::Component => {
                let component = after("the component '").and_then(|rest| rest.split('\'').next());
                format!("has no component '{}'", component.unwrap_or_default())
            }
            Self::NoRelease => "has no Release file: no archive is there, or not that suite".to_owned(),
            Self::Unsigned => "is not signed".to_owned(),
            Self::Credentials => "wants credentials, or others".to_owned(),
            Self::Certificate => "has a certificate that this machine does not trust".to_owned(),
            Self::Fetch => {
                let what = after("Failed to fetch").unwrap_or(line);
                let what = what.split_once(' ').map_or(what, |(_, reason)| reason.trim());
                format!("cannot be reached: {what}")
            }
        }
    }

    fn cure(self, source: &ArchiveSource) -> String {
        let uri = source.shown();
        let host = uri.split_once("://").map_or("", |(_, rest)| rest);
        let host = host.split('/').next().unwrap_or_default();
        match self {
            Self::Conflict => "name it the same way wherever it is named, or once".to_owned(),
            Self::Damaged | Self::Index => {
                "run the command again in a while; where that does not help, whoever runs the archive has to make its \
                 indexes and signatures again"
                    .to_owned()
            }
            Self::WeakSignature => "whoever runs it has to sign it again, by SHA-256 or better".to_owned(),
            Self::KeyFile => "get the file of 'signed_by' again from whoever runs the archive".to_owned(),
            Self::Key | Self::Unsigned => {
                "name its key: signed_by = \"FILE\" beside the layer.toml, from whoever runs the archive, after you compared \
                 the fingerprint (`gpg --show-keys FILE`); an archive of your own without signatures takes trusted = true"
                    .to_owned()
            }
            Self::OldKey | Self::RevokedKey | Self::WeakKey => "ask whoever runs the archive for the renewed key, and replace the file of 'signed_by'".to_owned(),
            Self::Expired => "whoever runs it has to sign it again; for an archive that nobody updates any more: \
                 check_valid_until = false"
                .to_owned(),
            Self::Early => "set the clock of this machine".to_owned(),
            Self::Component => "correct the name in 'components'".to_owned(),
            Self::NoRelease => "correct 'uris' and 'suites'; the path of a flat archive ends in '/', as in \"./\"".to_owned(),
            Self::Credentials => {
                // apt sends none over plain http unless the entry says so itself: apt_auth.conf(5).
                let plain = match source.uri.starts_with("http://") {
                    true => "http://",
                    false => "",
                };
                format!(
                    "write to /etc/apt/auth.conf.d/{host}.conf on this machine: machine {plain}{host} login USER password PASSWORD"
                )
            }
            Self::Certificate => "if that server is yours, make its authority known to this machine (ca-certificates)".to_owned(),
            Self::Fetch => "check the address and the network, then run the command again".to_owned(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn source(uri: &str, suite: &str, place: &str) -> ArchiveSource {
        ArchiveSource {
            options: vec![],
            key: None,
            uri: uri.into(),
            suite: suite.into(),
            components: vec![],
            place: place.into(),
        }
    }

    #[test]
    fn the_archive_that_apt_complains_of_is_told_from_its_neighbours() {
        let sources = [
            source("http://a.example/deb", "one", "1"),
            source("http://a.example/deb", "two", "2"),
            source("http://a.example/debian", "two", "3"),
            source("http://a.example/flat/", "./", "4"),
            source("http://bob:hunter2@b.example/x/", "three", "5"),
        ];
        for (line, place) in [
            (
                "E: The repository 'http://a.example/deb one InRelease' is not signed.",
                Some("1"),
            ),
            (
                "E: Failed to fetch http://a.example/deb/dists/two/InRelease  404  Not Found",
                Some("2"),
            ),
            (
                "E: The repository 'http://a.example/debian two InRelease' is not signed.",
                Some("3"),
            ),
            (
                "W: GPG error: http://a.example/flat ./ InRelease: NO_PUBKEY 1",
                Some("4"),
            ),
            (
                "Error: The repository 'http://a.example/deb one InRelease' is not signed.",
                Some("1"),
            ),
            (
                "Warning: OpenPGP signature verification failed: http://a.example/deb two InRelease: Sub-process \
                 /usr/bin/sqv returned an error code (1), error message is: Missing key 0E98404D386FA1D9, which",
                Some("2"),
            ),
            (
                "E: Conflicting values set for option Trusted regarding source http://a.example/debian/ two",
                Some("3"),
            ),
            (
                "W: Failed to fetch http://b.example/x/dists/three/InRelease  Could not connect",
                Some("5"),
            ),
            ("E: Failed to fetch http://c.example/x", None),
        ] {
            let output = ToolOutput {
                success: false,
                stdout: String::new(),
                stderr: format!("{line}\n"),
            };
            let found = of_archive(&output, &sources).map(|error| match error {
                AptError::Refused(refused) => {
                    assert!(!refused.to_string().contains("hunter2"), "{refused}");
                    assert!(!refused.cure.contains("hunter2"), "{}", refused.cure);
                    refused.place
                }
                other => panic!("{other}"),
            });
            assert_eq!(found.as_deref(), place, "{line}");
        }
    }

    /// As apt 2.6 and 3.0 say it of the same archives, but for the addresses.
    #[test]
    fn what_is_wrong_with_a_signature_is_said_whichever_apt_says_it() {
        const FAILED: &str = "Warning: OpenPGP signature verification failed: file:/a ./ InRelease: Sub-process \
             /usr/bin/sqv returned an error code (1), error message is:";
        const INVALID: &str =
            "W: GPG error: file:/a ./ InRelease: The following signatures were invalid:";
        let sources = [source("file:/a", "./", "1")];
        for (line, reason, cure) in [
            (
                format!("{INVALID} REVKEYSIG 0971360C313D09C1 rev@e.org"),
                "is signed with the key 0971360C313D09C1, which its owner revoked",
                "the renewed key",
            ),
            (
                format!(
                    "{FAILED} Signing key on 4BE3B0C5 is bad:            Invalid key: \"certificate is revoked\""
                ),
                "is signed with the key 4BE3B0C5, which its owner revoked",
                "the renewed key",
            ),
            (
                format!("{INVALID} EXPKEYSIG DD51F97EABA3D5DC old@e.org"),
                "is signed with the key DD51F97EABA3D5DC, which has expired",
                "the renewed key",
            ),
            (
                format!("{INVALID} BADSIG FED5FEDDFF641970 one@e.org"),
                "has a signature that does not fit its Release file: it was changed, or is being replaced",
                "again in a while",
            ),
            (
                format!("{FAILED} Verifying signature:            Message has been manipulated"),
                "has a signature that does not fit its Release file: it was changed, or is being replaced",
                "again in a while",
            ),
            (
                format!("{INVALID} 3EA408398669BE3ADE33CF13FED5FEDDFF641970"),
                "is signed in a way that this machine no longer takes",
                "SHA-256",
            ),
            (
                format!(
                    "{FAILED} Verifying signature:            Policy rejected non-revocation signature (Text) requiring \
                     collision resistance   because: SHA1 is not considered secure since 2013-02-01T00:00:00Z"
                ),
                "is signed in a way that this machine no longer takes: SHA1 is not considered secure since \
                 2013-02-01T00:00:00Z",
                "SHA-256",
            ),
            (
                format!(
                    "{FAILED} Signing key on FB38 is not bound:            Policy rejected asymmetric algorithm   because: \
                     RSA1024 is not considered secure since 2014-02-01T00:00:00Z"
                ),
                "is signed with a key that this machine no longer takes: Signing key on FB38 is not bound:            \
                 Policy rejected asymmetric algorithm   because: RSA1024 is not considered secure since \
                 2014-02-01T00:00:00Z",
                "the renewed key",
            ),
            (
                format!("{INVALID} ERRSIG FED5FEDDFF641970"),
                "cannot be checked, for the file of its key is damaged",
                "signed_by",
            ),
            (
                format!("{FAILED} Error: Malformed certificate in keyring \"/k.asc\"  Caused by:"),
                "cannot be checked, for the file of its key is damaged",
                "signed_by",
            ),
            (
                format!("{FAILED} Error: Failed to parse keyring \"/k.asc\"  Caused by:"),
                "cannot be checked, for the file of its key is damaged",
                "signed_by",
            ),
            (
                format!(
                    "{FAILED} Missing key CB96E50A96EC36F8A8F401E8AEBE45CA00C6B7B1, which is needed"
                ),
                "is signed with the key CB96E50A96EC36F8A8F401E8AEBE45CA00C6B7B1, which is not the one that was named",
                "signed_by",
            ),
            (
                "E: Failed to fetch file:/a/./Packages  Hash Sum mismatch".to_owned(),
                "has an index that does not fit its Release file: it was changed, or is being replaced",
                "again in a while",
            ),
        ] {
            let updated = ToolOutput {
                stdout: String::new(),
                stderr: format!("{line}\n"),
                success: false,
            };
            let Some(AptError::Refused(refused)) = of_archive(&updated, &sources) else {
                panic!("{line}");
            };
            assert_eq!(refused.reason, reason, "{line}");
            assert!(refused.cure.contains(cure), "{line}: {}", refused.cure);
        }
    }
}
