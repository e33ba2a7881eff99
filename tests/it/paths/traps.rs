//! A Debian root with prepared traps: every link and every first line of a script in it is judged.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use layerset::tree::Node;

use super::kernel::{Said, Started, follow, start};
use crate::debian::OwnDebian;

/// `errno` by the names of the manual.
const ENOENT: i32 = 2;
const ENOEXEC: i32 = 8;
const EACCES: i32 = 13;
const ENOTDIR: i32 = 20;
const ENAMETOOLONG: i32 = 36;
const ELOOP: i32 = 40;

/// Exit statuses of env(1): its own fault, what it starts cannot be started, what it starts is not there.
const ENV_FAILED: Started = Ok(125);
const ENV_CANNOT: Started = Ok(126);
const ENV_MISSING: Started = Ok(127);

/// What the check says, against the kernel.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Check {
    /// The same.
    Agrees,
    /// Nothing, although it fails, for this reason.
    IsSilent(&'static str),
    /// That it fails, although it does not here, for this reason.
    SaysMore(&'static str),
}

use Check::{Agrees, IsSilent, SaysMore};

impl Check {
    fn is_said(self, fails: bool) -> bool {
        match self {
            Agrees => fails,
            IsSilent(_) => false,
            SaysMore(_) => true,
        }
    }
}

const RUNNING: Check = IsSilent("only a running system fills that directory");

struct Planted<'a> {
    root: &'a Path,
    links: Vec<(String, Result<(), i32>, Check)>,
    scripts: Vec<(String, Started, Check)>,
}

