//! A machine in QEMU, by software emulation, with its console in a file and a root shell for the test.
//!
//! The disk is what an export made, untouched: the shell comes with a credential, which the firmware hands to systemd
//! (systemd.system-credentials(7), `systemd.extra-unit.*`), and listens on the second serial line.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tempfile::TempDir;

use crate::support::skip;

/// How long a machine may take to come up: emulated, on two processors that others use too.
pub const BOOT: Duration = Duration::from_secs(1200);
/// How long one command in it may take.
pub const COMMAND: Duration = Duration::from_secs(400);

const SHELL: &str = "\
[Unit]
Description=A shell for tests
DefaultDependencies=no

[Service]
ExecStart=/bin/sh -c 'exec </dev/ttyS1 >/dev/ttyS1 2>&1; stty raw -echo; echo @@ready@@; exec env PS1= PS2= PAGER=cat SYSTEMD_PAGER=cat /bin/sh'
";
/// What the shell says when it has set up its line, which stays open from then on: what it is sent before that is lost,
/// and so is what comes while nobody has the line open.
const READY: &str = "@@ready@@";
const WANTS_SHELL: &str = "[Unit]\nWants=layerset-test-shell.service\n";

/// UEFI's program and its empty variables: Debian's package ovmf.
const UEFI: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const UEFI_VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/// What starts a machine's disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    Bios,
    Uefi,
}

/// How a machine's disk is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bus {
    Virtio,
    Nvme,
    Ahci,
    /// VMware's paravirtual SCSI.
    Pvscsi,
}

/// What a machine is made of.
#[derive(Debug)]
pub struct Hardware<'a> {
    pub firmware: Firmware,
    pub bus: Bus,
    /// The network card, as QEMU calls it.
    pub card: &'a str,
    /// A disk that it finds before its own, and does not start from; what it writes there is lost.
    pub first: Option<(&'a Path, &'a str)>,
    /// A cloud: what `-smbios` says of the machine, and a program that serves one HTTP request on its standard input and
    /// output, for whoever asks 169.254.169.254.
    pub cloud: Option<(&'a str, &'a Path)>,
    /// The disk that it starts from; the machine writes to it.
    pub disk: &'a Path,
    /// The format of that file, as QEMU calls it.
    pub format: &'a str,
    /// Further raw disks, read only.
    pub more: &'a [PathBuf],
    /// The size of sectors, in bytes.
    pub sector: u32,
    /// Days by which its clock is ahead.
    pub days_ahead: i64,
    /// Whether there is a watchdog, which resets a machine that is too slow.
    pub has_watchdog: bool,
}

impl<'a> Hardware<'a> {
    /// A machine with one disk.
    pub fn new(firmware: Firmware, disk: &'a Path, format: &'a str) -> Self {
        Self {
            firmware,
            bus: Bus::Virtio,
            card: "virtio-net-pci",
            first: None,
            cloud: None,
            disk,
            format,
            more: &[],
            sector: 512,
            days_ahead: 0,
            has_watchdog: false,
        }
    }
}

/// How QEMU ends by a fault of its own: several processors are emulated at once, and one may read a mapping while
/// another one, which sets up a PCI device, replaces it (espressif/qemu#174 describes it).
const EMULATOR_FAULT: &str = "iotlb_to_section: Assertion";
/// What the kernel says of another fault of its: with several processors, a timer of one may never come again. Nothing
/// goes on from there.
const LOST_TIMER: &str = "kthread timer wakeup didn't happen";
/// How often a machine is started again after these.
const MOST_RESTARTS: u32 = 3;

/// A running machine; it stops when this goes.
pub struct Machine {
    qemu: Child,
    arguments: Vec<OsString>,
    restarts: u32,
    dir: TempDir,
    started: Instant,
    shell: UnixStream,
    /// A port of loopback that leads to port 80 of the machine, and one that leads to port 22.
    pub http: u16,
    pub ssh: u16,
    commands: u32,
    _turn: MutexGuard<'static, ()>,
}

