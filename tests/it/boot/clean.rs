//! Machines come up clean, stay so, and go down clean, whatever starts them.

use std::time::{Duration, Instant};

use super::Workshop;
use super::machine::{COMMAND, Firmware, Hardware, Machine};

/// What nobody has to look at: QEMU's machine, and software that looks for devices which it lacks.
const HARMLESS: [&str; 13] = [
    "amd_pstate",
    "APIC calibration",
    "AF_VSOCK",
    "Alternate GPT",
    "device-mapper: core",
    "GPT:",
    "hrtimer",
    // Where the emulator gets too little time, a timer's interrupt comes late.
    "MP-BIOS bug: 8254 timer",
    "mtrr",
    "systemd-ssh-generator",
    "taking a long time",
    "tsc:",
    "watchdog did not stop",
];

#[track_caller]
pub fn expect_clean(machine: &mut Machine) {
    expect_quiet(machine);
    // The unit of the page counts as started before it listens.
    let end = Instant::now() + COMMAND;
    loop {
        let page = machine.fetch("/");
        if page.contains("Hello from version 1") {
            return;
        }
        assert!(
            page.contains("502 Bad Gateway") && Instant::now() < end,
            "{page}"
        );
        std::thread::sleep(Duration::from_secs(1));
    }
}

#[track_caller]
pub fn expect_quiet(machine: &mut Machine) {
    machine.expect_running();
    let failed = machine.run("systemctl --failed --no-legend --plain");
    assert_eq!(failed, "");
    let complaints = machine.run("journalctl -b -p err -o cat --no-pager");
    let real: Vec<_> = complaints
        .lines()
        .filter(|line| !HARMLESS.iter().any(|harmless| line.contains(harmless)))
        .collect();
    assert!(real.is_empty(), "{real:#?}");
}

#[track_caller]
pub fn expect_clean_end(machine: Machine) {
    let console = machine.power_off();
    assert!(console.contains("reboot: Power down"), "{console}");
    assert!(console.contains("All filesystems unmounted"), "{console}");
    for complaint in ["Failed unmounting", "Failed to unmount", "Could not detach"] {
        assert!(!console.contains(complaint), "{console}");
    }
}

/// Starts what every active timer starts, and returns the names of the services.
#[track_caller]
fn run_timers(machine: &mut Machine) -> Vec<String> {
    let timers =
        machine.run("systemctl list-units --type=timer --state=active --no-legend --plain");
    let timers = timers.lines().filter_map(|line| line.split(' ').next());
    let of = |timer: &str| format!("systemctl show --property=Unit --value {timer}");
    let mut services: Vec<String> = timers.map(|timer| machine.run(&of(timer))).collect();
    for service in &mut services {
        *service = service.trim().to_owned();
        machine.run(&format!("systemctl start {service}"));
    }
    for expect in ["systemd-tmpfiles-clean.service", "dpkg-db-backup.service"] {
        assert!(services.iter().any(|name| name == expect), "{services:?}");
    }
    services
}

