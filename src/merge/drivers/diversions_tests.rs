//! Table tests of dpkg's diversions and overrides, on those of a Debian 12 system.

#![allow(clippy::unwrap_used)]

use super::*;

const PRE: &str =
    "/usr/bin/perf\n/usr/bin/perf.wrapper\nlinux-perf\n/bin/sh\n/bin/sh.distrib\ndash\n";
const VIM: &str =
    "/usr/share/vim/vim90/doc/tags\n/usr/share/vim/vim90/doc/tags.vim-tiny\nvim-runtime\n";
const OVERRIDES: &str = "root ssl-cert 710 /etc/ssl/private\n\
    root messagebus 4754 /usr/lib/dbus-1.0/dbus-daemon-launch-helper\n";

fn run(driver: &dyn Driver, sides: [&str; 3]) -> Result<String, String> {
    let [pre, current, post] = sides.map(|side| Some(side.as_bytes()));
    match driver.merge(pre, current, post) {
        Ok(out) => Ok(String::from_utf8(out.unwrap_or_default()).unwrap()),
        Err(all) => Err(all
            .iter()
            .map(|c| c.to_string())
            .collect::<Vec<_>>()
            .join("; ")),
    }
}

#[test]
fn diversions_of_two_layers_are_joined() {
    let current = PRE.replace("/usr/bin/perf\n/usr/bin/perf.wrapper\nlinux-perf\n", VIM);
    let post =
        format!("{PRE}/usr/bin/pg_config\n/usr/bin/pg_config.libpq-dev\npostgresql-common\n");
    let merged = run(&DIVERSIONS, [PRE, &current, &post]).unwrap();
    assert_eq!(
        merged,
        format!("{current}/usr/bin/pg_config\n/usr/bin/pg_config.libpq-dev\npostgresql-common\n")
    );
}

#[test]
fn one_path_diverted_twice_is_a_conflict() {
    let [a, b] = ["a", "b"].map(|to| format!("{PRE}/usr/bin/x\n/usr/bin/x.{to}\npkg-{to}\n"));
    let conflict = run(&DIVERSIONS, [PRE, &a, &b]).unwrap_err();
    let expect = "record '/usr/bin/x': target is '/usr/bin/x.a' in current and '/usr/bin/x.b' in post; \
                  record '/usr/bin/x': package is 'pkg-a' in current and 'pkg-b' in post";
    assert_eq!(conflict, expect);
    let post = format!("{PRE}/usr/bin/y\n/usr/bin/x.a\nother\n");
    let conflict = run(&DIVERSIONS, [PRE, &a, &post]).unwrap_err();
    let expect =
        "record '/usr/bin/y': '/usr/bin/x.a' also belongs to the diversion of '/usr/bin/x'";
    assert_eq!(conflict, expect);
}

#[test]
fn a_truncated_diversion_is_refused() {
    for (bad, expect) in [
        ("/a\n/b\n", "line 1': current: the diversion is truncated"),
        (
            "/a\n/b\npkg",
            "line 1': current: the diversion is truncated",
        ),
        (
            "/a\n/b\n/c\n/d\npkg\n:\n",
            "line 1': current: not two absolute paths and a package",
        ),
        (
            "/a\n/b\np\n/a\n/c\np\n",
            "line 4': current: duplicate of '/a' on line 1",
        ),
    ] {
        assert_eq!(
            run(&DIVERSIONS, [PRE, bad, ""]).unwrap_err(),
            format!("record '{expect}")
        );
    }
}

#[test]
fn overrides_merge_by_field() {
    let current = OVERRIDES.replace("710", "0750");
    let post =
        OVERRIDES.replace("root ssl-cert", "root tls") + "root www-data 2755 /srv/my files\n";
    let merged = run(&STATOVERRIDE, [OVERRIDES, &current, &post]).unwrap();
    assert_eq!(merged, post.replace("710", "0750"));
    let post = OVERRIDES.replace("710", "0700");
    assert_eq!(
        run(&STATOVERRIDE, [OVERRIDES, &current, &post]).unwrap_err(),
        "record '/etc/ssl/private': mode is '0750' in current and '0700' in post"
    );
    for bad in [
        "root root 755\n",
        "root root rwx /x\n",
        "root root 755 x\n",
        " root 755 /x\n",
    ] {
        let conflict = run(&STATOVERRIDE, [OVERRIDES, bad, ""]).unwrap_err();
        assert_eq!(
            conflict,
            "record 'line 1': current: not an owner, a group, an octal mode and a path"
        );
    }
}
