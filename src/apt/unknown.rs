//! Names of suites and components that no archive has.

use super::command::ToolOutput;
use super::error::AptError;
use super::package::Bootstrap;
use super::refusal::about;
use super::root::AptRoot;
use super::suggest::closest;
use std::collections::BTreeSet;
use std::path::Path;

/// The suites that people write, for suggestions only: archives may have any others.
const SUITES: [&str; 13] = [
    "bookworm",
    "bullseye",
    "buster",
    "duke",
    "experimental",
    "forky",
    "oldoldstable",
    "oldstable",
    "sid",
    "stable",
    "testing",
    "trixie",
    "unstable",
];

/// Makes the error for a suite, plain or with its pocket, for which the sources have nothing.
pub(super) fn no_source(spec: &Bootstrap, wanted: &str) -> AptError {
    match SUITES.contains(&spec.suite.as_str()) {
        true => AptError::NoSource {
            wanted: wanted.to_owned(),
        },
        false => unknown_suite(&spec.suite),
    }
}

/// Makes the error for a component that no source of the base's suites has; none where there are no
/// such sources at all, which is said of the suite.
pub(super) fn component(spec: &Bootstrap, offered: &BTreeSet<String>) -> Option<AptError> {
    if offered.is_empty() {
        return None;
    }
    let unknown = spec
        .components
        .iter()
        .find(|name| !offered.contains(*name))?;
    Some(unknown_component(unknown, offered))
}

fn unknown_component(component: &str, known: &BTreeSet<String>) -> AptError {
    AptError::UnknownComponent {
        component: component.to_owned(),
        suggestion: closest(component, known.iter().map(String::as_str)).map(str::to_owned),
        known: known.iter().cloned().collect(),
    }
}

fn unknown_suite(suite: &str) -> AptError {
    AptError::UnknownSuite {
        suite: suite.to_owned(),
        suggestion: closest(suite, SUITES).map(str::to_owned),
    }
}

/// Refuses a suite or a component that the archives turned out not to have.
pub(super) fn refuse(root: &AptRoot, updated: &ToolOutput) -> Result<(), AptError> {
    // Archives that a definition names are told where it names them.
    if root.has_own_archives() {
        return Ok(());
    }
    let spec = root.spec();
    let is_of_base = |line: &&str| {
        let source = about(line, root.sources());
        source.is_none_or(|source| root.base_sources().contains(source))
    };
    let lines = updated.stdout.lines().chain(updated.stderr.lines());
    let lines: Vec<&str> = lines.filter(is_of_base).collect();
    let said = lines.join("\n");
    let no_release = format!(" {} Release' does not have a Release file", spec.suite);
    if said.contains(&no_release) {
        return Err(unknown_suite(&spec.suite));
    }
    let lacking =
        |component: &&String| said.contains(&format!("doesn't have the component '{component}'"));
    let Some(component) = spec.components.iter().find(lacking) else {
        return Ok(());
    };
    // Not every archive of a base has every component: that of security updates may lack one.
    let targets = root.apt("apt-get", &["indextargets", "--format=$(COMPONENT)"])?;
    if targets.stdout.lines().any(|line| line == component) {
        return Ok(());
    }
    let known = components(&root.dir().join("lists"));
    Err(unknown_component(component, &known))
}

/// Returns the components that the fetched `Release` files name. They are for hints only.
fn components(lists: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(lists).into_iter().flatten().flatten();
    let releases = entries.filter(|entry| entry.file_name().to_string_lossy().ends_with("Release"));
    let mut found = BTreeSet::new();
    for release in releases {
        let text = std::fs::read_to_string(release.path()).unwrap_or_default();
        let lines = text
            .lines()
            .filter_map(|line| line.strip_prefix("Components:"));
        // The archive of security updates writes `updates/main`.
        let words = lines.flat_map(str::split_whitespace);
        found.extend(
            words
                .filter_map(|word| word.rsplit('/').next())
                .map(str::to_owned),
        );
    }
    found
}
