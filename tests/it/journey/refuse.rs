//! Builds and deployments that are refused or fail: what is said, and that nothing else happened.

use std::fs;
use std::path::Path;

use rustix::mount::{MountFlags, mount};

use super::shared::world;
use super::world::{PAGE, actions, row};
use crate::session::Session;

#[test]
fn an_unknown_package_is_named_and_the_lock_stays() {
    let Some(at) = world("an_unknown_package_is_named_and_the_lock_stays") else {
        return;
    };
    let before = (at.read("recipes/web.lock"), at.read("layers/ids.toml"));
    at.edit(
        "layers/nginx/layer.toml",
        "packages = [\"nginx\"]",
        "packages = [\"nginx-comon\"]",
    );
    at.run("lock recipes/web.toml").expect(1).says(&[
        "layers/nginx/layer.toml:",
        "nginx-comon",
        "did you mean 'nginx-common'",
    ]);
    assert_eq!(
        (at.read("recipes/web.lock"), at.read("layers/ids.toml")),
        before
    );
    at.is_clean();
}

#[test]
fn a_damaged_package_file_is_named_and_not_installed() {
    let Some(at) = world("a_damaged_package_file_is_named_and_not_installed") else {
        return;
    };
    let lock = at.read("recipes/web.lock");
    let line = lock
        .lines()
        .find(|line| line.contains("name = \"nginx\", version"))
        .unwrap();
    let sha256 = line
        .split("sha256 = \"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let deb = at.path(&format!("repo/cache/debs/{sha256}.deb"));
    let mut bytes = fs::read(&deb).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::remove_file(&deb).unwrap();
    fs::write(&deb, bytes).unwrap();
    at.forget("nginx");
    let before = at.stamps("repo/refs");
    at.run("build recipes/web.toml")
        .expect(4)
        .says(&["nginx", sha256, "hint: "]);
    at.is_untouched(&before);
    at.is_clean();
}

#[test]
fn a_failing_script_shows_its_last_lines_and_its_log() {
    let Some(at) = world("a_failing_script_shows_its_last_lines_and_its_log") else {
        return;
    };
    let (good, before) = (at.read("layers/hello/setup.sh"), at.layer_ref("hello"));
    at.write(
        "layers/hello/setup.sh",
        "#!/bin/sh\necho first line\necho the last line >&2\nexit 7\n",
    );
    at.forget("nginx");
    let ran = at.run("build recipes/web.toml").expect(1);
    let ran = ran.says(&[
        "layer 'hello': setup.sh failed",
        "exit status: 7",
        "first line\n",
        "the last line",
        "built nginx",
    ]);
    let log = ran
        .stderr
        .split("the log is '")
        .nth(1)
        .unwrap()
        .split('\'')
        .next()
        .unwrap();
    let log = log.replace("REPO", at.path("repo").to_str().unwrap());
    assert_eq!(
        fs::read_to_string(log).unwrap(),
        "first line\nthe last line\n"
    );
    assert_eq!(at.layer_ref("hello"), before);
    at.is_clean();
    at.write("layers/hello/setup.sh", &good);
    assert_eq!(actions(&at.build())[1], row("nginx", "kept", 0));
}

#[test]
fn all_that_no_rule_classifies_is_said_in_one_go_and_the_suggested_rules_work_in_seconds() {
    let test =
        "all_that_no_rule_classifies_is_said_in_one_go_and_the_suggested_rules_work_in_seconds";
    let Some(at) = world(test) else {
        return;
    };
    at.append(
        "layers/hello/setup.sh",
        "mkdir -p /var/lib/strange/a /var/lib/shop /var/lib/other\n\
         for n in 1 2 3 4; do echo $n > /var/lib/strange/a/$n; done\n\
         perl -e 'print \"SQLite format 3\\0\", \"x\" x 100' > /var/lib/shop/db\n\
         echo x > /var/lib/other/mine; chown nobody /var/lib/other/mine\n\
         echo x > /var/lib/dpkg-statoverride\n",
    );
    at.write("layers/hello/files/var/www/hello/page.html", "from files\n");
    let ran = at.run("build recipes/web.toml").expect(3);
    insta::assert_snapshot!(ran.transcript(), @r#"
    $ layerset build recipes/web.toml
    ! [hello] starting
    ! [hello] composing the layers below
    ! [hello] running setup.sh
    ! [hello] capturing changes
    ! [hello] settling
    ! error: layer 'hello' leaves files below /var that no rule classifies:
    !   /var/lib/dpkg-statoverride  1 file, of no package
    !   /var/lib/other  1 file, of no package
    !     /var/lib/other/mine
    !   /var/lib/shop  1 file, of no package
    !     /var/lib/shop/db
    !   /var/lib/strange  4 files, of no package
    !     /var/lib/strange/a/1
    !     /var/lib/strange/a/2
    !     /var/lib/strange/a/3
    !     … and 1 more
    !   /var/www/hello  1 file, of no package
    !     /var/www/hello/page.html
    ! hint: add to layers/hello/layer.toml:
    ! [state]
    ! "var/lib/dpkg-statoverride" = "image"  # only root may change it
    ! # "var/lib/other" = …  # a service may write it, for you to decide: "drop" where each machine makes its own, "factory" to copy it once to each machine
    ! # "var/lib/shop" = …  # a database, for you to decide: "drop" where each machine makes its own, "factory" to copy it once to each machine
    ! "var/lib/strange" = "image"  # only root may change it
    ! "var/www/hello" = "image"  # the layer's [files] bring it
    ! (image: changes with the image; factory: copied once to a machine's /var; drop: each machine makes its own)
    ! then build again: what was installed is kept, so that takes seconds
    [status 3]
    "#);
    let json = at.run("build recipes/web.toml --json").expect(3).json();
    let groups = json["error"]["details"]["unclassified"].as_array().unwrap();
    assert_eq!(groups.len(), 5, "{json:#}");
    assert_eq!(groups[3]["paths"].as_array().unwrap().len(), 4, "{json:#}");
    at.is_clean();
    // The lines of the hint are what to paste; two of them leave the decision to somebody.
    let hint = json["error"]["hint"].as_str().unwrap();
    let block = &hint[hint.find("[state]").unwrap()..hint.find("(image:").unwrap()];
    let decided = block
        .replace("# \"var/lib/shop\" = …", "\"var/lib/shop\" = \"drop\"")
        .replace("# \"var/lib/other\" = …", "\"var/lib/other\" = \"factory\"");
    at.append("layers/hello/layer.toml", &format!("\n{decided}"));
    let ran = at.run("build recipes/web.toml").expect(0);
    let ran = ran.says(&[
        "[hello] taking what the last build installed",
        "built hello",
    ]);
    assert!(
        !ran.stderr.contains("running setup.sh"),
        "{}",
        ran.transcript()
    );
    at.run("deploy web --target t").expect(0);
    assert_eq!(at.current("var/lib/strange/a/3"), "3\n");
    assert_eq!(at.current("var/www/hello/page.html"), "from files\n");
    // Now it is a layer: nothing is kept of how it came about.
    let left = fs::read_dir(at.path("repo/cache/captures"))
        .unwrap()
        .count();
    assert_eq!(left, 0);
    // Another script is another build: what an earlier one left behind is not taken for it.
    at.append("layers/hello/setup.sh", "echo x > /var/lib/late\n");
    at.run("build recipes/web.toml")
        .expect(3)
        .says(&["/var/lib/late"]);
    at.edit(
        "layers/hello/setup.sh",
        "echo x > /var/lib/late",
        "echo y > /var/lib/later",
    );
    at.run("build recipes/web.toml")
        .expect(3)
        .says(&["/var/lib/later"]);
}

#[test]
fn a_kept_tree_that_is_damaged_is_none() {
    let Some(at) = world("a_kept_tree_that_is_damaged_is_none") else {
        return;
    };
    at.append(
        "layers/hello/setup.sh",
        "mkdir /var/lib/strange\necho x > /var/lib/strange/file\n",
    );
    at.run("build recipes/web.toml").expect(3);
    let captures = at.path("repo/cache/captures");
    let dir = fs::read_dir(&captures)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    for entry in fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().len() == 64 {
            fs::remove_file(&path).unwrap();
            fs::write(&path, "damaged").unwrap();
        }
    }
    at.append(
        "layers/hello/layer.toml",
        "\n[state]\n\"var/lib/strange\" = \"image\"\n",
    );
    at.build();
    at.run("deploy web --target t").expect(0);
    assert_eq!(at.current("var/lib/strange/file"), "x\n");
}

#[test]
fn an_undeclared_private_key_never_enters_a_layer() {
    let Some(at) = world("an_undeclared_private_key_never_enters_a_layer") else {
        return;
    };
    let key = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA\n-----END PRIVATE KEY-----\n";
    let places = [
        "/etc/nginx/site.key",
        "/usr/lib/site.key",
        "/var/lib/site/site.key",
    ];
    at.append(
        "layers/hello/layer.toml",
        "\n[state]\n\"var/lib/site\" = \"factory\"\n",
    );
    let setup = at.read("layers/hello/setup.sh");
    for place in places {
        let script =
            format!("{setup}mkdir -p $(dirname {place})\ncat > {place} <<'END'\n{key}END\n");
        at.write("layers/hello/setup.sh", &script);
        let before = at.stamps("repo/objects");
        let ran = at.run("build recipes/web.toml").expect(3);
        ran.says(&["layer 'hello'", place, "[secrets]"]);
        at.is_untouched(&before);
        at.is_clean();
    }
}

#[test]
fn what_only_its_owner_reads_and_each_build_makes_anew_is_a_secret() {
    let name = "what_only_its_owner_reads_and_each_build_makes_anew_is_a_secret";
    let Some(at) = world(name) else {
        return;
    };
    let setup = at.read("layers/hello/setup.sh");
    let with = |line: &str| at.write("layers/hello/setup.sh", &format!("{setup}{line}\n"));
    let random = "cat /proc/sys/kernel/random/uuid > /etc/hello.key; chmod 0600 /etc/hello.key";
    with(random);
    let before = at.stamps("repo/refs");
    at.run("build recipes/web.toml").expect(3).says(&[
        "layer 'hello'",
        "/etc/hello.key",
        "[secrets]",
    ]);
    at.is_untouched(&before);
    at.is_clean();
    // What is the same twice, and what everybody may read, is no secret.
    with("echo b7d2C9e1F0a34856b7d2C9e1F0a34856 > /etc/hello.key; chmod 0600 /etc/hello.key");
    at.build();
    with("cat /proc/sys/kernel/random/uuid > /etc/hello.id");
    at.build();
    with(random);
    at.append(
        "layers/hello/layer.toml",
        "\n[secrets.\"etc/hello.key\"]\nrun = \"umask 077; uuidgen > /etc/hello.key\"\n",
    );
    at.build();
}

#[test]
fn data_that_is_dropped_and_that_nobody_makes_is_told() {
    let Some(at) = world("data_that_is_dropped_and_that_nobody_makes_is_told") else {
        return;
    };
    at.append(
        "layers/hello/layer.toml",
        "\n[state]\n\"var/lib/shop\" = \"drop\"\n\"var/lib/own\" = \"drop\"\n",
    );
    let unit = |name: &str, more: &str| {
        format!(
            "mkdir -p /var/lib/{name}; echo x > /var/lib/{name}/db\ncat > \
             /usr/lib/systemd/system/{name}.service <<'END'\n[Service]\n\
             ExecStart=/usr/bin/perl /var/lib/{name}/db\n{more}\nEND\n"
        )
    };
    let setup = at.read("layers/hello/setup.sh");
    let (shop, own) = (unit("shop", ""), unit("own", "StateDirectory=own"));
    at.write("layers/hello/setup.sh", &format!("{setup}{shop}{own}"));
    let report = at.build();
    let hello = &report["layers"].as_array().unwrap()[2];
    let notes = hello["notes"].as_array().unwrap();
    assert_eq!(notes.len(), 1, "{notes:?}");
    let note = notes[0].as_str().unwrap();
    assert!(
        note.contains("'/var/lib/shop' is dropped, 'shop.service' uses it"),
        "{note}"
    );
}

fn small_disk(at: &Path, bytes: u64) {
    fs::create_dir_all(at).unwrap();
    let options = std::ffi::CString::new(format!("size={bytes}")).unwrap();
    mount(
        "tmpfs",
        at,
        "tmpfs",
        MountFlags::empty(),
        Some(options.as_c_str()),
    )
    .unwrap();
}

/// Returns the numbers in a text that are large enough to be sizes.
fn sizes(text: &str) -> Vec<u64> {
    let words = text.split(|c: char| !c.is_ascii_digit());
    words
        .filter_map(|word| word.parse().ok())
        .filter(|n| *n > 1_000_000)
        .collect()
}

#[test]
fn a_build_that_cannot_fit_is_refused_before_it_writes() {
    let Some(at) = world("a_build_that_cannot_fit_is_refused_before_it_writes") else {
        return;
    };
    small_disk(&at.path("small"), 64 << 20);
    let session = Session::new(at.dir.path(), &at.path("small/repo"));
    session.run("init").expect(0);
    let before = at.stamps("small");
    let ran = session
        .run("build recipes/web.toml")
        .expect(1)
        .says(&["bytes free", "hint: "]);
    let numbers = sizes(&ran.stderr);
    assert_eq!(numbers.len(), 2, "{}", ran.stderr);
    assert!(
        numbers[0] <= 64 << 20 && numbers[1] > 64 << 20,
        "{}",
        ran.stderr
    );
    at.is_untouched(&before);
}

#[test]
fn a_deployment_that_cannot_fit_is_refused_before_it_writes() {
    let Some(at) = world("a_deployment_that_cannot_fit_is_refused_before_it_writes") else {
        return;
    };
    small_disk(&at.path("small"), 32 << 20);
    at.edit(PAGE, "version 1", "version 2");
    let ran = at
        .run("deploy web --target small --copy")
        .expect(1)
        .says(&["bytes", "hint: "]);
    let numbers = sizes(&ran.stderr);
    assert!(
        numbers.iter().any(|n| *n <= 32 << 20) && numbers.iter().any(|n| *n > 32 << 20),
        "{}",
        ran.stderr
    );
    assert_eq!(
        fs::read_dir(at.path("small/layerset/deployments"))
            .unwrap()
            .count(),
        0
    );
    assert!(!at.path("small/layerset/current").exists());
    assert!(!at.path("repo/refs/deployments").exists());
}
