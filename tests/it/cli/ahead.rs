//! Looking before a switch, and at what a target is: nothing is changed by it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::channel::fleet;
use crate::session::{Session, transcripts};

/// Returns every file below a directory with its contents, links aside.
fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut pending = vec![dir.to_owned()];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            if meta.is_dir() {
                pending.push(path);
            } else if meta.is_file() {
                found.push((path.display().to_string(), fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn whether_there_is_something_is_said_by_the_exit_status_and_nothing_changes() {
    let fleet = fleet();
    fleet.run("deploy --channel web/stable").expect(0);
    let none = fleet.run("update --check").expect(5);
    let same = fleet.run("update --dry-run").expect(0);
    assert_eq!(fleet.run("update").expect(0).status, 0);
    fleet.release("2", "");
    let at = fleet.dir().to_owned();
    let before = [
        files(&at.join("target/layerset")),
        files(&at.join("machine/refs")),
    ];
    let some = fleet.run("update --check").expect(0);
    let planned = fleet.run("update --dry-run").expect(0);
    let json = fleet.run("update --dry-run --json").expect(0).json();
    let after = [
        files(&at.join("target/layerset")),
        files(&at.join("machine/refs")),
    ];
    assert!(before == after);
    assert_eq!(
        (&json["dry_run"], &json["current"]),
        (&true.into(), &false.into()),
        "{json:#}"
    );
    assert!(json["pull"]["bytes"].as_u64().unwrap() > 0, "{json:#}");
    for (line, update) in [
        ("update --check --json", true),
        ("update --check --json --channel web/stable", true),
    ] {
        assert_eq!(fleet.run(line).expect(0).json()["update"], update);
    }
    // What was looked at is not taken for what is here: the update fetches and checks it.
    fleet.run("update").expect(0);
    assert_eq!(fleet.page(), "page 2\n");
    assert_eq!(
        fleet.run("update --check --json").expect(5).json()["update"],
        false
    );
    fleet.machine.run("fsck").expect(0);
    let text = transcripts(&[none, same, some, planned]);
    insta::assert_snapshot!(text, @r"
    $ layerset update --check --trust trust.toml --target target
    nothing new: release 1 of images/web/stable is already current
    [status 5]

    $ layerset update --dry-run --trust trust.toml --target target
    image 263ef339af8b is already current: nothing would change
    [status 0]

    $ layerset update --check --trust trust.toml --target target
    there is release 2 of images/web/stable, 2: 602 B to fetch
    [status 0]

    $ layerset update --dry-run --trust trust.toml --target target
           name  version  id            how
    layer  site        2  bd0d98921aa3  delta of 292 B
    image  web         2  48759b0cff8f  delta of 310 B
    images/web/stable release 2, 48759b0cff8f, would take 602 B in 2 requests; nothing was changed
    [status 0]
    ");
}

#[test]
fn quiet_means_that_only_errors_are_said() {
    let fleet = fleet();
    fleet
        .run("deploy --channel web/stable -q")
        .expect(0)
        .silent();
    fleet.release("2", "");
    for line in ["update --check -q", "update --dry-run -q", "update -q"] {
        fleet.run(line).expect(0).silent();
    }
    let machine = &fleet.machine;
    for line in [
        "status -q --target target",
        "history -q --target target",
        "list -q",
        "fsck -q",
        "show images/none -q",
    ] {
        let ran = machine.run(line);
        assert_eq!(ran.stdout, "", "{}", ran.transcript());
        assert_eq!(
            ran.stderr.is_empty(),
            ran.status == 0,
            "{}",
            ran.transcript()
        );
    }
    let json = machine
        .run("status -q --json --target target")
        .expect(0)
        .json();
    assert_eq!(json["current"], 2);
}

#[test]
fn a_target_can_be_named_once_for_a_session() {
    let fleet = fleet();
    fleet.run("deploy --channel web/stable").expect(0);
    let dir = fleet.dir();
    let named =
        Session::new(dir, &dir.join("machine")).with("LAYERSET_TARGET", &dir.join("target"));
    named.run("status").expect(0).shows("generation 1, current");
    named
        .run("history")
        .expect(0)
        .shows("deployed generation 1");
    named
        .run("why /srv/page.html")
        .expect(0)
        .shows("layer    site");
    named.run("diff 1 1").expect(0);
    named.run("pin 1").expect(0);
    named.run("deactivate").expect(0);
    named.run("activate").expect(0);
}

#[test]
fn status_and_history_are_for_people() {
    let fleet = fleet();
    fleet.run("deploy --channel web/stable").expect(0);
    fleet.release("2", "");
    fleet.run("update").expect(0);
    fleet.machine.run("pin 1 --target target").expect(0);
    fleet
        .machine
        .run("rollback --target target --mark-bad")
        .expect(0);
    let ran = [
        "status --target target",
        "history --target target",
        "list",
        "show remotes/main/images/web/stable",
    ];
    let ran = ran.map(|line| fleet.machine.run(line));
    let status = fleet.machine.run("status --target target --json");
    let id = status.expect(0).json()["id"].as_str().unwrap().to_owned();
    let text = transcripts(&ran).replace(&id, "ID");
    // Times, and who runs the tests, are others each time.
    let text: Vec<String> = text
        .split(' ')
        .map(|word| match word {
            word if word.len() == 10 && word.starts_with("20") => "DAY".to_owned(),
            word if word.len() == 8 && word.matches(':').count() == 2 => "TIME".to_owned(),
            word => word.to_owned(),
        })
        .collect();
    insta::assert_snapshot!(text.join(" "), @r"
    $ layerset status --target target
    target DIR/target

      generation 2, kept, bad
        image    web 48759b0cff8f, 7 B, composefs
        layers   site 2
        staged   DAY TIME UTC
        source   DAY TIME UTC, root: release 2 of images/web/stable on main
        differs  site 1 -> 2 (against generation 1)

    * generation 1, current, pinned
        image    web 263ef339af8b, 18 B, composefs
        layers   site 1
        staged   DAY TIME UTC
        source   DAY TIME UTC, root: release 1 of images/web/stable on main

    generation 2 is marked bad: rolled back by hand
    follows images/web/stable on main, at release 2
    holds image 48759b0cff8f, which a rollback left, until there is a newer release; `layerset update --again` takes it
    [status 0]

    $ layerset history --target target
      1  DAY TIME UTC  root deployed generation 1: release 1 of images/web/stable on main
         site 1
      2  DAY TIME UTC  root updated from generation 1 to generation 2: release 2 of images/web/stable on main
         site 1 -> 2
      3  DAY TIME UTC  root pinned generation 1
      4  DAY TIME UTC  root rolled back from generation 2 to generation 1
         site 2 -> 1
      5  DAY TIME UTC  root marked the image of generation 2 as bad: rolled back by hand
    [status 0]

    $ layerset list
    ref                                       id  version  size  holds
    deployments/ID/1  263ef339af8b           18 B  site
    deployments/ID/2  48759b0cff8f            7 B  site
    remotes/main/images/web/stable  48759b0cff8f            7 B  site
    deployments/ID is 'DIR/target'
    [status 0]

    $ layerset show remotes/main/images/web/stable
    image web b3:48759b0cff8f10afec6e9b6c01ba8c45189a3ea6a725e5a7e331648aca61e495
    7 B, 3 paths, amd64; targets keep 3 deployments

    layer  version  id
    site         2  bd0d98921aa3
    [status 0]
    ");
}

#[test]
fn services_are_restarted_after_a_switch_and_no_others() {
    let fleet = fleet();
    let dir = fleet.dir();
    let (units, bin) = (dir.join("units"), dir.join("bin"));
    fs::create_dir_all(&units).unwrap();
    fs::create_dir_all(&bin).unwrap();
    let target = fs::canonicalize(dir).unwrap().join("target");
    for (name, target) in [
        ("web-site", target.as_path()),
        ("other", Path::new("/srv/other")),
    ] {
        let text = format!(
            "[Unit]\nX-LayersetTarget={}\nX-LayersetService=site.service\n",
            target.display()
        );
        fs::write(units.join(format!("{name}.service")), text).unwrap();
    }
    let systemctl = bin.join("systemctl");
    fs::write(&systemctl, "#!/bin/sh\necho \"$@\" >> \"$HOME/called\"\n").unwrap();
    fs::set_permissions(&systemctl, fs::Permissions::from_mode(0o755)).unwrap();
    fleet.run("deploy --channel web/stable").expect(0);
    fleet.release("2", "");
    fleet.run("update").expect(0);
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    for (number, line) in [
        "rollback --target target --restart",
        "rollback --target target --layer site --to 2 --restart",
    ]
    .iter()
    .enumerate()
    {
        let words: Vec<&str> = line.split(' ').collect();
        let mut command = fleet.machine.command(&words);
        let ran = command
            .env("PATH", &path)
            .env("SYSTEMD_UNIT_PATH", &units)
            .output()
            .unwrap();
        let ran = fleet.machine.ran(line, ran).expect(0);
        ran.shows("restarted web-site.service");
        assert_eq!(
            fs::read_to_string(dir.join("called")).unwrap(),
            "try-restart -- web-site.service\n".repeat(number + 1)
        );
    }
}

#[test]
fn what_cannot_be_a_target_and_what_it_cannot_run_is_said() {
    let fleet = fleet();
    let session = &fleet.small.session;
    let proc = "is on a filesystem that the kernel makes: name a directory on a disk";
    for line in [
        "deploy web --copy --target /proc/layerset-test",
        "deploy web --copy --target /sys/kernel/layerset-test/deep",
        "init --repo /proc/layerset-test",
        "export bundle /proc/layerset-test --channel web/stable --trust trust.toml",
    ] {
        session.run(line).expect(1).says(&[proc]);
    }
    for line in [
        "deploy web --copy --target /etc/hostname",
        "status --target /etc/hostname",
    ] {
        session
            .run(line)
            .expect(1)
            .says(&["'/etc/hostname' is no directory", "name a directory"]);
    }
    fleet.run("deploy --channel web/stable").expect(0);
    for (words, name) in [
        (&["nosuchcmd"][..], "nosuchcmd"),
        (&["/srv/nothing"], "/srv/nothing"),
        (&["srv/page.html/x"], "srv/page.html/x"),
        (&["/etc/../nowhere"], "/etc/../nowhere"),
        // No shell either.
        (&[], "/bin/sh"),
    ] {
        let words = [&["run", "--target", "target", "--"], words].concat();
        let said = format!("generation 1 has no program '{name}'");
        let ran = fleet.machine.run_words(&words).expect(1);
        ran.says(&[&said, "it is looked for in /usr/local/sbin:"]);
    }
}

#[test]
fn units_that_update_a_target_are_printed() {
    let fleet = fleet();
    fleet.run("deploy --channel web/stable").expect(0);
    let ran = fleet
        .machine
        .run("update --target target --print-timer")
        .expect(0);
    let program = env!("CARGO_BIN_EXE_layerset");
    let text = ran.transcript().replace(program, "PROGRAM");
    insta::assert_snapshot!(text, @r#"
    $ layerset update --target target --print-timer
    # /etc/systemd/system/layerset-update-target.service
    [Unit]
    Description=Update a layerset target from its channel
    Wants=network-online.target
    After=network-online.target

    [Service]
    Type=oneshot
    ExecStart="PROGRAM" --repo "REPO" update --target "DIR/target" --restart

    # /etc/systemd/system/layerset-update-target.timer
    [Unit]
    Description=Update a layerset target from its channel

    [Timer]
    OnCalendar=hourly
    RandomizedDelaySec=30min
    Persistent=true

    [Install]
    WantedBy=timers.target
    [status 0]
    "#);
}
