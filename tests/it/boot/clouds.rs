//! cloud-init at clouds: a drive that OpenStack attaches, and metadata over HTTP.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::Workshop;
use super::contextualised::{expect_contextualised, fat, user_data};
use super::machine::{Firmware, Hardware, Machine};

/// Serves the files of a directory: one request, from standard input to standard output. Who asks for a directory gets
/// its names, with a slash behind those of directories, as EC2 does; who asks for a session gets one.
const SERVICE: &str = r#"#!/bin/sh
read -r method path _
while read -r line; do [ "$line" != "$(printf '\r')" ] || break; done
file=${0%/*}/root${path%%\?*}
answer() { printf 'HTTP/1.0 %s\r\nContent-Length: %s\r\nConnection: close\r\n\r\n' "$1" "$2"; }
case $method in
PUT) answer '200 OK' 5; printf token ;;
*)
    if [ -d "$file" ]; then
        list=$(ls -1p "$file")
        answer '200 OK' ${#list}
        printf %s "$list"
    elif [ -e "$file" ]; then
        answer '200 OK' "$(stat -c %s "$file")"
        cat "$file"
    else
        answer '404 Not Found' 0
    fi
    ;;
esac
"#;

/// Writes files of a service below `root`, and returns the program that serves them.
fn service(dir: &Path, files: &[(&str, &str)]) -> PathBuf {
    for (name, content) in files {
        let path = dir.join("root").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let program = dir.join("service");
    fs::write(&program, SERVICE).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    program
}

const OPENSTACK: &str = r#"{"uuid": "d8e02d56-2648-49a3-bf97-6be8f1204f38", "name": "guest-two", "hostname": "guest-two"}"#;

#[test]
#[ignore = "`make boot` runs it"]
fn an_image_for_openstack_is_set_up_by_a_config_drive() {
    let test = "an_image_for_openstack_is_set_up_by_a_config_drive";
    let Some(workshop) = Workshop::open(test) else {
        return;
    };
    let disk = workshop.export("web-cloud", "web.qcow2", "--profile openstack");
    let dir = tempfile::tempdir().unwrap();
    let latest = dir.path().join("openstack/latest");
    fs::create_dir_all(&latest).unwrap();
    fs::write(latest.join("meta_data.json"), OPENSTACK).unwrap();
    let key = user_data(dir.path(), "openstack/latest/user_data", "");
    let drive = fat(dir.path(), "config-2", &["openstack"]);
    let hardware = Hardware {
        more: &[drive],
        ..Hardware::new(Firmware::Bios, &disk.path, "qcow2")
    };
    let Some(mut machine) = Machine::start(test, &hardware) else {
        return;
    };
    expect_contextualised(&mut machine, "ConfigDrive", "guest-two", &key);
    // The profile says where to look, and nothing else is tried.
    let list = machine.run("cat /etc/cloud/cloud.cfg.d/96_layerset_profile.cfg");
    assert!(
        list.contains("datasource_list: [ConfigDrive, OpenStack, None]"),
        "{list}"
    );
    machine.power_off();
}

#[test]
#[ignore = "`make boot` runs it"]
fn an_image_for_openstack_is_set_up_over_the_network() {
    let test = "an_image_for_openstack_is_set_up_over_the_network";
    let Some(workshop) = Workshop::open(test) else {
        return;
    };
    let disk = workshop.export("web-cloud", "web.qcow2", "--profile openstack");
    let dir = tempfile::tempdir().unwrap();
    let key = user_data(dir.path(), "user_data", "");
    let user_data = fs::read_to_string(dir.path().join("user_data")).unwrap();
    let program = service(
        dir.path(),
        &[
            ("openstack/latest/meta_data.json", OPENSTACK),
            ("openstack/latest/user_data", &user_data),
            ("latest/meta-data/instance-id", "i-1"),
        ],
    );
    let hardware = Hardware {
        cloud: Some(("type=1,product=OpenStack Nova", &program)),
        ..Hardware::new(Firmware::Uefi, &disk.path, "qcow2")
    };
    let Some(mut machine) = Machine::start(test, &hardware) else {
        return;
    };
    expect_contextualised(&mut machine, "OpenStack", "guest-two", &key);
    machine.power_off();
}

#[test]
#[ignore = "`make boot` runs it"]
fn an_image_for_ec2_is_set_up_over_the_network() {
    let test = "an_image_for_ec2_is_set_up_over_the_network";
    let Some(workshop) = Workshop::open(test) else {
        return;
    };
    // What EC2 imports is what QEMU starts.
    let disk = workshop.export("web-cloud", "web.raw", "");
    let dir = tempfile::tempdir().unwrap();
    let key = user_data(dir.path(), "user_data", "");
    let user_data = fs::read_to_string(dir.path().join("user_data")).unwrap();
    let card = "2021-03-23/meta-data/network/interfaces/macs/52:54:00:12:34:56";
    let program = service(
        dir.path(),
        &[
            ("2021-03-23/meta-data/instance-id", "i-0123456789abcdef0"),
            ("2021-03-23/meta-data/local-hostname", "guest-three"),
            ("2021-03-23/user-data", &user_data),
            (
                "2021-03-23/dynamic/instance-identity/document",
                r#"{"instanceId": "i-0123456789abcdef0", "region": "test-1", "availabilityZone": "test-1a"}"#,
            ),
            (&format!("{card}/device-number"), "0"),
            (&format!("{card}/local-ipv4s"), "169.254.169.15"),
            (
                &format!("{card}/subnet-ipv4-cidr-block"),
                "169.254.169.0/24",
            ),
        ],
    );
    let uuid = "ec2d1a52-3c5c-4d4b-9c7e-2a4f0a6b1c3d";
    let smbios = format!("type=1,uuid={uuid},serial={uuid}");
    let hardware = Hardware {
        cloud: Some((&smbios, &program)),
        ..Hardware::new(Firmware::Uefi, &disk.path, "raw")
    };
    let Some(mut machine) = Machine::start(test, &hardware) else {
        return;
    };
    expect_contextualised(&mut machine, "Ec2", "guest-three", &key);
    machine.power_off();
}
