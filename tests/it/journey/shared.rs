//! What the journeys share: one repository built once a run, and package files that outlive it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use rustix::fs::{FlockOperation, flock};

use super::world::{World, unmount_below};
use crate::archive::UpdateArchive;
use crate::session::Session;
use crate::support::{is_root, skip};

/// What tests add to `recipes/web.toml`: packages of layers of their own, all on the base.
const EXTRAS: [&str; 12] = [
    "cron",
    "desktop-file-utils",
    "glib-networking",
    "libxml2-utils",
    "logrotate",
    "nano",
    "netcat-openbsd",
    "openntpd",
    "shared-mime-info",
    "tcpdump",
    "uuid-runtime",
    "vim-tiny",
];

/// What is built once.
struct Shared {
    dir: PathBuf,
    /// Two runs on one target directory take turns.
    _turn: File,
}

/// Returns a fork of the shared repository, or says why the test cannot run.
pub fn world(test: &str) -> Option<World> {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    if !can_build(test) {
        return None;
    }
    let shared = SHARED.get_or_init(Shared::build);
    Some(shared.fork())
}

fn can_build(test: &str) -> bool {
    if !is_root(test) {
        return false;
    }
    for tool in ["mmdebstrap", "bwrap", "apt-get", "dpkg-deb"] {
        if Command::new(tool).arg("--version").output().is_err() {
            skip(test, &format!("needs {tool}"));
            return false;
        }
    }
    true
}

fn base_dir() -> PathBuf {
    // The program follows links, so that paths of its messages are known.
    fs::canonicalize(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn deb_cache() -> PathBuf {
    let dir = base_dir().join("debs");
    fs::create_dir_all(&dir).unwrap();
    dir
}

impl Shared {
    fn build() -> Self {
        let base = base_dir();
        let turn = File::create(base.join("journey.lock")).unwrap();
        flock(&turn, FlockOperation::LockExclusive).unwrap();
        let all = base.join("journey");
        // A run that was killed left its directories, and may have left mounts.
        unmount_below(&all);
        if all.exists() {
            fs::remove_dir_all(&all).unwrap();
        }
        let dir = all.join("shared");
        fs::create_dir_all(dir.join("recipes")).unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR"));
        for layer in ["debian", "nginx", "hello"] {
            let name = Path::new("layers").join(layer);
            copy(&source.join(&name), &dir.join(&name), &|_| false);
        }
        let recipe = "recipes/web.toml";
        fs::copy(source.join(recipe), dir.join(recipe)).unwrap();

        let repo = dir.join("repo");
        let session = Session::new(&dir, &repo);
        session.run("init").expect(0);
        copy(&deb_cache(), &repo.join("cache/debs"), &|_| true);
        session.run("lock recipes/web.toml").expect(0);
        Self::lock_extras(&dir, &session);
        keep_debs(&repo);
        session.run("build recipes/web.toml").expect(0);
        // What a mirror offers may change from one minute to the next: from here on, nobody asks it.
        UpdateArchive::from(&dir).make(&dir.join("archive"));
        Self { dir, _turn: turn }
    }

    /// Locks the packages that tests add, above the same base.
    fn lock_extras(dir: &Path, session: &Session) {
        fs::create_dir_all(dir.join("layers/extras")).unwrap();
        let definition = format!("on = [\"debian\"]\n\n[apt]\npackages = {EXTRAS:?}\n");
        fs::write(dir.join("layers/extras/layer.toml"), definition).unwrap();
        let recipe = "architecture = \"amd64\"\nlayers = [\"debian\", \"extras\"]\n";
        fs::write(dir.join("recipes/extras.toml"), recipe).unwrap();
        let lock = fs::read_to_string(dir.join("recipes/web.lock")).unwrap();
        let lock = lock.replace("recipe = \"web\"", "recipe = \"extras\"");
        fs::write(dir.join("recipes/extras.lock"), lock).unwrap();
        session
            .run("lock recipes/extras.toml --update extras")
            .expect(0);
        fs::remove_dir_all(dir.join("layers/extras")).unwrap();
        fs::remove_file(dir.join("recipes/extras.toml")).unwrap();
    }

    fn fork(&self) -> World {
        let dir = tempfile::Builder::new()
            .prefix("fork-")
            .tempdir_in(self.dir.parent().unwrap())
            .unwrap();
        for name in ["layers", "recipes"] {
            copy(&self.dir.join(name), &dir.path().join(name), &|_| false);
        }
        let (from, to) = (self.dir.join("repo"), dir.path().join("repo"));
        // What is named by its digest never changes in place; apt's indexes are fetched again where they are needed.
        let linked = ["objects", "trees", "layers", "images"];
        for entry in fs::read_dir(&from).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name == "cache" {
                copy_cache(&from.join("cache"), &to.join("cache"));
            } else if name != "lock" {
                let link = linked.contains(&name.as_str());
                copy(&from.join(&name), &to.join(&name), &|_| link);
            }
        }
        let sources = self.dir.join("archive/sources.list");
        World {
            session: Session::new(dir.path(), &to).with("LAYERSET_APT_SOURCES", &sources),
            dir,
        }
    }
}

fn copy_cache(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !["apt", "locks"].contains(&name.as_str()) {
            copy(&from.join(&name), &to.join(&name), &|_| name == "debs");
        }
    }
}

/// Copies or links a file or directory with its modes.
pub fn copy(from: &Path, to: &Path, link: &dyn Fn(&Path) -> bool) {
    let facts = fs::symlink_metadata(from).unwrap();
    if facts.is_dir() {
        fs::create_dir_all(to).unwrap();
        fs::set_permissions(to, facts.permissions()).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            copy(&entry.path(), &to.join(entry.file_name()), link);
        }
    } else if facts.is_symlink() {
        std::os::unix::fs::symlink(fs::read_link(from).unwrap(), to).unwrap();
    } else if link(from) {
        fs::hard_link(from, to).unwrap();
    } else {
        fs::copy(from, to).unwrap();
    }
}

/// Keeps the package files of a repository for the next run.
pub fn keep_debs(repo: &Path) {
    for entry in fs::read_dir(repo.join("cache/debs")).unwrap() {
        let path = entry.unwrap().path();
        let kept = deb_cache().join(path.file_name().unwrap());
        if path.extension().is_some_and(|e| e == "deb") && !kept.exists() {
            fs::hard_link(&path, kept).unwrap();
        }
    }
}

/// Gives a repository the package files of earlier runs.
pub fn adopt_debs(at: &World) {
    for entry in fs::read_dir(deb_cache()).unwrap() {
        let path = entry.unwrap().path();
        let to = at.path("repo/cache/debs").join(path.file_name().unwrap());
        if !to.exists() {
            fs::hard_link(path, to).unwrap();
        }
    }
}
