//! Table tests of the package check: one line a package, the ids and reasons that come of it.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;

use proptest::prelude::*;

use super::problems;
use crate::check::{Problem, Subject};

/// Writes a database: each line is `name[:architecture] version` and fields, separated by `;`.
fn status(lines: &str) -> String {
    let mut out = String::new();
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut parts = line.split(';').map(str::trim);
        let (name, version) = parts.next().unwrap().split_once(' ').unwrap();
        let (name, architecture) = name.split_once(':').unwrap_or((name, "amd64"));
        let fields: Vec<_> = parts.collect();
        writeln!(out, "Package: {name}").unwrap();
        if !fields.iter().any(|field| field.starts_with("Status:")) {
            out.push_str("Status: install ok installed\n");
        }
        writeln!(out, "Architecture: {architecture}\nVersion: {version}").unwrap();
        for field in fields {
            writeln!(out, "{field}").unwrap();
        }
        out.push('\n');
    }
    out
}

fn ids(found: &[Problem]) -> Vec<&str> {
    found.iter().map(|problem| problem.id.as_str()).collect()
}

fn check(lines: &str, expect: &[&str]) {
    let found = problems(status(lines).as_bytes(), "amd64");
    assert_eq!(ids(&found), expect, "{lines}\n{found:#?}");
}

#[test]
fn a_dependency_holds_by_a_version_an_alternative_or_a_provided_name() {
    let missing = &["dpkg:depends:a:b"];
    check("a 1; Depends: b", missing);
    check("a 1; Pre-Depends: b", missing);
    check("a 1; Depends: b\n b 2", &[]);
    for (relation, holds) in [
        ("<< 2", false),
        ("<= 2", true),
        ("= 2-0", true),
        (">= 1:0", false),
        (">= 2~rc1", true),
        (">> 2", false),
        ("< 2", true),
        ("> 2", true),
    ] {
        let lines = format!("a 1; Depends: b ({relation})\n b 2");
        check(&lines, if holds { &[] } else { missing });
    }
    check("a 1; Depends: x | b (>= 3)\n b 2", &["dpkg:depends:a:x|b"]);
    check("a 1; Depends: x | b (>= 2) | y, b (= 2)\n b 2", &[]);
    check("a 1; Depends: b\n c 1; Provides: x, b", &[]);
    check("a 1; Depends: b (>= 1)\n c 1; Provides: b", missing);
    check("a 1; Depends: b (>= 1)\n c 9; Provides: b (= 0.9)", missing);
    check("a 1; Depends: b (>= 1)\n c 0; Provides: b (= 1)", &[]);
    check("a 1; Depends: b; Provides: b", &[]);
    check(
        "a 1; Depends: b, c, b (>= 2)",
        &["dpkg:depends:a:b", "dpkg:depends:a:c"],
    );
}

#[test]
fn architectures_and_multi_arch_decide_which_package_is_meant() {
    for (relation, other, holds) in [
        ("b", "b:i386 1", false),
        ("b", "b:i386 1; Multi-Arch: foreign", true),
        ("b", "b:i386 1; Multi-Arch: allowed", false),
        ("b", "b:i386 1; Multi-Arch: same", false),
        ("b", "b:all 1", true),
        ("b:any", "b:i386 1; Multi-Arch: allowed", true),
        ("b:any", "b:i386 1; Multi-Arch: foreign", false),
        ("b:any", "b 1", true),
        ("b:native", "b 1", true),
        ("b:native", "b:i386 1", false),
        ("b:amd64", "b 1", true),
        ("b:amd64", "b:all 1", true),
        ("b:i386", "b 1", false),
        ("b:i386", "b:i386 1", true),
        ("b", "c:i386 1; Provides: b", false),
        ("b", "c:i386 1; Provides: b; Multi-Arch: foreign", true),
        ("b", "c:i386 1; Provides: b:amd64", true),
        ("b:i386", "c 1; Provides: b:any", true),
    ] {
        let id = format!("dpkg:depends:a:{relation}");
        let expect: &[&str] = if holds { &[] } else { &[&id] };
        check(&format!("a 1; Depends: {relation}\n{other}"), expect);
    }
    // A package for all architectures is as native as the machine.
    check("a:all 1; Depends: b\n b:i386 1", &["dpkg:depends:a:b"]);
    check("a:i386 1; Depends: b\n b 1", &["dpkg:depends:a:i386:b"]);
    check("a:i386 1; Depends: b\n b:i386 1", &[]);
}