impl Planted<'_> {
    fn file(&self, path: &str, contents: &[u8], mode: u32) {
        let at = self.root.join(path);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        // Never through a name that another root shares.
        assert!(!at.exists(), "{path}");
        fs::write(&at, contents).unwrap();
        fs::set_permissions(&at, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn link(&mut self, path: &str, target: &str, leads: Result<(), i32>, check: Check) {
        let at = self.root.join(path);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        symlink(target, at).unwrap();
        self.links.push((format!("/{path}"), leads, check));
    }

    fn script(&mut self, contents: &[u8], started: Started, check: Check) {
        let path = format!("opt/scripts/{:03}", self.scripts.len());
        self.file(&path, contents, 0o755);
        self.scripts.push((format!("/{path}"), started, check));
    }

    fn plant_links(&mut self) {
        self.file("opt/t/file", b"", 0o644);
        self.file("opt/t/dir/file", b"", 0o644);
        self.file("opt/t/closed/file", b"", 0o600);
        fs::set_permissions(
            self.root.join("opt/t/closed"),
            PermissionsExt::from_mode(0o000),
        )
        .unwrap();
        self.file(&format!("opt/t/{}", "n".repeat(255)), b"", 0o644);
        self.file("usr/share/factory/var/lib/trap/schema", b"", 0o644);
        let pipe = self.root.join("opt/t/pipe");
        let mode = rustix::fs::Mode::from_raw_mode(0o644);
        rustix::fs::mknodat(rustix::fs::CWD, pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let longest = format!("{}file", "./".repeat(2045));
        assert_eq!(longest.len(), 4094);
        let (is, none) = (Ok(()), Err(ENOENT));
        for (name, target, leads) in [
            // Up, out, and from the root.
            ("up", "../../usr/bin/dash", is),
            ("over-the-top", "../../../../../../usr/bin/dash", is),
            ("the-root", "../../..", is),
            ("out", "../../../../opt/none", none),
            ("absolute", "/usr/bin/dash", is),
            ("absolute-none", "/usr/bin/none", none),
            ("slashes", "//opt///t//./file", is),
            ("here", ".", is),
            ("pipe-link", "pipe", is),
            ("closed-link", "closed/file", is),
            // Through links to directories: '..' is above where they lead, not above where they stand.
            ("real", "dir", is),
            ("through", "real/file", is),
            ("through-none", "real/none", none),
            ("through-up", "real/../file", is),
            ("far", "/usr/share", is),
            ("far-up", "far/../bin/dash", is),
            ("far-text", "far/../file", none),
            ("merged", "/bin/dash", is),
            // Through what is no directory.
            ("under-file", "file/x", Err(ENOTDIR)),
            ("file-slash", "file/", Err(ENOTDIR)),
            ("file-dot", "file/.", Err(ENOTDIR)),
            ("file-up", "file/../file", Err(ENOTDIR)),
            ("link-slash", "absolute/", Err(ENOTDIR)),
            ("under-pipe", "pipe/x", Err(ENOTDIR)),
            ("dir-slash", "real/", is),
            ("none-up", "none/../file", none),
            ("dangling", "none", none),
            ("to-dangling", "dangling", none),
            ("under-dangling", "dangling/../file", none),
            // Circles.
            ("self", "self", Err(ELOOP)),
            ("self-under", "self-under/x", Err(ELOOP)),
            ("ring-a", "ring-b", Err(ELOOP)),
            ("ring-b", "/opt/t/ring-a", Err(ELOOP)),
            ("to-ring", "ring-a/x", Err(ELOOP)),
            ("rise", "../t/rise", Err(ELOOP)),
            // Lengths. The link itself is one of the forty.
            ("long-name", &"n".repeat(255), is),
            ("longer-name", &"n".repeat(256), Err(ENAMETOOLONG)),
            ("longest", &longest, is),
            ("stay", ".", is),
            ("stay-39", &format!("{}file", "stay/".repeat(39)), is),
            (
                "stay-40",
                &format!("{}file", "stay/".repeat(40)),
                Err(ELOOP),
            ),
            ("new\nline", "none", none),
        ] {
            self.link(&format!("opt/t/{name}"), target, leads, Agrees);
        }
        for number in 1..=42 {
            let target = match number {
                1 => "file".to_owned(),
                _ => format!("chain-{}", number - 1),
            };
            let leads = if number <= 40 { is } else { Err(ELOOP) };
            self.link(&format!("opt/t/chain-{number}"), &target, leads, Agrees);
        }
        for target in ["/run/none", "../../proc/self/exe", "/var/cache/none"] {
            let path = format!("opt/t/running-{}", self.links.len());
            self.link(&path, target, none, RUNNING);
        }
        self.link("var/cache/trap", "none", none, RUNNING);
        let factory = IsSilent("the first switch copies it to /var");
        self.link("opt/t/factory", "/var/lib/trap/schema", none, factory);
        self.link("opt/t/factory-none", "/var/lib/trap/none", none, Agrees);
    }

    fn plant_interpreters(&mut self) {
        let program = fs::read(self.root.join("usr/bin/true")).unwrap();
        for (path, mode) in [
            ("opt/i/true", 0o755),
            ("opt/i/others", 0o001),
            ("opt/i/plain", 0o644),
            ("opt/i/dos\r", 0o755),
            ("usr/local/bin/trap-plain", 0o644),
            ("usr/local/bin/trap-later", 0o644),
            ("usr/bin/trap-later", 0o755),
            ("usr/bin/trap-here", 0o755),
        ] {
            self.file(path, &program, mode);
        }
        fs::create_dir(self.root.join("usr/bin/trap-dir")).unwrap();
        self.file("opt/i/text", b"exit 0\n", 0o755);
        self.file("opt/i/dead", b"#!/opt/i/none\n", 0o755);
        self.file("opt/i/closed", b"#!/bin/sh\n", 0o644);
        self.file("opt/i/circle", b"#!/opt/i/circle\n", 0o755);
        self.file("opt/i/depth-1", b"#!/bin/sh\n", 0o755);
        for depth in 2..=5 {
            let line = format!("#!/opt/i/depth-{}\n", depth - 1);
            self.file(&format!("opt/i/depth-{depth}"), line.as_bytes(), 0o755);
        }
        let is = Ok(());
        self.link("opt/i/link", "../../bin/sh", is, Agrees);
        self.link("opt/i/dangling", "none", Err(ENOENT), Agrees);
        self.link("opt/i/renamed-env", "/usr/bin/env", is, Agrees);
        for number in 1..=41 {
            let target = match number {
                1 => "true".to_owned(),
                _ => format!("chain-{}", number - 1),
            };
            let leads = if number <= 40 { is } else { Err(ELOOP) };
            self.link(&format!("opt/i/chain-{number}"), &target, leads, Agrees);
        }
    }

    fn plant_scripts(&mut self) {
        let ran: Started = Ok(0);
        for (line, started) in [
            ("#!/bin/sh\n", ran),
            ("#! /bin/sh\n", ran),
            ("#! \t /bin/sh \t\n", ran),
            ("#!/bin/sh -e\n", ran),
            ("#!/bin/sh", ran),
            ("#!/bin/sh\0-q\n", ran),
            ("#!//bin/../bin/./sh\n", ran),
            ("#!/../../bin/sh\n", ran),
            ("#!/opt/i/link\n", ran),
            ("#!/opt/i/others\n", ran),
            ("#!/opt/i/chain-40\n", ran),
            ("#!/opt/i/chain-41\n", Err(ELOOP)),
            ("#!/opt/i/none\n", Err(ENOENT)),
            ("#!/opt/i/dangling\n", Err(ENOENT)),
            ("#!/opt/i/plain\n", Err(EACCES)),
            ("#!/opt/i/\n", Err(EACCES)),
            ("#!/opt/i\n", Err(EACCES)),
            ("#!/\n", Err(EACCES)),
            ("#!/opt/t/pipe\n", Err(EACCES)),
            ("#!/bin/sh/\n", Err(ENOTDIR)),
            ("#!/bin/sh/x\n", Err(ENOTDIR)),
            ("#!none\n", Err(ENOENT)),
            // Lines of DOS.
            ("#!/bin/sh\r\n", Err(ENOENT)),
            ("#!/opt/i/dos\r\n", ran),
            ("#!/usr/bin/env sh\r\n", ENV_MISSING),
            ("#!/usr/bin/env -S sh\r\n", ran),
            ("#!/usr/bin/env -S none\r\n", ENV_MISSING),
            // Scripts as interpreters: five may follow each other.
            ("#!/opt/i/depth-1\n", ran),
            ("#!/opt/i/depth-4\n", ran),
            ("#!/opt/i/depth-5\n", Err(ELOOP)),
            ("#!/opt/i/circle\n", Err(ELOOP)),
            ("#!/opt/i/dead\n", Err(ENOENT)),
            ("#!/opt/i/closed\n", Err(EACCES)),
            // By env. Where it is asked for no program, it starts the script again, for ever: none of those here.
            ("#!/usr/bin/env sh\n", ran),
            ("#!/bin/env   true  \n", ran),
            ("#!/usr/bin/env /opt/i/true\n", ran),
            ("#!/usr/bin/env /opt/i/none\n", ENV_MISSING),
            ("#!/usr/bin/env /opt/i/plain\n", ENV_CANNOT),
            ("#!/usr/bin/env none\n", ENV_MISSING),
            ("#!/usr/bin/env sh -e\n", ENV_MISSING),
            ("#!/usr/bin/env trap-here\n", ran),
            ("#!/usr/bin/env trap-plain\n", ENV_CANNOT),
            ("#!/usr/bin/env trap-dir\n", ENV_CANNOT),
            ("#!/usr/bin/env trap-later\n", ran),
            ("#!/usr/bin/env -S sh -e\n", ran),
            ("#!/usr/bin/env -S  none  x\n", ENV_MISSING),
            ("#!/usr/bin/env -Strue\n", ran),
            ("#!/usr/bin/env -vS true\n", ran),
            ("#!/usr/bin/env -S A=b true\n", ran),
            ("#!/usr/bin/env -S -i A=b none\n", ENV_MISSING),
            ("#!/usr/bin/env -S -i A=b true\n", ran),
            ("#!/usr/bin/env -S -u A none\n", ENV_MISSING),
            ("#!/usr/bin/env -S -C / -u A true\n", ran),
            ("#!/usr/bin/env --split-string=none\n", ENV_MISSING),
            ("#!/usr/bin/env --split-string=true -x\n", ran),
            ("#!/usr/bin/env -S \"tr\"ue\n", ran),
            ("#!/opt/i/renamed-env none\n", ENV_MISSING),
            ("#!/opt/i/renamed-env true\n", ran),
        ] {
            self.script(line.as_bytes(), started, Agrees);
        }
        self.plant_long_lines();

        let place = SaysMore("it works in one working directory only, which nobody can rely on");
        self.script(b"#!bin/sh\n", ran, place);
        self.script(b"#!./bin/sh\n", ran, place);
        let place = IsSilent("the check does not know the working directory that it is meant for");
        self.script(b"#!/usr/bin/env opt/none\n", ENV_MISSING, place);
        let shell = IsSilent("no interpreter is asked for, and shells run such a file themselves");
        self.script(b"#!\n", Err(ENOEXEC), shell);
        self.script(b"#! \t \n", Err(ENOEXEC), shell);
        self.script(b"true\n", Err(ENOEXEC), shell);
        self.script(b"", Err(ENOEXEC), shell);
        let text = IsSilent("what an interpreter holds is not judged unless it is a script");
        self.script(b"#!/opt/i/text\n", Err(ENOEXEC), text);
        let words = IsSilent("it starts, and does not understand its own arguments");
        self.script(b"#!/bin/sh -e\r\n", Ok(2), words);
        self.script(b"#!/usr/bin/env -i -S true\n", ENV_FAILED, words);
        self.script(b"#!/usr/bin/env --none\n", ENV_FAILED, words);
        self.script(b"#!/usr/bin/env -S \"true\n", ENV_FAILED, words);
        self.file("usr/bin/trap-dead", b"#!/opt/i/none\n", 0o755);
        let other = IsSilent("env starts another script, which is judged where it stands");
        self.script(b"#!/usr/bin/env trap-dead\n", ENV_MISSING, other);

        self.file("opt/scripts/closed", b"#!/opt/i/none\n", 0o644);
        let meant = IsSilent("nobody means to start it");
        let path = "/opt/scripts/closed".to_owned();
        self.scripts.push((path, Err(EACCES), meant));
    }

    /// First lines about as long as what the kernel reads of them: 256 bytes.
    fn plant_long_lines(&mut self) {
        let ran: Started = Ok(0);
        let padded = |length: usize, end: &str| {
            let slashes = "/".repeat(length - 2 - end.len());
            format!("#!{slashes}{end}")
        };
        let line = |length: usize, rest: &str| padded(length, "bin/sh") + rest;
        let cut = |rest: &str| {
            let start = "#!/usr/bin/env -S";
            let blanks = " ".repeat(255 - start.len() - "true".len());
            format!("{start}{blanks}true{rest}")
        };
        for (line, started) in [
            (line(254, "\n"), ran),
            (line(255, "\n"), ran),
            (line(255, " \n"), ran),
            (line(255, "\t-q\n"), ran),
            (line(255, ""), ran),
            (line(256, "\n"), Err(ENOEXEC)),
            // What is read of it is the path of a program.
            (line(256, "-none\n"), Err(ENOEXEC)),
            (line(255, "-none\n"), Err(ENOEXEC)),
            (line(600, "\n"), Err(ENOEXEC)),
            // An argument loses what goes beyond, and env looks for what is left.
            (cut("\n"), ran),
            (cut("x\n"), ran),
            (cut("xyz\n"), ran),
            (format!("#!/bin/sh -{}\n", "e".repeat(400)), ran),
        ] {
            self.script(line.as_bytes(), started, Agrees);
        }
    }
}

/// Plants the first lines of the root's own scripts, without what they would do.
fn first_lines(root: &Path, said: &Said) -> BTreeMap<Vec<u8>, String> {
    let mut lines = BTreeMap::new();
    for (path, inode) in said.tree.iter() {
        let at = root.join(path.as_path());
        if inode.object().is_none() || inode.mode & 0o111 == 0 {
            continue;
        }
        let bytes = fs::read(&at).unwrap();
        if bytes.starts_with(b"#!") {
            let line = bytes.split_inclusive(|byte| *byte == b'\n').next().unwrap();
            let next = format!("/opt/lines/{}", lines.len());
            lines.entry(line.to_vec()).or_insert(next);
        }
    }
    lines
}

#[test]
fn what_is_said_of_a_root_with_traps_is_what_the_kernel_says_inside_it() {
    const TEST: &str = "what_is_said_of_a_root_with_traps_is_what_the_kernel_says_inside_it";
    let Some(debian) = OwnDebian::new(TEST) else {
        return;
    };
    let root = debian.root();
    let mut planted = Planted {
        root: &root,
        links: Vec::new(),
        scripts: Vec::new(),
    };
    let lines = first_lines(&root, &Said::of(&root));
    planted.plant_links();
    planted.plant_interpreters();
    planted.plant_scripts();
    for (line, path) in &lines {
        planted.file(&path[1..], line, 0o755);
        planted.scripts.push((path.clone(), Ok(0), Agrees));
    }
    assert!(lines.len() > 5, "{lines:?}");

    let said = Said::of(&root);
    let paths: Vec<String> = planted.links.iter().map(|link| link.0.clone()).collect();
    let mut wrong = Vec::new();
    for ((path, leads, check), kernel) in planted.links.iter().zip(follow(&root, &paths)) {
        if kernel != *leads {
            wrong.push(format!("{path}: {kernel:?} and not {leads:?}"));
        }
        let is_said = said.links.contains(&path.replace('\n', "\\x0a"));
        if is_said != check.is_said(kernel.is_err()) {
            wrong.push(format!("{path}: {kernel:?}, said: {is_said}, {check:?}"));
        }
    }
    let paths: Vec<String> = planted.scripts.iter().map(|one| one.0.clone()).collect();
    for ((path, started, check), kernel) in planted.scripts.iter().zip(start(&root, &paths)) {
        let line = fs::read(root.join(&path[1..])).unwrap();
        let line = line.escape_ascii();
        if kernel != *started {
            wrong.push(format!("{line}: {kernel:?} and not {started:?}"));
        }
        let is_said = said.scripts.contains(path);
        if is_said != check.is_said(kernel != Ok(0)) {
            wrong.push(format!("{line}: {kernel:?}, said: {is_said}, {check:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    the_root_itself(&root, &said);
}

/// Judges what Debian brings. Which of its links dangle changes with its packages; that the kernel agrees does not.
fn the_root_itself(root: &Path, said: &Said) {
    let is_link = |node: &Node| matches!(node, Node::Symlink { .. });
    let links = said.tree.iter().filter(|(_, inode)| is_link(&inode.node));
    let links: Vec<String> = links
        .map(|(path, _)| path.to_string())
        .filter(|path| !path.starts_with("/opt/") && !path.contains('\\'))
        .collect();
    assert!(links.len() > 500, "{}", links.len());
    let running = [
        "/dev/",
        "/etc/machine-id",
        "/proc/",
        "/run/",
        "/tmp/",
        "/var/cache/",
        "/var/lib/",
        "/var/lock/",
        "/var/run/",
    ];
    for (path, kernel) in links.iter().zip(follow(root, &links)) {
        let target = fs::read_link(root.join(&path[1..])).unwrap();
        let target = target.as_os_str().as_bytes();
        // Links like '../proc/x' count by the part that does not climb.
        let plain = target.strip_prefix(b"..").unwrap_or(target);
        let is_left_alone =
            |dir: &&str| path.starts_with(*dir) || plain.starts_with(dir.as_bytes());
        let is_said = said.links.contains(path);
        assert!(!is_said || kernel.is_err(), "{path} does not dangle");
        assert!(
            is_said || kernel.is_ok() || running.iter().any(is_left_alone),
            "{path} dangles, and nothing is said"
        );
    }
}
