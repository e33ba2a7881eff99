//! What archives call themselves, and how flat ones lie.

use std::fs;

use serde_json::Value;

use super::{SigningKey, Site, TRUSTED, run};
use crate::remote::servers::{Step, WebServer};

#[test]
fn archives_lock_whatever_they_call_themselves() {
    let Some(site) = Site::new("archives_lock_whatever_they_call_themselves") else {
        return;
    };
    type Fields<'f> = Option<&'f [(&'f str, &'f str)]>;
    let fields: [(&str, Fields<'_>, &str); 6] = [
        ("none", None, "none"),
        ("silent", Some(&[]), "silent"),
        ("origin", Some(&[("Origin", "Acme Corp.")]), "acme-corp"),
        (
            "codename",
            Some(&[("Suite", "stable"), ("Codename", "hippo")]),
            "hippo",
        ),
        (
            "odd",
            Some(&[("Label", "日本 (C++)"), ("Origin", "x")]),
            "c",
        ),
        (
            "label",
            Some(&[("Label", "Vendor"), ("Origin", "x")]),
            "vendor",
        ),
    ];
    for (archive, release, name) in fields {
        site.deb(archive, "tiny-base", "1", "Essential: yes\n");
        site.deb(archive, "app", "1", "");
        site.flat(archive);
        if let Some(release) = release {
            site.release(archive, release);
        }
        site.layer("app", "base", &["app"], "");
        let server = WebServer::start(&site.path(archive), []);
        for (uri, name) in [(site.uri(archive), name), (server.url.clone(), name)] {
            // By http there is no path to go by.
            let by_path = matches!(archive, "none" | "silent") && uri.starts_with("http");
            let name = if by_path { "archive" } else { name };
            site.base(&TRUSTED.replace("URI", &uri), &["app"]);
            site.forget();
            let _ = fs::remove_file(site.path("recipes/web.lock"));
            let said = site.lock().expect(0).stderr;
            assert!(
                said.contains(
                    "layers/base/layer.toml:6:1: the archive is taken without a signature"
                ),
                "{said}"
            );
            let expected = [format!("tiny-base 1 {name}"), format!("app 1 {name}")];
            assert_eq!(site.locked("web"), expected, "{archive} {uri}");
            // What was written can be read, and fetched by somebody who has nothing else.
            let lock = site.read("recipes/web.lock");
            site.forget();
            site.session
                .run("lock recipes/web.toml --update app")
                .expect(0);
            assert_eq!(site.read("recipes/web.lock"), lock);
        }
    }
}

#[test]
fn flat_archives_in_folders_and_with_odd_paths_lock() {
    let Some(site) = Site::new("flat_archives_in_folders_and_with_odd_paths_lock") else {
        return;
    };
    site.deb("apt/stable/all", "tiny-base", "1+b~1", "Essential: yes\n");
    for (suite, from, pattern, replaced) in [
        ("stable/", "apt", "Filename: ", "Filename: "),
        ("stable/", "apt", "Filename: stable/", "Filename: ./stable/"),
        ("stable/", "apt", "Filename: stable/", "Filename: stable//"),
        ("/", "apt/stable", "Filename: ", "Filename: "),
        ("./", "apt/stable", "Filename: ", "Filename: "),
    ] {
        let scanned = if from == "apt" { "stable" } else { "." };
        let index = String::from_utf8(run(
            "apt-ftparchive",
            &["packages", scanned],
            &site.path(from),
        ))
        .unwrap();
        site.write("apt/stable/Packages", index.replace(pattern, replaced));
        for by_http in [false, true] {
            let server = WebServer::ruled(&site.path(from), |seen, _| {
                let path = seen
                    .path
                    .replace("//", "/")
                    .replace("%7e", "~")
                    .replace("%2b", "+");
                (path != seen.path)
                    .then(|| Step::Say(format!("301 Moved\r\nlocation: {path}"), vec![]))
            });
            let uri = if by_http {
                server.url.clone()
            } else {
                site.uri(from)
            };
            let source = TRUSTED.replace("URI", &uri).replace("./", suite);
            site.base(&source, &[]);
            site.forget();
            site.lock().expect(0);
            site.forget();
            site.lock().expect(0);
        }
    }
    let index = "Package: tiny-base\nEssential: yes\nVersion: 1\nArchitecture: all\nFilename: ../x.deb\nSize: 1\nSHA256: ";
    site.write(
        "apt/stable/Packages",
        format!("{index}{}\n", "0".repeat(64)),
    );
    site.base(&TRUSTED.replace("URI", &site.uri("apt/stable")), &[]);
    let said = site.lock().expect(1).stderr;
    assert!(
        said.contains("'../x.deb', the file of tiny-base 1, leaves the archive"),
        "{said}"
    );
}

#[test]
fn an_archive_that_changes_its_name_is_told_and_blocks_nothing() {
    let Some(site) = Site::new("an_archive_that_changes_its_name_is_told_and_blocks_nothing")
    else {
        return;
    };
    let key = SigningKey::new("one@example.org");
    site.deb("a/pool/main", "tiny-base", "1", "Essential: yes\n");
    site.deb("a/pool/main", "app", "1", "");
    site.suite(
        "a",
        "tiny",
        &["main"],
        &[("Label", "Old"), ("Origin", "Corp"), ("Codename", "alpha")],
    );
    key.sign(&site.path("a/dists/tiny"));
    site.write("layers/base/corp.asc", key.armored());
    let source = format!(
        "uris = [\"{}\"]\nsuites = [\"tiny\"]\ncomponents = [\"main\"]\nsigned_by = \"corp.asc\"\n",
        site.uri("a")
    );
    site.base(&source, &["app"]);
    site.layer("app", "base", &["app"], "");
    let said = site.lock().expect(0).stderr;
    assert!(!said.contains("changed its"), "{said}");
    assert_eq!(site.locked("web"), ["tiny-base 1 old", "app 1 old"]);
    let epochs = |text: &str| -> Vec<String> {
        text.lines()
            .filter(|l| l.starts_with("epoch"))
            .map(str::to_owned)
            .collect()
    };
    let before = site
        .read("recipes/web.lock")
        .replace("epoch = 1600000000", "epoch = 1500000000");
    site.write("recipes/web.lock", &before);

    site.suite(
        "a",
        "tiny",
        &["main"],
        &[
            ("Label", "New 'x'"),
            ("Origin", "Corp AG"),
            ("Codename", "beta"),
        ],
    );
    key.sign(&site.path("a/dists/tiny"));
    let ran = site.session.run("lock recipes/web.toml --json").expect(0);
    for (field, old, new) in [
        ("Label", "Old", "New 'x'"),
        ("Origin", "Corp", "Corp AG"),
        ("Codename", "alpha", "beta"),
    ] {
        let told = format!(
            "note: the archive 'file:DIR/a/ tiny' changed its {field} from '{old}' to '{new}'"
        );
        assert!(ran.stderr.contains(&told), "{}", ran.stderr);
        let changes = ran.json()["archive_changes"].clone();
        let is = |c: &Value| c["field"] == field && c["before"] == old && c["after"] == new;
        assert!(changes.as_array().unwrap().iter().any(is), "{changes}");
    }
    assert_eq!(site.locked("web"), ["tiny-base 1 new--x", "app 1 new--x"]);
    // The same files: an old epoch stays, and with it the layers.
    assert_eq!(epochs(&site.read("recipes/web.lock")), epochs(&before));
    let said = site.lock().expect(0).stderr;
    assert!(!said.contains("changed its"), "it is told once: {said}");

    // A lock that has the old name, and one of the first versions, are as good as ever.
    for name in ["old", "--label-"] {
        let text = site.read("recipes/web.lock").replace("new--x", name);
        site.write("recipes/web.lock", text);
        site.forget();
        site.session
            .run("lock recipes/web.toml --update app")
            .expect(0);
    }
}
