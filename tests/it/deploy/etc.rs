//! `/etc` over updates and the shared `/var`.

use super::*;

#[test]
fn an_update_merges_etc_by_record_and_line_and_writes_merged_numbers() {
    if !is_root("an_update_merges_etc_by_record_and_line_and_writes_merged_numbers") {
        return;
    }
    let world = World::new();
    let old = with(base(), &[("etc/machine-id", "f uninitialized\n")]);
    world.deploy(&world.image("1", &old));
    // The admin adds a user, gives another its own number, edits a file, and the machine names itself.
    let etc = world.at("current/etc");
    let renumbered = PASSWD.replace("www:x:33:", "www:x:133:");
    let admin = format!("{renumbered}alice:x:1000:1000::/home/alice:/bin/sh\n");
    fs::write(etc.join("passwd"), admin).unwrap();
    fs::write(etc.join("group"), format!("{GROUP}alice:x:1000:\n")).unwrap();
    fs::write(etc.join("app.conf"), "ONE\ntwo\nthree\nfour\nfive\n").unwrap();
    fs::write(etc.join("machine-id"), "0123\n").unwrap();
    fs::write(etc.join("alice.conf"), "mine\n").unwrap();
    std::os::unix::fs::chown(etc.join("www.conf"), Some(133), Some(33)).unwrap();
    std::os::unix::fs::chown(etc.join("alice.conf"), Some(1000), Some(1000)).unwrap();
    let new = with(
        base(),
        &[
            (
                "etc/passwd",
                &format!("f {PASSWD}nginx:x:34:34::/:/bin/false\n"),
            ),
            ("etc/group", &format!("f {GROUP}nginx:x:34:\n")),
            ("etc/app.conf", "f one\ntwo\nthree\nfour\nFIVE\n"),
            ("etc/nginx.conf", "nginx:f serve\n"),
            ("etc/www.conf", "www:f changed\n"),
            ("etc/machine-id", ""),
            ("usr/app", "f version 2\n"),
        ],
    );
    let image = world.image("2", &new);
    let plan = world
        .target()
        .plan_etc(&world.repository, &image, &Decisions::default())
        .unwrap();
    assert_eq!(plan.conflicts, []);
    assert_eq!(
        plan.merged,
        [path("etc/app.conf"), path("etc/group"), path("etc/passwd")]
    );
    world.deploy(&image);
    assert_eq!(world.read("current/root/usr/app"), "version 2\n");
    assert_eq!(
        world.read("current/root/etc/app.conf"),
        "ONE\ntwo\nthree\nfour\nFIVE\n"
    );
    let passwd = world.read("current/root/etc/passwd");
    assert!(
        passwd.contains("alice:x:1000") && passwd.contains("nginx:x:34"),
        "{passwd}"
    );
    assert_eq!(world.read("current/root/etc/machine-id"), "0123\n");
    let owner = |name: &str| {
        fs::metadata(world.at("current/root/etc").join(name))
            .unwrap()
            .uid()
    };
    assert_eq!(
        (owner("alice.conf"), owner("nginx.conf"), owner("www.conf")),
        (1000, 34, 133)
    );
    // The old deployment's /etc is as the admin left it.
    assert!(!world.read("deployments/1/etc/passwd").contains("nginx"));
}

#[test]
fn a_conflict_is_refused_until_decided_and_no_side_is_lost() {
    if !is_root("a_conflict_is_refused_until_decided_and_no_side_is_lost") {
        return;
    }
    let world = World::new();
    world.deploy(&world.image("1", &base()));
    fs::write(world.at("current/etc/app.conf"), "admin\n").unwrap();
    fs::write(world.at("current/etc/www.conf"), "admin\n").unwrap();
    let new = with(
        base(),
        &[
            ("etc/app.conf", "f image\n"),
            ("etc/www.conf", "www:f image\n"),
        ],
    );
    let image = world.image("2", &new);
    let error = world.stage(&image, &StageOptions::default()).unwrap_err();
    let DeployError::Conflicts(conflicts) = &error else {
        panic!("{error}");
    };
    let paths: Vec<&RelPath> = conflicts.iter().map(|conflict| &conflict.path).collect();
    assert_eq!(paths, [&path("etc/app.conf"), &path("etc/www.conf")]);
    let hint = layerset::cli::CliError::from(error).hint.unwrap();
    assert!(hint.contains("--keep-file /etc/app.conf"), "{hint}");
    assert_eq!(world.names("deployments"), ["1"]);
    assert_eq!(world.deployment_refs(), ["1"]);
    let half = Decisions {
        keep: [path("etc/app.conf")].into(),
        ..Decisions::default()
    };
    let options = |decisions| StageOptions {
        decisions,
        ..StageOptions::default()
    };
    let error = world.stage(&image, &options(half.clone())).unwrap_err();
    assert!(
        matches!(&error, DeployError::Conflicts(rest) if rest.len() == 1),
        "{error}"
    );
    let both = Decisions {
        take: [path("etc/www.conf")].into(),
        ..half
    };
    let generation = world.stage(&image, &options(both)).unwrap();
    world.switch(generation).unwrap();
    assert_eq!(world.read("current/root/etc/app.conf"), "admin\n");
    assert_eq!(world.read("current/root/etc/www.conf"), "image\n");
    for (side, app, www) in [
        ("before", "one\ntwo\nthree\nfour\nfive\n", "secret\n"),
        ("machine", "admin\n", "admin\n"),
        ("image", "image\n", "image\n"),
    ] {
        let dir = format!("current/etc-conflicts/{side}/etc");
        assert_eq!(world.read(&format!("{dir}/app.conf")), app);
        assert_eq!(world.read(&format!("{dir}/www.conf")), www);
        assert_eq!(world.names(&dir), ["app.conf", "www.conf"]);
    }
}

