//! Compares what the check of programs and libraries says with what the real loader does.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use layerset::check::elf::{Library, problems};
use layerset::check::{Problem, Subject};
use layerset::elf::{self, VersionNeed};
use layerset::merge::derive::ldsocache;
use layerset::tree::view::{FileFacts, ImageView};
use tempfile::TempDir;

use crate::debian::{OwnDebian, amd64_debian, architecture, run};
use crate::dirview::DirView;
use crate::support::{copy_program, skip};

const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

fn cache(view: &DirView) -> Option<Vec<Library>> {
    let cache = ldsocache::derive(view).unwrap()?;
    let entries = cache.entries.into_iter();
    Some(
        entries
            .map(|entry| Library {
                soname: entry.soname,
                path: entry.path,
                flags: entry.flags,
                hwcaps: entry.hwcaps,
            })
            .collect(),
    )
}

/// The names of libraries and versions that the loader does not find for a program.
fn lacks(root: &Path, program: &str) -> BTreeSet<String> {
    let output = run(root, LOADER, &["--list", program]);
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).unwrap();
    let missing = text.lines().filter_map(|line| {
        if let Some((name, _)) = line.split_once(" => not found") {
            return Some(name.trim());
        }
        // Some loaders give up at the first one.
        if let Some((_, rest)) = line.split_once("error while loading shared libraries: ") {
            return rest.split_once(": ").map(|(name, _)| name);
        }
        let (_, rest) = line.split_once("version `")?;
        rest.split_once("' not found").map(|(version, _)| version)
    });
    missing.map(str::to_owned).collect()
}

/// The same of problems.
fn told(problems: &[Problem]) -> BTreeSet<String> {
    let names = problems.iter().filter_map(|problem| {
        let (kind, _) = problem.id.as_str().strip_prefix("elf:")?.split_once(':')?;
        let last = problem.id.as_str().rsplit(':').next()?;
        matches!(kind, "needed" | "version").then(|| last.to_owned())
    });
    names.collect()
}

/// The program that a problem keeps from starting, if one does.
fn stopped<'a>(view: &DirView, problem: &'a Problem) -> Option<&'a str> {
    if let Some((_, rest)) = problem.reason.split_once(", so '") {
        return rest.split_once('\'').map(|(program, _)| program);
    }
    let Subject::Path(path) = &problem.subject else {
        return None;
    };
    match view.facts(path.as_bytes()).unwrap() {
        FileFacts::Elf(facts) if facts.interp.is_some() => {
            let rest = problem.reason.strip_prefix('\'')?;
            rest.split_once('\'').map(|(program, _)| program)
        }
        _ => None,
    }
}

#[test]
fn the_programs_of_a_root_lack_what_its_own_loader_says() {
    const TEST: &str = "the_programs_of_a_root_lack_what_its_own_loader_says";
    let Some(debian) = OwnDebian::new(TEST) else {
        return;
    };
    let root = debian.root();
    if architecture(&root) != "amd64" {
        return skip(TEST, "needs an amd64 machine");
    }
    let sound = programs(&root);
    assert_eq!(sound, BTreeSet::new());
    // What several programs need, one needs another library for, and one is a program's own choice.
    for gone in ["libselinux.so.1", "libpcre2-8.so.0", "libcap.so.2"] {
        let at = std::fs::canonicalize(root.join(LIBS).join(gone)).unwrap();
        let aside = root.join("tmp/aside");
        std::fs::rename(&at, &aside).unwrap();
        assert_eq!(programs(&root), BTreeSet::from([gone.to_owned()]));
        std::fs::rename(&aside, &at).unwrap();
    }
}

/// Looks at the root that `LAYERSET_TEST_ROOT` names, this machine's own else.
#[test]
#[ignore = "it depends on the machine"]
fn the_programs_of_any_root_lack_what_its_own_loader_says() {
    let root = std::env::var_os("LAYERSET_TEST_ROOT").map_or("/".into(), PathBuf::from);
    eprintln!("lacking: {:?}", programs(&root));
}

