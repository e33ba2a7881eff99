//! What the changelogs of Debian packages say of a move (deb-changelog(5)).

use std::collections::BTreeSet;
use std::io::Read as _;

use crate::path::RelPath;
use crate::tree::Tree;
use crate::version::Version;

/// Changelogs are not longer, unpacked, in bytes.
const LIMIT: u64 = 32 << 20;

/// Finds the changelog of a package: of a Debian package, else of a native one.
pub(super) fn path(tree: &Tree, package: &str) -> Option<RelPath> {
    let found = |name: &str| {
        let path = tree.resolve(format!("usr/share/doc/{package}/{name}").as_bytes())?;
        let is_file = tree.get(path.as_bytes())?.object().is_some();
        is_file.then_some(path)
    };
    found("changelog.Debian.gz").or_else(|| found("changelog.gz"))
}

/// Returns the CVE numbers that the entries after the version `before` name, sorted.
///
/// A rebuild without changes in its source (`+b1`) has the changelog of its source.
pub fn cves(packed: &[u8], before: &str) -> BTreeSet<String> {
    let mut text = Vec::new();
    let unpacked = flate2::read::MultiGzDecoder::new(packed)
        .take(LIMIT)
        .read_to_end(&mut text);
    if unpacked.is_err() {
        return BTreeSet::new();
    }
    let text = String::from_utf8_lossy(&text);
    let before = before.rsplit_once("+b").map_or(before, |(source, build)| {
        match build.bytes().all(|byte| byte.is_ascii_digit()) {
            true => source,
            false => before,
        }
    });
    let mut found = BTreeSet::new();
    for line in text.lines() {
        match version_of(line) {
            Some(version) if !is_newer(version, before) => break,
            Some(_) => {}
            None => found.extend(numbers(line)),
        }
    }
    found
}

/// Returns the version of a line that begins an entry: `nginx (1.26.3-3) trixie; urgency=medium`.
fn version_of(line: &str) -> Option<&str> {
    if line.starts_with([' ', '\t']) || !line.contains("; ") {
        return None;
    }
    let (_, rest) = line.split_once(" (")?;
    rest.split_once(')').map(|(version, _)| version)
}

fn is_newer(version: &str, than: &str) -> bool {
    match (
        Version::parse(version.as_bytes()),
        Version::parse(than.as_bytes()),
    ) {
        (Ok(version), Ok(than)) => version > than,
        _ => version != than,
    }
}

fn numbers(line: &str) -> impl Iterator<Item = String> {
    line.match_indices("CVE-").filter_map(|(at, _)| {
        let rest = line.get(at + 4..)?;
        let year = rest
            .get(..4)
            .filter(|year| year.bytes().all(|b| b.is_ascii_digit()))?;
        let number = rest.get(4..)?.strip_prefix('-')?;
        let digits = number.bytes().take_while(u8::is_ascii_digit).count();
        (digits >= 4).then(|| format!("CVE-{year}-{}", &number[..digits]))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::Write as _;

    const TEXT: &str = "nginx (1.26.3-3+deb13u3) trixie-security; urgency=high\n\n  * CVE-2026-1234, CVE-2026-99999:\n    mail.\n\n \
        -- A <a@example.org>  Mon, 02 Feb 2026 10:00:00 +0000\n\nnginx (1.26.3-3+deb13u2) trixie; urgency=medium\n\n  * Fix (CVE-2025-1111).\n  * No CVE-2025-12.\n\n \
        -- A <a@example.org>  Mon, 02 Feb 2026 10:00:00 +0000\n";

    #[test]
    fn only_the_entries_since_the_version_before_count() {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(TEXT.as_bytes()).unwrap();
        let packed = packed.finish().unwrap();
        for (before, expected) in [
            ("1.26.3-3+deb13u3", vec![]),
            (
                "1.26.3-3+deb13u2+b4",
                vec!["CVE-2026-1234", "CVE-2026-99999"],
            ),
            (
                "1.26.3-1",
                vec!["CVE-2025-1111", "CVE-2026-1234", "CVE-2026-99999"],
            ),
        ] {
            let found: Vec<String> = cves(&packed, before).into_iter().collect();
            assert_eq!(found, expected, "{before}");
        }
        assert!(cves(b"no gzip", "1").is_empty());
    }
}
