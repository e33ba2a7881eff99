//! One small Debian, and a way into it: what tests judge where the loader, apt or the kernel has the last word.
//!
//! A test must not judge what lies on the machine that runs it. mmdebstrap makes the root the first time, which needs the
//! network; later runs find it in the target directory. Nothing writes to it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;

use crate::support::{is_root, skip};

const SUITE: &str = "trixie";

/// Enough packages for relations of every kind, and for scripts of several interpreters.
const PACKAGES: &str = "dbus,libcap2-bin,perl,python3,systemd-sysv";

/// Servers with configuration that names much, and programs that judge it.
const SERVERS: &str = "apache2,cron,libpam-systemd,logrotate,nginx,openssh-server,pamtester,php-fpm,rsyslog,sudo,systemd-sysv,udev";

/// Where Debian's programs are, in the order of its default PATH.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Returns the root of the small Debian, or says why the test cannot run.
pub fn debian(test: &str) -> Option<&'static Path> {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    can_make(test).then(|| ROOT.get_or_init(|| make(PACKAGES)).as_path())
}

/// Says whether roots can be made, or why the test cannot run.
fn can_make(test: &str) -> bool {
    if !is_root(test) {
        return false;
    }
    let version = Command::new("mmdebstrap").arg("--version").output();
    if version.is_err() {
        skip(test, "needs mmdebstrap");
    }
    version.is_ok()
}

/// The same for what knows the amd64 loader by its name.
pub fn amd64_debian(test: &str) -> Option<&'static Path> {
    let root = debian(test)?;
    if architecture(root) != "amd64" {
        skip(test, "needs an amd64 machine");
        return None;
    }
    Some(root)
}

fn make(packages: &str) -> PathBuf {
    // What is asked for is in the name: another list makes another root.
    let base = fs::canonicalize(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let root = base.join(format!("debian-{SUITE}-{}", packages.replace(',', "-")));
    let turn = File::create(base.join("debian.lock")).unwrap();
    flock(&turn, FlockOperation::LockExclusive).unwrap();
    if root.exists() {
        return root;
    }
    let new = base.join("debian.new");
    if new.exists() {
        fs::remove_dir_all(&new).unwrap();
    }
    bootstrap(&new, packages);
    fs::rename(&new, &root).unwrap();
    root
}

/// Installs a Debian with `packages`, separated by commas, in the directory `root`.
pub fn bootstrap(root: &Path, packages: &str) {
    // What it mounts while it works goes with it, even when it is killed.
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "mmdebstrap"])
        .args(["--variant=apt", "--components=main", "--include", packages])
        .arg(SUITE)
        .arg(root)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

/// Returns the architecture of a Debian root by its own word.
pub fn architecture(root: &Path) -> String {
    let output = run(root, "dpkg", &["--print-architecture"]);
    let text = String::from_utf8(output.stdout).unwrap();
    text.trim().to_owned()
}

/// Runs a program of a root inside it, without any of this process's environment.
pub fn run(root: &Path, program: &str, arguments: &[&str]) -> Output {
    let chroot = ["/usr/sbin/chroot", "/usr/bin/chroot"];
    let chroot = chroot.into_iter().find(|at| Path::new(at).exists());
    Command::new(chroot.unwrap_or("chroot"))
        .arg(root)
        .arg(program)
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Does something in a thread whose root is `root`: what it follows and starts, it follows and starts there.
pub fn inside<T: Send>(root: &Path, action: impl FnOnce() -> T + Send) -> T {
    let work = || {
        // Root and working directory become this thread's own.
        #[allow(deprecated)]
        rustix::thread::unshare(rustix::thread::UnshareFlags::FS).unwrap();
        rustix::process::chroot(root).unwrap();
        std::env::set_current_dir("/").unwrap();
        action()
    };
    let result = std::thread::scope(|scope| scope.spawn(work).join());
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// A Debian of a test's own, gone at the end of it: what is made, removed or renamed here is so here only. Files have the
/// contents of the shared ones, so that nothing may write into them.
pub struct OwnDebian(TempDir);

impl OwnDebian {
    pub fn new(test: &str) -> Option<Self> {
        let from = debian(test)?;
        let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut cp = Command::new("cp");
        cp.args(["--archive", "--link"])
            .arg(from)
            .arg(dir.path().join("root"));
        let output = cp.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        Some(Self(dir))
    }

    pub fn root(&self) -> PathBuf {
        self.0.path().join("root")
    }
}

/// A Debian with servers of a test's own, gone at the end of it. Nothing in it is shared: programs may write here.
pub struct ServerDebian(TempDir);

impl ServerDebian {
    pub fn new(test: &str) -> Option<Self> {
        static ROOT: OnceLock<PathBuf> = OnceLock::new();
        if !can_make(test) {
            return None;
        }
        let from = ROOT.get_or_init(|| make(SERVERS));
        let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut cp = Command::new("cp");
        cp.args(["--archive", "--reflink=auto"])
            .arg(from)
            .arg(dir.path().join("root"));
        let output = cp.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        Some(Self(dir))
    }

    pub fn root(&self) -> PathBuf {
        self.0.path().join("root")
    }
}
