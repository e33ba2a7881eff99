//! Commands in the sandbox, for real: what they see, what they may do, and how they end.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use layerset::materialise::{HashSink, ScanOptions};
use layerset::sandbox::{Limits, ReadOnlyBind, Sandbox, SandboxError, SandboxRun};

use crate::debian;
use crate::support::{AT_ONCE, PATIENCE, copy_program, is_root, skip, wait_until};

/// Copies a few of Debian's programs, with the libraries that they need, into a root of their own.
fn small_root(debian: &Path, root: &Path) {
    let mut files = BTreeSet::new();
    fs::create_dir_all(root.join("usr/bin")).unwrap();
    for program in [
        "setcap", "sh", "cat", "id", "sleep", "stat", "env", "touch", "mknod", "chown", "chroot",
        "unshare", "mount", "umount", "swapoff", "dmesg",
    ] {
        let at = ["/usr/bin", "/usr/sbin"].map(|dir| format!("{dir}/{program}"));
        let at = at.iter().find(|at| debian.join(&at[1..]).exists()).unwrap();
        let output = debian::run(debian, "ldd", &[at]).stdout;
        let text = String::from_utf8(output).unwrap();
        files.extend(
            text.split_whitespace()
                .filter(|w| w.starts_with('/'))
                .map(PathBuf::from),
        );
        let from = debian.join(&at[1..]);
        copy_program(&from, &root.join("usr/bin").join(program));
    }
    assert!(files.len() > 2, "{files:?}");
    for file in files {
        let to = root.join(file.strip_prefix("/").unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        copy_program(&debian.join(file.strip_prefix("/").unwrap()), &to);
    }
    for dir in ["usr/sbin", "etc", "dev", "proc", "tmp", "run"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    if !root.join("bin").exists() {
        std::os::unix::fs::symlink("usr/bin", root.join("bin")).unwrap();
    }
}

struct Place {
    dir: tempfile::TempDir,
    sandbox: Sandbox,
}

impl Place {
    fn new(test: &str) -> Option<Self> {
        let debian = debian::debian(test)?;
        if Command::new("bwrap").arg("--version").output().is_err() {
            skip(test, "bwrap is not installed");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let (root, scratch) = (dir.path().join("root"), dir.path().join("scratch"));
        fs::create_dir(&root).unwrap();
        fs::create_dir(&scratch).unwrap();
        small_root(debian, &root);
        let sandbox = Sandbox::new(&root, &scratch, 1_700_000_000);
        Some(Self { dir, sandbox })
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    fn run(&self, script: &str) -> (Result<(), SandboxError>, Vec<String>) {
        let mut lines = Vec::new();
        let command = ["/bin/sh", "-c", script].map(OsStr::new);
        let result = self.sandbox.run(SandboxRun {
            command: &command,
            log: &self.dir.path().join("log"),
            on_line: &mut |line| lines.push(line.to_owned()),
            cancel: &AtomicBool::new(false),
        });
        (result, lines)
    }

    fn tree(&self) -> layerset::tree::Tree {
        let options = ScanOptions::default();
        layerset::materialise::scan(&self.root(), &options, &crate::support::ids(), &HashSink)
            .unwrap()
    }
}

#[test]
fn a_command_sees_the_declared_environment_and_nothing_of_the_host() {
    let test = "a_command_sees_the_declared_environment_and_nothing_of_the_host";
    let Some(place) = Place::new(test) else {
        return;
    };
    let (result, lines) = place.run(
        "env; echo --; id -u; cat /proc/sys/kernel/hostname; stat -c '%a %n' /tmp /run; echo $$",
    );
    result.unwrap();
    let end = lines.iter().position(|l| l == "--").unwrap();
    let mut names: Vec<_> = lines[..end]
        .iter()
        .filter_map(|l| l.split('=').next())
        .collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "DEBIAN_FRONTEND",
            "HOME",
            "LC_ALL",
            "PATH",
            "PWD",
            "SOURCE_DATE_EPOCH",
            "SYSTEMD_OFFLINE",
            "TERM"
        ]
    );
    assert!(lines.contains(&"SOURCE_DATE_EPOCH=1700000000".to_owned()));
    assert_eq!(
        lines[end + 1..end + 5],
        ["0", "localhost", "1777 /tmp", "755 /run"]
    );
    assert!(
        lines[end + 5].parse::<u32>().unwrap() < 10,
        "process numbers are the sandbox's own"
    );
}

#[test]
fn there_is_no_network_but_loopback() {
    let Some(place) = Place::new("there_is_no_network_but_loopback") else {
        return;
    };
    let (result, lines) = place.run("cat /proc/net/dev; echo --; cat /proc/net/fib_trie");
    result.unwrap();
    let end = lines.iter().position(|l| l == "--").unwrap();
    let devices: Vec<_> = lines[2..end]
        .iter()
        .map(|l| l.split(':').next().unwrap().trim())
        .collect();
    assert_eq!(devices, ["lo"]);
    assert!(
        lines[end..].iter().any(|l| l.contains("127.0.0.1")),
        "loopback is up: {lines:?}"
    );
}

#[test]
fn shared_memory_works_and_stays_out_of_the_view() {
    let Some(place) = Place::new("shared_memory_works_and_stays_out_of_the_view") else {
        return;
    };
    let (result, lines) = place.run("touch /dev/shm/x && stat -c %a /dev/shm");
    result.unwrap();
    assert_eq!(lines, ["1777"]);
    assert!(place.tree().get(b"dev/shm").is_none());
}

#[test]
fn removing_a_work_directory_detaches_mounts_and_never_walks_into_them() {
    let test = "removing_a_work_directory_detaches_mounts_and_never_walks_into_them";
    if !is_root(test) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (work, precious) = (dir.path().join("work"), dir.path().join("precious"));
    fs::create_dir_all(work.join("root/proc")).unwrap();
    fs::create_dir(&precious).unwrap();
    fs::write(precious.join("file"), "x").unwrap();
    // Twice, as two killed builds would leave it; on the same filesystem, so that device numbers say nothing.
    for _ in 0..2 {
        let bound = Command::new("mount")
            .arg("--bind")
            .args([&precious, &work.join("root/proc")])
            .status();
        assert!(bound.unwrap().success());
    }
    let result = layerset::durable::remove_tree(&layerset::durable::RealDisk, &work);
    let left = crate::support::mounts(dir.path());
    for _ in 0..left.values().sum() {
        // A failure must not leave mounts on the machine that runs the test.
        let _ = Command::new("umount")
            .arg("-l")
            .arg(work.join("root/proc"))
            .status();
    }
    result.unwrap();
    assert!(left.is_empty(), "{left:?}");
    assert!(!work.exists() && precious.join("file").exists());
}

#[test]
fn services_are_forbidden_and_the_answer_leaves_no_trace() {
    let Some(place) = Place::new("services_are_forbidden_and_the_answer_leaves_no_trace") else {
        return;
    };
    let before = place.tree();
    let (result, lines) = place.run("/usr/sbin/policy-rc.d ssh start; echo $?");
    result.unwrap();
    assert_eq!(lines, ["101"]);
    let after = place.tree();
    let changed: Vec<_> = layerset::tree::diff(&before, &after)
        .map(|(p, _)| p.to_string())
        .collect();
    assert_eq!(changed, ["/usr/sbin"], "only the directory's time");
    // An image's own policy is covered for the run and stays.
    fs::write(
        place.root().join("usr/sbin/policy-rc.d"),
        "#!/bin/sh\nexit 0\n",
    )
    .unwrap();
    let (result, lines) = place.run("/usr/sbin/policy-rc.d ssh start; echo $?");
    result.unwrap();
    assert_eq!(lines, ["101"]);
    assert!(place.root().join("usr/sbin/policy-rc.d").exists());
}

#[test]
fn a_failure_carries_status_last_lines_and_the_log() {
    let Some(place) = Place::new("a_failure_carries_status_last_lines_and_the_log") else {
        return;
    };
    let script =
        "i=0; while [ $i -lt 50 ]; do echo line $i; i=$((i+1)); done; echo oops >&2; exit 3";
    let (result, lines) = place.run(script);
    assert_eq!(lines.len(), 51);
    let Err(SandboxError::Failed {
        status,
        last_lines,
        log,
        ..
    }) = result
    else {
        panic!("{result:?}");
    };
    assert_eq!(status.code(), Some(3));
    assert_eq!((last_lines.len(), last_lines[19].as_str()), (20, "oops"));
    assert_eq!(fs::read_to_string(log).unwrap().lines().count(), 51);
    assert!(!place.root().join("usr/sbin/policy-rc.d").exists());
}

#[test]
fn a_cancelled_command_dies_with_everything_that_it_started() {
    let Some(place) = Place::new("a_cancelled_command_dies_with_everything_that_it_started") else {
        return;
    };
    let cancel = AtomicBool::new(false);
    let started = Instant::now();
    // Another run of the tests must not count.
    let nap = format!("9{:09}", std::process::id());
    let script = format!("sleep {nap} & echo ready; sleep {nap}");
    let command = ["/bin/sh", "-c", &script].map(OsStr::new);
    let result = place.sandbox.run(SandboxRun {
        command: &command,
        log: &place.dir.path().join("log"),
        on_line: &mut |_| cancel.store(true, Ordering::Relaxed),
        cancel: &cancel,
    });
    assert!(
        matches!(result, Err(SandboxError::Cancelled { .. })),
        "{result:?}"
    );
    assert!(started.elapsed() < AT_ONCE);
    let line = format!("sleep\0{nap}\0");
    wait_until("it still sleeps", || {
        let mut processes = fs::read_dir("/proc").unwrap().flatten();
        let is_it = |found: Vec<u8>| found == line.as_bytes();
        !processes.any(|entry| fs::read(entry.path().join("cmdline")).is_ok_and(is_it))
    });
}

#[test]
fn a_daemon_left_behind_neither_blocks_the_run_nor_survives_it() {
    let Some(place) = Place::new("a_daemon_left_behind_neither_blocks_the_run_nor_survives_it")
    else {
        return;
    };
    let started = Instant::now();
    let (result, lines) = place.run("sleep 86421 & echo done");
    result.unwrap();
    assert_eq!(lines, ["done"]);
    assert!(started.elapsed() < AT_ONCE);
}

#[test]
fn binds_are_readable_and_not_writable() {
    let Some(mut place) = Place::new("binds_are_readable_and_not_writable") else {
        return;
    };
    let source = place.dir.path().join("shared");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("f"), "shared\n").unwrap();
    let name = "debs".into();
    place.sandbox = place.sandbox.with_bind(ReadOnlyBind { source, name });
    let (result, lines) =
        place.run("cat /run/layerset/debs/f; touch /run/layerset/debs/new 2>&1 || echo refused");
    result.unwrap();
    assert_eq!(
        (lines[0].as_str(), lines.last().unwrap().as_str()),
        ("shared", "refused")
    );
}

#[test]
fn packages_may_change_owners_and_make_devices() {
    let Some(place) = Place::new("packages_may_change_owners_and_make_devices") else {
        return;
    };
    let (result, lines) = place.run("touch /etc/x && chown 33:42 /etc/x && mknod /etc/null c 1 3 && stat -c '%u:%g %F' /etc/x /etc/null");
    result.unwrap();
    assert_eq!(
        lines,
        ["33:42 regular empty file", "0:0 character special file"]
    );
}

#[test]
fn no_command_changes_the_devices_of_the_host() {
    use std::os::unix::fs::MetadataExt as _;
    let Some(place) = Place::new("no_command_changes_the_devices_of_the_host") else {
        return;
    };
    let facts = || {
        ["full", "null", "random", "tty", "urandom", "zero"].map(|name| {
            let found = fs::metadata(format!("/dev/{name}")).unwrap();
            (found.mode(), found.uid(), found.gid(), found.ino())
        })
    };
    let before = facts();
    // Not with /dev/null: were the host's changed, nothing else would work here.
    let script = "cd /dev && chown 33 full random tty urandom zero; \
        echo x >/dev/null && echo written";
    let (result, lines) = place.run(script);
    result.unwrap();
    assert_eq!(lines, ["written"]);
    assert_eq!(facts(), before);
    // And the next command has new ones.
    let (result, lines) = place.run("stat -c '%a %u' /dev/full /dev/null");
    result.unwrap();
    assert_eq!(lines, ["666 0", "666 0"]);
}

#[test]
fn packages_may_set_capabilities() {
    let Some(place) = Place::new("packages_may_set_capabilities") else {
        return;
    };
    let (result, lines) = place.run("setcap cap_net_raw+ep /usr/bin/sleep 2>&1");
    assert!(result.is_ok(), "{lines:?}");
    let sleep = place.tree().get(b"usr/bin/sleep").unwrap().clone();
    assert_eq!(
        sleep.xattrs.get(&b"security.capability"[..]).unwrap(),
        crate::support::CAP_NET_RAW
    );
}

/// Runs this test again in a process of its own, which is killed in the middle of a build.
#[test]
fn a_killed_build_leaves_no_mount_and_the_next_one_cleans_up() {
    use layerset::materialise::ObjectDir;
    use layerset::path::RelPath;
    use layerset::sandbox::{BuildView, LowerKind, LowerTree};
    use layerset::tree::{Inode, Tree};
    const DIR: &str = "LAYERSET_TEST_KILLED_IN";
    let test = "a_killed_build_leaves_no_mount_and_the_next_one_cleans_up";
    if !is_root(test) {
        return;
    }
    let tree: Tree = [(RelPath::root(), Inode::directory(0o755))]
        .into_iter()
        .collect();
    let ids = crate::support::ids();
    let build = |work: &Path, stay: bool| {
        let objects = ObjectDir::new("/nonexistent");
        let lower = LowerTree {
            tree: &tree,
            ids: &ids,
            objects: &objects,
            kind: LowerKind::Checkout,
        };
        BuildView::with(work, lower, |view| {
            fs::write(view.merged().join("ready"), "x").unwrap();
            if stay {
                std::thread::sleep(10 * PATIENCE);
            }
            Ok::<_, SandboxError>(())
        })
        .unwrap();
    };
    if let Some(work) = std::env::var_os(DIR) {
        return build(Path::new(&work), true);
    }
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("sandbox::{test}")])
        .env(DIR, dir.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let ready = dir.path().join("upper/ready");
    wait_until("the build never started", || ready.exists());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(crate::support::mounts(dir.path()).is_empty());
    assert!(!dir.path().join("merged/ready").exists());
    build(dir.path(), false);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

/// `core_pattern` names a program that the host runs as root, whoever wrote it there.
#[test]
fn no_command_changes_the_settings_of_the_host() {
    let Some(place) = Place::new("no_command_changes_the_settings_of_the_host") else {
        return;
    };
    let settings = ["core_pattern", "hostname", "modprobe", "panic"];
    let read = || settings.map(|name| fs::read(Path::new("/proc/sys/kernel").join(name)).ok());
    let before = read();
    for attempt in [
        // What is written is what is there, lest a failing test harm the machine that runs it.
        "v=$(cat /proc/sys/kernel/core_pattern) && echo \"$v\" > /proc/sys/kernel/core_pattern",
        "v=$(cat /proc/sys/kernel/panic) && echo \"$v\" > /proc/sys/kernel/panic",
        "v=$(cat /proc/sys/vm/swappiness) && echo \"$v\" > /proc/sys/vm/swappiness",
        "mount -t proc proc /tmp",
        "mount -o remount,rw /proc/sys",
        "umount /proc/sys",
        "unshare --user --map-root-user true",
        "unshare --mount true",
        "unshare --net true",
        "dmesg",
        "mknod /tmp/mem c 1 1 && cat /tmp/mem > /dev/null",
        "mknod /mem c 1 1 && cat /mem > /dev/null",
        "cat /proc/kcore > /dev/null",
    ] {
        let (result, lines) = place.run(attempt);
        assert!(result.is_err(), "'{attempt}' worked: {lines:?}");
    }
    assert_eq!(read(), before);
    let (result, lines) = place.run(
        "while read -r k v; do case $k in Cap[EP]*|NoNewPrivs:|Seccomp:) echo $v;; esac; \
         done < /proc/self/status",
    );
    result.unwrap();
    let usual = "00000000a80425fb";
    let filtered = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));
    let mode = if filtered { "2" } else { "0" };
    // Nothing gets more: bubblewrap forbids it to all that follows.
    assert_eq!(lines, [usual, usual, "1", mode]);
}

