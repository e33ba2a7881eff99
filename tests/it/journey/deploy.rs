//! Deployments: what is in them, and the way there and back.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::shared::world;
use super::world::{PAGE, actions, mounts_below, row, text, unmount_below};

#[test]
fn a_deployment_is_the_system_that_the_lock_says() {
    let Some(at) = world("a_deployment_is_the_system_that_the_lock_says") else {
        return;
    };
    at.run("deploy web --target t").expect(0);
    assert_eq!(at.current("usr/share/hello/page.html"), at.read(PAGE));

    let lock: toml::Table = at.read("recipes/web.lock").parse().unwrap();
    let layers = lock["layer"].as_array().unwrap().iter();
    let packages = layers.flat_map(|layer| {
        layer
            .get("packages")
            .and_then(toml::Value::as_array)
            .cloned()
            .unwrap_or_default()
    });
    let locked: BTreeSet<String> = packages
        .map(|p| {
            format!(
                "ii  {} {} {}",
                p["name"].as_str().unwrap(),
                p["version"].as_str().unwrap(),
                p["architecture"].as_str().unwrap()
            )
        })
        .collect();
    let format = "--showformat=${db:Status-Abbrev} ${Package} ${Version} ${Architecture}\n";
    let listed = at.chroot(&["dpkg-query", "--show", format]);
    assert_eq!(
        listed.lines().map(str::to_owned).collect::<BTreeSet<_>>(),
        locked
    );
    assert!(locked.len() > 90);
    assert_eq!(at.chroot(&["dpkg", "--audit"]), "");

    let libraries = at.chroot(&["ldconfig", "-p"]);
    let files: Vec<&str> = libraries
        .lines()
        .filter_map(|line| line.split(" => ").nth(1))
        .collect();
    assert!(files.len() > 60, "{libraries}");
    assert!(
        files.iter().any(|file| file.ends_with("/libc.so.6")),
        "{libraries}"
    );
    // Each entry is a file, and the loader finds its libraries.
    at.chroot(&[&["ls", "-dL"], files.as_slice()].concat());
    at.chroot(&["/usr/sbin/nginx", "-V"]);

    let ids: toml::Table = at.read("layers/ids.toml").parse().unwrap();
    for (kind, file) in [("users", "passwd"), ("groups", "group")] {
        let lines = at.chroot(&["getent", file]);
        for (name, number) in ids[kind].as_table().unwrap() {
            let found = lines
                .lines()
                .find_map(|l| l.strip_prefix(&format!("{name}:x:")));
            let found = found.unwrap_or_else(|| panic!("{name} is not in {file}"));
            assert_eq!(
                found.split(':').next().unwrap(),
                number.to_string(),
                "{name} in {file}"
            );
        }
    }
}