#[test]
fn what_breaks_or_conflicts_is_named_with_both_packages() {
    let breaks = &["dpkg:breaks:a:b"];
    check("a 1; Breaks: b", &[]);
    check("a 1; Breaks: b (<< 2)\n b 1", breaks);
    check("a 1; Breaks: b (<< 2)\n b 2", &[]);
    check("a 1; Conflicts: b\n b 2", &["dpkg:conflicts:a:b"]);
    check("a 1; Breaks: b\n b:i386 2", &["dpkg:breaks:a:b:i386"]);
    check("a 1; Breaks: b:amd64\n b:i386 2", &[]);
    check("a 1; Breaks: x (<< 2)\n b 1; Provides: x", &[]);
    check("a 1; Breaks: x (<< 2)\n b 3; Provides: x (= 1)", breaks);
    check("a 1; Breaks: x (<< 2)\n b 1; Provides: x (= 2)", &[]);
    check(
        "a 1; Conflicts: x\n b 1; Provides: x",
        &["dpkg:conflicts:a:b"],
    );
    let agents = "a 1; Provides: mta; Conflicts: mta; Replaces: mta";
    check(agents, &[]);
    check(
        &format!("{agents}\n b 1; Provides: mta"),
        &["dpkg:conflicts:a:b"],
    );
    let same = "Multi-Arch: same; Breaks: a (<< 2)";
    check(&format!("a 1; {same}\n a:i386 1; {same}"), &[]);
}

#[test]
fn what_is_not_installed_counts_for_nothing() {
    for gone in ["deinstall ok config-files", "purge ok not-installed"] {
        let b = format!("b 1; Status: {gone}; Depends: x; Breaks: a");
        check(&format!("a 1; Breaks: b\n{b}"), &[]);
        check(&format!("a 1; Depends: b\n{b}"), &["dpkg:depends:a:b"]);
    }
    let bare = "Package: b\nStatus: unknown ok not-installed\n\n";
    assert_eq!(problems(bare.as_bytes(), "amd64"), []);
    for held in [
        "hold ok installed",
        "deinstall ok installed",
        "install ok triggers-awaited",
        "install ok triggers-pending",
    ] {
        check(&format!("a 1; Depends: b\n b 1; Status: {held}"), &[]);
        let b = format!("b 1; Status: {held}; Depends: x");
        check(&b, &["dpkg:depends:b:x"]);
    }
}

#[test]
fn an_installation_that_did_not_end_is_a_problem() {
    for state in ["half-installed", "unpacked", "half-configured"] {
        let b = format!("b 1; Status: install ok {state}; Depends: x");
        check(&b, &["dpkg:state:b"]);
        check(
            &format!("a 1; Depends: b\n{b}"),
            &["dpkg:depends:a:b", "dpkg:state:b"],
        );
        check(
            &format!("a 1; Breaks: b\n{b}"),
            &["dpkg:breaks:a:b", "dpkg:state:b"],
        );
    }
    check(
        "b:i386 1; Status: install reinstreq installed",
        &["dpkg:state:b:i386"],
    );
}

#[test]
fn one_package_for_two_architectures_has_one_version() {
    let same = "Multi-Arch: same";
    check(&format!("a 1; {same}\n a:i386 1; {same}"), &[]);
    check(
        &format!("a 1; {same}\n a:i386 2; {same}"),
        &["dpkg:multi-arch:a"],
    );
    check(&format!("a 1; {same}\n a:i386 1"), &["dpkg:multi-arch:a"]);
}

#[test]
fn reasons_name_both_versions() {
    let reason = |lines: &str| problems(status(lines).as_bytes(), "amd64").remove(0).reason;
    for (lines, expect) in [
        (
            "nginx 1.26.3-3; Depends: libpcre2-8-0 (>= 10.32)\n libpcre2-8-0 10.30-1",
            "nginx 1.26.3-3 needs libpcre2-8-0 (>= 10.32), and 10.30-1 is installed",
        ),
        (
            "a 1; Depends: b (>= 2)",
            "a 1 needs b (>= 2), and no such package is installed",
        ),
        (
            "a 1; Depends: b | c:any (= 2)",
            "a 1 needs b | c:any (= 2), and none of these is installed",
        ),
        (
            "a 1; Depends: b (>= 2) | c (>= 2)\n b 1\n d 7; Provides: c (= 1.5)\n e 8; Provides: c",
            "a 1 needs b (>= 2) | c (>= 2), and b 1 is installed, d 7 provides c 1.5, e 8 provides c without a version",
        ),
        (
            "a 1; Depends: b\n b:i386 3",
            "a 1 needs b, and 3 is installed for i386",
        ),
        (
            "a 1; Depends: b\n b 3; Status: install ok unpacked",
            "a 1 needs b, and 3 is unpacked",
        ),
        (
            "a 1; Breaks: x (<< 2)\n b:i386 3; Provides: x (= 1)",
            "a 1 breaks x (<< 2), and b:i386 3 is installed",
        ),
        (
            "a 1; Multi-Arch: same\n a:i386 2; Multi-Arch: same",
            "a must have one version for all architectures, and 1 for amd64 and 2 for i386 are installed",
        ),
    ] {
        assert_eq!(reason(lines), expect);
    }
}