/// One machine at a time: an emulated one takes all that two processors have.
static TURN: Mutex<()> = Mutex::new(());

impl Machine {
    /// Starts a machine, or says why the test cannot run.
    pub fn start(test: &str, hardware: &Hardware<'_>) -> Option<Self> {
        let has_qemu = Command::new("qemu-system-x86_64")
            .arg("--version")
            .output()
            .is_ok();
        let has_firmware = hardware.firmware == Firmware::Bios || Path::new(UEFI).exists();
        if !has_qemu || !has_firmware {
            skip(test, "needs qemu-system-x86 and ovmf");
            return None;
        }
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = tempfile::tempdir().unwrap();
        let started = Instant::now();
        let arguments = arguments(hardware, dir.path());
        let (qemu, shell) = switch_on(&arguments, dir.path());
        let mut machine = Self {
            qemu,
            arguments,
            restarts: 0,
            dir,
            started,
            shell,
            http: 0,
            ssh: 0,
            commands: 0,
            _turn: turn,
        };
        (machine.http, machine.ssh) = machine.ports();
        Some(machine)
    }

    /// Waits until systemd says how it is, which has to be `running`.
    #[track_caller]
    pub fn expect_running(&mut self) {
        let state = self.state();
        if state != "running" {
            let failed =
                self.run("systemctl --failed --no-legend --plain; journalctl -b -p warning -o cat");
            panic!("the machine is '{state}':\n{failed}\n{}", self.console());
        }
    }

    /// Returns how the machine is when it has come up. It asks again and again, because `--wait` needs a bus, and the
    /// shell is there before that.
    #[track_caller]
    pub fn state(&mut self) -> String {
        loop {
            let state = self.run_within("systemctl is-system-running", BOOT);
            let state = state.trim().to_owned();
            if !["initializing", "starting"].contains(&state.as_str()) {
                return state;
            }
            assert!(
                self.started.elapsed() < BOOT,
                "it is still '{state}':\n{}",
                self.console()
            );
            std::thread::sleep(Duration::from_secs(2));
        }
    }

    /// Runs a shell command as root and returns what it prints on both outputs; its status has to be 0, except that of
    /// `systemctl is-system-running`, whose word says more.
    #[track_caller]
    pub fn run(&mut self, command: &str) -> String {
        self.run_within(command, COMMAND)
    }

