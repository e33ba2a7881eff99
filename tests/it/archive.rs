//! Archives in which packages have moved, made by `fixtures/update-archive.py` from packages that a test has locked.
//!
//! What Debian's archive offers today is nobody's promise: a test that needs a base to move makes it move.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::is_root;

/// An archive to be made from a workspace: its locks, and the package files in its repository.
pub struct UpdateArchive {
    command: Command,
}

impl UpdateArchive {
    /// Starts from the locks of `recipes/web.toml` and of the packages that tests add, in `workspace`.
    pub fn from(workspace: &Path) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/update-archive.py");
        let mut command = Command::new("/usr/bin/python3");
        command.arg(script);
        command.arg("--debs").arg(workspace.join("repo/cache/debs"));
        for lock in ["web", "extras"] {
            let lock = workspace.join(format!("recipes/{lock}.lock"));
            command.arg("--lock").arg(lock);
        }
        Self { command }
    }

    /// Gives packages, and all others of their sources, a newer version with other content that works as before.
    pub fn bump(mut self, packages: &[&str]) -> Self {
        for package in packages {
            self.command.args(["--bump", package]);
        }
        self
    }

    /// The same for every package.
    pub fn bump_all(mut self) -> Self {
        self.command.arg("--bump-all");
        self
    }

    /// Gives the libraries of a package another SONAME.
    pub fn soname(mut self, package: &str) -> Self {
        self.command.args(["--soname", package]);
        self
    }

    /// Makes a package give an account this number.
    pub fn user(mut self, package: &str, name: &str, number: u32) -> Self {
        let change = format!("{package}:{name}={number}");
        self.command.args(["--user", &change]);
        self
    }

    /// Makes the archive at `out`, and returns the sources file that leads there and what moved: name, old and new version.
    pub fn make(mut self, out: &Path) -> (PathBuf, Vec<[String; 3]>) {
        let output = self.command.arg(out).output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let moved = String::from_utf8(output.stdout).unwrap();
        let row = |line: &str| -> [String; 3] {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            words.try_into().unwrap()
        };
        (out.join("sources.list"), moved.lines().map(row).collect())
    }
}

/// Builds a package at `debs`; `fields` are those of its control file.
fn deb(debs: &Path, name: &str, fields: &str, files: &[(&str, &str)]) -> PathBuf {
    let tree = debs.with_file_name(format!("tree-{name}"));
    let control = format!(
        "Package: {name}\nVersion: 1:1.0-1\nArchitecture: all\nMaintainer: T <t@example.org>\n{fields}\
         Description: {name}\n"
    );
    for (path, content) in [("DEBIAN/control", control.as_str())].iter().chain(files) {
        let path = tree.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
    }
    for dir in ["", "DEBIAN"] {
        fs::set_permissions(tree.join(dir), fs::Permissions::from_mode(0o755)).unwrap();
    }
    tree
}

fn run(program: &str, arguments: &[&str], dir: &Path) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(dir)
        .output();
    let output = output.unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {output:?}"
    );
    String::from_utf8(output.stdout).unwrap()
}

/// A library whose functions call each other, so that their code has frames and distances.
const TOY: &str = "int one(int n) { volatile int a[4] = {n, 1, 2, 3}; return a[0] + a[3]; }\n\
    int two(int n) { volatile int a[4] = {one(n), one(1)}; return a[0] * a[1]; }\n\
    int three(int n) { int s = 0; for (int i = 0; i < n; i++) s += two(i) - one(s); return s; }\n";

