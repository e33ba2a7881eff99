//! Sessions with `layerset trust`: two people and a build server look after a remote in a directory.

use serde_json::Value;

use super::fixture::{Empty, empty};

const REMOTE: &str = "DIR/remote --root DIR/root.json";

impl Empty {
    fn trust(&self, line: &str) -> crate::session::Ran {
        let dir = self.dir.path().to_str().unwrap();
        let line = line.replace("REMOTE", REMOTE).replace("DIR", dir);
        self.session.run(&format!("trust {line}"))
    }

    fn public_key(&self, person: &str) -> String {
        let made = self
            .trust(&format!("keygen {person} --keys DIR/{person} --json"))
            .expect(0)
            .json();
        made["public"].as_str().unwrap().to_owned()
    }
}

/// A new remote with the keys of root and targets apart from those of the build server.
fn remote() -> Empty {
    let at = empty();
    at.trust("init DIR/remote --root DIR/root.json --keys DIR/all")
        .expect(0);
    for (from, to) in [
        ("root", "safe"),
        ("targets", "safe"),
        ("snapshot", "build"),
        ("timestamp", "build"),
    ] {
        let to = at.dir.path().join(to);
        std::fs::create_dir_all(&to).unwrap();
        for entry in std::fs::read_dir(at.dir.path().join("all")).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name();
            if name.to_str().unwrap().starts_with(from) {
                std::fs::copy(entry.path(), to.join(name)).unwrap();
            }
        }
    }
    at
}

fn role<'v>(shown: &'v Value, name: &str) -> &'v Value {
    let roles = shown["roles"].as_array().unwrap();
    let found = roles.iter().find(|role| role["role"] == name);
    found.unwrap_or_else(|| panic!("no role {name} in {shown:#}"))
}

#[test]
fn a_new_remote_says_how_machines_come_to_trust_it() {
    let at = empty();
    let ran = at
        .trust(
            "init DIR/remote --root DIR/root.json --keys DIR/keys --root-keys 3 --root-threshold 2",
        )
        .expect(0);
    for text in [
        "made a remote at DIR/remote\nkeys, which nobody else may read:\n  DIR/keys/",
        "install 'DIR/root.json' and this on them",
        "  location = \"DIR/remote\"\n  root = \"root.json\"\n",
    ] {
        assert!(
            ran.stdout.contains(text),
            "'{text}' is not in\n{}",
            ran.transcript()
        );
    }
    let shown = at
        .trust("show REMOTE --keys DIR/keys --json")
        .expect(0)
        .json();
    let root = role(&shown, "root");
    assert_eq!(
        (&root["threshold"], root["keys"].as_array().unwrap().len()),
        (&Value::from(2), 3)
    );
    assert_eq!(root["keys"], root["keys_here"]);
    assert_eq!(shown["warnings"], serde_json::json!([]));
    let text = at.trust("show REMOTE").expect(0).stdout;
    assert!(text.contains("timestamp  version 1, good until "), "{text}");
    assert!(text.contains("2 of 3: "), "{text}");
    at.trust("init DIR/remote --root DIR/other.json --keys DIR/keys")
        .expect(1)
        .says(&["error: 'DIR/remote' is already a remote"]);
    at.trust("init DIR/second --root DIR/root.json --keys DIR/keys")
        .expect(2)
        .says(&["'DIR/root.json' already exists"]);
}

