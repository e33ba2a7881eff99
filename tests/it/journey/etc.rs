//! `/etc`: the machine's edits and the layers' changes meet.

use std::fs;

use serde_json::json;

use super::shared::world;
use super::world::{SITE, World};

#[test]
fn edits_of_etc_survive_an_update_and_meet_the_layers_changes() {
    let Some(at) = world("edits_of_etc_survive_an_update_and_meet_the_layers_changes") else {
        return;
    };
    at.run("deploy web --target t").expect(0);
    let etc = "t/layerset/current/root/etc";
    at.append(
        &format!("{etc}/passwd"),
        "admin:x:1000:1000::/home/admin:/bin/sh\n",
    );
    at.write(&format!("{etc}/motd"), "mine\n");
    at.edit(
        &format!("{etc}/nginx/sites-available/hello"),
        "proxy_read_timeout 10s",
        "proxy_read_timeout 99s",
    );
    fs::remove_file(at.path(&format!("{etc}/nginx/nginx.conf"))).unwrap();

    at.append(
        "layers/hello/files/usr/lib/sysusers.d/hello.conf",
        "u greeter - \"new in version 2\"\n",
    );
    at.edit(SITE, "listen 80", "charset utf-8;\n    listen 80");
    let update = at.json("update hello --target t --json");
    assert_eq!(update["etc"]["conflicts"], json!([]));
    let merged = update["etc"]["merged"].as_array().unwrap();
    assert!(merged.contains(&json!("/etc/passwd")), "{merged:?}");

    let passwd = at.current("etc/passwd");
    assert!(
        passwd.contains("admin:x:1000:") && passwd.contains("\ngreeter:x:"),
        "{passwd}"
    );
    let site = at.current("etc/nginx/sites-available/hello");
    assert!(
        site.contains("charset utf-8;") && site.contains("proxy_read_timeout 99s"),
        "{site}"
    );
    assert_eq!(at.current("etc/motd"), "mine\n");
    assert!(!at.path(&format!("{etc}/nginx/nginx.conf")).exists());

    at.run("rollback --target t").expect(0);
    let site = at.current("etc/nginx/sites-available/hello");
    assert!(
        !site.contains("charset utf-8;") && site.contains("proxy_read_timeout 99s"),
        "{site}"
    );
    assert!(!at.current("etc/passwd").contains("greeter"));
}

/// Deploys to `target`, and makes the machine and the next image change the same line.
fn conflict(at: &World, target: &str) {
    let site = format!("{target}/layerset/current/root/etc/nginx/sites-available/hello");
    at.edit(&site, "proxy_read_timeout 10s", "proxy_read_timeout 99s");
}

#[test]
fn a_conflict_in_etc_changes_nothing_until_somebody_decides() {
    let Some(at) = world("a_conflict_in_etc_changes_nothing_until_somebody_decides") else {
        return;
    };
    for target in ["t", "other"] {
        at.run(&format!("deploy web --target {target}")).expect(0);
        conflict(&at, target);
    }
    at.edit(SITE, "proxy_read_timeout 10s", "proxy_read_timeout 20s");
    at.build();
    let before = at.stamps("t");
    let path = "/etc/nginx/sites-available/hello";
    at.run("deploy web --target t").expect(3).says(&[path]);
    at.is_untouched(&before);
    assert!(
        at.current("etc/nginx/sites-available/hello")
            .contains("99s")
    );
    let plan = at.json("deploy web --target t --dry-run --json");
    assert_eq!(plan["etc"]["conflicts"][0]["path"], path);

    at.run(&format!("deploy web --target t --keep-file {path}"))
        .expect(0);
    assert!(
        at.current("etc/nginx/sites-available/hello")
            .contains("99s")
    );
    at.run(&format!("deploy web --target other --take-file {path}"))
        .expect(0);
    let taken = at.read(&format!("other/layerset/current/root{path}"));
    assert!(taken.contains("20s") && !taken.contains("99s"), "{taken}");
}

#[test]
fn the_hint_of_a_conflict_is_a_command_that_works() {
    let Some(at) = world("the_hint_of_a_conflict_is_a_command_that_works") else {
        return;
    };
    at.run("deploy web --target t").expect(0);
    conflict(&at, "t");
    at.edit(SITE, "proxy_read_timeout 10s", "proxy_read_timeout 20s");
    at.build();
    let path = "/etc/nginx/sites-available/hello";
    let (keep, take) = (format!("--keep-file {path}"), format!("--take-file {path}"));
    at.run("deploy web --target t")
        .expect(3)
        .says(&[&keep, &take]);
}
