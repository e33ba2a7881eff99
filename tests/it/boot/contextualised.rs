//! cloud-init, and room that a disk has gained.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Workshop;
use super::clean::expect_quiet;
use super::machine::{Firmware, Hardware, Machine};

/// Makes a disk for cloud-init's datasource NoCloud, and the private half of the key in it.
fn seed(dir: &Path, more: &str) -> (PathBuf, PathBuf) {
    let key = user_data(dir, "user-data", more);
    fs::write(
        dir.join("meta-data"),
        "instance-id: test-1\nlocal-hostname: guest-one\n",
    )
    .unwrap();
    (fat(dir, "CIDATA", &["user-data", "meta-data"]), key)
}

/// Writes user data that make a user and two files, and returns the private half of the user's key.
pub fn user_data(dir: &Path, name: &str, more: &str) -> PathBuf {
    run(
        dir,
        "ssh-keygen",
        &["-q", "-t", "ed25519", "-N", "", "-f", "key"],
    );
    let key = fs::read_to_string(dir.join("key.pub")).unwrap();
    let text = format!(
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
    fs::write(dir.join(name), text).unwrap();
    dir.join("key")
}

/// Makes a disk with files and directories of `dir`.
pub fn fat(dir: &Path, label: &str, files: &[&str]) -> PathBuf {
    run(dir, "truncate", &["--size=4M", "seed.img"]);
    run(dir, "mkfs.vfat", &["-n", label, "seed.img"]);
    let arguments = [&["-s", "-i", "seed.img"], files, &["::/"]].concat();
    run(dir, "mcopy", &arguments);
    dir.join("seed.img")
}

fn run(dir: &Path, program: &str, arguments: &[&str]) {
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
}

/// Expects what [`user_data`] asks for, and that cloud-init found it at `source` without a complaint.
#[track_caller]
pub fn expect_contextualised(machine: &mut Machine, source: &str, name: &str, key: &Path) {
    machine.expect_running();
    let status = machine.run("cloud-init status --long");
    for expect in [
        "status: done",
        source,
        "errors: []",
        "recoverable_errors: {}",
    ] {
        assert!(status.contains(expect), "{status}");
    }
    assert_eq!(machine.run("hostname").trim(), name);
    assert_eq!(machine.run("cat /etc/motd").trim(), "written by cloud-init");
    machine.run("[ -e /var/lib/ran ]");
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
    expect_contextualised(&mut machine, "NoCloud", "guest-one", &key);
    expect_room(&mut machine);
    machine.power_off();
}

/// What the image has is no fault to ask for.
const PACKAGES: &str = "\
packages: [nginx, htop]
package_update: true
package_upgrade: true
apt:
  sources:
    ours:
      source: deb http://192.0.2.1/debian trixie main
";

#[test]
#[ignore = "`make boot` runs it"]
fn packages_that_cloud_init_is_asked_for_are_refused_with_the_way_to_get_them() {
    let test = "packages_that_cloud_init_is_asked_for_are_refused_with_the_way_to_get_them";
    let Some(workshop) = Workshop::open(test) else {
        return;
    };
    let disk = workshop.export("web-cloud", "web.qcow2", "");
    let dir = tempfile::tempdir().unwrap();
    let (seed, _) = seed(dir.path(), PACKAGES);
    let hardware = Hardware {
        more: &[seed],
        ..Hardware::new(Firmware::Uefi, &disk.path, "qcow2")
    };
    let Some(mut machine) = Machine::start(test, &hardware) else {
        return;
    };
    expect_quiet(&mut machine);
    // Warnings, and no errors: cloud-init goes on.
    let status = machine.run("cloud-init status --long; [ $? = 2 ]");
    for expect in [
        "status: done",
        "extended_status: degraded done",
        "errors: []",
    ] {
        assert!(status.contains(expect), "{status}");
    }
    machine.run("[ -e /var/lib/ran ]");
    let log = machine.run("cat /var/log/cloud-init.log");
    assert_eq!(machine.run("grep -rl 192.0.2.1 /etc/apt || true"), "");
    let console = machine.power_off();
    for text in [status, log, console] {
        for expect in [
            "cannot follow 'apt: sources': this machine is made of layers",
            "upgrade packages, install htop: this machine is made of layers",
            "layerset update",
        ] {
            assert!(text.contains(expect), "{text}");
        }
    }
}

/// Modules of all three stages that bring packages of their own, and one whose package the image has.
const MODULES: &str = "\
rsyslog:
  install_rsyslog: true
  packages: [rsyslog]
  check_exe: rsyslogd
  configs: ['*.* @192.0.2.1']
ntp:
  enabled: true
  ntp_client: chrony
byobu_by_default: enable
puppet:
  install: true
chef:
  install_type: packages
  server_url: https://192.0.2.1
  validation_name: layerset
";

#[test]
#[ignore = "`make boot` runs it"]
fn modules_of_cloud_init_that_want_packages_of_their_own_say_how_to_get_them() {
    let test = "modules_of_cloud_init_that_want_packages_of_their_own_say_how_to_get_them";
    let Some(workshop) = Workshop::open(test) else {
        return;
    };
    let disk = workshop.export("web-cloud", "web.qcow2", "");
    let dir = tempfile::tempdir().unwrap();
    let (seed, _) = seed(dir.path(), MODULES);
    let hardware = Hardware {
        more: &[seed],
        ..Hardware::new(Firmware::Uefi, &disk.path, "qcow2")
    };
    let Some(mut machine) = Machine::start(test, &hardware) else {
        return;
    };
    // What was asked for is not there, which is no success.
    machine.state();
    let status = machine.run("cloud-init status --wait --long; [ $? = 1 ]");
    let log = machine.run("cat /var/log/cloud-init.log");
    for packages in ["rsyslog", "chrony", "byobu", "puppet", "chef"] {
        let expect = format!("cannot install {packages}: this machine is made of layers");
        assert!(status.contains(&expect), "{expect}\n{status}");
        assert!(log.contains(&expect), "{expect}");
    }
    // It did not get as far as dpkg's locks.
    assert!(
        status.contains("layerset update") && !status.contains("Read-only file system"),
        "{status}"
    );
    // The others did their work.
    machine.run("[ -e /var/lib/ran ] && grep -q 'by cloud-init' /etc/motd");
    machine.power_off();
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
