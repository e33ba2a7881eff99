//! Machines that update themselves from a remote, go back when somebody says so, and come back by themselves.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use tempfile::TempDir;

use super::clean::expect_quiet;
use super::machine::{BOOT, Firmware, Hardware, Machine};
use super::{Disk, Workshop};
use crate::session::Session;

/// A recipe of a test's own, its remote, and the server of that.
pub(super) struct Fleet {
    session: Session,
    dir: TempDir,
    name: &'static str,
    server: Option<(Child, u16)>,
}

impl Fleet {
    /// Builds the first image of `name`, a copy of `web-machine`, in a workspace of its own.
    pub(super) fn new(workshop: &Workshop, name: &'static str) -> Self {
        workshop.build("web-machine");
        let dir = tempfile::tempdir_in(&workshop.dir).unwrap();
        let at = |path: &str| dir.path().join(path);
        for path in ["layers", "recipes"] {
            let mut copy = std::process::Command::new("cp");
            copy.arg("--archive")
                .arg(workshop.dir.join(path))
                .arg(at(path));
            assert!(copy.status().unwrap().success());
        }
        for end in ["toml", "lock"] {
            let text = fs::read_to_string(at(&format!("recipes/web-machine.{end}"))).unwrap();
            let text = text.replace("\"web-machine\"", &format!("\"{name}\""));
            fs::write(at(&format!("recipes/{name}.{end}")), text).unwrap();
        }
        let session = Session::new(dir.path(), &workshop.dir.join("repo"));
        let fleet = Self {
            session,
            dir,
            name,
            server: None,
        };
        fleet.build();
        fleet
    }