#[test]
fn what_cannot_be_read_is_a_problem_that_names_the_line() {
    let good = "Package: a\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n";
    let check = |text: &str, expect: &[(&str, &str)]| {
        let found = problems(text.as_bytes(), "amd64");
        let found: Vec<_> = found
            .iter()
            .map(|p| (p.id.as_str(), p.reason.as_str()))
            .collect();
        assert_eq!(found.len(), expect.len(), "{text}\n{found:?}");
        for ((id, reason), (want, part)) in found.iter().zip(expect) {
            assert_eq!(id, want);
            assert!(reason.contains(part), "{reason}");
        }
    };
    check("", &[]);
    check(&format!("\n{good}\n"), &[]);
    let with = |from: &str, to: &str| {
        format!(
            "{good}\n{}\n",
            good.replace(": a\n", ": b\n").replace(from, to)
        )
    };
    for (from, to, id, part) in [
        (
            "Package: b\n",
            "",
            "line-6",
            "line 6: a record cannot be read: no Package field",
        ),
        (
            "Package: b\n",
            "Package: ../b\n",
            "line-6",
            "its Package field is not a name",
        ),
        (
            "Status",
            "Stat us",
            "line-7",
            "line 7: a record cannot be read: not a field",
        ),
        ("Status", "\0", "line-7", "a NUL byte"),
        (
            "install ok installed",
            "ok installed",
            "b",
            "the record of 'b' cannot be read: its Status",
        ),
        ("install ok installed", "install ok broken", "b", "a state"),
        ("install ok", "install bad", "b", "an error flag"),
        ("install ok", "maybe ok", "b", "asks for an action"),
        (
            "amd64",
            "amd64 i386",
            "line-6",
            "its Architecture field is not a name",
        ),
        ("Architecture: amd64\n", "", "b", "no Architecture field"),
        (
            "Version: 1\n",
            "Version: 1 2\n",
            "b",
            "'1 2' is not a version",
        ),
        ("Version: 1\n", "", "b", "no Version field"),
        (
            "Version: 1\n",
            "Version: 1\nMulti-Arch: maybe\n",
            "b",
            "Multi-Arch",
        ),
        (
            ": b\n",
            ": a\n",
            "a",
            "line 6: the record of 'a' cannot be read: it is there twice",
        ),
    ] {
        check(&with(from, to), &[(&format!("dpkg:unreadable:{id}"), part)]);
    }
    for (field, value, part) in [
        ("Depends", "a b", "not a package name"),
        ("Depends", "a,, c", "not a package name"),
        ("Depends", "a |", "not a package name"),
        ("Depends", "a (>= 1", "without its ')'"),
        ("Depends", "a (1)", "without an operator"),
        ("Pre-Depends", "a (>= )", "an invalid version"),
        ("Depends", "a:@", "an invalid architecture"),
        ("Depends", "\u{e9}", "not a package name"),
        ("Breaks", "x | y", "alternatives"),
        ("Conflicts", "x [amd64]", "not a package name"),
        ("Provides", "x (>= 1)", "a range"),
    ] {
        let text = with("Version: 1\n", &format!("Version: 1\n{field}: {value}\n"));
        let id = format!("dpkg:unreadable:b:{}", field.to_lowercase());
        check(&text, &[(&id, part)]);
    }
    check(good, &[("dpkg:unreadable:a", "it is cut off")]);
    let found = problems(b"Package: x\nPackage: y\n\n", "amd64");
    assert!(matches!(found[0].subject, Subject::Path(_)));
}

#[test]
fn a_database_of_one_name_ends_soon_and_says_so() {
    let mut text = String::new();
    for n in 0..20_000 {
        let line = format!("p{n} 1; Provides: x (= {n}); Depends: x (= {n}.1); Conflicts: x");
        text.push_str(&status(&line));
    }
    let found = problems(text.as_bytes(), "amd64");
    assert!(found.len() <= super::MAX_PROBLEMS + 1);
    assert!(ids(&found).contains(&"dpkg:unreadable:too-much"));
}

#[test]
fn ids_hold_no_blank_and_no_version() {
    let lines = "a 1; Depends: b (>= 4711) | c, d (>= 4711); Breaks: e (<< 4711)\n e 4711~1";
    for problem in problems(status(lines).as_bytes(), "amd64") {
        assert!(
            !problem.id.as_str().contains([' ', '(']) && !problem.id.as_str().contains("4711"),
            "{}",
            problem.id
        );
    }
}

proptest! {
    #[test]
    fn any_bytes_are_safe_to_check(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        problems(&bytes, "amd64");
    }

    #[test]
    fn any_damage_is_told_or_harms_nothing(at in 0_usize..400, byte in any::<u8>()) {
        let lines = "a 1; Depends: b (>= 1), c | d; Breaks: e (<< 2)\n b 2; Provides: c (= 1)\n e 2";
        let mut bytes = status(lines).into_bytes();
        let end = bytes.len();
        bytes[at % end] = byte;
        problems(&bytes, "amd64");
        bytes.truncate(at % end);
        // Cut between two records it is a smaller database; cut anywhere else it is told.
        let is_whole = bytes.is_empty() || bytes.ends_with(b"\n\n");
        let found = problems(&bytes, "amd64");
        prop_assert!(is_whole || ids(&found).iter().any(|id| id.starts_with("dpkg:unreadable:")), "{found:?}");
    }
}
