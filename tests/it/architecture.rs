//! The module map of ARCHITECTURE.md, held against the `use` lines: a module uses only modules of a lower level.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Level by top-level module.
const LEVELS: [(&str, &[&str]); 9] = [
    ("8", &["cli"]),
    ("7", &["agent", "serve"]),
    ("6", &["build", "deploy", "transfer"]),
    ("5", &["compose", "recipe", "sandbox", "trust"]),
    ("4", &["materialise", "remote", "store"]),
    ("3", &["delta", "durable"]),
    ("2", &["check", "format", "merge"]),
    ("1", &["codec", "deb822", "glob", "tree"]),
    (
        "0",
        &["causes", "elf", "id", "path", "sha256", "time", "version"],
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

/// Returns the top-level modules that a source names by `crate::`, with line numbers.
fn uses(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or("");
        for part in code.split("crate::").skip(1) {
            let name: String = part
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            found.push((number + 1, name));
        }
    }
    found
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
