//! The module map of ARCHITECTURE.md, held against the `use` lines: a module uses only
//! modules of a lower level, whether it names them one by one or in braces.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Level by top-level module.
const LEVELS: [(&str, &[&str]); 9] = [
    ("8", &["cli"]),
    ("7", &["agent", "export", "serve"]),
    ("6", &["builder", "deploy", "transfer"]),
    ("5", &["apt", "compose", "sandbox", "trust"]),
    ("4", &["materialise", "recipe", "remote", "store"]),
    ("3", &["boot", "check", "delta", "disk", "durable", "merge"]),
    ("2", &["format", "packages", "secrets"]),
    ("1", &["codec", "deb822", "glob", "shape", "tree"]),
    (
        "0",
        &[
            "causes", "elf", "id", "layout", "path", "sha256", "time", "version",
        ],
    ),
];

fn levels() -> BTreeMap<&'static str, u32> {
    let pairs = LEVELS
        .iter()
        .flat_map(|(level, modules)| modules.iter().map(|m| (*m, level.parse().unwrap())));
    pairs.collect()
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !is_test(&path) {
            found.push(path);
        }
    }
}

/// Says whether a file holds tests only: they may look at anything.
fn is_test(path: &Path) -> bool {
    let stem = path.file_stem().unwrap().to_str().unwrap();
    let in_tests = path.components().any(|part| part.as_os_str() == "tests");
    in_tests || stem == "tests" || stem == "testing" || stem == "laws" || stem.ends_with("_tests")
}

/// Returns the code of a file without its tests, which stand at its end.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.split("#[cfg(test)]\n#[allow(clippy::unwrap_used)]\nmod tests {")
        .next()
        .unwrap()
        .to_owned()
}

/// Returns the top-level modules that a source names by `crate::`, with line numbers: one by one,
/// or in braces, which may go on over several lines and hold braces of their own.
fn uses(text: &str) -> Vec<(usize, String)> {
    let uncommented = |line: &str| line.split("//").next().unwrap_or("").to_owned();
    let code: Vec<String> = text.lines().map(uncommented).collect();
    let code = code.join("\n");
    let mut found = Vec::new();
    for (at, word) in code.match_indices("crate::") {
        if code[..at].ends_with(is_of_name) {
            continue;
        }
        let from = at + word.len();
        let rest = code[from..].trim_start();
        let start = code.len() - rest.len();
        match rest.strip_prefix('{') {
            None => found.extend(name_at(&code, start)),
            Some(_) => found.extend(members(&code, start + 1)),
        }
    }
    found
}

fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Returns the name that starts at `at`, with its line.
fn name_at(code: &str, at: usize) -> Option<(usize, String)> {
    let name: String = code[at..].chars().take_while(|c| is_of_name(*c)).collect();
    let line = code[..at].matches('\n').count() + 1;
    (!name.is_empty()).then_some((line, name))
}

/// Returns the first name of each member of the group whose brace has been opened before `start`.
fn members(code: &str, start: usize) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut depth = 1;
    let mut is_first = true;
    for (offset, c) in code[start..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' => is_first |= depth == 1,
            c if c.is_whitespace() => {}
            _ if is_first && depth == 1 => {
                found.extend(name_at(code, start + offset));
                is_first = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    found
}

#[test]
fn imports_are_seen_one_by_one_and_in_groups() {
    let check = |text: &str, expect: &[(usize, &str)]| {
        let found = uses(text);
        let found: Vec<_> = found.iter().map(|(line, name)| (*line, &**name)).collect();
        assert_eq!(found, expect, "{text}");
    };
    check("use crate::tree::Tree;", &[(1, "tree")]);
    check(
        "\nlet x = crate::id::f(crate::path::g());",
        &[(2, "id"), (2, "path")],
    );
    check("use crate::{id, path::RelPath};", &[(1, "id"), (1, "path")]);
    check(
        "use crate::{\n    // why\n    id::{self, ObjectId, x::{y, z}},\n    tree::{Inode, Node},\n\n    store,\n};\nuse std::fs;",
        &[(3, "id"), (4, "tree"), (6, "store")],
    );
    check("// crate::cli\nuse mycrate::x;\npub(crate) fn f() {}", &[]);
    check("use crate::\n    deploy::x;", &[(2, "deploy")]);
}

#[test]
fn a_module_uses_only_modules_of_a_lower_level() {
    let levels = levels();
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let mut wrong = Vec::new();
    for file in &files {
        let relative = file.strip_prefix(&src).unwrap();
        let top = relative
            .components()
            .next()
            .unwrap()
            .as_os_str()
            .to_str()
            .unwrap()
            .trim_end_matches(".rs")
            .to_owned();
        if ["lib", "main"].contains(&top.as_str()) {
            continue;
        }
        let Some(own) = levels.get(top.as_str()) else {
            wrong.push(format!(
                "{}: module '{top}' has no level",
                relative.display()
            ));
            continue;
        };
        for (line, name) in uses(&code(file)) {
            match levels.get(name.as_str()) {
                Some(used) if name != top && used >= own => {
                    wrong.push(format!(
                        "{}:{line}: '{top}' (level {own}) uses '{name}' (level {used})",
                        relative.display()
                    ));
                }
                _ => {}
            }
        }
    }
    assert!(files.len() > 50, "the sources were not found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_the_ui_prints() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let printing = ["println!", "print!(", "eprintln!", "eprint!("];
    let prints = |file: &PathBuf| {
        let text = code(file);
        printing.iter().any(|word| text.contains(word)) && !file.ends_with("cli/ui.rs")
    };
    let wrong: Vec<_> = files.iter().filter(|file| prints(file)).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}
