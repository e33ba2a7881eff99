use super::*;
use crate::builder::fixture::{no_rules, repository};
use crate::builder::parents::insert_with_parents;
use crate::glob::Glob;
use crate::recipe::LockedPackage;

fn path(text: &str) -> RelPath {
    RelPath::from_text(text).unwrap()
}

/// A key of Ed25519, put together here so that nobody takes it for a real one.
fn key() -> String {
    let body = "MC4CAQAwBQYDK2VwBCIEIHcHbQpzGKV9PBbBclGyZkXfTC+H68CZKrF3+6UduSwq";
    format!(
        "-----BEGIN {0}-----\n{body}\n-----END {0}-----\n",
        "PRIVATE KEY"
    )
}

fn md5(content: &str) -> String {
    let digest = Md5::digest(content.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn package(name: &str, archive: &str) -> LockedPackage {
    LockedPackage {
        name: name.into(),
        version: "1".into(),
        architecture: "all".into(),
        sha256: "0f".repeat(32).parse().unwrap(),
        size: 1,
        pool_path: "x".into(),
        archive: archive.into(),
        manual: true,
    }
}

/// Judges a layer of these files. The message names paths and places, or is empty.
fn judge(
    files: &[(&str, &str)],
    packages: &[LockedPackage],
    allowed: &[(&str, &str)],
) -> Result<Outcome, String> {
    let (_dir, repository) = repository();
    let transaction = repository.begin().unwrap();
    let sink = BuildSink::new(&transaction);
    let mut after = Tree::new();
    for (place, content) in files {
        let object = sink.write(content.as_bytes()).unwrap();
        let inode = Inode::file(object, content.len() as u64, 0o644);
        insert_with_parents(&mut after, &path(place), inode);
    }
    let rule = |(paths, reason): &(&str, &str)| AllowedSecret {
        paths: Glob::new(paths).unwrap(),
        reason: (*reason).to_owned(),
    };
    let allowed: Vec<AllowedSecret> = allowed.iter().map(rule).collect();
    let rules = SettleRules {
        allowed: &allowed,
        packages,
        ..no_rules("x")
    };
    let lower = Tree::new();
    let outcome = refuse(rules, &lower, &after, &sink).map_err(|error| error.to_string());
    if outcome.is_ok() {
        // What the layers below have is none of this layer's.
        assert!(
            refuse(rules, &after, &after, &sink)
                .unwrap()
                .public
                .is_empty()
        );
    }
    outcome
}

#[test]
fn a_secret_is_named_with_its_place_and_never_shown() {
    let settings = format!("a: 1\nkey: |\n  {}", key().replace('\n', "\n  "));
    let error = judge(
        &[("etc/shop.yaml", &settings), ("etc/motd", "hello\n")],
        &[],
        &[],
    )
    .unwrap_err();
    assert_eq!(
        error,
        "layer 'x' holds 1 undeclared secret:\n  /etc/shop.yaml: line 3: a private key"
    );
}

#[test]
fn what_a_package_of_a_public_archive_ships_is_no_secret_until_somebody_changes_it() {
    let key = key();
    let listed = format!("{}  usr/lib/p/self-check.pem\n", md5(&key));
    let status = format!(
        "Package: p\nStatus: install ok installed\nArchitecture: all\nVersion: 1\nConffiles:\n /etc/p/p.pem {}\n\n",
        md5(&key)
    );
    let info = "usr/lib/sysimage/var/lib/dpkg/info/p.md5sums";
    let database = [(info, listed.as_str()), (dpkg::STATUS, status.as_str())];
    let with = |more: &[(&'static str, &str)], archive: &str| {
        let mut files = database.to_vec();
        files.extend_from_slice(more);
        judge(&files, &[package("p", archive)], &[]).map(drop)
    };
    let shipped = [
        ("usr/lib/p/self-check.pem", key.as_str()),
        ("etc/p/p.pem", &key),
        ("srv/copy.pem", &key),
    ];
    for archive in ["debian", "debian-security", "ubuntu"] {
        assert_eq!(with(&shipped, archive), Ok(()));
    }
    let other = key.replace("HcHbQpz", "HcHbQpy");
    assert!(with(&[("usr/lib/p/self-check.pem", &other)], "debian").is_err());
    for archive in ["shop", "debianish"] {
        assert!(with(&shipped[..1], archive).is_err(), "{archive}");
    }
    // A company's archive may have copies of public packages.
    for (maintainer, is_public) in [
        ("Debian P Maintainers <p@lists.alioth.debian.org>", true),
        ("A. Developer <a@debian.org>", true),
        ("Ubuntu Developers <devel@lists.ubuntu.com>", true),
        ("Shop <packages@notdebian.org>", false),
        ("debian.org", false),
        ("<a@debian.org> Shop <shop@example.org>", false),
    ] {
        let status = format!(
            "{}Maintainer: {maintainer}\n\n",
            status.trim_end_matches('\n').to_owned() + "\n"
        );
        let mut files = vec![(info, listed.as_str()), (dpkg::STATUS, status.as_str())];
        files.extend_from_slice(&shipped[..2]);
        let judged = judge(&files, &[package("p", "shop")], &[]);
        assert_eq!(judged.is_ok(), is_public, "{maintainer}");
    }
    // What is compiled from a module of a package says what the module says.
    let module = format!("{}  usr/lib/p/m.py\n", md5(&key));
    let files = [
        (info, module.as_str()),
        ("usr/lib/p/m.py", &key),
        (
            "usr/lib/p/__pycache__/m.cpython-313.pyc",
            &format!("\0{key}"),
        ),
    ];
    assert!(judge(&files, &[package("p", "debian")], &[]).is_ok());
    assert!(judge(&files[2..], &[package("p", "debian")], &[]).is_err());
}

#[test]
fn other_packages_may_have_keys_in_what_they_document_and_test() {
    let key = key();
    let place = "usr/share/doc/p/server.pem";
    let listed = format!("{}  {place}\n", md5(&key));
    let info = "usr/lib/sysimage/var/lib/dpkg/info/p.md5sums";
    let packages = [package("p", "shop")];
    assert!(judge(&[(info, &listed), (place, &key)], &packages, &[]).is_ok());
    // No package has it: somebody put it there.
    assert!(judge(&[(place, &key)], &packages, &[]).is_err());
}

#[test]
fn an_exception_lets_in_what_it_names_and_is_recorded_with_its_reason() {
    let key = key();
    let files = [
        ("opt/app/test/ca.pem", key.as_str()),
        ("usr/share/factory/var/lib/app/ca.pem", &key),
    ];
    let allowed = [
        ("opt/app/test/*.pem", "the test suite's own"),
        ("var/lib/app/ca.pem", "everybody has it"),
        ("opt/other", "gone"),
    ];
    let outcome = judge(&files, &[], &allowed).unwrap();
    let public: Vec<String> = outcome
        .public
        .iter()
        .map(|(path, public)| format!("{path}: {}: {}", public.kind, public.reason))
        .collect();
    assert_eq!(
        public,
        [
            "/opt/app/test/ca.pem: a private key: the test suite's own",
            "/usr/share/factory/var/lib/app/ca.pem: a private key: everybody has it",
        ]
    );
    assert_eq!(
        outcome.notes,
        ["[secrets] allow: 'opt/other' lets nothing in: no file there looks like a secret"]
    );
    let error = judge(&files, &[], &allowed[1..]).unwrap_err();
    assert!(
        error.contains("/opt/app/test/ca.pem: line 1: a private key"),
        "{error}"
    );
    assert!(!error.contains("factory"), "{error}");
}

#[test]
fn the_key_files_that_crypttab_names_are_secrets_whatever_they_hold() {
    let files = [
        ("etc/crypttab", "data UUID=1 /srv/k luks\n"),
        ("srv/k", "anything"),
    ];
    let error = judge(&files, &[], &[]).unwrap_err();
    assert!(
        error.ends_with("\n  /srv/k: the whole file: a key of an encrypted disk"),
        "{error}"
    );
    assert!(judge(&files[1..], &[], &[]).is_ok());
}