/// What scripts of packages do, on files of the view.
#[test]
fn installing_packages_works_with_the_capabilities_of_a_container() {
    let Some(place) = Place::new("installing_packages_works_with_the_capabilities_of_a_container")
    else {
        return;
    };
    let (result, lines) = place.run(
        "set -e; touch /f /dev/shm/x; chown 33:33 /f; setcap cap_net_raw+ep /f; mknod /pipe p; \
         mknod /null c 1 3; chroot / /usr/bin/id -u; (sleep 0 & wait); echo done",
    );
    assert!(result.is_ok(), "{result:?} {lines:?}");
    assert_eq!(lines, ["0", "done"]);
}

#[test]
fn a_command_that_takes_too_much_is_ended_and_says_why() {
    let Some(mut place) = Place::new("a_command_that_takes_too_much_is_ended_and_says_why") else {
        return;
    };
    let limits = Limits {
        time: std::time::Duration::from_secs(300),
        output: 1 << 20,
        tasks: 40,
    };
    let short = Limits {
        time: std::time::Duration::from_secs(1),
        ..limits
    };
    for (limits, script, wanted) in [
        (
            short,
            "sleep 1000 & echo begun; sleep 1000",
            "ran longer than 1 second",
        ),
        (
            limits,
            "while :; do echo 0123456789012345678901234567890123456789; done",
            "wrote more than 1048576 bytes of output",
        ),
        (
            limits,
            "i=0; while [ $i -lt 100 ]; do sleep 1000 & i=$((i+1)); done; wait",
            "had more than 40 processes and threads",
        ),
    ] {
        place.sandbox = place.sandbox.clone().with_limits(limits);
        let (result, _) = place.run(script);
        let error = result.unwrap_err();
        let SandboxError::Limit { reason, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(reason, wanted);
        assert!(
            error.to_string().contains("was stopped because it"),
            "{error}"
        );
    }
    // The limits are of one command each.
    place.sandbox = place.sandbox.clone().with_limits(limits);
    place.run("echo fine").0.unwrap();
}