/// One disk for all of it: UEFI first, then two days later, then BIOS.
#[test]
fn an_updatable_machine_comes_up_clean_by_uefi_and_by_bios_and_stays_so() {
    let test = "an_updatable_machine_comes_up_clean_by_uefi_and_by_bios_and_stays_so";
    let Some(workshop) = Workshop::open(test) else {
        return;
    };
    let disk = workshop.export("web-vm", "web.qcow2", "");
    let uefi = Hardware::new(Firmware::Uefi, &disk.path, "qcow2");
    let Some(mut machine) = Machine::start(test, &uefi) else {
        return;
    };
    expect_clean(&mut machine);

    // What each machine has of its own is there, and what nobody may have is not.
    let id = machine.run("cat /etc/machine-id");
    assert_eq!(id.trim().len(), 32);
    let keys = machine.run("sha256sum /etc/ssh/ssh_host_*_key");
    assert_eq!(keys.lines().count(), 3, "{keys}");
    assert!(machine.run("passwd --status root").starts_with("root L "));
    let settings = machine.run("sshd -T");
    assert!(
        settings.contains("permitrootlogin no") && settings.contains("passwordauthentication no")
    );
    // No preset was applied: what is enabled is what the image enabled.
    let enabled = machine.run("find /etc/systemd /etc/rc?.d -newer /etc/machine-id -not -type d");
    assert_eq!(enabled, "");

    // The image cannot be changed, and apt says how it can.
    machine.run("! touch /usr/lib/x 2>/dev/null");
    assert!(
        machine
            .run("dpkg -s nginx")
            .contains("Status: install ok installed")
    );
    assert!(
        machine
            .run("apt list --installed 2>/dev/null | cat")
            .contains("nginx/")
    );
    for command in [
        "apt install htop",
        "apt-get -o Dpkg::Use-Pty=0 --yes dist-upgrade",
        "/usr/bin/apt install htop",
        "/usr/bin/apt-get install --yes nginx htop",
        "/usr/bin/apt-get --yes remove nginx",
    ] {
        let answer = machine.run(&format!("{command}; [ $? = 100 ]"));
        assert!(
            answer.contains("this machine is made of layers"),
            "{answer}"
        );
        assert!(
            answer.contains("layerset update") && !answer.contains("Unable to locate"),
            "{answer}"
        );
    }
    let answer = machine.run("! dpkg --remove nginx");
    assert!(answer.contains("see 'layerset update'"), "{answer}");
    // Scripts that set up machines go on where the image has what they ask for.
    let answer = machine.run("/usr/bin/apt-get update && apt-get install --yes nginx");
    assert!(
        answer.contains("its image has all of these: nginx"),
        "{answer}"
    );
    let answer = machine.run("apt-cache policy nginx; dpkg -l nginx; dpkg --verify nginx apt");
    assert!(
        answer.contains("Installed: 1.") && answer.contains("ii  nginx"),
        "{answer}"
    );
    // The boot entries are there for whoever looks.
    assert!(
        machine
            .run("ls /boot/efi/loader/entries")
            .contains("layerset-1.conf")
    );
    expect_clean_end(machine);

    // Two days have passed.
    let later = Hardware {
        days_ahead: 2,
        ..Hardware::new(Firmware::Bios, &disk.path, "qcow2")
    };
    let mut machine = Machine::start(test, &later).unwrap();
    expect_clean(&mut machine);
    machine.run("! [ -e /sys/firmware/efi ]");
    run_timers(&mut machine);
    expect_clean(&mut machine);
    assert!(
        machine
            .run("systemctl show --property=ActiveState apt-daily.timer")
            .contains("inactive")
    );
    assert_eq!(machine.run("cat /etc/machine-id"), id);
    assert_eq!(machine.run("sha256sum /etc/ssh/ssh_host_*_key"), keys);
    expect_clean_end(machine);
}

#[test]
#[ignore = "`make boot` runs it"]
fn a_plain_machine_comes_up_clean_by_uefi_and_by_bios_and_is_writable() {
    let test = "a_plain_machine_comes_up_clean_by_uefi_and_by_bios_and_is_writable";
    let Some(workshop) = Workshop::open(test) else {
        return;
    };
    let disk = workshop.export("web-vm", "web.raw", "--layout plain");
    for firmware in [Firmware::Uefi, Firmware::Bios] {
        let hardware = Hardware::new(firmware, &disk.path, "raw");
        let Some(mut machine) = Machine::start(test, &hardware) else {
            return;
        };
        expect_clean(&mut machine);
        machine.run("touch /usr/lib/written-by-test");
        let answer = machine.run("apt-get install --yes --no-download nginx 2>&1");
        assert!(answer.contains("already the newest version"), "{answer}");
        expect_clean_end(machine);
    }
}

#[test]
#[ignore = "`make boot` runs it"]
fn a_plain_machine_of_one_partition_boots_from_an_mbr() {
    let test = "a_plain_machine_of_one_partition_boots_from_an_mbr";
    let Some(workshop) = Workshop::open(test) else {
        return;
    };
    let disk = workshop.export("web-vm", "web.raw", "--layout plain --table mbr");
    disk.grow("raw", "4G");
    let hardware = Hardware::new(Firmware::Bios, &disk.path, "raw");
    let Some(mut machine) = Machine::start(test, &hardware) else {
        return;
    };
    expect_clean(&mut machine);
    let size = machine.run("df --block-size=1M --output=size / | tail -n 1");
    assert!(size.trim().parse::<u32>().unwrap() > 3500, "{size}");
    expect_clean_end(machine);
}

