//! Signatures and credentials: whose key an archive needs, and where a fault of it lies.

use std::fs;
use std::process::Command;

use super::{SigningKey, Site, TRUSTED};
use crate::remote::servers::{Step, WebServer};
use crate::support::is_root;

#[test]
fn a_signed_archive_needs_its_own_key_and_every_fault_has_its_place() {
    let Some(site) = Site::new("a_signed_archive_needs_its_own_key_and_every_fault_has_its_place")
    else {
        return;
    };
    let (key, other) = (
        SigningKey::new("one@example.org"),
        SigningKey::new("two@example.org"),
    );
    site.deb("base", "tiny-base", "1", "Essential: yes\n");
    site.flat("base");
    site.base(&TRUSTED.replace("URI", &site.uri("base")), &["shop"]);
    site.deb("v/pool/main", "shop", "1", "");
    site.deb("v/pool/extra", "more", "1", "");
    site.suite("v", "stable", &["main", "extra"], &[("Label", "Shop")]);
    key.sign(&site.path("v/dists/stable"));
    let armored = String::from_utf8(key.armored()).unwrap();
    site.write("layers/shop/shop.asc", &armored);
    site.write("layers/shop/shop.gpg", key.gpg(&["--export"]));
    site.write("layers/shop/other.asc", other.armored());
    site.write(
        "layers/shop/secret.asc",
        key.gpg(&["--armor", "--export-secret-keys"]),
    );
    site.write("layers/shop/page.asc", "<html>Sign in</html>");
    let source = |more: &str| {
        format!(
            "\n[[apt.sources]]\nuris = [\"{}\"]\nsuites = [\"stable\"]\ncomponents = [\"main\", \"extra\"]\n{more}\n",
            site.uri("v")
        )
    };
    let with = |more: &str| {
        site.layer("shop", "base", &["shop", "more"], &source(more));
        site.forget();
        site.lock()
    };
    for good in [
        "signed_by = \"shop.asc\"",
        "signed_by = \"shop.gpg\"",
        &format!("signed_by = '''\n{armored}'''"),
    ] {
        with(good).expect(0);
        assert_eq!(
            site.locked("web")[1..],
            ["more 1 shop", "shop 1 shop"],
            "{good}"
        );
    }
    let listed = String::from_utf8(key.gpg(&["--list-keys", "--with-colons"])).unwrap();
    let field = |start: &str, number: usize| {
        let mut lines = listed.lines().filter_map(|line| line.strip_prefix(start));
        lines
            .find_map(|rest| rest.split(':').nth(number).map(str::to_owned))
            .unwrap()
    };
    // apt 2 names the end of the fingerprint, apt 3 all of it.
    let (id, fingerprint) = (field("pub:", 3), field("fpr:", 8));
    let at = "layers/shop/layer.toml:6:1: the archive 'file:DIR/v stable'";
    for (more, said) in [
        (
            "signed_by = \"other.asc\"",
            format!("{at} is signed with the key {id}, which is not the one that was named"),
        ),
        (
            "",
            format!("{at} is signed with the key {id}, which is not the one that was named"),
        ),
        (
            "signed_by = \"none.asc\"",
            "layers/shop/layer.toml:10:13: cannot read the key 'layers/shop/none.asc'".to_owned(),
        ),
        (
            "signed_by = \"secret.asc\"",
            "layers/shop/layer.toml:10:13: 'layers/shop/secret.asc' is a private key".to_owned(),
        ),
        (
            "signed_by = \"page.asc\"",
            "layers/shop/layer.toml:10:13: 'layers/shop/page.asc' is a web page, not a key"
                .to_owned(),
        ),
        (
            "signed_by = \"shop.asc\"\ntrusted = true",
            "layers/shop/layer.toml:10:1: 'signed_by' says nothing".to_owned(),
        ),
        (
            "signd_by = \"shop.asc\"",
            "unknown key 'signd_by' (did you mean 'signed_by'?)".to_owned(),
        ),
    ] {
        let ran = with(more).expect(1);
        let stderr = ran.stderr.replace(&fingerprint, &id);
        assert!(stderr.contains(&said), "{more}: {stderr}");
    }
    // A key that was cut, one that was revoked, and a signature by a digest that nobody takes any more.
    let mut lines: Vec<&str> = armored.lines().collect();
    lines.drain(3..lines.len() - 2);
    site.write("layers/shop/cut.asc", lines.join("\n") + "\n");
    with("signed_by = \"cut.asc\"")
        .expect(1)
        .says(&["layers/shop/layer.toml:6:1: the archive '"]);
    let release = site.path("v/dists/stable");
    key.gpg(&[
        "--digest-algo",
        "SHA1",
        "--clearsign",
        "--output",
        release.join("InRelease").to_str().unwrap(),
        release.join("Release").to_str().unwrap(),
    ]);
    with("signed_by = \"shop.asc\"").expect(1).says(&[
        at,
        "is signed in a way that this machine no longer takes",
        "by SHA-256 or better",
    ]);
    key.sign(&release);
    let revoked = SigningKey::new("three@example.org");
    let home = revoked.home.path();
    revoked.sign(&release);
    let certificate = fs::read_dir(home.join("openpgp-revocs.d")).unwrap().next();
    let certificate = fs::read_to_string(certificate.unwrap().unwrap().path()).unwrap();
    site.write("revoked", certificate.replace(":-----BEGIN", "-----BEGIN"));
    revoked.gpg(&["--import", site.path("revoked").to_str().unwrap()]);
    site.write("layers/shop/revoked.asc", revoked.armored());
    with("signed_by = \"revoked.asc\"")
        .expect(1)
        .says(&["which its owner revoked", "the renewed key"]);
    key.sign(&release);
    // Misspelt suites and components are no archives of nothing.
    let good = source("signed_by = \"shop.asc\"");
    for (from, to, said) in [
        ("\"stable\"", "\"stabel\"", "stabel' has no Release file"),
        ("\"extra\"", "\"extar\"", "stable' has no component 'extar'"),
    ] {
        site.layer("shop", "base", &["shop"], &good.replace(from, to));
        let ran = site.lock().expect(1);
        assert!(
            ran.stderr.contains(&format!(
                "layers/shop/layer.toml:6:1: the archive 'file:DIR/v {said}"
            )),
            "{}",
            ran.stderr
        );
    }
    // An archive that has expired, one that lost its signature, one that was changed.
    site.suite(
        "v",
        "stable",
        &["main", "extra"],
        &[("Valid-Until", "Sat, 28 Nov 2020 00:00:00 UTC")],
    );
    key.sign(&site.path("v/dists/stable"));
    let ran = with("signed_by = \"shop.asc\"").expect(1);
    assert!(
        ran.stderr.contains(&format!("{at} has expired ")),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr.contains("check_valid_until = false"),
        "{}",
        ran.stderr
    );
    with("signed_by = \"shop.asc\"\ncheck_valid_until = false").expect(0);
    let signed = site.read("v/dists/stable/InRelease");
    site.write(
        "v/dists/stable/InRelease",
        signed.replacen("Components: main", "Components: mian", 1),
    );
    let ran = with("signed_by = \"shop.asc\"").expect(1);
    assert!(
        ran.stderr
            .contains(&format!("{at} has a signature that does not fit")),
        "{}",
        ran.stderr
    );
    fs::remove_file(site.path("v/dists/stable/InRelease")).unwrap();
    let ran = with("signed_by = \"shop.asc\"").expect(1);
    assert!(
        ran.stderr.contains(&format!("{at} is not signed")),
        "{}",
        ran.stderr
    );
}

