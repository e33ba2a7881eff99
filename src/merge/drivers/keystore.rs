//! The driver for Java's list of trusted certificates: one record for each alias, binary, sorted
//! when merged.

use super::{Driver, DriverConflict, UnreadableRecord, fields, parse_sides};
use crate::merge::jks::{self, JavaKeyStore};

/// Merges `/etc/ssl/certs/java/cacerts`.
pub(super) static CACERTS: CacertsDriver = CacertsDriver;

pub(super) struct CacertsDriver;

impl Driver for CacertsDriver {
    fn name(&self) -> &'static str {
        "java-cacerts"
    }

    fn check(&self, file: &[u8]) -> Result<(), Vec<UnreadableRecord>> {
        parse(file).map(drop)
    }

    fn merge_changed(
        &self,
        pre: Option<&[u8]>,
        current: Option<&[u8]>,
        post: Option<&[u8]>,
    ) -> Result<Option<Vec<u8>>, Vec<DriverConflict>> {
        let absent = current.is_none() || post.is_none();
        let [pre, current, post] =
            parse_sides([pre, current, post], |file| parse(file.unwrap_or_default()))?;
        let mut merged = JavaKeyStore::new();
        let mut conflicts = Vec::new();
        let mut aliases: Vec<_> = current.keys().chain(post.keys()).collect();
        aliases.sort_unstable();
        aliases.dedup();
        for alias in aliases {
            // The date says when an entry was made, not what it is: an earlier one is as good.
            let sides = [&pre, &current, &post].map(|store| store.get(alias));
            let [a, b, c] = sides.map(|side| side.map(|entry| (&entry.kind, &entry.der)));
            match fields::three(a, b, c) {
                Ok(None) => {}
                Ok(Some(value)) => {
                    let holds = |entry: &&jks::Certificate| (&entry.kind, &entry.der) == value;
                    let found = sides.into_iter().flatten().filter(holds);
                    if let Some(entry) = found.min_by_key(|entry| entry.made) {
                        merged.insert(alias.clone(), entry.clone());
                    }
                }
                Err(_) => conflicts.push(DriverConflict::on(
                    alias,
                    None,
                    "another certificate in current and in post",
                )),
            }
        }
        if !conflicts.is_empty() {
            return Err(conflicts);
        }
        Ok((!absent || !merged.is_empty()).then(|| jks::encode(&merged)))
    }
}

fn parse(file: &[u8]) -> Result<JavaKeyStore, Vec<UnreadableRecord>> {
    if file.is_empty() {
        return Ok(JavaKeyStore::new());
    }
    jks::decode(file).ok_or_else(|| {
        let reason = "not a key store of trusted certificates with the usual password";
        vec![UnreadableRecord::at(1, reason)]
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn store(entries: &[(&str, u64, u8)]) -> Vec<u8> {
        let entry = |&(alias, made, byte): &(&str, u64, u8)| {
            let certificate = jks::Certificate {
                made,
                kind: b"X.509".to_vec(),
                der: vec![byte],
            };
            (alias.as_bytes().to_vec(), certificate)
        };
        jks::encode(&entries.iter().map(entry).collect())
    }

    #[test]
    fn certificates_of_two_layers_are_joined_by_alias() {
        let pre = store(&[("m", 1, 1), ("gone", 1, 1)]);
        let current = store(&[("m", 1, 1), ("gone", 1, 1), ("a", 5, 2), ("both", 9, 3)]);
        let post = store(&[("m", 1, 1), ("both", 4, 3), ("z", 1, 4)]);
        let expect = store(&[("a", 5, 2), ("both", 4, 3), ("m", 1, 1), ("z", 1, 4)]);
        let merged = CACERTS.merge(Some(&pre), Some(&current), Some(&post));
        assert_eq!(merged.unwrap().unwrap(), expect);
        let swapped = CACERTS.merge(Some(&pre), Some(&post), Some(&current));
        assert_eq!(swapped.unwrap().unwrap(), expect);
    }

    #[test]
    fn what_clashes_or_cannot_be_read_is_a_conflict() {
        let [a, b] = [store(&[("x", 1, 1)]), store(&[("x", 1, 2)])];
        let conflict = CACERTS.merge(None, Some(&a), Some(&b)).unwrap_err();
        assert_eq!(
            conflict[0].to_string(),
            "record 'x': another certificate in current and in post"
        );
        let conflict = CACERTS.merge(None, Some(&a), Some(b"keys")).unwrap_err();
        assert!(conflict[0].reason.starts_with("post: not a key store"));
    }
}