#[test]
fn an_archive_moves_what_is_named_and_what_is_tied_to_it_and_nothing_else() {
    let test = "an_archive_moves_what_is_named_and_what_is_tied_to_it_and_nothing_else";
    if !is_root(test) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let debs = dir.path().join("debs");
    fs::create_dir(&debs).unwrap();
    let library = deb(&debs, "libtoy1", "Source: toy\n", &[("usr/lib/toy.c", TOY)]);
    let lib = library.join("usr/lib");
    let flags = [
        "-shared",
        "-fPIC",
        "-O1",
        "-Wl,-soname,libtoy.so.1",
        "-o",
        "libtoy.so.1",
        "toy.c",
    ];
    run("gcc", &flags, &lib);
    deb(
        &debs,
        "toy",
        "Source: toy\nDepends: libtoy1 (= 1:1.0-1), still (>= 1)\n",
        &[
            ("usr/bin/toy", "#!/bin/sh\necho toy\n"),
            (
                "usr/lib/sysusers.d/toy.conf",
                "u toy - \"Toy\"\nu other 7 \"Other\"\n",
            ),
            ("etc/toy.conf", "toy = 1\n"),
            ("DEBIAN/conffiles", "/etc/toy.conf\n"),
        ],
    );
    deb(&debs, "tied", "Depends: toy (= 1:1.0-1)\n", &[]);
    deb(&debs, "still", "", &[("usr/bin/still", "#!/bin/sh\n")]);
    for name in ["libtoy1", "toy", "tied", "still"] {
        let tree = format!("tree-{name}");
        run(
            "dpkg-deb",
            &["--build", &tree, &format!("debs/{name}.deb")],
            dir.path(),
        );
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/update-archive.py");
    let make = |out: &str| {
        let script = script.to_str().unwrap();
        let changes = [
            "--functions",
            "libtoy1",
            "--user",
            "toy:toy=955",
            "--date",
            "1700000000",
        ];
        let arguments = [&[script, out, "--debs", "debs"][..], &changes].concat();
        run("/usr/bin/python3", &arguments, dir.path())
    };
    let moved = make("one");
    let expect = ["libtoy1", "tied", "toy"].map(|name| format!("{name} 1:1.0-1 1:1.0-1+ls1\n"));
    assert_eq!(moved, expect.concat());

    // The same changes give the same packages; what did not move is the very file that it was.
    make("two");
    let pool =
        |archive: &str, name: &str| fs::read(dir.path().join(archive).join("pool").join(name));
    for name in ["libtoy1", "tied", "toy"] {
        let name = format!("{name}_1.0-1+ls1_all.deb");
        assert_eq!(
            pool("one", &name).unwrap(),
            pool("two", &name).unwrap(),
            "{name}"
        );
    }
    let still = fs::read(debs.join("still.deb")).unwrap();
    assert_eq!(pool("one", "still_1.0-1_all.deb").unwrap(), still);

    // apt takes it by its own signature, and what depends on one version depends on the new one.
    let state = dir.path().join("state");
    fs::create_dir_all(state.join("lists/partial")).unwrap();
    let option = |key: &str, value: &Path| format!("-o{key}={}", value.display());
    let options = [
        option("Dir::State", &state),
        option("Dir::Cache", &state),
        option("Dir::Etc::sourcelist", &dir.path().join("one/sources.list")),
        option("Dir::Etc::sourceparts", Path::new("/dev/null")),
        "-oAPT::Sandbox::User=root".to_owned(),
    ];
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    run(
        "apt-get",
        &[&options[..], &["-q", "--error-on=any", "update"]].concat(),
        dir.path(),
    );
    let shown = run(
        "apt-cache",
        &[&options[..], &["show", "tied", "toy"]].concat(),
        dir.path(),
    );
    for line in [
        "Depends: toy (= 1:1.0-1+ls1)",
        "Depends: libtoy1 (= 1:1.0-1+ls1), still (>= 1)",
    ] {
        assert!(shown.contains(line), "{shown}");
    }

    let unpack = |name: &str| {
        let to = format!("{name}.d");
        run(
            "dpkg-deb",
            &["-R", &format!("one/pool/{name}_1.0-1+ls1_all.deb"), &to],
            dir.path(),
        );
        dir.path().join(to)
    };
    let toy = unpack("toy");
    let read = |path: &str| fs::read_to_string(toy.join(path)).unwrap();
    assert_eq!(
        read("usr/bin/toy"),
        "#!/bin/sh\necho toy\n# toy 1:1.0-1+ls1\n"
    );
    assert_eq!(
        read("usr/lib/sysusers.d/toy.conf"),
        "u toy 955 \"Toy\"\nu other 7 \"Other\"\n"
    );
    assert_eq!(read("etc/toy.conf"), "toy = 1\n");

    // Other code, the same answers.
    let new = unpack("libtoy1").join("usr/lib/libtoy.so.1");
    let code = |path: &Path| run("objdump", &["-d", path.to_str().unwrap()], dir.path());
    let body = |text: String| text.lines().skip(3).map(str::to_owned).collect::<Vec<_>>();
    assert_ne!(body(code(&new)), body(code(&lib.join("libtoy.so.1"))));
    let call = "import ctypes, sys; print(ctypes.CDLL(sys.argv[1]).three(50))";
    let answer = |path: &Path| {
        run(
            "/usr/bin/python3",
            &["-c", call, path.to_str().unwrap()],
            dir.path(),
        )
    };
    assert_eq!(answer(&new), answer(&lib.join("libtoy.so.1")));
}
