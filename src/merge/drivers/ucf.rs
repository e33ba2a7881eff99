//! Databases of ucf(1): `hashfile` (`hash  path`) and `registry` (`package <tab> path`), by path.

use super::linefile::{LineFile, RepeatedLines};
use super::{fields, record::RecordMerge};
use std::borrow::Cow;

/// Merges `/var/lib/ucf/hashfile`.
pub(super) static HASHFILE: LineFile = LineFile {
    name: "ucf-hashfile",
    key: |line| {
        let (hash, path) = halves(line)?;
        if hash.len() != 32 || !hash.iter().all(u8::is_ascii_hexdigit) {
            return Err("the first word is not an MD5 digest".to_owned());
        }
        Ok(Cow::Borrowed(path))
    },
    both: |_, current, post| clash("digest", current, post),
    repeats: RepeatedLines::Refused,
    ..LineFile::SET
};

/// Merges `/var/lib/ucf/registry`.
pub(super) static REGISTRY: LineFile = LineFile {
    name: "ucf-registry",
    key: |line| Ok(Cow::Borrowed(halves(line)?.1)),
    both: |_, current, post| clash("package", current, post),
    repeats: RepeatedLines::Refused,
    ..LineFile::SET
};

/// Splits a line into its first word and the path, which may hold blanks.
fn halves(line: &[u8]) -> Result<(&[u8], &[u8]), String> {
    let end = line.iter().position(u8::is_ascii_whitespace);
    let (word, rest) = line.split_at(end.unwrap_or(line.len()));
    let path = rest.trim_ascii_start();
    if word.is_empty() || !path.starts_with(b"/") {
        return Err("not a word and an absolute path".to_owned());
    }
    Ok((word, path))
}

/// Only the blanks between word and path may differ: then current's line stands.
fn clash(what: &str, current: &[u8], post: &[u8]) -> RecordMerge {
    match (halves(current), halves(post)) {
        (Ok((now, _)), Ok((then, _))) if now == then => Ok(Some(current.to_vec())),
        (Ok((now, _)), Ok((then, _))) => {
            Err(vec![fields::clash(what, false, Some(now), Some(then))])
        }
        (Err(reason), _) | (_, Err(reason)) => Err(vec![reason]),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::Driver;
    use super::*;

    const A: &str = "fbc910d4bc9889530c92c7e8b101689b  /etc/postgresql-common/createcluster.conf\n";
    const B: &str = "0c1a4b7e3a9d3b0f6a7f3d9f0d8b2c11  /etc/samba/smb.conf\n";

    fn run(file: &LineFile, sides: [&str; 3]) -> Result<String, String> {
        let [pre, current, post] = sides.map(|side| Some(side.as_bytes()));
        match file.merge(pre, current, post) {
            Ok(out) => Ok(String::from_utf8(out.unwrap_or_default()).unwrap()),
            Err(all) => Err(all
                .iter()
                .map(|c| c.to_string())
                .collect::<Vec<_>>()
                .join("; ")),
        }
    }

    #[test]
    fn digests_of_two_layers_are_joined_by_path() {
        let post = format!("{A}{B}");
        let current = A.replace("fbc9", "0000");
        assert_eq!(
            run(&HASHFILE, [A, &current, &post]).unwrap(),
            format!("{current}{B}")
        );
        let other = A.replace("fbc9", "1111");
        let conflict = run(&HASHFILE, [A, &current, &other]).unwrap_err();
        assert!(conflict.contains("'/etc/postgresql-common/createcluster.conf': digest is '0000"));
    }

    #[test]
    fn a_path_registered_by_two_packages_is_a_conflict() {
        let line = |package: &str| format!("{package} \t /etc/default/thing\n");
        let conflict = run(&REGISTRY, ["", &line("a"), &line("b")]).unwrap_err();
        assert_eq!(
            conflict,
            "record '/etc/default/thing': package is 'a' in current and 'b' in post"
        );
        let spaced = line("a").replace(" \t ", " ");
        assert_eq!(
            run(&REGISTRY, ["", &line("a"), &spaced]).unwrap(),
            line("a")
        );
    }

    #[test]
    fn a_line_without_a_path_is_refused_with_its_side() {
        let conflict = run(&HASHFILE, [A, "fbc910d4bc98\n", B]).unwrap_err();
        assert_eq!(
            conflict,
            "record 'line 1': current: not a word and an absolute path"
        );
    }
}
