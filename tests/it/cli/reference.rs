//! Manual pages, schemas, and what `make install` puts where.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use super::fixture::empty;
use crate::support::skip;

/// Returns the names of files below a directory, relative to it.
fn names(dir: &Path) -> BTreeSet<String> {
    fn walk(top: &Path, dir: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => walk(top, &path, found),
                false => {
                    found.insert(path.strip_prefix(top).unwrap().display().to_string());
                }
            }
        }
    }
    let mut found = BTreeSet::new();
    walk(dir, dir, &mut found);
    found
}

#[test]
fn every_command_and_every_file_has_a_manual_page() {
    let at = empty();
    let ran = at.session.run("man share/man").expect(0);
    insta::assert_snapshot!(ran.transcript(), @r"
    $ layerset man share/man
    ! manual pages are in share/man
    [status 0]
    ");
    let dir = at.dir.path().join("share/man");
    let names = names(&dir);
    let help = at.session.run("-h").expect(0).stdout;
    let commands = help.split("\nCommands:\n").nth(1).unwrap();
    let commands = commands.split("\n\n").next().unwrap().lines();
    let commands: Vec<&str> = commands
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(commands.len() > 25, "{commands:?}");
    for command in commands.iter().filter(|command| **command != "help") {
        let page = format!("man1/layerset-{command}.1");
        assert!(names.contains(&page), "there is no {page}");
    }
    for page in [
        "man1/layerset.1",
        "man1/layerset-export-disk.1",
        "man1/layerset-trust-init.1",
        "man5/layerset-layer.toml.5",
        "man5/layerset-recipe.toml.5",
        "man5/layerset-trust.toml.5",
        "man7/layerset.7",
        "man7/layerset-environment.7",
    ] {
        assert!(names.contains(page), "there is no {page}");
    }
}

#[test]
fn no_page_of_the_manual_gives_a_warning() {
    if Command::new("mandoc").arg("-h").output().is_err() {
        return skip("no_page_of_the_manual_gives_a_warning", "needs mandoc");
    }
    let at = empty();
    at.session.run("man man").expect(0);
    let dir = at.dir.path().join("man");
    let mut lint = Command::new("mandoc");
    lint.args(["-T", "lint", "-W", "warning"]);
    lint.args(names(&dir).iter().map(|name| dir.join(name)));
    let output = lint.output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn a_schema_is_json_that_describes_every_key() {
    let at = empty();
    for (file, key) in [
        ("layer", "bootstrap"),
        ("recipe", "disk"),
        ("trust", "remote"),
        ("agent", "window"),
    ] {
        let schema = at.session.run(&format!("schema {file}")).expect(0).json();
        assert_eq!(
            schema["$schema"],
            "https://json-schema.org/draft/2020-12/schema"
        );
        assert!(
            schema["properties"][key]["description"].is_string(),
            "{schema}"
        );
    }
    at.session.run("schema lock").expect(2);
}

#[test]
fn what_is_installed_is_taken_away_again_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    // A copy of what `make` reads, for the program that these tests have is not the one of a release.
    for name in ["Makefile", "units", "doc"] {
        let copied = Command::new("cp")
            .arg("-r")
            .arg(top.join(name))
            .arg(dir.path())
            .status();
        assert!(copied.unwrap().success());
    }
    std::fs::create_dir_all(dir.path().join("target/release")).unwrap();
    let program = dir.path().join("target/release/layerset");
    crate::support::copy_program(Path::new(env!("CARGO_BIN_EXE_layerset")), &program);
    let root = dir.path().join("root");
    let make = |goal: &str| {
        let output = Command::new("make")
            .args(["-s", goal, "PREFIX=/opt/it"])
            .arg(format!("DESTDIR={}", root.display()))
            .current_dir(dir.path())
            .env_remove("MAKEFLAGS")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    std::fs::create_dir_all(root.join("opt/it/share/man/man1")).unwrap();
    std::fs::write(root.join("opt/it/share/man/man1/other.1"), "").unwrap();
    make("install");
    let installed = names(&root.join("opt/it"));
    for name in [
        "bin/layerset",
        "share/man/man5/layerset-layer.toml.5",
        "share/bash-completion/completions/layerset",
        "share/zsh/vendor-completions/_layerset",
        "share/fish/vendor_completions.d/layerset.fish",
        "share/layerset/recipe.schema.json",
        "lib/systemd/system/layerset-activate@.service",
    ] {
        assert!(installed.contains(name), "{name} is not installed");
    }
    let unit = root.join("opt/it/lib/systemd/system/layerset-update@.service");
    let unit = std::fs::read_to_string(unit).unwrap();
    assert!(unit.contains("ExecStart=/opt/it/bin/layerset "), "{unit}");
    let sizes =
        [&program, &root.join("opt/it/bin/layerset")].map(|path| path.metadata().unwrap().len());
    assert!(
        sizes[1] < sizes[0],
        "{sizes:?}: the program has its symbols"
    );
    make("uninstall");
    let left = names(&root);
    assert_eq!(
        left,
        BTreeSet::from(["opt/it/share/man/man1/other.1".to_owned()])
    );
}
