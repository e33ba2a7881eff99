//! Secrets that no list knows: files that only their owner reads, and that are not the same when the
//! layer is built twice.
//!
//! To build every layer twice would double the time of builds. So only where a file could be a
//! secret, by its mode and its content, the layer is built a second time, and only where that is
//! cheap: up to [`PACKAGES`] packages, and [`SECONDS`] for the first build. What is larger is left
//! to `--verify-reproducible` and the oracle, which say the same of it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::first_boot::{known, slapd};
use super::inputs::LayerInputs;
use super::undeclared::rule_for;
use super::{BuildError, BuildSink};
use crate::layout::accounts::{GSHADOW, SHADOW};
use crate::path::RelPath;
use crate::recipe::{StateClass, StateClassifier};
use crate::tree::{Inode, Node, Tree};

/// Layers of more packages are not built twice.
const PACKAGES: usize = 120;
/// Layers whose build takes longer are not built twice.
const SECONDS: u64 = 40;
/// Secrets are not longer, in bytes.
const LIMIT: u64 = 64 << 10;
/// Words of random characters are at least so long.
const WORD: usize = 16;
/// Directories whose contents never enter a layer.
const PASSING: [&[u8]; 5] = [b"dev", b"proc", b"run", b"sys", b"tmp"];

/// What differs between two builds of a file that only its owner reads, in the words of reports.
pub(super) const IS_SECRET: &str =
    "only its owner reads it: a secret, until [secrets] says how each machine makes its own";

/// What a file is of which nobody says more than that.
pub(super) const KIND: &str = "a file that only its owner reads";

/// Says whether a file is not for everybody to read.
pub(super) fn is_private(inode: &Inode) -> bool {
    inode.object().is_some() && inode.mode & 0o004 == 0
}

/// Says whether a layer is built a second time where it has candidates.
pub(super) fn is_small(input: &LayerInputs, took: Duration) -> bool {
    input.lock.packages.len() <= PACKAGES && took <= Duration::from_secs(SECONDS)
}

/// Finds the files of a build that could be undeclared secrets.
pub(super) fn candidates(
    input: &LayerInputs,
    lower: &Tree,
    after: &Tree,
    sink: &BuildSink<'_>,
) -> Result<Vec<RelPath>, BuildError> {
    let classifier = StateClassifier::new(&input.definition.state);
    let declared: BTreeSet<&RelPath> = input
        .definition
        .secrets
        .iter()
        .flat_map(|(path, secret)| std::iter::once(path).chain(&secret.also))
        .chain(input.files.iter().map(|file| &file.path))
        .collect();
    let made = slapd(lower, after, sink)?.map_or(Vec::new(), |work| {
        std::iter::once(work.path).chain(work.also).collect()
    });
    let mut found = Vec::new();
    for (path, inode) in after.iter() {
        let Node::File { object, size } = inode.node else {
            continue;
        };
        let bytes = path.as_bytes();
        let is_new = lower
            .get(bytes)
            .is_none_or(|before| before.node != inode.node);
        let is_kept = !PASSING.iter().any(|dir| path.starts_with(dir))
            && (!path.starts_with(b"var") || enters(&classifier, path));
        let is_account = [SHADOW, GSHADOW].iter().any(|name| {
            let backup = bytes.strip_suffix(b"-").unwrap_or(bytes);
            backup == name.as_bytes()
        });
        if is_private(inode)
            && is_new
            && is_kept
            && !is_account
            && (1..=LIMIT).contains(&size)
            && !declared.contains(path)
            && !made.contains(path)
            && known::secret(path, after).is_none()
            && rule_for(&input.definition.allowed_secrets, path).is_none()
            && looks_random(&sink.read(&object)?)
        {
            found.push(path.clone());
        }
    }
    Ok(found)
}

/// Says whether a file below `/var` enters the layer, and nobody said what that very file is. What
/// no rule classifies fails the build, with a better word than this one.
fn enters(classifier: &StateClassifier, path: &RelPath) -> bool {
    let Some(rule) = classifier.explain(path.as_bytes()) else {
        return false;
    };
    rule.class != StateClass::Drop && rule.pattern.as_bytes() != path.as_bytes()
}

/// Returns those of `paths` whose contents are not the same in two builds.
pub(super) fn differing(paths: Vec<RelPath>, first: &Tree, second: &Tree) -> Vec<RelPath> {
    let object = |tree: &Tree, path: &RelPath| tree.get(path.as_bytes()).and_then(Inode::object);
    let mut paths = paths;
    paths.retain(|path| object(first, path) != object(second, path));
    paths
}

/// Says whether some bytes are no text, or hold a word like a key or a password.
fn looks_random(contents: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(contents) else {
        return true;
    };
    let is_of_word = |c: char| c.is_ascii_alphanumeric() || "+/=-".contains(c);
    text.contains('\0')
        || text
            .split(|c| !is_of_word(c))
            .any(|word| word.len() >= WORD && is_mixed(word))
}

/// Says whether letters and digits, or both cases, are mixed as no name mixes them.
fn is_mixed(word: &str) -> bool {
    let kind = |c: char| match c {
        '0'..='9' => Some(0),
        'a'..='z' => Some(1),
        'A'..='Z' => Some(2),
        _ => None,
    };
    let kinds: Vec<u8> = word.chars().filter_map(kind).collect();
    let changes = kinds.windows(2).filter(|pair| pair[0] != pair[1]).count();
    changes * 5 >= word.len()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{enters, looks_random};
    use crate::glob::Glob;
    use crate::path::RelPath;
    use crate::recipe::{StateClass, StateClassifier, StateRule};

    #[test]
    fn keys_and_passwords_look_random_and_settings_do_not() {
        for secret in [
            "password = 8dUeXbq2Lk0vZp1R\n",
            "3f9a1c0b-77d2-4e8e-9b1a-0c5d7e2f6a18\n",
            "c29tZSByYW5kb20gYnl0ZXMgaGVyZQ==",
        ] {
            assert!(looks_random(secret.as_bytes()), "{secret}");
        }
        assert!(looks_random(&[0xff, 0x12, 0x80]));
        for plain in [
            "# PostgreSQL Client Authentication Configuration File\nlocal all postgres peer\n",
            "bind-address = 127.0.0.1\ninnodb_buffer_pool_size = 134217728\n",
            "ALL ALL=(ALL:ALL) ALL\nDefaults secure_path=\"/usr/local/sbin:/usr/local/bin\"\n",
            "host all all ::1/128 scram-sha-256\n",
        ] {
            assert!(!looks_random(plain.as_bytes()), "{plain}");
        }
    }
    #[test]
    fn what_is_dropped_or_not_classified_or_named_is_no_question() {
        let asks = |rules: &[(&str, StateClass)]| {
            let rule = |(pattern, class): &(&str, StateClass)| StateRule {
                pattern: Glob::new(pattern).unwrap(),
                class: *class,
            };
            let rules: Vec<StateRule> = rules.iter().map(rule).collect();
            let path = RelPath::from_text("var/lib/shop/main/db").unwrap();
            enters(&StateClassifier::new(&rules), &path)
        };
        assert!(!asks(&[]), "the build says that no rule classifies it");
        assert!(!asks(&[("var/lib/shop", StateClass::Drop)]));
        assert!(asks(&[("var/lib/shop", StateClass::Factory)]));
        assert!(asks(&[("var/lib/shop/main/*", StateClass::Image)]));
        let named = ("var/lib/shop/main/db", StateClass::Factory);
        assert!(!asks(&[("var/lib/shop", StateClass::Factory), named]));
    }
}
