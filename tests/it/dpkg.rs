//! Compares versions and verdicts on package databases with those of the real dpkg and apt.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::path::Path;

use layerset::check::dpkg::problems;
use layerset::version::Version;

use crate::debian::{OwnDebian, architecture, run};
use crate::support::skip;

const STATUS: &str = "var/lib/dpkg/status";

/// Numbers that look random and are the same each time (Knuth's MMIX generator).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % below
    }
}

fn field<'a>(stanza: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = stanza.lines();
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// What dpkg says of each line of a version, an operator and a version.
fn dpkg_says(root: &Path, lines: &[String]) -> Vec<bool> {
    let script = r#"while read -r a operator b; do
        dpkg --compare-versions "$a" "$operator" "$b" 2>&1 >/dev/null && echo yes || echo no
    done </tmp/lines"#;
    std::fs::write(root.join("tmp/lines"), lines.join("\n") + "\n").unwrap();
    let output = run(root, "sh", &["-c", script]);
    let text = String::from_utf8(output.stdout).unwrap();
    let said: Vec<bool> = text.lines().map(|line| line == "yes").collect();
    assert_eq!(said.len(), lines.len(), "{text}");
    said
}

#[test]
fn versions_have_the_order_that_dpkg_gives_them() {
    let test = "versions_have_the_order_that_dpkg_gives_them";
    let Some(debian) = OwnDebian::new(test) else {
        return;
    };
    let root = debian.root();
    let status = std::fs::read_to_string(root.join(STATUS)).unwrap();
    let mut dice = Dice(1);
    let mut pairs: Vec<(String, String)> = Vec::new();
    // Versions of packages against those that its relations name: close ones, of the same packages.
    for bound in status.split('(').skip(1) {
        let bound = bound.split(')').next().unwrap_or_default();
        if let Some((_, bound)) = bound.split_once("= ") {
            let at = status.find(bound).unwrap_or_default();
            let near = status[at..]
                .lines()
                .find_map(|line| line.strip_prefix("Version: "));
            pairs.extend(near.map(|near| (bound.to_owned(), near.to_owned())));
        }
    }
    let real: Vec<_> = (0..150)
        .map(|_| pairs[dice.roll(pairs.len())].clone())
        .collect();
    let made = |dice: &mut Dice| {
        let letters = [
            "0", "00", "1", "9", "10", "a", "Z", "~", "~~", "+", ".", "-", "b",
        ];
        let mut text = ["", "0:", "1:"][dice.roll(3)].to_owned();
        text.push_str(["0", "1", "2"][dice.roll(3)]);
        for _ in 0..dice.roll(5) {
            text.push_str(letters[dice.roll(letters.len())]);
        }
        text
    };
    let made: Vec<_> = (0..350)
        .map(|_| (made(&mut dice), made(&mut dice)))
        .collect();
    let mut lines = Vec::new();
    for (a, b) in real.iter().chain(&made) {
        let [Ok(x), Ok(y)] = [a, b].map(|text| Version::parse(text.as_bytes())) else {
            assert!(a.ends_with('-') || b.ends_with('-'), "'{a}' and '{b}'");
            continue;
        };
        let expect = match x.cmp(&y) {
            Ordering::Less => "lt",
            Ordering::Equal => "eq",
            Ordering::Greater => "gt",
        };
        lines.push(format!("{a} {expect} {b}"));
    }
    assert!(lines.len() > 350, "{}", lines.len());
    for (line, is_so) in lines.iter().zip(dpkg_says(&root, &lines)) {
        assert!(is_so, "not '{line}'");
    }
}

/// apt shows architectures that a relation leaves out.
fn bare(name: &str) -> &str {
    name.split(':').next().unwrap_or_default()
}

/// What is wrong by the root's own apt: the package, the kind of relation, and for dependencies the first alternative.
fn apt_says(root: &Path, status: &str) -> BTreeSet<[String; 3]> {
    std::fs::create_dir_all(root.join("tmp/apt/lists/partial")).unwrap();
    std::fs::write(root.join("tmp/apt/status"), status).unwrap();
    let arguments = [
        "check",
        "-q",
        "-oDebug::NoLocking=1",
        "-oAPT::Install-Recommends=0",
        "-oDir::Cache::pkgcache=",
        "-oDir::Cache::srcpkgcache=",
        "-oAPT::Architectures::=i386",
        "-oAPT::Architectures::=amd64",
        "-oDir::Etc=/nonexistent",
        "-oDir::State=/tmp/apt",
        "-oDir::Cache=/tmp/apt",
        "-oDir::State::status=/tmp/apt/status",
    ];
    let output = run(root, "apt-get", &arguments);
    let text = String::from_utf8(output.stdout).unwrap();
    let mut said = BTreeSet::new();
    let mut package = String::new();
    let mut is_alternative = false;
    for line in text
        .lines()
        .skip_while(|line| !line.ends_with("unmet dependencies:"))
        .skip(1)
    {
        let rest = match line.split_once(" : ") {
            Some((name, rest)) => {
                name.trim().clone_into(&mut package);
                rest
            }
            None => line.trim(),
        };
        let wanted = rest.split_once(": ").filter(|_| !is_alternative);
        is_alternative = line.ends_with(" or");
        let Some((kind, wanted)) = wanted else {
            continue;
        };
        let first = wanted.split(' ').next().unwrap_or_default();
        let (kind, first) = match kind {
            "Depends" | "PreDepends" => ("depends", bare(first)),
            "Breaks" => ("breaks", ""),
            "Conflicts" => ("conflicts", ""),
            _ => continue,
        };
        said.insert([package.as_str(), kind, first].map(str::to_owned));
    }
    assert_eq!(output.status.success(), said.is_empty(), "{text}");
    said
}

