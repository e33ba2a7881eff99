//! The lock's text, and how strictly it is read.

use super::*;

fn lock() -> RecipeLock {
    RecipeLock {
        version: LOCK_VERSION,
        recipe: "web".into(),
        architecture: "amd64".into(),
        layers: vec![
            LayerLock {
                name: "debian".into(),
                epoch: 7,
                requested: vec!["dash".into()],
                packages: vec![package("base-files", "13.8"), package("dash", "0.5.12-12")],
            },
            LayerLock {
                name: "hello".into(),
                epoch: 7,
                requested: Vec::new(),
                packages: Vec::new(),
            },
        ],
    }
}

const TEXT: &str = r#"# Written by `layerset lock`; commit it.
version = 1
recipe = "web"
architecture = "amd64"

[[layer]]
name = "debian"
epoch = 7
requested = ["dash"]
packages = [
  { name = "base-files", version = "13.8", architecture = "amd64", manual = true, archive = "trixie-security", size = 4242, pool_path = "pool/main/base-files_13.8_amd64.deb", sha256 = "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f" },
  { name = "dash", version = "0.5.12-12", architecture = "amd64", manual = true, archive = "trixie-security", size = 4242, pool_path = "pool/main/dash_0.5.12-12_amd64.deb", sha256 = "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f" },
]

[[layer]]
name = "hello"
epoch = 7
requested = []
packages = []
"#;

#[test]
fn the_text_is_golden_and_round_trips() {
    assert_eq!(lock().to_toml(), TEXT);
    let read = RecipeLock::parse(&SourceFile::new("web.lock", TEXT)).unwrap();
    assert_eq!(read, lock());
}

#[test]
fn the_order_of_packages_in_memory_does_not_change_the_text() {
    let mut other = lock();
    other.layers[0].packages.reverse();
    assert_eq!(other.to_toml(), TEXT);
}

#[test]
fn what_a_lock_must_not_say_is_refused_at_its_place() {
    for (from, to, expected) in [
        (
            "version = 1",
            "version = 2",
            "2:11: the lock has format 2, this program reads 1 (run `layerset lock` with this program, or use the one that wrote it)",
        ),
        ("version = 1\n", "", "1:1: missing key 'version'"),
        (
            "pool/main/base-files",
            "../main/base-files",
            "11:137: '../main/base-files_13.8_amd64.deb' leaves the archive",
        ),
        (
            "pool/main/dash",
            "/pool/main/dash",
            "12:136: '/pool/main/dash_0.5.12-12_amd64.deb' is absolute: it must lie in the archive",
        ),
        (
            "archive = \"trixie-security\", size = 4242",
            "archive = \"a b\", size = 4242",
            "11:93: 'a b' is not the name of an archive",
        ),
        (
            "0f0f\" },\n]",
            "0F0F\" },\n]",
            "12:183: '0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0F0F' is not a SHA-256 digest of 64 lower-case hexadecimal digits",
        ),
        (
            "name = \"dash\"",
            "name = \"base-files\"",
            "12:3: package 'base-files:amd64' is locked twice",
        ),
        (
            "name = \"hello\"",
            "name = \"debian\"",
            "16:8: layer 'debian' is locked twice",
        ),
        (
            "size = 4242, pool_path = \"pool/main/d",
            "size = -1, pool_path = \"pool/main/d",
            "12:118: 'layer.packages.size' is out of range: -1",
        ),
        (
            "\"0.5.12-12\"",
            "\"0.5; rm\"",
            "12:30: '0.5; rm' is not a Debian version",
        ),
        (
            "name = \"dash\"",
            "name = \"-oX\"",
            "12:12: '-oX' is not a package name",
        ),
        (
            ", manual = true, archive = \"trixie-security\", size = 4242, pool_path = \"pool/main/d",
            ", archive = \"trixie-security\", size = 4242, pool_path = \"pool/main/d",
            "12:3: missing key 'layer.packages.manual'",
        ),
        (
            "epoch =",
            "epok =",
            "8:1: unknown key 'epok' (did you mean 'epoch'?)",
        ),
    ] {
        assert!(TEXT.contains(from), "{from}");
        let source = SourceFile::new("web.lock", TEXT.replacen(from, to, 1));
        let error = RecipeLock::parse(&source).unwrap_err();
        assert_eq!(error.to_string(), format!("web.lock:{expected}"));
    }
}

#[test]
fn packages_are_found_by_name_and_architecture() {
    let lock = lock();
    let base = lock.layer("debian").unwrap();
    assert_eq!(base.package("dash").unwrap().version, "0.5.12-12");
    assert!(base.package("dash:amd64").is_some());
    assert!(base.package("dash:i386").is_none() && base.package("das").is_none());
    assert!(lock.layer("nginx").is_none());
}