#[test]
#[ignore = "`make boot` runs it"]
fn a_machine_with_a_database_makes_its_data_at_the_first_boot() {
    let test = "a_machine_with_a_database_makes_its_data_at_the_first_boot";
    let Some(workshop) = Workshop::open(test) else {
        return;
    };
    let disk = workshop.export("data-vm", "data.qcow2", "");
    let hardware = Hardware::new(Firmware::Uefi, &disk.path, "qcow2");
    let Some(mut machine) = Machine::start(test, &hardware) else {
        return;
    };
    expect_quiet(&mut machine);
    let fetch =
        "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8000/health').read())";
    // The unit counts as started before it listens.
    let health = machine.run(&format!(
        "for try in $(seq 60); do python3 -c \"{fetch}\" 2>/dev/null && break; sleep 1; done"
    ));
    assert!(health.contains("ok"), "{health}");
    // The snakeoil key is the machine's own.
    machine.run("[ -s /etc/ssl/private/ssl-cert-snakeoil.key ]");
    expect_clean_end(machine);
}

#[test]
#[ignore = "`make boot` runs it"]
fn a_disk_with_sectors_of_4096_bytes_boots_by_uefi() {
    let test = "a_disk_with_sectors_of_4096_bytes_boots_by_uefi";
    let Some(workshop) = Workshop::open(test) else {
        return;
    };
    let recipe = workshop.with_disk("web-vm", "sector = 4096\n");
    let disk = workshop.export(
        "web-vm",
        "web.raw",
        &format!("--recipe {}", recipe.display()),
    );
    let hardware = Hardware {
        sector: 4096,
        ..Hardware::new(Firmware::Uefi, &disk.path, "raw")
    };
    let Some(mut machine) = Machine::start(test, &hardware) else {
        return;
    };
    expect_clean(&mut machine);
    expect_clean_end(machine);
}

#[test]
#[ignore = "`make boot` runs it"]
fn a_watchdog_that_the_boot_script_starts_is_kept_quiet() {
    let test = "a_watchdog_that_the_boot_script_starts_is_kept_quiet";
    let Some(workshop) = Workshop::open(test) else {
        return;
    };
    let disk = workshop.export("web-vm", "web.qcow2", "");
    let hardware = Hardware {
        has_watchdog: true,
        ..Hardware::new(Firmware::Uefi, &disk.path, "qcow2")
    };
    let Some(mut machine) = Machine::start(test, &hardware) else {
        return;
    };
    expect_clean(&mut machine);
    assert!(machine.run("dmesg").contains("layerset: the watchdog runs"));
    let timeout = machine.run("systemctl show --property=RuntimeWatchdogUSec");
    assert_eq!(timeout.trim(), "RuntimeWatchdogUSec=3min");
    // Longer than any stage of the watchdog.
    machine.run("sleep 120");
    machine.run("sleep 120");
    expect_clean_end(machine);
}

/// The clock goes on in steps of ten minutes, as far as the timers that repeat within a day need.
#[test]
#[ignore = "`make boot` runs it"]
fn a_machine_is_as_clean_after_hours_of_its_timers() {
    let test = "a_machine_is_as_clean_after_hours_of_its_timers";
    let Some(workshop) = Workshop::open(test) else {
        return;
    };
    let disk = workshop.export("web-cloud", "web.qcow2", "");
    let hardware = Hardware::new(Firmware::Uefi, &disk.path, "qcow2");
    let Some(mut machine) = Machine::start(test, &hardware) else {
        return;
    };
    expect_clean(&mut machine);
    let ran = |machine: &mut Machine| {
        let list = "systemctl list-timers --no-legend --no-pager | grep -v ' - *- ' || true";
        machine.run(list).lines().count()
    };
    let before = ran(&mut machine);
    machine.run("systemctl stop systemd-timesyncd.service");
    // Timers that count from the boot look at another clock, which nobody can move.
    for _ in 0..9 {
        machine.run("date --set='+10 minutes' && sleep 1");
    }
    machine.run("date --set='+1 day' && sleep 30");
    assert!(ran(&mut machine) > before, "no timer fired");
    let services = run_timers(&mut machine);
    assert!(services.len() > 2, "{services:?}");
    expect_clean(&mut machine);
    assert_eq!(
        machine.run("journalctl -b -o cat | grep -i 'failed with result' || true"),
        ""
    );
    expect_clean_end(machine);
}
