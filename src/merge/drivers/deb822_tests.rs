//! Table tests of the stanza engine, on stanzas of a Debian 12 system.

#![allow(clippy::unwrap_used)]

use super::super::dpkg::{AVAILABLE, EXTENDED_STATES, STATUS};
use super::*;

const ADDUSER: &str = "Package: adduser\nStatus: install ok installed\nPriority: important\n\
    Section: admin\nInstalled-Size: 686\nArchitecture: all\nMulti-Arch: foreign\nVersion: 3.134\n\
    Depends: passwd\nConffiles:\n /etc/adduser.conf cc3493ecd2d09837ffdcc3e25fdfff18\n \
    /etc/deluser.conf 11a06baf8245fd8d690b99024d228c1f\n\
    Description: add and remove users and groups\n This package includes the 'adduser' command.\n \
    .\n  - 'deluser' removes users.\nHomepage: https://example.org\n\n";
const LIBC: &str = "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\n\
    Multi-Arch: same\nVersion: 2.36-9\n\n";
const ZLIB: &str = "Package: zlib1g\nStatus: install ok installed\nArchitecture: amd64\n\
    Multi-Arch: same\nVersion: 1:1.2.13\n\n";

fn run(format: &Format, sides: [&str; 3]) -> Result<String, String> {
    let [pre, current, post] = sides.map(|side| Some(side.as_bytes()));
    match format.merge(pre, current, post) {
        Ok(out) => Ok(String::from_utf8(out.unwrap_or_default()).unwrap()),
        Err(all) => Err(all
            .iter()
            .map(|c| c.to_string())
            .collect::<Vec<_>>()
            .join("; ")),
    }
}

fn package(name: &str, architecture: &str) -> String {
    LIBC.replace("libc6", name).replace("amd64", architecture)
}

#[test]
fn the_bases_newer_package_and_the_layers_new_one_both_stay() {
    let pre = format!("{ADDUSER}{LIBC}");
    let current = pre.replace("2.36-9", "2.36-9+deb12u13");
    let post = format!("{pre}{ZLIB}");
    assert_eq!(
        run(&STATUS, [&pre, &current, &post]).unwrap(),
        format!("{current}{ZLIB}")
    );
}

#[test]
fn status_is_sorted_as_dpkg_writes_it() {
    let [foo, foo_bar, foo2, foo_i386] = [
        package("foo", "amd64"),
        package("foo-bar", "amd64"),
        package("foo2", "amd64"),
        package("foo", "i386"),
    ];
    let current = format!("{foo}{foo2}{LIBC}");
    let post = format!("{foo_bar}{foo_i386}{LIBC}");
    let merged = run(&STATUS, [LIBC, &current, &post]).unwrap();
    assert_eq!(merged, format!("{foo}{foo_i386}{foo_bar}{foo2}{LIBC}"));
    // apt keeps the order of events.
    let state = |name: &str| format!("Package: {name}\nArchitecture: amd64\nAuto-Installed: 1\n\n");
    let [a, b, z] = ["a", "b", "z"].map(state);
    let merged = run(
        &EXTENDED_STATES,
        [&z, &format!("{z}{b}"), &format!("{z}{a}")],
    )
    .unwrap();
    assert_eq!(merged, format!("{z}{b}{a}"));
}

#[test]
fn fields_of_one_stanza_merge_apart() {
    let current = ADDUSER.replace("install ok", "hold ok").replace(
        "cc3493ecd2d09837ffdcc3e25fdfff18",
        "00000000000000000000000000000000",
    );
    let post = ADDUSER
        .replace("Depends: passwd\n", "Depends: passwd\nRecommends: cron\n")
        .replace(
            "924d228c1f\n",
            "924d228c1f obsolete\n /etc/a b.conf 22222222222222222222222222222222\n",
        )
        .replace("Homepage: https://example.org\n", "");
    let merged = run(&STATUS, [ADDUSER, &current, &post]).unwrap();
    let expect = post.replace("install ok", "hold ok").replace(
        "cc3493ecd2d09837ffdcc3e25fdfff18",
        "00000000000000000000000000000000",
    );
    assert_eq!(merged, expect);
}

#[test]
fn two_versions_of_one_package_are_a_conflict() {
    let [a, b] = ["3.135", "3.136"].map(|version| ADDUSER.replace("3.134", version));
    let conflict = run(&STATUS, [ADDUSER, &a, &b]).unwrap_err();
    assert_eq!(
        conflict,
        "record 'adduser:all': field 'Version' is '3.135' in current and '3.136' in post"
    );
    let [a, b] = ["1", "2"].map(|digit| ADDUSER.replace("cc3493", digit));
    let conflict = run(&STATUS, [ADDUSER, &a, &b]).unwrap_err();
    assert_eq!(
        conflict,
        "record 'adduser:all': field 'Conffiles': '/etc/adduser.conf' changed differently in \
         current and post"
    );
    let conflict = run(&STATUS, [ADDUSER, &a, LIBC]).unwrap_err();
    assert_eq!(
        conflict,
        "record 'adduser:all': modified in current, removed in post"
    );
}

