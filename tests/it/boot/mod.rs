//! Images that boot, in QEMU: as a person would use them, and with nothing prepared for the test.
//!
//! The images are built once, which needs the network the first time; later runs find them in the target directory.

mod attached;
mod clean;
mod clouds;
mod contextualised;
mod hardware;
mod live;
mod machine;
mod update;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;

use crate::session::{Ran, Session};
use crate::support::{is_root, skip};

/// Where images are built and kept between runs.
struct Workshop {
    session: Session,
    dir: PathBuf,
}

impl Workshop {
    /// Opens it, or says why the test cannot run.
    fn open(test: &str) -> Option<Self> {
        // Builds need it; exports and machines do not.
        if !is_root(test) {
            return None;
        }
        if Command::new("mmdebstrap")
            .arg("--version")
            .output()
            .is_err()
        {
            skip(test, "needs mmdebstrap");
            return None;
        }
        let base = fs::canonicalize(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let dir = base.join("boot");
        fs::create_dir_all(&dir).unwrap();
        let session = Session::new(&dir, &dir.join("repo"));
        Some(Self { session, dir })
    }

    /// Builds a recipe of this repository, once.
    fn build(&self, recipe: &str) {
        static BUILT: OnceLock<std::sync::Mutex<Vec<String>>> = OnceLock::new();
        let mut built = BUILT.get_or_init(Default::default).lock().unwrap();
        if built.iter().any(|name| name == recipe) {
            return;
        }
        // Another run of the tests may be here too.
        let turn = File::create(self.dir.join("lock")).unwrap();
        flock(&turn, FlockOperation::LockExclusive).unwrap();
        self.copy_sources();
        if !self.dir.join("repo/config.toml").exists() {
            self.session.run("init").expect(0);
        }
        let file = format!("recipes/{recipe}.toml");
        let try_build = || -> Ran { self.session.run(&format!("build {file}")) };
        let has_lock = self.dir.join(format!("recipes/{recipe}.lock")).exists();
        if !has_lock || try_build().status != 0 {
            self.session.run(&format!("lock {file}")).expect(0);
            try_build().expect(0);
        }
        built.push(recipe.to_owned());
    }

    /// Brings the layers and recipes of this repository, and the layers of these tests. Locks and the numbers of accounts
    /// stay as they are.
    fn copy_sources(&self) {
        let source = Path::new(env!("CARGO_MANIFEST_DIR"));
        for old in fs::read_dir(self.dir.join("layers")).into_iter().flatten() {
            let old = old.unwrap().path();
            if old.is_dir() {
                fs::remove_dir_all(old).unwrap();
            }
        }
        for (from, to) in [
            ("layers", "layers"),
            ("recipes", "recipes"),
            ("tests/it/boot/layers", "layers"),
            ("tests/it/boot/recipes", "recipes"),
        ] {
            let mut copy = Command::new("cp");
            copy.args(["--archive", "--update", "--no-target-directory"]);
            copy.args([source.join(from), self.dir.join(to)]);
            assert!(copy.status().unwrap().success(), "{from}");
        }
        let program = self.dir.join("layers/layerset/files/usr/bin/layerset");
        fs::create_dir_all(program.parent().unwrap()).unwrap();
        let mut strip = Command::new("strip");
        strip.args(["--preserve-dates", "-o"]).arg(program);
        strip.arg(env!("CARGO_BIN_EXE_layerset"));
        assert!(strip.status().unwrap().success(), "strip");
    }

    /// Writes a recipe like another one, with more under `[disk]`, and returns its path.
    fn with_disk(&self, recipe: &str, more: &str) -> PathBuf {
        self.build(recipe);
        let text = fs::read_to_string(self.dir.join(format!("recipes/{recipe}.toml"))).unwrap();
        let path = self.dir.join(format!("recipes/{recipe}-of-a-test.toml"));
        fs::write(&path, format!("{text}\n[disk]\n{more}")).unwrap();
        path
    }

    /// Exports a recipe's image into a directory of its own, with further arguments.
    fn export(&self, recipe: &str, file: &str, arguments: &str) -> Disk {
        self.build(recipe);
        let dir = tempfile::tempdir_in(&self.dir).unwrap();
        let path = dir.path().join(file);
        let line = format!(
            "export disk {recipe} --output {} {arguments}",
            path.display()
        );
        self.session.run(&line).expect(0);
        Disk { path, _dir: dir }
    }
}

/// An exported disk.
struct Disk {
    path: PathBuf,
    _dir: TempDir,
}

impl Disk {
    /// Makes the disk larger, as a cloud does with an image.
    fn grow(&self, format: &str, size: &str) {
        let mut resize = Command::new("qemu-img");
        resize
            .args(["resize", "-q", "-f", format])
            .arg(&self.path)
            .arg(size);
        assert!(resize.status().unwrap().success());
    }
}