/// Compares what is said of the programs of a root with what its loader says, and returns what is lacking.
fn programs(root: &Path) -> BTreeSet<String> {
    let view = DirView(root.to_owned());
    let cache = cache(&view).unwrap();
    let tree = view.tree(&["usr/bin", "usr/sbin", "usr/libexec"]);
    let problems = problems(&tree, &view, &cache).unwrap();
    let mut programs: BTreeSet<String> = problems
        .iter()
        .filter_map(|problem| stopped(&view, problem))
        .map(str::to_owned)
        .collect();
    for program in &programs {
        let found = lacks(root, program);
        assert!(!found.is_empty(), "'{program}' starts: {problems:?}");
    }
    let sound = tree.iter().filter(|(path, _)| {
        let facts = view.facts(path.as_bytes());
        matches!(facts, Ok(FileFacts::Elf(facts)) if facts.dynamic && facts.interp.as_deref() == Some(LOADER))
    });
    // Each program takes some milliseconds.
    const MOST: usize = 400;
    programs.extend(
        sound
            .take(MOST)
            .map(|(path, _)| format!("/{path}").replace("//", "/")),
    );
    let told = told(&problems);
    for program in &programs {
        let found = lacks(root, program);
        assert!(
            found.is_subset(&told),
            "'{program}': {found:?}, told {told:?}"
        );
    }
    assert!(programs.len() > 100, "{programs:?}");
    told
}

#[test]
fn the_c_library_of_debian_says_what_it_is() {
    const TEST: &str = "the_c_library_of_debian_says_what_it_is";
    let Some(root) = amd64_debian(TEST) else {
        return;
    };
    let bytes = std::fs::read(root.join(LIBS).join("libc.so.6")).unwrap();
    let facts = elf::parse(bytes.as_slice()).unwrap().unwrap();
    assert_eq!(facts.soname.as_deref(), Some("libc.so.6"));
    assert_eq!(facts.needed, ["ld-linux-x86-64.so.2"]);
    assert_eq!(facts.cache_flags(), Some(0x0303));
    assert!(facts.interp.is_some() && facts.abi_tag.is_some());
    assert!(facts.version_defs.contains(&"GLIBC_2.2.5".to_owned()));
    assert!(!facts.version_defs.contains(&"libc.so.6".to_owned()));
    let private = |need: &VersionNeed| need.version == "GLIBC_PRIVATE" && !need.weak;
    assert!(facts.version_needs.iter().any(private));
}

/// A small root with Debian's loader and C library, and programs and libraries made for the test.
struct Small {
    dir: TempDir,
    view: DirView,
}

const LIBS: &str = "usr/lib/x86_64-linux-gnu";

