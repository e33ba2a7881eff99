//! What the check of imports says of a root, against what the interpreters say inside it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use layerset::check::imports;

use crate::debian::{OwnDebian, debian, run};
use crate::paths::{DirView, tree_of};

/// Modules that a small Debian has or has not, in itself, as a file, a directory or a library.
const PYTHON: [&str; 24] = [
    "_ssl",
    "asyncore",
    "cgi",
    "collections.abc",
    "ctypes.util",
    "distutils",
    "distutils.core",
    "email.mime.text",
    "email.nothing",
    "encodings.idna",
    "imp",
    "json",
    "os.path",
    "posix",
    "spwd",
    "sqlite3",
    "sys",
    "telnetlib",
    "tomllib",
    "xml.etree.ElementTree",
    "xml.etree.cElementTree",
    "yaml",
    "zlib",
    "zoneinfo",
];

const PERL: [&str; 12] = [
    "CGI",
    "DBI",
    "Data::Dumper",
    "Encode",
    "File::Spec",
    "JSON",
    "JSON::PP",
    "List::Util",
    "No::Such",
    "POSIX",
    "Socket",
    "threads",
];

/// Returns the ids of what is missing in a root.
fn missing(root: &Path) -> BTreeSet<String> {
    let (tree, view) = (tree_of(root), DirView(root.to_owned()));
    let problems = imports::problems(&tree, &view).unwrap();
    problems
        .into_iter()
        .map(|problem| problem.id.to_string())
        .collect()
}

fn script(root: &Path, name: &str, text: &str) {
    let at = root.join("opt").join(name);
    fs::write(&at, text).unwrap();
    fs::set_permissions(&at, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_plain_debian_lacks_no_module() {
    let Some(root) = debian("a_plain_debian_lacks_no_module") else {
        return;
    };
    assert_eq!(missing(root), BTreeSet::new());
}

#[test]
fn a_program_lacks_the_modules_that_its_interpreter_does_not_find() {
    let Some(debian) =
        OwnDebian::new("a_program_lacks_the_modules_that_its_interpreter_does_not_find")
    else {
        return;
    };
    let root = debian.root();
    let mut scripts = Vec::new();
    for module in PYTHON {
        let name = format!("python-{module}");
        script(
            &root,
            &name,
            &format!("#!/usr/bin/python3\nimport {module}\n"),
        );
        scripts.push(name);
    }
    for module in PERL {
        let name = format!("perl-{}", module.replace("::", "-"));
        script(
            &root,
            &name,
            &format!("#!/usr/bin/env perl\nuse {module};\n"),
        );
        scripts.push(name);
    }
    let compare = || {
        let found = missing(&root);
        let mut failed = 0;
        for name in &scripts {
            let path = format!("/opt/{name}");
            let output = run(&root, &path, &[]);
            let told = found
                .iter()
                .any(|id| id.starts_with(&format!("import:{path}:")));
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(told, !output.status.success(), "{path}: {said}");
            failed += usize::from(told);
        }
        (failed, found)
    };
    let (failed, _) = compare();
    assert!((10..25).contains(&failed), "{failed}");
    // What a layer may take away below others.
    let python = fs::read_dir(root.join("usr/lib"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.join("tomllib").exists())
        .unwrap();
    fs::remove_dir_all(python.join("tomllib")).unwrap();
    fs::remove_dir_all(python.join("zoneinfo")).unwrap();
    for entry in fs::read_dir(python.join("lib-dynload")).unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().contains("_ssl.") {
            fs::remove_file(path).unwrap();
        }
    }
    let library = root.join("usr/share/perl");
    for entry in fs::read_dir(library).unwrap() {
        let _ = fs::remove_file(entry.unwrap().path().join("JSON/PP.pm"));
    }
    let (now, found) = compare();
    assert_eq!(now, failed + 4, "{found:?}");
}

/// Prints what is found in the root that `LAYERSET_TEST_ROOT` names, this machine's own else, and how long it took.
#[test]
#[ignore = "it prints a report, and depends on the machine"]
fn report_the_imports_of_a_root() {
    let root = std::env::var_os("LAYERSET_TEST_ROOT").map_or("/".into(), PathBuf::from);
    let (tree, view) = (tree_of(&root), DirView(root));
    let start = Instant::now();
    let problems = imports::problems(&tree, &view).unwrap();
    eprintln!("{} entries, {:?}", tree.len(), start.elapsed());
    for problem in &problems {
        eprintln!("{}: {}", problem.id, problem.reason);
    }
}