    #[track_caller]
    fn run_within(&mut self, command: &str, limit: Duration) -> String {
        self.commands += 1;
        let mark = format!("@@{}@@", self.commands);
        // The mark is put together in the machine, so that an echo of this line is none.
        let (a, b) = mark.split_at(2);
        let line = format!("{{ {command}\n}} 2>&1; printf '%s%s%s\\n' '{a}' '{b}' \"$?\"\n");
        let end = Instant::now() + limit;
        let mut sent = false;
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            if !sent && self.commands > 1 {
                self.shell.write_all(line.as_bytes()).unwrap();
                sent = true;
            }
            match self.shell.read(&mut buffer) {
                Ok(0) if !sent && self.restart_after_fault() => answer.clear(),
                Ok(0) => panic!("the machine went during '{command}':\n{}", self.console()),
                Ok(count) => answer.extend_from_slice(&buffer[..count]),
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::Interrupted | ErrorKind::TimedOut | ErrorKind::WouldBlock
                    ) =>
                {
                    if !sent && self.restart_after_stall() {
                        answer.clear();
                    }
                }
                Err(error) => panic!("{error} during '{command}':\n{}", self.console()),
            }
            let text = String::from_utf8_lossy(&answer).replace('\r', "");
            if !sent && text.contains(READY) {
                self.shell.write_all(line.as_bytes()).unwrap();
                sent = true;
                answer.clear();
                continue;
            }
            if let Some((output, status)) = text.split_once(&mark)
                && let Some((status, _)) = status.split_once('\n')
            {
                let is_state = command.starts_with("systemctl is-system-running");
                assert!(
                    status == "0" || is_state,
                    "'{command}' ended with {status}:\n{output}"
                );
                return output.to_owned();
            }
            assert!(
                Instant::now() < end && self.is_alive(),
                "'{command}' did not end within {} s; it said: {text}\n{}",
                limit.as_secs(),
                self.console()
            );
        }
    }

    /// Starts the machine again, if QEMU has ended by [`EMULATOR_FAULT`]. The machine had not come as far as its disk.
    fn restart_after_fault(&mut self) -> bool {
        let _ = self.qemu.wait();
        let said = fs::read_to_string(self.dir.path().join("qemu")).unwrap_or_default();
        if self.restarts == MOST_RESTARTS || !said.contains(EMULATOR_FAULT) {
            return false;
        }
        self.restart_emulator(&said);
        true
    }

    /// Starts the machine again, if a timer was lost before the kernel came as far as its first process.
    fn restart_after_stall(&mut self) -> bool {
        let said = self.whole_console();
        let is_early = !said.contains("Run /init as init process") && !said.contains("systemd[1]");
        if self.restarts == MOST_RESTARTS || !said.contains(LOST_TIMER) || !is_early {
            return false;
        }
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
        self.restart_emulator(LOST_TIMER);
        true
    }

    fn restart_emulator(&mut self, why: &str) {
        self.restarts += 1;
        eprintln!("QEMU is started again: {why}");
        (self.qemu, self.shell) = switch_on(&self.arguments, self.dir.path());
        (self.http, self.ssh) = self.ports();
    }

    /// Shuts the machine down as a person would, and waits for it to go.
    #[track_caller]
    pub fn power_off(mut self) -> String {
        self.shell.write_all(b"systemctl poweroff\n").unwrap();
        let end = Instant::now() + COMMAND;
        while self.is_alive() {
            assert!(
                Instant::now() < end,
                "it does not shut down:\n{}",
                self.console()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        self.whole_console()
    }

    /// Restarts the machine as a person would, and waits until the emulator has ended: another start of the same disk is
    /// another machine here.
    #[track_caller]
    pub fn restart(mut self) {
        self.shell.write_all(b"systemctl reboot\n").unwrap();
        self.expect_restart(COMMAND);
    }

    /// Waits for a machine that restarts by itself, and returns what its console said.
    #[track_caller]
    pub fn expect_restart(mut self, limit: Duration) -> String {
        let end = Instant::now() + limit;
        while self.is_alive() {
            assert!(
                Instant::now() < end,
                "it does not restart:\n{}",
                self.console()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        self.whole_console()
    }

    /// Fetches a page over HTTP/1.0 from port 80.
    pub fn fetch(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.http)).unwrap();
        stream.set_read_timeout(Some(COMMAND)).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\nHost: guest\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Attaches a disk while the machine runs.
    #[track_caller]
    pub fn attach(&mut self, disk: &Path, format: &str) {
        let mut monitor = connect(&self.dir.path().join("monitor"), &mut self.qemu);
        monitor.set_read_timeout(Some(COMMAND)).unwrap();
        let lines = format!(
            "drive_add 0 file={},if=none,id=disk-later,format={format}\n\
             device_add virtio-blk-pci,drive=disk-later,bus=later\n",
            disk.display()
        );
        monitor.write_all(lines.as_bytes()).unwrap();
        // QEMU asks for a command at first, and behind both.
        let mut answer = String::new();
        let mut buffer = [0; 4096];
        while answer.matches("(qemu) ").count() < 3 {
            let count = monitor.read(&mut buffer).unwrap();
            assert!(count > 0, "QEMU's monitor went: {answer}");
            answer.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
        assert!(!answer.contains("Error"), "{answer}");
    }

    /// Seconds since it was switched on.
    pub fn seconds(&self) -> u64 {
        self.started.elapsed().as_secs()
    }

    /// Says whether the emulator runs: it ends when the machine restarts.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.qemu.try_wait(), Ok(None))
    }

    fn whole_console(&self) -> String {
        let bytes = fs::read(self.dir.path().join("console")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The end of what the console shows, for the messages of failed tests.
    fn console(&self) -> String {
        let text = self.whole_console();
        // While it waits, systemd draws the same line again and again.
        let lines: Vec<_> = text
            .lines()
            .filter(|line| !line.contains(" running ("))
            .collect();
        let tail = lines[lines.len().saturating_sub(60)..].join("\n");
        let said = fs::read_to_string(self.dir.path().join("qemu")).unwrap_or_default();
        format!(
            "after {} s, the console ends:\n{tail}\nqemu says: {said}",
            self.seconds()
        )
    }

    /// Asks QEMU which ports the kernel chose.
    fn ports(&mut self) -> (u16, u16) {
        let mut monitor = connect(&self.dir.path().join("monitor"), &mut self.qemu);
        monitor
            .set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        monitor.write_all(b"info usernet\n").unwrap();
        let mut answer = String::new();
        let mut buffer = [0; 4096];
        let end = Instant::now() + COMMAND;
        loop {
            if let Ok(count) = monitor.read(&mut buffer) {
                answer.push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
            // TCP[HOST_FORWARD]  12  127.0.0.1 41234  10.0.2.15 80
            let port_of = |guest: &str| {
                let mut lines = answer.lines().filter(|line| line.contains("HOST_FORWARD"));
                lines.find_map(|line| {
                    let words: Vec<_> = line.split_whitespace().collect();
                    (words.get(5) == Some(&guest)).then(|| words[3].parse().unwrap())
                })
            };
            if let (Some(http), Some(ssh)) = (port_of("80"), port_of("22")) {
                return (http, ssh);
            }
            assert!(
                Instant::now() < end && self.is_alive(),
                "QEMU names no ports: {answer}\n{}",
                self.console()
            );
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// Starts QEMU, and connects to the shell.
fn switch_on(arguments: &[OsString], dir: &Path) -> (Child, UnixStream) {
    for socket in ["shell", "monitor"] {
        let _ = fs::remove_file(dir.join(socket));
    }
    let said = File::create(dir.join("qemu")).unwrap();
    let mut command = Command::new("qemu-system-x86_64");
    command.args(arguments).stdin(Stdio::null());
    let mut qemu = command.stdout(Stdio::null()).stderr(said).spawn().unwrap();
    let shell = connect(&dir.join("shell"), &mut qemu);
    shell
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    (qemu, shell)
}

/// Returns what QEMU is started with.
fn arguments(hardware: &Hardware<'_>, dir: &Path) -> Vec<OsString> {
    let mut command = Command::new("qemu-system-x86_64");
    let at = |name: &str| dir.join(name).display().to_string();
    let credential = |name: &str, content: &str| {
        let content = BASE64_STANDARD.encode(content);
        format!("type=11,value=io.systemd.credential.binary:{name}={content}")
    };
    command
        .args("-machine q35 -accel tcg,thread=multi -cpu max -m 1536 -smp 2".split(' '))
        .args("-display none -nodefaults -no-user-config -no-reboot".split(' '))
        .args(["-device", "virtio-rng-pci"])
        // Where a disk can come later.
        .args(["-device", "pcie-root-port,id=later"])
        .args(["-rtc", &clock(hardware.days_ahead)])
        .args([
            "-chardev",
            &format!("file,id=console,path={}", at("console")),
            "-serial",
            "chardev:console",
        ])
        .args([
            "-chardev",
            &format!("socket,id=shell,path={},server=on,wait=off", at("shell")),
        ])
        .args(["-serial", "chardev:shell"])
        .args([
            "-monitor",
            &format!("unix:{},server=on,wait=off", at("monitor")),
        ])
        .args(["-netdev", &network(hardware)])
        .args(["-device", &format!("{},netdev=net,romfile=", hardware.card)])
        .args([
            "-smbios",
            &credential("systemd.extra-unit.layerset-test-shell.service", SHELL),
        ])
        .args([
            "-smbios",
            &credential("systemd.unit-dropin.sysinit.target", WANTS_SHELL),
        ]);
    if hardware.has_watchdog {
        command.args(["-device", "i6300esb", "-action", "watchdog=reset"]);
    }
    if hardware.firmware == Firmware::Uefi {
        fs::copy(UEFI_VARIABLES, dir.join("variables")).unwrap();
        let program = format!("if=pflash,format=raw,readonly=on,file={UEFI}");
        let variables = format!("if=pflash,format=raw,file={}", at("variables"));
        command.args(["-drive", &program, "-drive", &variables]);
    }
    attach(&mut command, hardware);
    for (number, more) in hardware.more.iter().enumerate() {
        let drive = format!(
            "file={},if=none,id=more{number},format=raw,readonly=on",
            more.display()
        );
        command.args([
            "-drive",
            &drive,
            "-device",
            &format!("virtio-blk-pci,drive=more{number}"),
        ]);
    }
    command.get_args().map(OsStr::to_owned).collect()
}

/// The argument of `-netdev`. The metadata of a cloud are at an address of the machine's own network, where alone QEMU
/// answers for others.
fn network(hardware: &Hardware<'_>) -> String {
    let ports = "hostfwd=tcp:127.0.0.1:0-:80,hostfwd=tcp:127.0.0.1:0-:22";
    let cloud = hardware.cloud.map_or_else(String::new, |(_, program)| {
        format!(
            ",net=169.254.169.0/24,dhcpstart=169.254.169.15,guestfwd=tcp:169.254.169.254:80-cmd:{}",
            program.display()
        )
    });
    format!("user,id=net,{ports}{cloud}")
}

/// Adds the disks that a machine finds before `more`.
fn attach(command: &mut Command, hardware: &Hardware<'_>) {
    if let Some((smbios, _)) = hardware.cloud {
        command.args(["-smbios", smbios]);
    }
    if let Some((disk, format)) = hardware.first {
        let drive = format!(
            "file={},if=none,id=first,format={format},snapshot=on",
            disk.display()
        );
        command.args(["-drive", &drive, "-device", "virtio-blk-pci,drive=first"]);
    }
    let (disk, format, sector) = (hardware.disk.display(), hardware.format, hardware.sector);
    // QEMU cannot write to the compressed ones of an OVA.
    let snapshot = if format == "vmdk" { "on" } else { "off" };
    let drive =
        format!("file={disk},if=none,id=disk,format={format},cache=unsafe,snapshot={snapshot}");
    let (controller, device) = match hardware.bus {
        Bus::Virtio => (None, "virtio-blk-pci,drive=disk"),
        Bus::Nvme => (None, "nvme,drive=disk,serial=layerset"),
        // The board has one.
        Bus::Ahci => (None, "ide-hd,drive=disk,bus=ide.0"),
        Bus::Pvscsi => (Some("pvscsi,id=scsi"), "scsi-hd,drive=disk,bus=scsi.0"),
    };
    if let Some(controller) = controller {
        command.args(["-device", controller]);
    }
    let device =
        format!("{device},bootindex=1,logical_block_size={sector},physical_block_size={sector}");
    command.args(["-drive", &drive, "-device", &device]);
}

/// The argument of `-rtc`; a clock that is ahead starts at a date, which QEMU takes for UTC.
fn clock(days_ahead: i64) -> String {
    if days_ahead == 0 {
        return "base=utc".to_owned();
    }
    let date = Command::new("date")
        .args(["--utc", "+%Y-%m-%dT%H:%M:%S", "--date"])
        .arg(format!("{days_ahead} days"))
        .output();
    format!(
        "base={}",
        String::from_utf8(date.unwrap().stdout).unwrap().trim()
    )
}

/// Connects to a socket that QEMU makes when it starts.
fn connect(socket: &Path, qemu: &mut Child) -> UnixStream {
    let end = Instant::now() + COMMAND;
    loop {
        if let Ok(stream) = UnixStream::connect(socket) {
            return stream;
        }
        let has_ended = !matches!(qemu.try_wait(), Ok(None));
        assert!(!has_ended && Instant::now() < end, "QEMU makes no socket");
        std::thread::sleep(Duration::from_millis(20));
    }
}