    pub(super) fn build(&self) {
        let line = format!("build recipes/{}.toml", self.name);
        self.session.run(&line).expect(0);
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    pub(super) fn export(&self) -> Disk {
        let dir = tempfile::tempdir_in(self.dir.path()).unwrap();
        let path = dir.path().join("disk.qcow2");
        let line = format!("export disk {} --output {}", self.name, path.display());
        self.session.run(&line).expect(0);
        Disk { path, _dir: dir }
    }

    /// Changes a file of a layer, and publishes the image.
    pub(super) fn release(&mut self, file: &str, from: &str, to: &str) {
        let path = self.path(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} has no '{from}':\n{text}");
        fs::write(&path, text.replace(from, to)).unwrap();
        self.build();
        if self.server.is_none() {
            let line = "trust init ./remote --keys keys --root root.json";
            self.session.run(line).expect(0);
            self.serve();
        }
        let line = format!(
            "publish {} --to ./remote --keys keys --root root.json --channel stable --level 1",
            self.name
        );
        self.session.run(&line).expect(0);
    }

    fn serve(&mut self) {
        let mut command = self
            .session
            .command(&["serve", "./remote", "--listen", "127.0.0.1:0"]);
        let mut server = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let port = line.trim().trim_end_matches('/').rsplit(':').next();
        let port = port.and_then(|port| port.parse().ok());
        let port = port.unwrap_or_else(|| panic!("the server said '{line}'"));
        self.server = Some((server, port));
    }

    /// Tells a machine where the remote is, and whom to trust.
    pub(super) fn introduce(&self, machine: &mut Machine) {
        let (_, port) = self.server.as_ref().unwrap();
        let trust = format!(
            "[[remote]]\nname = \"main\"\nlocation = \"http://10.0.2.2:{port}\"\nroot = \"root.json\"\n\
             channels = [\"images/*/*\"]\n"
        );
        write(machine, "/etc/layerset/trust.toml", trust.as_bytes());
        let root = fs::read(self.path("root.json")).unwrap();
        write(machine, "/etc/layerset/root.json", &root);
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if let Some((server, _)) = &mut self.server {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

/// Writes a file in a machine.
#[track_caller]
fn write(machine: &mut Machine, path: &str, bytes: &[u8]) {
    use base64::Engine as _;
    let text = base64::prelude::BASE64_STANDARD.encode(bytes);
    let dir = Path::new(path).parent().unwrap().display();
    machine.run(&format!("mkdir -p {dir}; : >{path}"));
    for part in text.as_bytes().chunks(2000) {
        // In pieces of whole quartets: a serial line takes no longer ones.
        let part = std::str::from_utf8(part).unwrap();
        machine.run(&format!("echo {part} | base64 -d >>{path}"));
    }
}

/// Waits until this start of the machine is settled.
#[track_caller]
pub(super) fn expect_settled(machine: &mut Machine, generation: u64) {
    machine.expect_running();
    let said = machine.run("systemctl status --no-pager --full layerset-boot.service; true");
    assert!(
        said.contains(&format!("generation {generation} is good")),
        "{said}"
    );
}

#[track_caller]
pub(super) fn expect_page(machine: &Machine, text: &str) {
    let end = std::time::Instant::now() + BOOT;
    loop {
        let page = machine.fetch("/");
        if page.contains(text) {
            return;
        }
        assert!(
            page.contains("502 Bad Gateway") && std::time::Instant::now() < end,
            "{page}"
        );
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
}

pub(super) const PAGE: &str = "layers/hello/files/usr/share/hello/page.html";
pub(super) const SERVER: &str = "layers/hello/files/usr/lib/hello/hello";

fn updates_and_comes_back(test: &str, name: &'static str, firmware: Firmware) {
    let Some(workshop) = Workshop::open(test) else {
        return;
    };
    let mut fleet = Fleet::new(&workshop, name);
    let disk = fleet.export();
    let hardware = Hardware::new(firmware, &disk.path, "qcow2");
    let start = || Machine::start(test, &hardware);
    let Some(mut machine) = start() else {
        return;
    };
    expect_settled(&mut machine, 1);
    expect_quiet(&mut machine);
    expect_page(&machine, "version 1");
    let status = machine.run("layerset status");
    assert!(status.contains("* generation 1, current"), "{status}");
    machine.run("echo mine >/etc/mine; useradd --create-home anna");
    let id = machine.run("cat /etc/machine-id");

    fleet.release(PAGE, "version 1", "version 2");
    fleet.introduce(&mut machine);
    let said = machine.run(&format!(
        "layerset deploy --channel {name}/stable --when next-boot"
    ));
    assert!(
        said.contains(
            "generation 2 starts next: `systemctl reboot` switches to it; at once, it would be live"
        ),
        "{said}"
    );
    let status = machine.run("layerset status");
    assert!(
        status.contains("generation 2 starts next, which has 3 tries left")
            && status.contains("at once, it would be live"),
        "{status}"
    );
    expect_page(&machine, "version 1");
    machine.restart();

    let mut machine = start().unwrap();
    expect_settled(&mut machine, 2);
    expect_page(&machine, "version 2");
    assert_eq!(
        machine.run("cat /etc/mine /etc/machine-id"),
        format!("mine\n{id}")
    );
    machine.run("id anna");
    let history = machine.run("layerset history");
    assert!(
        history.contains("deployed generation 2 in place of generation 1"),
        "{history}"
    );
    let said = machine.run("layerset update");
    assert!(
        said.contains("nothing to deploy") || said.contains("current"),
        "{said}"
    );

    // By hand.
    let said = machine.run("layerset rollback --when next-boot");
    assert!(said.contains("generation 1 starts next"), "{said}");
    machine.restart();
    let mut machine = start().unwrap();
    expect_settled(&mut machine, 1);
    expect_page(&machine, "version 1");
    let history = machine.run("layerset history");
    assert!(history.contains("rolled back"), "{history}");
    // A release that a rollback left is held.
    let said = machine.run("layerset update");
    assert!(said.contains("nothing to deploy"), "{said}");

    // By itself: the page is there, and its health check fails.
    fleet.release(SERVER, "'OK', \"ok\\n\"", "'OK', \"not well\\n\"");
    machine.run("layerset update --when next-boot");
    machine.restart();
    start().unwrap().expect_restart(BOOT);
    let mut machine = start().unwrap();
    expect_settled(&mut machine, 1);
    expect_page(&machine, "version 1");
    let status = machine.run("layerset status");
    assert!(
        status.contains("generation 3 is marked bad: hello answers"),
        "{status}"
    );
    let history = machine.run("layerset history");
    assert!(
        history.contains("updated from generation 1 to generation 3")
            && history.contains("marked the image of generation 3 as bad"),
        "{history}"
    );
    let said = machine.run("layerset update");
    assert!(
        said.contains("nothing to deploy") && said.contains("bad"),
        "{said}"
    );
}

#[test]
#[ignore = "`make boot` runs it"]
fn a_machine_with_uefi_updates_itself_and_comes_back() {
    updates_and_comes_back(
        "a_machine_with_uefi_updates_itself_and_comes_back",
        "web-by-uefi",
        Firmware::Uefi,
    );
}

#[test]
#[ignore = "`make boot` runs it"]
fn a_machine_with_a_bios_updates_itself_and_comes_back() {
    updates_and_comes_back(
        "a_machine_with_a_bios_updates_itself_and_comes_back",
        "web-by-bios",
        Firmware::Bios,
    );
}