#[test]
fn an_update_makes_a_new_generation_and_a_rollback_goes_back() {
    let Some(at) = world("an_update_makes_a_new_generation_and_a_rollback_goes_back") else {
        return;
    };
    let first = at.json("deploy web --target t --json");
    assert_eq!(
        (&first["generation"], &first["from"]),
        (&json!(1), &Value::Null)
    );
    at.edit(PAGE, "version 1", "version 2");
    let update = at.json("update hello --target t --json --reason better");
    assert_eq!(
        (&update["generation"], &update["from"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(update["switched"], true);
    let done = actions(&update["build"]);
    assert_eq!(
        done[..2],
        [row("debian", "kept", 0), row("nginx", "kept", 0)]
    );
    assert!(
        at.current("usr/share/hello/page.html")
            .contains("version 2")
    );

    let back = at.json("rollback --target t --json");
    assert_eq!(back["to"], 1);
    assert!(
        at.current("usr/share/hello/page.html")
            .contains("version 1")
    );
    assert!(
        at.read("t/layerset/deployments/2/root/usr/share/hello/page.html")
            .contains("version 2")
    );
    let link = fs::read_link(at.path("t/layerset/current")).unwrap();
    assert_eq!(link, Path::new("deployments/1"));

    let status = at.json("status --target t --json");
    assert_eq!(
        (&status["current"], &status["previous"]),
        (&json!(1), &Value::Null)
    );
    assert_eq!(status["history_broken"], Value::Null);
    let deployments = status["deployments"].as_array().unwrap();
    let facts = |d: &Value| {
        (
            text(&d["image"]),
            text(&d["state"]),
            d["mounted"].clone(),
            d["damaged"].clone(),
        )
    };
    assert_eq!(
        deployments.iter().map(facts).collect::<Vec<_>>(),
        [
            (
                text(&first["image"]),
                "current".to_owned(),
                json!(true),
                Value::Null
            ),
            (
                text(&update["image"]),
                "kept".to_owned(),
                json!(true),
                Value::Null
            ),
        ]
    );

    let history = at.json("history --target t --json");
    let records = history["records"].as_array().unwrap();
    let steps: Vec<_> = records
        .iter()
        .map(|r| (text(&r["action"]), r["from"].clone(), r["to"].clone()))
        .collect();
    assert_eq!(
        steps,
        [
            ("deploy".to_owned(), Value::Null, json!(1)),
            ("update".to_owned(), json!(1), json!(2)),
            ("rollback".to_owned(), json!(2), json!(1)),
        ]
    );
    // The update built its image, and checked it; the others took what was there.
    let verdicts = records.iter().map(|record| text(&record["verdict"]));
    assert_eq!(
        verdicts.collect::<Vec<_>>(),
        ["unchecked", "safe", "unchecked"]
    );
    let mut parent = String::new();
    for line in at.read("t/layerset/history.jsonl").lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        assert_eq!(record["parent"], parent.as_str());
        parent = blake3::hash(line.as_bytes()).to_hex().to_string();
    }
    assert_eq!(records[1]["reason"], "better");

    at.edit("t/layerset/history.jsonl", "better", "worse");
    at.run("history --target t")
        .expect(4)
        .says(&["line 2 of the history"]);
}

#[test]
fn deploying_the_current_image_again_does_nothing() {
    let Some(at) = world("deploying_the_current_image_again_does_nothing") else {
        return;
    };
    at.run("deploy web --target t").expect(0);
    let before = ["t", "repo"].map(|name| at.stamps(name));
    let again = at.json("deploy web --target t --json");
    assert_eq!(
        (&again["generation"], &again["switched"]),
        (&json!(1), &json!(false))
    );
    before.iter().for_each(|before| at.is_untouched(before));
}

#[test]
fn activate_brings_back_mounts_that_are_gone() {
    let Some(at) = world("activate_brings_back_mounts_that_are_gone") else {
        return;
    };
    at.run("deploy web --target t").expect(0);
    at.write("t/layerset/current/root/etc/motd", "edited\n");
    at.write("t/layerset/current/root/var/lib/kept", "state\n");
    let mounted = mounts_below(at.dir.path());
    assert_eq!(mounted.len(), 3, "{mounted:?}");

    unmount_below(at.dir.path());
    assert!(!at.path("t/layerset/current/root/usr").exists());
    let status = at.json("status --target t --json");
    assert_eq!(status["deployments"][0]["mounted"], false);

    let done = at.json("activate --target t --json");
    assert_eq!(done["mounted"], json!([1]));
    assert_eq!(mounts_below(at.dir.path()), mounted);
    assert_eq!(at.current("usr/share/hello/page.html"), at.read(PAGE));
    assert_eq!(at.current("etc/motd"), "edited\n");
    assert_eq!(at.current("var/lib/kept"), "state\n");
    assert_eq!(at.json("activate --target t --json")["already"], json!([1]));

    assert_eq!(at.json("deactivate --target t --json")["unmounted"], 3);
    assert_eq!(mounts_below(at.dir.path()), Vec::<PathBuf>::new());
}

#[test]
fn a_damaged_object_is_not_deployed() {
    let Some(at) = world("a_damaged_object_is_not_deployed") else {
        return;
    };
    at.run("deploy web --target t").expect(0);
    at.edit(PAGE, "version 1", "version 2");
    at.build();
    let hex = blake3::hash(at.read(PAGE).as_bytes()).to_hex();
    let object = at.path("repo/objects").join(&hex[..2]).join(&hex[2..]);
    let damaged = at.read(PAGE).replace("version 2", "version 3");
    fs::remove_file(&object).unwrap();
    fs::write(&object, damaged).unwrap();

    let before = ["t", "repo/refs"].map(|name| at.stamps(name));
    let ran = at.run("deploy web --target t").expect(4);
    let ran = ran.says(&["/usr/share/hello/page.html", &hex, "hint: "]);
    before.iter().for_each(|before| at.is_untouched(before));
    assert!(
        at.current("usr/share/hello/page.html")
            .contains("version 1")
    );
    at.run("fsck").expect(4);
    ran.says(&["layerset fsck --repair"]);
}

#[test]
fn a_layer_is_set_back_in_a_new_set_and_the_others_stay() {
    let Some(at) = world("a_layer_is_set_back_in_a_new_set_and_the_others_stay") else {
        return;
    };
    at.run("deploy web --target t").expect(0);
    at.edit(PAGE, "version 1", "version 2");
    // The image differs in more than this layer, so that no deployment is the wanted set.
    at.edit("recipes/web.toml", "keep = 3", "keep = 5");
    at.json("update hello --target t --json");
    let back = at.json("rollback --layer hello --target t --json");
    assert_eq!(
        (&back["of_generation"], &back["deploy"]["generation"]),
        (&json!(1), &json!(3))
    );
    assert!(
        at.current("usr/share/hello/page.html")
            .contains("version 1")
    );
    let status = at.json("status --target t --json");
    let layers = |generation: usize| status["deployments"][generation - 1]["layers"].clone();
    assert_eq!(layers(3), layers(1));
    let image = |generation: usize| status["deployments"][generation - 1]["image"].clone();
    assert!(image(3) != image(1) && image(3) != image(2));
    let history = at.json("history --target t --json");
    let last = history["records"]
        .as_array()
        .unwrap()
        .last()
        .unwrap()
        .clone();
    assert_eq!(
        (&last["action"], &last["verdict"]),
        (&json!("rollback"), &json!("safe"))
    );
    assert_eq!(last["layers"].as_array().unwrap().len(), 1);

    let why = at.json("why /usr/sbin/nginx --target t --json");
    assert_eq!(why["layers"][0]["name"], "nginx");
    assert!(text(&why["package"]["name"]).starts_with("nginx"), "{why}");
    assert_eq!(why["since"]["generation"], 1);
    let why = at.json("why /usr/share/hello/page.html --target t --json");
    assert_eq!(why["layers"][0]["name"], "hello");
    assert_eq!(why["since"]["generation"], 3);
    // By a link, and merged by several layers.
    let why = at.json("why /bin/sh web --json");
    assert!(text(&why["path"]).starts_with("/usr/bin/"), "{why}");
    let why = at.json("why /etc/passwd web --json");
    assert!(why["layers"].as_array().unwrap().len() > 1, "{why}");
    assert_eq!(
        at.json("why libc6 web --json")["package"]["layer"],
        "debian"
    );
    // The recipe is what it was: the next build makes what it says.
    assert!(at.json("build recipes/web.toml --json")["changed"] == json!(false));
    at.run("rollback --target t").expect(0);
    assert!(
        at.current("usr/share/hello/page.html")
            .contains("version 2")
    );
    at.run("fsck").expect(0);
}
