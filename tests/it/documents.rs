//! The documents, held against the code: tests, files and modules that they name are there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns all files below `dir` with this extension.
fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|known| known == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Returns the documents by their path below the top.
fn documents() -> BTreeMap<String, String> {
    let named = ["ARCHITECTURE.md", "README.md"].map(|name| top().join(name));
    let documents = named.into_iter().chain(files(&top().join("doc"), "md"));
    let name = |path: &Path| path.strip_prefix(top()).unwrap().display().to_string();
    documents.map(|path| (name(&path), read(&path))).collect()
}

/// Returns the names of the test functions of a source: those with `#[test]` among their attributes.
fn tests_of(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut is_test = false;
    for line in source.lines().map(str::trim_start) {
        let name = line
            .trim_start_matches("async ")
            .strip_prefix("fn ")
            .and_then(|rest| rest.split(['(', '<']).next());
        match name {
            Some(name) if is_test => found.push(name.to_owned()),
            _ => {}
        }
        is_test =
            line == "#[test]" || (is_test && (line.starts_with("#[") || line.starts_with("//")));
    }
    found
}

fn all_tests() -> BTreeSet<String> {
    let sources = ["src", "tests"].map(|dir| files(&top().join(dir), "rs"));
    sources
        .iter()
        .flatten()
        .flat_map(|path| tests_of(&read(path)))
        .collect()
}

/// Returns the text with its fenced blocks blanked: an arrow in there is part of a picture.
fn without_blocks(text: &str) -> String {
    let mut in_block = false;
    let mut out = String::new();
    for line in text.split_inclusive('\n') {
        let is_fence = line.trim_start().starts_with("```");
        match in_block || is_fence {
            true => out.extend(line.chars().filter(|c| *c == '\n')),
            false => out.push_str(line),
        }
        in_block ^= is_fence;
    }
    out
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// Returns where the code spans stand that follow an arrow: `→ a, b and c`, over line breaks, each in backticks. An
/// arrow that itself stands in backticks is spoken about.
fn after_arrows(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let arrows = text.match_indices('→');
    for (arrow, mark) in arrows.filter(|(at, _)| !text[..*at].ends_with('`')) {
        let mut at = arrow + mark.len();
        loop {
            let rest = &text[at..];
            let skipped = rest.len() - rest.trim_start().len();
            let Some(span) = rest[skipped..].strip_prefix('`') else {
                break;
            };
            let Some(size) = span.find('`') else { break };
            let start = at + skipped + 1;
            found.push(start..start + size);
            at = start + size + 1;
            let joints = [", and ", ",", " and "];
            let Some(joint) = joints.iter().find(|joint| text[at..].starts_with(**joint)) else {
                break;
            };
            at += joint.len();
        }
    }
    found
}

/// Returns where the targets of links stand: `[words](target)`.
fn links(text: &str) -> Vec<Range<usize>> {
    let starts = text.match_indices("](").map(|(at, mark)| at + mark.len());
    starts
        .filter_map(|start| Some(start..start + text[start..].find(')')?))
        .collect()
}

/// Returns the anchors that a document has for its headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let words = line.trim_start_matches('#').trim().to_lowercase();
            let kept = words
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

/// Says of a name after an arrow what is wrong with it.
fn fault_of_evidence(name: &str, tests: &BTreeSet<String>) -> Option<String> {
    if let Some(goal) = name.strip_prefix("make ") {
        let is_goal = |line: &str| line.split(':').next() == Some(goal);
        let is_there = read(&top().join("Makefile")).lines().any(is_goal);
        return (!is_there).then(|| format!("the Makefile has no '{goal}'"));
    }
    if name.contains('/') {
        return (!top().join(name).exists()).then(|| format!("there is no file '{name}'"));
    }
    (!tests.contains(name)).then(|| format!("there is no test '{name}'"))
}

/// Says of the target of a link in `document` what is wrong with it.
fn fault_of_link(document: &str, target: &str) -> Option<String> {
    if target.contains("://") {
        return None;
    }
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let from = top().join(document);
    let to = match path {
        "" => from,
        path => from.with_file_name("").join(path),
    };
    if !to.exists() {
        return Some(format!("the link leads to '{path}', which is not there"));
    }
    let is_there = anchor.is_empty() || anchors(&without_blocks(&read(&to))).contains(anchor);
    (!is_there).then(|| format!("the link leads to '#{anchor}', which is no heading"))
}

/// Returns what is wrong with the names in a document, with file and line.
fn faults(document: &str, text: &str, tests: &BTreeSet<String>) -> Vec<String> {
    let text = without_blocks(text);
    let evidence = after_arrows(&text)
        .into_iter()
        .map(|range| (range.start, fault_of_evidence(&text[range], tests)));
    let links = links(&text)
        .into_iter()
        .map(|range| (range.start, fault_of_link(document, &text[range])));
    evidence
        .chain(links)
        .filter_map(|(at, fault)| Some(format!("{document}:{}: {}", line_of(&text, at), fault?)))
        .collect()
}

#[test]
fn every_test_and_every_file_that_the_documents_name_is_there() {
    let tests = all_tests();
    let documents = documents();
    let named = |text: &String| after_arrows(&without_blocks(text)).len();
    let count: usize = documents.values().map(named).sum();
    assert!(count > 100, "only {count} names were found after arrows");
    let faults: Vec<String> = documents
        .iter()
        .flat_map(|(name, text)| faults(name, text, &tests))
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_wrong_name_and_a_dead_link_are_told_with_file_and_line() {
    let tests = BTreeSet::from(["it_holds".to_owned()]);
    let text = "\
# A map
It holds. → `it_holds`, `it_holds_not`
```
a → `picture`
```
| a | → `it_hold` |
It holds. → `it_holds`,
  `src/nowhere.rs`, and `make fuzz`; `no_name_after_an_arrow`. → `make nothing`
[one](doc), [two](nowhere.md), [three](#a-map),
[four](#nothing), [five](https://example.org/nowhere)
";
    assert_eq!(
        faults("README.md", text, &tests),
        [
            "README.md:2: there is no test 'it_holds_not'",
            "README.md:6: there is no test 'it_hold'",
            "README.md:8: there is no file 'src/nowhere.rs'",
            "README.md:8: the Makefile has no 'nothing'",
            "README.md:9: the link leads to 'nowhere.md', which is not there",
            // README.md has no such headings: it is the file that counts, not the text that was given.
            "README.md:9: the link leads to '#a-map', which is no heading",
            "README.md:10: the link leads to '#nothing', which is no heading",
        ]
    );
}

#[test]
fn the_levels_of_the_map_name_every_module_and_no_other() {
    let text = read(&top().join("ARCHITECTURE.md"));
    let rows = text.lines().filter(|line| {
        let level = line
            .strip_prefix("| ")
            .and_then(|rest| rest.split(' ').next());
        level.is_some_and(|level| level.parse::<u32>().is_ok())
    });
    let mut named = Vec::new();
    for row in rows {
        let modules = row.split('|').nth(2).unwrap();
        named.extend(modules.split('`').skip(1).step_by(2).map(str::to_owned));
    }
    named.sort();
    let entries = fs::read_dir(top().join("src")).unwrap();
    let modules = entries.map(|entry| {
        let path = entry.unwrap().path();
        path.file_stem().unwrap().to_str().unwrap().to_owned()
    });
    let mut modules: BTreeSet<String> = modules.collect();
    modules.remove("lib");
    modules.remove("main");
    assert_eq!(named, modules.into_iter().collect::<Vec<_>>());
}
