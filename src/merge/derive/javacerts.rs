//! Java's list of trusted certificates, `/etc/ssl/certs/java/cacerts`, as far as it follows the
//! system's.
//!
//! The postinst of ca-certificates-java enters each certificate of `/etc/ssl/certs` under the alias
//! `debian:` and the name of its link, in the order of a hash table and with the time of the
//! installation. Here they come sorted and dated 0, so that equal certificates give equal bytes.
//! Entries with other aliases are somebody's own, made by keytool(1): they are content, which
//! layers carry and a driver merges, and stay as they are.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Derived;
use crate::merge::jks::{self, Certificate, JavaKeyStore};
use crate::tree::view::{ImageView, ViewError, ViewNode, join, resolve};

/// Where the store is.
pub const CACERTS: &[u8] = b"etc/ssl/certs/java/cacerts";
const PROGRAM: &[u8] = b"usr/share/ca-certificates-java/ca-certificates-java.jar";
const SETTINGS: &[u8] = b"etc/default/cacerts";
const LINKS: &[u8] = b"etc/ssl/certs";
/// Links that lead elsewhere are not the system's certificates (`find_pem_files` of the postinst).
const HOMES: [&[u8]; 2] = [
    b"/usr/share/ca-certificates",
    b"/usr/local/share/ca-certificates",
];
const PREFIX: &[u8] = b"debian:";

/// Says whether the image follows the system's certificates: a Java runtime, the package, and its
/// settings.
pub fn is_derived(view: &dyn ImageView) -> Result<bool, ViewError> {
    let is_file = |path: &[u8]| matches!(view.node(path), Some(ViewNode::File));
    if !is_file(PROGRAM) || !is_file(SETTINGS) || resolve(view, b"usr/bin/java").is_none() {
        return Ok(false);
    }
    let settings = view.read(SETTINGS)?;
    let mut lines = settings.split(|byte| *byte == b'\n');
    Ok(lines.any(|line| line == b"cacerts_updates=yes"))
}

/// Returns a store without what is derived, dates no later than `epoch` (seconds), or `None` when
/// nothing is left.
///
/// A store that cannot be read, for example one with keys or another password, is an error: all of
/// it is content.
pub fn own_entries(cacerts: &[u8], epoch: i64) -> Result<Option<Vec<u8>>, UnreadableKeyStore> {
    let mut store = jks::decode(cacerts).ok_or(UnreadableKeyStore)?;
    store.retain(|alias, _| !alias.starts_with(PREFIX));
    let epoch = u64::try_from(epoch).unwrap_or(0).saturating_mul(1000);
    for certificate in store.values_mut() {
        certificate.made = certificate.made.min(epoch);
    }
    Ok((!store.is_empty()).then(|| jks::encode(&store)))
}

/// A key store with another password than Debian's, or with anything but trusted certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnreadableKeyStore;

/// Derives the store; `None` says that the image does not follow the system's certificates, or has
/// a store of its own.
pub fn derive(view: &dyn ImageView) -> Result<Option<Derived>, ViewError> {
    if !is_derived(view)? {
        return Ok(None);
    }
    let mut store = match view.node(CACERTS) {
        None => JavaKeyStore::new(),
        Some(ViewNode::File) => match jks::decode(&view.read(CACERTS)?) {
            Some(store) => store,
            None => return Ok(None),
        },
        Some(_) => return Ok(None),
    };
    store.retain(|alias, _| !alias.starts_with(PREFIX));
    for name in view.names(LINKS) {
        let link = join(LINKS, &name);
        let Some(ViewNode::Symlink(target)) = view.node(&link) else {
            continue;
        };
        if !name.ends_with(b".pem") || !HOMES.iter().any(|home| target.starts_with(home)) {
            continue;
        }
        let Some(path) = resolve(view, &link) else {
            continue;
        };
        if view.node(&path) != Some(ViewNode::File) {
            continue;
        }
        // What is no certificate is left out with a warning by the original, too.
        if let Some(der) = first_certificate(&view.read(&path)?) {
            let alias = [PREFIX, &name.to_ascii_lowercase()].concat();
            let certificate = Certificate {
                made: 0,
                kind: b"X.509".to_vec(),
                der,
            };
            store.insert(alias, certificate);
        }
    }
    Ok(Some(Derived {
        path: CACERTS.to_vec(),
        contents: jks::encode(&store),
    }))
}

