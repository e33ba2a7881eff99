//! `layerset-environment(7)`: the variables that layerset reads.

use clap::Arg;

use super::commands::variable;
use super::page::Page;

/// A variable, and what it says.
type Variable = (&'static str, &'static str);

const OWN: [Variable; 11] = [
    ("LAYERSET_REPO", "The repository, as `--repo`."),
    ("LAYERSET_TARGET", "The target, as `--target`."),
    (
        "LAYERSET_TRUST",
        "The trust policy, as `--trust`. `lock` and `build` ask its remotes for packages that no archive has.",
    ),
    (
        "LAYERSET_AGENT_CONFIG",
        "What the agent does, as `--config`.",
    ),
    (
        "LAYERSET_KEYS",
        "The directory of keys that sign, as `--keys`.",
    ),
    (
        "LAYERSET_APT_SOURCES",
        "Where packages come from, as `--apt-sources`.",
    ),
    (
        "LAYERSET_MACHINE_ID",
        "Who this machine is when a release goes to a part of the machines. Without it: /etc/machine-id.",
    ),
    (
        "LAYERSET_TIMEOUT",
        "How many seconds a remote may say nothing, from 1 to 86400.",
    ),
    (
        "LAYERSET_MIN_RATE",
        "The bytes a second below which a transfer is given up and tried again; 0 for no limit.",
    ),
    (
        "LAYERSET_TRIES",
        "How often a request is tried, from 1 to 1000.",
    ),
    ("NO_COLOR", "No colours, if it is set and not empty."),
];

const PLACES: [Variable; 7] = [
    (
        "HOME",
        "Where the files of the user are: the repository, the configuration and credentials of those who are not root.",
    ),
    ("XDG_DATA_HOME", "In place of ~/.local/share."),
    ("XDG_CONFIG_HOME", "In place of ~/.config."),
    (
        "XDG_STATE_HOME",
        "In place of ~/.local/state, where others than root keep what they have seen of remotes.",
    ),
    (
        "SYSTEMD_UNIT_PATH",
        "Where this machine's units are looked for, as systemd has it, when those to restart are named.",
    ),
    (
        "TERM",
        "The terminal that `layerset run` tells its command.",
    ),
    (
        "XDG_RUNTIME_DIR",
        "Where podman keeps credentials: containers/auth.json.",
    ),
];

const REMOTES: [Variable; 10] = [
    (
        "SSL_CERT_FILE",
        "The authorities whom https trusts, in place of the machine's own.",
    ),
    (
        "NETRC",
        "The file of names and passwords for http and https, in place of ~/.netrc.",
    ),
    (
        "REGISTRY_AUTH_FILE",
        "The credentials of registries, in place of those of podman and docker.",
    ),
    (
        "DOCKER_CONFIG",
        "The directory with config.json of docker, in place of ~/.docker.",
    ),
    (
        "AWS_ACCESS_KEY_ID",
        "Who asks an S3 server; with AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION, AWS_ENDPOINT_URL and the like, as the tools of AWS have them.",
    ),
    (
        "AWS_PROFILE",
        "The profile in ~/.aws/credentials and ~/.aws/config. Without it: default.",
    ),
    (
        "AWS_SHARED_CREDENTIALS_FILE",
        "In place of ~/.aws/credentials.",
    ),
    ("AWS_CONFIG_FILE", "In place of ~/.aws/config."),
    (
        "AWS_SKIP_SIGNATURE",
        "Ask without credentials, for buckets that anybody may read.",
    ),
    (
        "AWS_ALLOW_HTTP",
        "Let an S3 server be asked without encryption. One on this machine may be.",
    ),
];

/// Every variable by its group.
const GROUPS: [(&str, &[Variable]); 3] = [
    ("Of layerset", &OWN),
    ("Of the machine", &PLACES),
    ("For remotes", &REMOTES),
];

pub(super) fn page() -> Page {
    let mut page = Page::new(
        "layerset-environment",
        7,
        "the variables that layerset reads",
    );
    page.heading("DESCRIPTION");
    page.paragraph(
        "An option of the command line goes before its variable. An empty variable counts as one that \
         is not set. Credentials come from the places where the tools of each kind keep them, and \
         never from the command line. The commands of a build see none of these variables: `[run]` \
         `env` in layer.toml says what they see.",
    );
    for (heading, variables) in GROUPS {
        page.subheading(heading);
        for (name, words) in variables {
            page.item(name, "", words);
        }
    }
    page.see_also(["layerset(1)", "layerset(7)"].map(str::to_owned));
    page
}

/// Adds the section of a command's page: what can be given in place of its options.
pub(super) fn add<'a>(page: &mut Page, arguments: impl Iterator<Item = &'a Arg>) {
    page.heading("ENVIRONMENT");
    for name in arguments.filter_map(variable) {
        let words = OWN.iter().find(|(known, _)| *known == name);
        page.item(&name, "", words.map_or("", |(_, words)| words));
    }
    page.paragraph("layerset-environment(7) has all variables.");
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// Returns the texts of all sources but those of tests.
    fn sources(dir: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() && name != "tests" {
                sources(&path, found);
            } else if name.ends_with(".rs") && !name.contains("tests") && name != "environment.rs" {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push(text.split("#[cfg(test)]").next().unwrap().to_owned());
            }
        }
    }

    fn is_variable(word: &str) -> bool {
        word.len() > 3 && word.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
    }

    #[test]
    fn every_variable_that_the_program_reads_is_in_the_manual_and_no_other() {
        let mut texts = Vec::new();
        let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        sources(&src, &mut texts);
        let mut read = BTreeSet::new();
        for text in &texts {
            let starts = [
                "var(\"",
                "var_os(\"",
                "env = \"",
                ".get(\"",
                "below(\"",
                "number(\"",
                "set(\"",
                "file(\"",
            ];
            for start in starts {
                for (at, _) in text.match_indices(start) {
                    let word = text[at + start.len()..].split('"').next().unwrap();
                    if is_variable(word) {
                        read.insert(word.to_owned());
                    }
                }
            }
        }
        // Of os-release and tests: no variables.
        for other in ["PRETTY_NAME", "LAYERSET_LAW_CASES", "AWS_ENDPOINT_URL_STS"] {
            read.remove(other);
        }
        let told: BTreeSet<String> = GROUPS
            .iter()
            .flat_map(|(_, all)| all.iter().map(|(name, _)| (*name).to_owned()))
            .collect();
        let untold: Vec<_> = read.difference(&told).collect();
        assert!(untold.is_empty(), "not in the manual: {untold:?}");
        for name in &told {
            let is_there = texts
                .iter()
                .any(|text| text.contains(&format!("\"{name}\"")));
            assert!(is_there || name == "SSL_CERT_FILE", "nothing reads {name}");
        }
    }
}