#[test]
fn pending_triggers_are_a_set() {
    let with = |triggers: &str| LIBC.replace("installed\n", &format!("installed\n{triggers}"));
    let [pre, current, post] =
        ["a b", "b c", "a b d"].map(|t| with(&format!("Triggers-Pending: {t}\n")));
    let merged = run(&STATUS, [&pre, &current, &post]).unwrap();
    assert_eq!(merged, with("Triggers-Pending: b c d\n"));
    let [none, one] = [with(""), with("Triggers-Pending: b\n")];
    let two = with("Triggers-Pending: a\n");
    assert_eq!(run(&STATUS, [&pre, &one, &two]).unwrap(), none);
}

#[test]
fn one_package_for_two_architectures_needs_multi_arch() {
    let single = |arch: &str| package("foo", arch).replace("Multi-Arch: same\n", "");
    let conflict = run(&STATUS, ["", &single("all"), &single("amd64")]).unwrap_err();
    assert_eq!(
        conflict,
        "record 'foo:amd64': 'foo:all' is installed, and the two are not Multi-Arch: same"
    );
    let gone = single("all").replace("install ok installed", "deinstall ok config-files");
    assert!(run(&STATUS, ["", &gone, &package("foo", "amd64")]).is_ok());
}

#[test]
fn stanzas_that_cannot_be_read_are_named_with_their_side() {
    let good = format!("{ADDUSER}{LIBC}");
    for (bad, expect) in [
        (
            good.replace("Package: libc6\n", ""),
            "line 19': current: no Package field",
        ),
        (
            good.replace("Package: libc6", "Package:"),
            "line 19': current: no Package field",
        ),
        (
            good.replace("Version: 2.36-9\n", ""),
            "line 19': current: no Version field",
        ),
        (
            format!("{LIBC}{LIBC}"),
            "line 7': current: duplicate of 'libc6:amd64' on line 1",
        ),
        (
            LIBC.replace("Version", "Status"),
            "line 1': current: field 'Status' twice",
        ),
        (
            LIBC.replace("Version", "status"),
            "line 1': current: field 'Status' twice",
        ),
        (
            LIBC.replace("Version:", "Version"),
            "line 5': current: not a field",
        ),
        (
            LIBC.replace("Version:", "# x:"),
            "line 5': current: not a field",
        ),
        (
            LIBC.replace("libc6", "lib\0c"),
            "line 1': current: a NUL byte",
        ),
        (
            LIBC.replace("install ok", "install"),
            "line 1': current: the Status field is not three words",
        ),
        (
            LIBC.replace("Version: ", "  \nVersion: "),
            "line 5': current: a continuation line without content",
        ),
        (
            format!(" x\n{LIBC}"),
            "line 1': current: a continuation line without a field",
        ),
    ] {
        let conflict = run(&STATUS, [&good, &bad, ""]).unwrap_err();
        assert!(
            conflict.starts_with(&format!("record '{expect}")),
            "{conflict}"
        );
    }
}

#[test]
fn every_truncation_of_a_stanza_is_refused() {
    for (format, text) in [(&STATUS, LIBC), (&AVAILABLE, ADDUSER)] {
        for cut in 1..text.len() {
            let conflict = run(format, [text, &text[..cut], ZLIB]).unwrap_err();
            assert_eq!(
                conflict, "record 'line 1': current: the stanza is truncated",
                "{cut}"
            );
        }
    }
}

#[test]
fn field_order_of_a_merged_stanza_follows_dpkg() {
    let current = LIBC.replace("Version: 2.36-9\n", "Version: 2.36-9\nDepends: libgcc-s1\n");
    let post = LIBC.replace(
        "Status: install ok installed\n",
        "Status: install ok installed\nSection: libs\n",
    );
    let merged = run(&STATUS, [LIBC, &current, &post]).unwrap();
    let names: Vec<_> = merged
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|f| f.0)
        .collect();
    let expect = [
        "Package",
        "Status",
        "Section",
        "Architecture",
        "Multi-Arch",
        "Version",
        "Depends",
    ];
    assert_eq!(names, expect);
}

#[test]
fn a_database_that_is_not_sorted_is_left_in_its_order() {
    let current = format!("{ZLIB}{ADDUSER}");
    let post = format!("{ZLIB}{LIBC}");
    let merged = run(&STATUS, [ZLIB, &current, &post]).unwrap();
    assert_eq!(merged, format!("{current}{LIBC}"));
}

#[test]
fn a_stanza_with_absurdly_many_fields_is_refused() {
    let fields: String = (0..5000).map(|n| format!("X{n}: y\n")).collect();
    let bad = format!("Package: a\n{fields}\n");
    let conflict = run(&AVAILABLE, [LIBC, &bad, ZLIB]).unwrap_err();
    assert_eq!(conflict, "record 'line 4097': current: too many fields");
}
