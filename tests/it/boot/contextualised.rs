//! cloud-init, and room that a disk has gained.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Workshop;
use super::machine::{Firmware, Hardware, Machine};

/// Makes a disk for cloud-init's datasource NoCloud, and the private half of the key in it.
fn seed(dir: &Path, more: &str) -> (PathBuf, PathBuf) {
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program)
            .args(arguments)
            .current_dir(dir)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{program}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    run(
        "ssh-keygen",
        &["-q", "-t", "ed25519", "-N", "", "-f", "key"],
    );
    let key = fs::read_to_string(dir.join("key.pub")).unwrap();
    let user_data = format!(
        "#cloud-config\n\
         users:\n\
         - name: alice\n\
         \x20 shell: /bin/bash\n\
         \x20 sudo: 'ALL=(ALL) NOPASSWD:ALL'\n\
         \x20 ssh_authorized_keys: ['{}']\n\
         write_files:\n\
         - path: /etc/motd\n\
         \x20 content: written by cloud-init\n\
         runcmd:\n\
         - [touch, /var/lib/ran]\n\
         {more}",
        key.trim()
    );
    fs::write(dir.join("user-data"), user_data).unwrap();
    fs::write(
        dir.join("meta-data"),
        "instance-id: test-1\nlocal-hostname: guest-one\n",
    )
    .unwrap();
    run("truncate", &["--size=4M", "seed.img"]);
    run("mkfs.vfat", &["-n", "CIDATA", "seed.img"]);
    run(
        "mcopy",
        &["-i", "seed.img", "user-data", "meta-data", "::/"],
    );
    (dir.join("seed.img"), dir.join("key"))
}

#[track_caller]
fn expect_room(machine: &mut Machine) {
    let size = machine.run("df --block-size=1M --output=size /var | tail -n 1");
    assert!(size.trim().parse::<u32>().unwrap() > 5000, "{size}");
}

#[test]
fn cloud_init_names_a_machine_makes_users_and_finds_nothing_to_complain_of() {
    let test = "cloud_init_names_a_machine_makes_users_and_finds_nothing_to_complain_of";
    let Some(workshop) = Workshop::open(test) else {
        return;
    };
    let disk = workshop.export("web-cloud", "web.qcow2", "");
    disk.grow("qcow2", "6G");
    let dir = tempfile::tempdir().unwrap();
    let (seed, key) = seed(dir.path(), "");
    let hardware = Hardware {
        more: &[seed],
        ..Hardware::new(Firmware::Uefi, &disk.path, "qcow2")
    };
    let Some(mut machine) = Machine::start(test, &hardware) else {
        return;
    };
    machine.expect_running();
    let status = machine.run("cloud-init status --long");
    for expect in [
        "status: done",
        "NoCloud",
        "errors: []",
        "recoverable_errors: {}",
    ] {
        assert!(status.contains(expect), "{status}");
    }
    assert_eq!(machine.run("hostname").trim(), "guest-one");
    assert_eq!(machine.run("cat /etc/motd").trim(), "written by cloud-init");
    machine.run("[ -e /var/lib/ran ]");
    expect_room(&mut machine);
    let port = machine.ssh.to_string();
    let mut ssh = Command::new("ssh");
    ssh.args([
        "-F",
        "none",
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
    ]);
    ssh.arg("-i")
        .arg(key)
        .args(["-p", &port, "alice@127.0.0.1", "sudo", "id", "-un"]);
    let output = ssh.output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        "root",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    machine.power_off();
}

#[test]
#[ignore = "`make boot` runs it"]
fn a_package_that_cloud_init_is_asked_for_is_refused_with_the_way_to_get_it() {
    let test = "a_package_that_cloud_init_is_asked_for_is_refused_with_the_way_to_get_it";
    let Some(workshop) = Workshop::open(test) else {
        return;
    };
    let disk = workshop.export("web-cloud", "web.qcow2", "");
    let dir = tempfile::tempdir().unwrap();
    let (seed, _) = seed(dir.path(), "packages: [htop]\n");
    let hardware = Hardware {
        more: &[seed],
        ..Hardware::new(Firmware::Uefi, &disk.path, "qcow2")
    };
    let Some(mut machine) = Machine::start(test, &hardware) else {
        return;
    };
    assert_eq!(machine.state(), "degraded");
    let log = machine.run("cat /var/log/cloud-init.log /var/log/cloud-init-output.log");
    assert!(log.contains("this machine is made of layers"), "{log}");
}

#[test]
#[ignore = "`make boot` runs it"]
fn a_machine_without_cloud_init_uses_the_room_that_its_disk_has_gained() {
    let test = "a_machine_without_cloud_init_uses_the_room_that_its_disk_has_gained";
    let Some(workshop) = Workshop::open(test) else {
        return;
    };
    let disk = workshop.export("web-vm", "web.qcow2", "");
    disk.grow("qcow2", "6G");
    let hardware = Hardware::new(Firmware::Uefi, &disk.path, "qcow2");
    let Some(mut machine) = Machine::start(test, &hardware) else {
        return;
    };
    machine.expect_running();
    expect_room(&mut machine);
    // Nobody but the service saw the data filesystem.
    machine.run("! cut -d' ' -f2 /proc/self/mounts | grep -q ^/run/layerset");
    machine.power_off();
}