#[test]
fn an_edit_of_etc_after_staging_is_not_hidden_by_the_switch() {
    if !is_root("an_edit_of_etc_after_staging_is_not_hidden_by_the_switch") {
        return;
    }
    let world = World::new();
    world.deploy(&world.image("1", &base()));
    let image = world.image("2", &with(base(), &[("usr/app", "f version 2\n")]));
    let staged = world.stage(&image, &StageOptions::default()).unwrap();
    std::thread::sleep(Duration::from_millis(12));
    fs::write(world.at("current/etc/late"), "edit").unwrap();
    let error = world.switch(staged).unwrap_err();
    assert!(
        matches!(
            error,
            DeployError::EtcEdited {
                generation: 2,
                from: 1
            }
        ),
        "{error}"
    );
    assert_eq!(world.deploy(&image), 3);
    assert_eq!(world.read("current/root/etc/late"), "edit");
}

#[test]
fn the_shared_var_gets_skeleton_and_factory_content_once_and_only_by_a_switch() {
    if !is_root("the_shared_var_gets_skeleton_and_factory_content_once_and_only_by_a_switch") {
        return;
    }
    let world = World::new();
    let cluster = "usr/share/factory/var/lib/pg/main";
    let spec = with(
        base(),
        &[
            ("usr/share", "d"),
            ("usr/share/factory", "d"),
            ("usr/share/factory/var", "d"),
            ("usr/share/factory/var/lib", "d"),
            ("usr/share/factory/var/lib/pg", "www:d"),
            (cluster, "www:d"),
            ("usr/share/factory/var/lib/pg/main/VERSION", "www:f 15\n"),
        ],
    );
    let first = world.image("1", &spec);
    world.stage(&first, &StageOptions::default()).unwrap();
    assert_eq!(world.names("state/var"), [] as [&str; 0]);
    world.switch(1).unwrap();
    assert_eq!(world.names("state/var"), ["lib", "log", "run", "www"]);
    assert_eq!(world.read("current/root/var/lib/pg/main/VERSION"), "15\n");
    assert_eq!(
        fs::metadata(world.at("state/var/lib/pg/main/VERSION"))
            .unwrap()
            .uid(),
        33
    );
    assert!(!world.at("current/var-new").exists());
    fs::write(world.at("state/var/lib/pg/main/VERSION"), "grown\n").unwrap();
    let second = with(
        spec,
        &[
            ("usr/share/factory/var/lib/pg/main/extra", "www:f new\n"),
            ("usr/share/factory/var/lib/other", "d"),
            ("usr/share/factory/var/lib/other/file", "f other\n"),
            ("var/cache", "d"),
        ],
    );
    world.deploy(&world.image("2", &second));
    assert_eq!(world.read("state/var/lib/pg/main/VERSION"), "grown\n");
    assert_eq!(world.names("state/var/lib/pg/main"), ["VERSION"]);
    assert_eq!(world.read("current/root/var/lib/other/file"), "other\n");
    assert!(world.at("state/var/cache").is_dir());
}

#[test]
fn a_directory_that_became_a_file_is_decided_like_any_conflict() {
    if !is_root("a_directory_that_became_a_file_is_decided_like_any_conflict") {
        return;
    }
    let world = World::new();
    let old = with(
        base(),
        &[("etc/a.d", "d"), ("etc/a.d/x", "f x\n"), ("etc/b", "f b\n")],
    );
    let new = with(
        base(),
        &[
            ("etc/a.d", "f file\n"),
            ("etc/b", "d"),
            ("etc/b/y", "f y\n"),
        ],
    );
    world.deploy(&world.image("1", &old));
    fs::write(world.at("current/etc/a.d/mine"), "mine").unwrap();
    fs::write(world.at("current/etc/b"), "mine").unwrap();
    let image = world.image("2", &new);
    let plan = |decisions: &Decisions| {
        let target = world.target();
        target
            .plan_etc(&world.repository, &image, decisions)
            .unwrap()
    };
    let paths: Vec<RelPath> = plan(&Decisions::default())
        .conflicts
        .into_iter()
        .map(|conflict| conflict.path)
        .collect();
    assert_eq!(paths, [path("etc/a.d"), path("etc/b"), path("etc/b/y")]);
    let decisions = Decisions {
        take: [path("etc/a.d")].into(),
        keep: [path("etc/b"), path("etc/none")].into(),
    };
    let planned = plan(&decisions);
    assert_eq!(planned.conflicts, []);
    assert_eq!(planned.unused, [path("etc/none")]);
    let options = StageOptions {
        decisions,
        ..StageOptions::default()
    };
    world
        .switch(world.stage(&image, &options).unwrap())
        .unwrap();
    assert_eq!(world.read("current/root/etc/a.d"), "file\n");
    assert_eq!(world.read("current/root/etc/b"), "mine");
    assert_eq!(
        world.read("current/etc-conflicts/machine/etc/a.d/mine"),
        "mine"
    );
    assert_eq!(world.read("current/etc-conflicts/image/etc/b/y"), "y\n");
}