#[test]
fn credentials_are_the_machines_and_never_in_a_definition() {
    let test = "credentials_are_the_machines_and_never_in_a_definition";
    let Some(site) = Site::new(test) else { return };
    site.deb("a", "tiny-base", "1", "Essential: yes\n");
    site.flat("a");
    for address in [
        "https://bob:hunter2@apt.example/x",
        "https://hunter2@apt.example/x",
    ] {
        site.base(&TRUSTED.replace("URI", address), &[]);
        let ran = site.lock().expect(1);
        let said = "layers/base/layer.toml:7:9: the address on 'apt.example' holds credentials";
        assert!(
            ran.stderr.contains(said)
                && ran.stderr.contains("/etc/apt/auth.conf.d/apt.example.conf"),
            "{}",
            ran.stderr
        );
        assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
    }
    // bob:hunter2
    let server = WebServer::ruled(&site.path("a"), |seen, _| {
        (seen.header("authorization") != Some("Basic Ym9iOmh1bnRlcjI=")).then(|| {
            Step::Say(
                "401 No\r\nwww-authenticate: Basic\r\ncontent-length: 0".to_owned(),
                vec![],
            )
        })
    });
    site.base(&TRUSTED.replace("URI", &server.url), &[]);
    let host = server.url.trim_start_matches("http://").to_owned();
    let ran = site.lock().expect(1);
    assert!(
        ran.stderr.contains("wants credentials, or others"),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr
            .contains(&format!("machine http://{host} login USER")),
        "{}",
        ran.stderr
    );
    if !is_root(test) {
        return;
    }
    let entry = format!("machine http://{host} login bob password hunter2\n");
    site.write("auth/corp.conf", entry);
    // The machine's own folder, for this one command.
    let script = r#"mount --bind "$1" /etc/apt/auth.conf.d && shift && exec "$@""#;
    let command = site.session.command(&["lock", "recipes/web.toml"]);
    let mut inside = Command::new("unshare");
    inside
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(site.path("auth"))
        .arg(command.get_program());
    inside.args(command.get_args()).current_dir(site.dir.path());
    for (key, value) in command.get_envs() {
        inside.env(key, value.unwrap_or_default());
    }
    site.session.ran("lock", inside.output().unwrap()).expect(0);
    assert!(!site.read("recipes/web.lock").contains("hunter2"));
}
