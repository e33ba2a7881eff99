//! Deployments as plain files, with and without privileges.

use super::*;
use crate::support::copy_program;

#[test]
fn a_copied_deployment_has_the_same_contents_and_joins() {
    if !is_root("a_copied_deployment_has_the_same_contents_and_joins") {
        return;
    }
    let world = World::new();
    let generation = world.stage(&world.image("1", &base()), &copied()).unwrap();
    world.switch(generation).unwrap();
    let status = world.target().status().unwrap();
    assert_eq!(status.deployments[0].kind, Some(DeploymentKind::Copy));
    assert_eq!(world.read("current/root/usr/app"), "version 1\n");
    fs::write(world.at("current/root/etc/hand"), "x").unwrap();
    assert_eq!(world.read("deployments/1/etc/hand"), "x");
    assert!(world.at("current/root/var/log").is_dir());
    // From a copy to a mount and back, /etc goes along.
    world.deploy(&world.image("2", &with(base(), &[("usr/app", "f version 2\n")])));
    assert_eq!(world.read("current/root/etc/hand"), "x");
}

#[test]
fn an_ordinary_user_gets_copies_joined_by_links() {
    use std::os::unix::process::CommandExt as _;
    if !rustix::process::geteuid().is_root() {
        return without_privileges();
    }
    // Root runs this very test once more as nobody.
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(dir.path(), Some(65534), Some(65534)).unwrap();
    let exe = dir.path().join("it");
    copy_program(&std::env::current_exe().unwrap(), &exe);
    let output = Command::new(&exe)
        .args([
            "--exact",
            "deploy::copy::an_ordinary_user_gets_copies_joined_by_links",
        ])
        .env("TMPDIR", dir.path())
        .current_dir(dir.path())
        .uid(65534)
        .gid(65534)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
}

fn without_privileges() {
    let world = World::new();
    world.deploy(&world.image("1", &base()));
    let only = &world.target().status().unwrap().deployments[0];
    assert_eq!(
        (only.kind, only.join),
        (Some(DeploymentKind::Copy), Some(JoinMethod::Symlink))
    );
    assert!(only.kind_reason.is_some() && only.mounted);
    assert_eq!(world.read("current/root/usr/app"), "version 1\n");
    fs::write(world.at("current/root/etc/hand"), "x").unwrap();
    fs::write(world.at("current/root/var/log/messages"), "x").unwrap();
    assert_eq!(world.read("state/var/log/messages"), "x");
    let new = with(
        base(),
        &[
            ("etc/www.conf", "www:f changed\n"),
            ("etc/app.conf", "www:f other owner\n"),
        ],
    );
    world.deploy(&world.image("2", &new));
    assert_eq!(world.read("current/root/etc/hand"), "x");
    assert_eq!(world.read("current/root/etc/www.conf"), "changed\n");
    assert_eq!(world.read("current/root/etc/app.conf"), "other owner\n");
    assert_eq!(world.rollback(None).unwrap(), 1);
    assert_eq!(world.read("current/root/etc/www.conf"), "secret\n");
}

/// As in a container that may not mount: neither the deploy nor what runs in it can.
#[test]
fn where_nothing_may_be_mounted_a_copy_is_read_and_running_it_says_what_helps() {
    let test = "where_nothing_may_be_mounted_a_copy_is_read_and_running_it_says_what_helps";
    if !is_root(test) {
        return;
    }
    let world = World::new();
    world.image("1", &base());
    let session = crate::session::Session::new(world.dir.path(), world.repository.root());
    let confined = |line: &str| {
        let own = session.command(&line.split_whitespace().collect::<Vec<_>>());
        let mut command = Command::new("setpriv");
        command
            .args(["--bounding-set", "-sys_admin", "--"])
            .arg(own.get_program())
            .args(own.get_args())
            .env_clear()
            .envs(
                own.get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            )
            .current_dir(world.dir.path());
        session.ran(line, command.output().unwrap())
    };
    confined("deploy images/1 --target target").expect(0);
    assert_eq!(world.read("current/root/etc/app.conf").lines().count(), 5);
    let ran = confined("run --target target -- /usr/app").expect(1);
    assert!(ran.stderr.contains("CAP_SYS_ADMIN"), "{}", ran.transcript());

    // Who may not read all of it sees no damage.
    use std::os::unix::process::CommandExt as _;
    let mut command = session.command(&["status", "--json", "--target", "target"]);
    let output = command.uid(65534).gid(65534).output().unwrap();
    let ran = session
        .ran("status --json --target target", output)
        .expect(0);
    let deployment = &ran.json()["deployments"][0];
    assert!(deployment["damaged"].is_null(), "{deployment}");
}