/// Returns the first certificate of a file, in PEM or in DER.
fn first_certificate(file: &[u8]) -> Option<Vec<u8>> {
    const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
    const END: &[u8] = b"-----END CERTIFICATE-----";
    let find = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).position(|at| at == what);
    let der = match find(file, BEGIN) {
        None => file.to_vec(),
        Some(begin) => {
            let rest = &file[begin + BEGIN.len()..];
            let text = &rest[..find(rest, END)?];
            let text: Vec<u8> = text
                .iter()
                .copied()
                .filter(|byte| !byte.is_ascii_whitespace())
                .collect();
            STANDARD.decode(text).ok()?
        }
    };
    // A certificate is one ASN.1 sequence (RFC 5280, section 4.1) of more than 255 bytes.
    let length = match der.get(..4)? {
        [0x30, 0x82, high, low] => usize::from(u16::from_be_bytes([*high, *low])),
        _ => return None,
    };
    (der.len() == length + 4).then_some(der)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::tree::testing::MemoryView;

    fn der(byte: u8) -> Vec<u8> {
        [&[0x30, 0x82, 1, 0][..], &[byte; 256]].concat()
    }

    fn pem(byte: u8) -> Vec<u8> {
        let text = STANDARD.encode(der(byte));
        format!("# x\n-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\nrest")
            .into_bytes()
    }

    fn view() -> MemoryView {
        MemoryView::new()
            .file(
                "usr/share/ca-certificates-java/ca-certificates-java.jar",
                b"",
            )
            .file("etc/default/cacerts", b"#x\ncacerts_updates=yes\n")
            .file("usr/bin/java", b"")
            .file("usr/share/ca-certificates/mozilla/A.crt", &pem(1))
            .file(
                "usr/share/ca-certificates/mozilla/broken.crt",
                b"no certificate",
            )
            .file("opt/c.crt", &pem(3))
            .link(
                "etc/ssl/certs/A_Root.pem",
                "/usr/share/ca-certificates/mozilla/A.crt",
            )
            .link(
                "etc/ssl/certs/broken.pem",
                "/usr/share/ca-certificates/mozilla/broken.crt",
            )
            .link(
                "etc/ssl/certs/gone.pem",
                "/usr/share/ca-certificates/mozilla/gone.crt",
            )
            .link("etc/ssl/certs/0a1b2c3d.0", "A_Root.pem")
            .link("etc/ssl/certs/other.pem", "/opt/c.crt")
    }

    fn own() -> JavaKeyStore {
        let certificate = |byte| Certificate {
            made: 5_000,
            kind: b"X.509".to_vec(),
            der: der(byte),
        };
        [
            (b"own".to_vec(), certificate(9)),
            (b"debian:stale.pem".to_vec(), certificate(8)),
        ]
        .into()
    }

    fn aliases(view: &MemoryView) -> Vec<String> {
        let store = jks::decode(&derive(view).unwrap().unwrap().contents).unwrap();
        let aliases = store
            .into_keys()
            .map(|alias| String::from_utf8(alias).unwrap());
        aliases.collect()
    }

    #[test]
    fn the_systems_certificates_replace_stale_ones_and_own_ones_stay() {
        assert_eq!(aliases(&view()), ["debian:a_root.pem"]);
        let with_own = view().file("etc/ssl/certs/java/cacerts", &jks::encode(&own()));
        assert_eq!(aliases(&with_own), ["debian:a_root.pem", "own"]);
    }

    #[test]
    fn an_image_that_does_not_follow_has_nothing_derived() {
        let private = view().file(
            "etc/ssl/certs/java/cacerts",
            b"a store with another password",
        );
        assert_eq!(derive(&private).unwrap(), None);
        let off = view().file("etc/default/cacerts", b"cacerts_updates=no\n");
        assert_eq!(derive(&off).unwrap(), None);
        assert_eq!(derive(&MemoryView::new()).unwrap(), None);
    }

    #[test]
    fn layers_carry_own_entries_only() {
        let derived = derive(&view()).unwrap().unwrap().contents;
        assert_eq!(own_entries(&derived, 7).unwrap(), None);
        let carried = own_entries(&jks::encode(&own()), 3).unwrap().unwrap();
        let store = jks::decode(&carried).unwrap();
        assert_eq!(store.len(), 1);
        assert_eq!(store[&b"own"[..]].made, 3_000);
        assert_eq!(own_entries(b"", 3), Err(UnreadableKeyStore));
    }
}