impl Small {
    fn new(debian: &Path) -> Self {
        // Programs can be started there, which cannot be said of '/tmp'.
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let view = DirView(dir.path().to_owned());
        let small = Self { dir, view };
        for name in [
            LIBS,
            "usr/bin",
            "usr/sbin",
            "usr/lib64",
            "etc",
            "opt/p",
            "opt/q",
            "src",
        ] {
            std::fs::create_dir_all(small.at(name)).unwrap();
        }
        for name in ["lib", "lib64", "bin", "sbin"] {
            std::os::unix::fs::symlink(format!("usr/{name}"), small.at(name)).unwrap();
        }
        for name in [
            "usr/lib64/ld-linux-x86-64.so.2",
            "usr/lib/x86_64-linux-gnu/libc.so.6",
            "usr/sbin/ldconfig",
        ] {
            copy_program(&debian.join(name), &small.at(name));
        }
        small
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// Compiles `source` to `path` with `arguments`.
    fn gcc(&self, path: &str, source: &str, arguments: &[&str]) {
        let file = self.at("src/source.c");
        std::fs::write(&file, source).unwrap();
        let output = Command::new("gcc")
            .current_dir(self.dir.path())
            .args([
                "-nostdlib",
                "-Wl,--no-as-needed",
                "-Wl,--allow-shlib-undefined",
                "-o",
                path,
            ])
            .arg(&file)
            .args(arguments)
            // The root's own, so that the compiler's machine may have any other.
            .arg(format!("{LIBS}/libc.so.6"))
            .output()
            .unwrap();
        assert!(output.status.success(), "'{path}': {output:?}");
    }

    fn lib(&self, path: &str, function: &str, arguments: &[&str]) {
        let name = path.rsplit('/').next().unwrap();
        let source = format!("int {function}(void) {{ return 0; }}\n");
        let soname = format!("-Wl,-soname,{name}");
        self.gcc(
            path,
            &source,
            &[&["-shared", "-fPIC", &soname], arguments].concat(),
        );
    }

    /// `libx.so.1`, with one version or with both, and what needs the second one.
    fn versions(&self, newest: u32) {
        let map = match newest {
            1 => "X_1 { global: x; };",
            _ => "X_1 { global: x; }; X_2 { global: x2; } X_1;",
        };
        std::fs::write(self.at("src/map"), map).unwrap();
        let source = "int x(void) { return 0; }\nint x2(void) { return 0; }\n";
        let path = format!("{LIBS}/libx.so.1");
        let soname = "-Wl,-soname,libx.so.1";
        self.gcc(
            &path,
            source,
            &["-shared", "-fPIC", soname, "-Wl,--version-script=src/map"],
        );
    }

    fn fill(&self) {
        let libs = |name: &str| format!("{LIBS}/{name}");
        self.versions(2);
        let uses_x2 = "int x2(void); int a(void) { return x2(); }\n";
        let soname = "-Wl,-soname,liba.so.1";
        self.gcc(
            &libs("liba.so.1"),
            uses_x2,
            &["-shared", "-fPIC", soname, &libs("libx.so.1")],
        );
        // Private ones: 'libq' is found by what 'libp' says, or by what the program says.
        self.lib("opt/q/libq.so", "q", &[]);
        self.lib(
            "opt/p/libp.so",
            "p",
            &[
                "opt/q/libq.so",
                "-Wl,--enable-new-dtags,-rpath,$ORIGIN/../q",
            ],
        );
        self.lib("opt/p/libr.so", "r", &["opt/q/libq.so"]);
        let main = |call: &str| {
            format!("int {call}(void); void _exit(int); void _start(void) {{ _exit({call}()); }}\n")
        };
        let program = |name: &str, call: &str, arguments: &[&str]| {
            self.gcc(&format!("usr/bin/{name}"), &main(call), arguments);
        };
        program("a", "a", &[&libs("liba.so.1")]);
        program(
            "p",
            "p",
            &["opt/p/libp.so", "-Wl,--enable-new-dtags,-rpath,/opt/p"],
        );
        program(
            "r",
            "r",
            &[
                "opt/p/libr.so",
                "-Wl,--disable-new-dtags,-rpath,/opt/p:/opt/q",
            ],
        );
    }

    /// Compares the check with the loader, and returns what both say is lacking.
    fn compare(&self) -> Vec<String> {
        let derived = ldsocache::derive(&self.view).unwrap().unwrap();
        std::fs::write(self.at("etc/ld.so.cache"), derived.file.contents).unwrap();
        let tree = self.view.tree(&["usr", "opt"]);
        let problems = problems(&tree, &self.view, &cache(&self.view).unwrap()).unwrap();
        let mut lacking = BTreeSet::new();
        for name in ["a", "p", "r"] {
            let program = format!("/usr/bin/{name}");
            let starts = run(self.dir.path(), &program, &[]).status.success();
            if self.at(&LOADER[1..]).exists() {
                let found = lacks(self.dir.path(), &program);
                assert_eq!(found.is_empty(), starts, "'{program}': {found:?}");
                lacking.extend(found);
            }
            let is_stopped = problems
                .iter()
                .any(|problem| stopped(&self.view, problem) == Some(&program));
            assert_eq!(!starts, is_stopped, "'{program}': {problems:?}");
        }
        assert_eq!(told(&problems), lacking, "{problems:?}");
        problems
            .into_iter()
            .map(|problem| problem.id.to_string())
            .collect()
    }
}

#[test]
fn what_is_taken_from_a_root_is_lacking_for_the_check_and_for_the_loader() {
    const TEST: &str = "what_is_taken_from_a_root_is_lacking_for_the_check_and_for_the_loader";
    let Some(debian) = amd64_debian(TEST) else {
        return;
    };
    if Command::new("gcc").arg("--version").output().is_err() {
        return skip(TEST, "needs gcc");
    }
    let small = Small::new(debian);
    small.fill();
    assert_eq!(small.compare(), [""; 0]);
    let needed = |user: &str, name: &str| format!("elf:needed:{user}:{name}");
    let check = |gone: &str, expect: &[String]| {
        let (path, aside) = (small.at(gone), small.at("src/aside"));
        std::fs::rename(&path, &aside).unwrap();
        assert_eq!(small.compare(), expect, "without '{gone}'");
        std::fs::rename(&aside, &path).unwrap();
    };
    let liba = "/usr/lib/x86_64-linux-gnu/liba.so.1";
    check(
        &format!("{LIBS}/liba.so.1"),
        &[needed("/usr/bin/a", "liba.so.1")],
    );
    check(&format!("{LIBS}/libx.so.1"), &[needed(liba, "libx.so.1")]);
    check("opt/p/libp.so", &[needed("/usr/bin/p", "libp.so")]);
    let both = [
        needed("/opt/p/libp.so", "libq.so"),
        needed("/opt/p/libr.so", "libq.so"),
    ];
    check("opt/q/libq.so", &both);
    let interps = ["a", "p", "r"].map(|name| format!("elf:interp:/usr/bin/{name}"));
    check("usr/lib64/ld-linux-x86-64.so.2", &interps);
    small.versions(1);
    assert_eq!(
        small.compare(),
        [format!("elf:version:{liba}:libx.so.1:X_2")]
    );
}

/// What `ldd -r` says of a program: the symbols that are missing when all are bound at once.
fn undefined(root: &Path, program: &str) -> BTreeSet<String> {
    let command = format!(
        "LD_TRACE_LOADED_OBJECTS=1 LD_WARN=1 LD_BIND_NOW=1 LD_LIBRARY_VERSION= {LOADER} {program} 2>&1"
    );
    let output = run(root, "/bin/sh", &["-c", &command]);
    let text = String::from_utf8(output.stdout).unwrap();
    let symbols = text.lines().filter_map(|line| {
        let (_, rest) = line.split_once("undefined symbol: ")?;
        let symbol = rest.split([',', '\t', ' ', '\n']).next()?;
        // What is of a version is another check's.
        (!rest.contains(", version ")).then(|| symbol.to_owned())
    });
    symbols.collect()
}

#[test]
fn symbols_that_a_program_lacks_are_those_that_its_loader_names() {
    const TEST: &str = "symbols_that_a_program_lacks_are_those_that_its_loader_names";
    let Some(debian) = OwnDebian::new(TEST) else {
        return;
    };
    let root = debian.root();
    if architecture(&root) != "amd64" {
        return skip(TEST, "needs an amd64 machine");
    }
    let found = |root: &Path| -> Vec<Problem> {
        let view = DirView(root.to_owned());
        let cache = cache(&view).unwrap();
        let tree = view.tree(&["usr/bin", "usr/sbin", "usr/lib"]);
        let problems = problems(&tree, &view, &cache).unwrap();
        let symbols = |problem: &Problem| problem.id.as_str().starts_with("elf:symbol:");
        problems.into_iter().filter(symbols).collect()
    };
    assert_eq!(found(&root), []);
    // A library without versions, whose place another one takes.
    let at = std::fs::canonicalize(root.join(LIBS).join("libpcre2-8.so.0")).unwrap();
    let other = std::fs::canonicalize(root.join(LIBS).join("libz.so.1")).unwrap();
    std::fs::remove_file(&at).unwrap();
    std::fs::copy(&other, &at).unwrap();
    let problems = found(&root);
    for program in ["grep", "ls"] {
        let said = undefined(&root, &format!("/usr/bin/{program}"));
        assert!(!said.is_empty(), "{program}");
        let told: BTreeSet<String> = problems
            .iter()
            .filter_map(|problem| problem.id.as_str().rsplit(':').next())
            .map(str::to_owned)
            .collect();
        // Of each object, the first few are told.
        assert!(!said.is_disjoint(&told), "{program}: {said:?}, {told:?}");
    }
    let all: BTreeSet<String> = ["grep", "ls"]
        .iter()
        .flat_map(|program| undefined(&root, &format!("/usr/bin/{program}")))
        .collect();
    for problem in &problems {
        let symbol = problem.id.as_str().rsplit(':').next().unwrap();
        let by_them = problem.reason.contains("/grep'") || problem.reason.contains("/ls'");
        assert!(
            !by_them || all.contains(symbol),
            "{}: {all:?}",
            problem.reason
        );
    }
}

/// Prints the symbols that are lacking in the root that `LAYERSET_TEST_ROOT` names.
#[test]
#[ignore = "it prints a report, and depends on the machine"]
fn report_the_symbols_of_a_root() {
    let root = std::env::var_os("LAYERSET_TEST_ROOT").map_or("/".into(), PathBuf::from);
    let view = DirView(root);
    let cache = cache(&view).unwrap();
    let tree = view.tree(&["usr", "opt"]);
    for problem in problems(&tree, &view, &cache).unwrap() {
        eprintln!("{:?} {}: {}", problem.weight, problem.id, problem.reason);
    }
}