#[test]
fn a_team_gets_a_role_by_a_file_that_travels() {
    let at = remote();
    let key = at.public_key("team");
    at.trust(&format!(
        "delegate REMOTE layers/nginx --key {key} --keys DIR/safe --pending DIR/p.json"
    ))
    .expect(0);
    // Who shows it has to be told by which root to believe what it says was there before.
    at.trust("sign DIR/p.json --keys DIR/team")
        .expect(2)
        .says(&[
            "no trusted root vouches for the state that 'DIR/p.json' was made from",
            "--root",
        ]);
    let waits = at
        .trust("sign DIR/p.json --look --root DIR/root.json")
        .expect(0);
    assert!(
        waits
            .stdout
            .contains("role 'layer.nginx' has 0 of 1 signatures"),
        "{}",
        waits.transcript()
    );
    // The build server alone cannot finish it.
    at.trust("sign DIR/p.json --publish REMOTE --keys DIR/build")
        .expect(3)
        .says(&[
            "role 'layer.nginx' needs 1 signature(s) by its keys",
            "hint: name the right directory with --keys",
        ]);
    let signed = at
        .trust("sign DIR/p.json --keys DIR/team --compare REMOTE")
        .expect(0)
        .says(&["signed: layer.nginx"]);
    for text in [
        "may sign for role 'layer.nginx'",
        "'DIR/p.json' has all signatures",
    ] {
        assert!(signed.stdout.contains(text), "{}", signed.transcript());
    }
    // Meanwhile the build server refreshes, which the change survives.
    at.trust("refresh REMOTE --keys DIR/build").expect(0);
    let done = at
        .trust("sign DIR/p.json --publish REMOTE --keys DIR/build")
        .expect(0);
    assert!(
        done.stdout
            .contains("published to DIR/remote; role 'timestamp' is the first to expire"),
        "{}",
        done.transcript()
    );
    let shown = at
        .trust("show REMOTE --keys DIR/team --json")
        .expect(0)
        .json();
    assert_eq!(
        role(&shown, "layer.nginx")["keys"],
        role(&shown, "layer.nginx")["keys_here"]
    );
    assert_eq!(role(&shown, "timestamp")["version"], 3);
    at.trust("sign DIR/p.json --publish REMOTE --keys DIR/build")
        .expect(3)
        .says(&["was prepared as version", "is published already"]);

    at.trust("revoke REMOTE layers/nginx --keys DIR/all")
        .expect(0);
    at.trust("revoke REMOTE layers/nginx --keys DIR/all")
        .expect(3)
        .says(&["the remote has no role 'layer.nginx'"]);
}

#[test]
fn keys_are_rotated_and_the_old_ones_count_no_more() {
    let at = remote();
    let before = at.trust("show REMOTE --json").expect(0).json();
    at.trust("rotate REMOTE timestamp snapshot --keys DIR/build")
        .expect(3)
        .says(&["role 'root' needs 1 signature(s)"]);
    at.trust("rotate REMOTE timestamp root --keys DIR/all")
        .expect(0);
    let after = at
        .trust("show REMOTE --keys DIR/all --json")
        .expect(0)
        .json();
    for name in ["timestamp", "root"] {
        assert_ne!(role(&before, name)["keys"], role(&after, name)["keys"]);
        assert_eq!(role(&after, name)["keys"], role(&after, name)["keys_here"]);
    }
    assert_eq!(
        role(&before, "targets")["keys"],
        role(&after, "targets")["keys"]
    );
    at.trust("refresh REMOTE --keys DIR/build")
        .expect(3)
        .says(&["role 'timestamp' needs 1 signature(s)"]);
    let id = role(&after, "targets")["keys"][0]
        .as_str()
        .unwrap()
        .to_owned();
    at.trust(&format!("revoke REMOTE {id} --keys DIR/all"))
        .expect(3)
        .says(&["role 'targets' has 0 key(s) and needs 1"]);
    let key = at.public_key("second");
    at.trust(&format!("rotate REMOTE targets --add {key} --keys DIR/all"))
        .expect(0);
    let short = &id[..12];
    for entry in std::fs::read_dir(at.dir.path().join("second")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(
            entry.path(),
            at.dir.path().join("all").join(entry.file_name()),
        )
        .unwrap();
    }
    at.trust(&format!("revoke REMOTE {short} --keys DIR/all"))
        .expect(0)
        .says(&[&format!("key {short} is taken from: targets")]);
}