/// What is wrong by our own check, in the same form.
fn we_say(status: &str, native: &str) -> BTreeSet<[String; 3]> {
    let found = problems(status.as_bytes(), native);
    let found = found.iter().map(|problem| {
        let mut words = problem.reason.split(' ');
        // Names of a foreign architecture hold a colon, so that the id cannot be cut at colons.
        let kind = problem.id.split(':').nth(1).unwrap();
        let first = match kind {
            "depends" => bare(words.nth(3).unwrap().trim_end_matches(',')),
            "breaks" | "conflicts" => "",
            _ => panic!("{problem:?}"),
        };
        let Some(name) = &problem.package else {
            panic!("{problem:?}");
        };
        let foreign = format!(":{name}:i386:");
        let name = if problem.id.contains(&foreign) {
            format!("{name}:i386")
        } else {
            name.clone()
        };
        [name.as_str(), kind, first].map(str::to_owned)
    });
    found.collect()
}

#[test]
fn verdicts_on_a_damaged_database_are_those_of_apt() {
    let test = "verdicts_on_a_damaged_database_are_those_of_apt";
    let Some(debian) = OwnDebian::new(test) else {
        return;
    };
    let root = debian.root();
    let native = architecture(&root);
    if native != "amd64" {
        return skip(test, "needs an amd64 machine");
    }
    let status = std::fs::read_to_string(root.join(STATUS)).unwrap();
    assert_eq!(problems(status.as_bytes(), &native), []);
    assert_eq!(apt_says(&root, &status), BTreeSet::new());
    let stanzas: Vec<&str> = status
        .split("\n\n")
        .filter(|one| !one.trim().is_empty())
        .collect();
    let bounds: Vec<&str> = status
        .split('(')
        .skip(1)
        .filter_map(|bound| {
            bound
                .split(')')
                .next()?
                .split_once("= ")
                .map(|(_, version)| version)
        })
        .filter(|bound| !bound.contains(char::is_whitespace))
        .collect();
    let mut dice = Dice(7);
    let (mut with_problems, mut with_breaks) = (0, 0);
    for round in 0..120 {
        let mut changed: Vec<String> = stanzas.iter().map(|one| (*one).to_owned()).collect();
        for _ in 0..=dice.roll(3) {
            let at = dice.roll(changed.len());
            let stanza = changed[at].clone();
            let replace = |name: &str, value: &str| {
                let old = field(&stanza, name).map(|old| format!("\n{name}: {old}\n"));
                old.map(|old| stanza.replacen(&old, &format!("\n{name}: {value}\n"), 1))
            };
            let new = match round % 4 {
                0 => None,
                1 => replace("Status", "deinstall ok config-files"),
                2 => {
                    // A bound of the package itself where it can be had: just met or just missed.
                    let name = field(&stanza, "Package").unwrap();
                    let relation = format!(" {name} (");
                    let own = status.split(&relation).skip(1);
                    let own: Vec<&str> = own
                        .filter_map(|rest| rest.split(')').next()?.split_once(' ').map(|(_, v)| v))
                        .collect();
                    let bound = match own.len() {
                        0 => bounds[dice.roll(bounds.len())],
                        some => own[dice.roll(some)],
                    };
                    let tail = ["", "~", "+1"][dice.roll(3)];
                    replace("Version", &format!("{bound}{tail}"))
                }
                _ if stanza.contains("\nArchitecture: amd64\n") => replace("Architecture", "i386"),
                _ => replace("Multi-Arch", ["no", "foreign", "allowed"][dice.roll(3)]),
            };
            match new {
                Some(new) => changed[at] = new,
                None if round % 4 == 0 => drop(changed.remove(at)),
                None => {}
            }
        }
        let text = changed.join("\n\n") + "\n\n";
        let (ours, theirs) = (we_say(&text, &native), apt_says(&root, &text));
        assert_eq!(ours, theirs, "round {round}");
        with_problems += usize::from(!ours.is_empty());
        with_breaks += usize::from(ours.iter().any(|[_, kind, _]| kind != "depends"));
    }
    assert!(
        with_problems > 20,
        "{with_problems} with problems, {with_breaks} of them breaks"
    );
}