#[test]
fn mistakes_are_told_before_anything_is_written() {
    let at = remote();
    let head = std::fs::read_dir(at.dir.path().join("remote"))
        .unwrap()
        .count();
    at.trust("show main")
        .expect(1)
        .says(&["has no remote 'main'", "--root"]);
    at.trust("show DIR/nothing --root DIR/root.json")
        .expect(1)
        .says(&["nothing has been published to 'DIR/nothing' yet"]);
    at.trust("delegate REMOTE nginx --keys DIR/all")
        .expect(2)
        .says(&["write layers/NAME or images/NAME"]);
    at.trust("delegate REMOTE layers/nginx --key abc --keys DIR/all")
        .expect(3)
        .says(&["'abc' is not a public key"]);
    at.trust("delegate REMOTE layers/nginx --days 0 --keys DIR/all")
        .expect(2)
        .says(&["1 to 36500"]);
    at.trust("rotate REMOTE nobody --keys DIR/all")
        .expect(3)
        .says(&["the remote has no role 'nobody'"]);
    at.trust("rotate REMOTE root --keys DIR/build")
        .expect(2)
        .says(&["none of the keys of role 'root' is in"]);
    at.trust("rotate REMOTE root --remove zz --keys DIR/all")
        .expect(2)
        .says(&["role 'root' has no key 'zz'"]);
    at.trust("sign DIR/root.json")
        .expect(3)
        .says(&["the pending file cannot be used"]);
    assert_eq!(
        std::fs::read_dir(at.dir.path().join("remote"))
            .unwrap()
            .count(),
        head
    );
    // Keys that others can read are not used at all.
    use std::os::unix::fs::PermissionsExt;
    let key = std::fs::read_dir(at.dir.path().join("all"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).unwrap();
    at.trust("refresh REMOTE --keys DIR/all")
        .expect(3)
        .says(&["others can read it (mode 0644)"]);
}

#[test]
fn a_new_remote_can_be_signed_by_several_people_too() {
    let at = empty();
    let (ann, bob) = (at.public_key("ann"), at.public_key("bob"));
    at.trust(&format!(
        "init DIR/remote --root DIR/root.json --keys DIR/build --key root={ann} --key root={bob} --threshold root=2 --pending DIR/new.json"
    ))
    .expect(0);
    assert!(!at.dir.path().join("root.json").exists());
    at.trust("sign DIR/new.json --keys DIR/ann")
        .expect(0)
        .says(&["signed: root"]);
    at.trust("sign DIR/new.json --keys DIR/build --publish REMOTE")
        .expect(3)
        .says(&["role 'root' needs 2 signature(s)"]);
    at.trust("sign DIR/new.json --keys DIR/bob").expect(0);
    at.trust("sign DIR/new.json --keys DIR/build --publish REMOTE")
        .expect(0);
    at.trust("show REMOTE").expect(0);
}

#[test]
fn a_change_that_was_made_on_another_remote_is_not_signed() {
    let at = remote();
    at.trust("init DIR/evil --root DIR/evil.json --keys DIR/evil-keys")
        .expect(0);
    at.trust("refresh DIR/evil --root DIR/evil.json --role targets --keys DIR/evil-keys --pending DIR/p.json")
        .expect(0);
    let before = std::fs::read(at.dir.path().join("p.json")).unwrap();
    at.trust("sign DIR/p.json --keys DIR/evil-keys --root DIR/root.json")
        .expect(3)
        .says(&[
            "the pending file cannot be trusted about what was published: its root, version 1",
            "hint: name the root that its machines have with --root",
        ]);
    // The roots of the trust policy count where none is named.
    at.write(
        "trust.toml",
        "[[remote]]\nname = \"main\"\nlocation = \"/nowhere\"\nroot = \"root.json\"\n",
    );
    at.trust("sign DIR/p.json --keys DIR/evil-keys --trust DIR/trust.toml")
        .expect(3)
        .says(&["cannot be trusted about what was published"]);
    assert_eq!(std::fs::read(at.dir.path().join("p.json")).unwrap(), before);
    at.write(
        "trust.toml",
        "[[remote]]\nname = \"main\"\nlocation = \"/nowhere\"\nroot = \"evil.json\"\n",
    );
    at.trust("sign DIR/p.json --keys DIR/evil-keys --trust DIR/trust.toml")
        .expect(0)
        .says(&["compared with what was published when the file was made"]);
}

/// Signs what `edit` does with all keys, as if it were `days` days ago.
fn edited(at: &Empty, days: i64, edit: impl FnOnce(&mut layerset::trust::Editor)) {
    use layerset::remote::{Location, RemoteOptions, open_writable};
    use layerset::trust::{Editor, KeyStore, TrustState, verify_to_edit};
    let dir = at.dir.path();
    let location = Location::Directory(dir.join("remote"));
    let remote = open_writable(&location, &RemoteOptions::default()).unwrap();
    let head = remote.read_head(8 << 20).unwrap().unwrap();
    let root = std::fs::read(dir.join("root.json")).unwrap();
    let disk = std::sync::Arc::new(layerset::durable::RealDisk);
    let state = TrustState::open(disk, &dir.join("editor")).unwrap();
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let now = i64::try_from(since.as_secs()).unwrap() - days * 86_400;
    let verified = verify_to_edit(&head.bytes, &root, &state, now).unwrap();
    let mut editor = Editor::open(&verified, now).unwrap();
    edit(&mut editor);
    let bytes = editor
        .sign(&KeyStore::open(&dir.join("all")).unwrap())
        .unwrap();
    remote.replace_head(&bytes, Some(&head.revision)).unwrap();
}

#[test]
fn what_a_team_left_expired_or_wrong_is_shown() {
    use layerset::format::release::{Channel, ReleaseKind};
    let at = remote();
    let short = at
        .trust("delegate REMOTE layers/nginx --days 2 --keys DIR/all")
        .expect(0);
    assert!(
        short
            .stdout
            .contains("role 'layer.nginx' is the first to expire"),
        "{}",
        short.transcript()
    );
    let channel = Channel {
        format: 1,
        kind: ReleaseKind::Layer,
        name: "nginx".to_owned(),
        channel: "stable".to_owned(),
        release: layerset::id::LayerId::of(b"nginx").into(),
        serial: 7,
        published: 1_790_000_000,
        rollout: Default::default(),
        downgrade: None,
    };
    let text = layerset::format::to_canonical_json("channel", &channel).unwrap();
    edited(&at, 400, |editor| {
        editor
            .put("layers/nginx/channels/stable.json", &text)
            .unwrap();
    });
    edited(&at, 0, |editor| {
        editor
            .put("images/web/channels/stable.json", b"{}")
            .unwrap();
    });
    let shown = at.trust("show REMOTE").expect(0).says(&[
        "warning: role 'layer.nginx' is expired on",
        "run `layerset trust refresh REMOTE --role layer.nginx`",
        "warning: machines refuse channel 'images/web/stable', which role 'targets' signed: 'images/web/channels/stable.json' cannot be used",
    ]);
    assert!(
        shown.stdout.contains("layers/nginx/stable: release 7"),
        "{}",
        shown.transcript()
    );
}

#[test]
fn no_remote_is_made_whose_root_cannot_be_written() {
    let at = empty();
    let path = |name: &str| at.dir.path().join(name);
    at.trust("init DIR/remote --root DIR/no/such/root.json --keys DIR/keys")
        .expect(2)
        .says(&["'DIR/no/such/root.json' cannot be written: 'DIR/no/such' is not a directory"]);
    assert!(!path("keys").exists() && !path("remote/head").exists());
    // Beside a name that long no other file can be made.
    let long = "r".repeat(254);
    let ran = at.trust(&format!(
        "init DIR/remote --root DIR/{long} --keys DIR/keys"
    ));
    assert_ne!(ran.status, 0, "{}", ran.transcript());
    assert!(!path("remote/head").exists());
    at.trust("init DIR/remote --root DIR/root.json --keys DIR/keys")
        .expect(0);
    at.trust("show REMOTE").expect(0);
}

#[test]
fn the_root_of_a_remote_that_was_not_made_goes_again() {
    let at = empty();
    let path = |name: &str| at.dir.path().join(name);
    at.trust("init DIR/remote --root DIR/root.json --keys DIR/keys --pending DIR/new.json")
        .expect(0);
    std::fs::create_dir_all(path("remote/.head.new/in-the-way")).unwrap();
    for command in [
        "init DIR/remote --root DIR/root.json --keys DIR/keys",
        "sign DIR/new.json --keys DIR/keys --publish REMOTE",
    ] {
        let ran = at.trust(command);
        assert_ne!(ran.status, 0, "{}", ran.transcript());
        assert!(!path("root.json").exists(), "{}", ran.transcript());
    }
    std::fs::remove_dir_all(path("remote/.head.new")).unwrap();
    // As if it had been killed before the remote was there.
    let file: Value = serde_json::from_slice(&std::fs::read(path("new.json")).unwrap()).unwrap();
    at.write("root.json", "{}");
    at.trust("sign DIR/new.json --keys DIR/keys --publish REMOTE")
        .expect(2)
        .says(&["'DIR/root.json' already exists"]);
    assert!(!path("remote/head").exists());
    at.write("root.json", file["roles"]["root"].as_str().unwrap());
    at.trust("sign DIR/new.json --keys DIR/keys --publish REMOTE")
        .expect(0);
    at.trust("show REMOTE").expect(0);
}
