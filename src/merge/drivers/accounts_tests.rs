//! Table tests of the account databases, on lines of a Debian 12 system.

#![allow(clippy::unwrap_used)]

use super::super::Driver;
use super::*;

const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n\
    daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n\
    www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n\
    messagebus:x:100:102::/nonexistent:/usr/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nadm:x:4:\nsudo:x:27:\nssl-cert:x:103:postgres\n";
const SHADOW: &str = "root:*:20263:0:99999:7:::\nmessagebus:!:20263::::::\n";
const POSTGRES: &str =
    "postgres:x:101:104:PostgreSQL administrator,,,:/var/lib/postgresql:/bin/bash\n";

fn run(file: &LineFile, sides: [&str; 3]) -> Result<String, String> {
    let [pre, current, post] = sides.map(|side| Some(side.as_bytes()));
    match file.merge(pre, current, post) {
        Ok(out) => Ok(String::from_utf8(out.unwrap_or_default()).unwrap()),
        Err(all) => Err(all
            .iter()
            .map(|c| c.to_string())
            .collect::<Vec<_>>()
            .join("; ")),
    }
}

#[test]
fn an_edited_passwd_gains_the_new_system_user() {
    let current = PASSWD.replace("/root:/bin/bash", "/root:/bin/zsh");
    let current = format!("{current}alice:x:1000:1000::/home/alice:/bin/bash\n");
    let merged = run(
        &PASSWD_FILE,
        [PASSWD, &current, &format!("{PASSWD}{POSTGRES}")],
    )
    .unwrap();
    assert_eq!(merged, format!("{current}{POSTGRES}"));
}

#[test]
fn fields_of_one_user_merge_apart() {
    let shell = PASSWD.replace("www:/usr/sbin/nologin", "www:/bin/sh");
    let gecos = PASSWD.replace("33:www-data:", "33:Web Server:");
    let merged = run(&PASSWD_FILE, [PASSWD, &shell, &gecos]).unwrap();
    let expect = PASSWD.replace(
        "33:www-data:/var/www:/usr/sbin/nologin",
        "33:Web Server:/var/www:/bin/sh",
    );
    assert_eq!(merged, expect);
    let conflict = run(
        &PASSWD_FILE,
        [PASSWD, &shell, &shell.replace("/bin/sh", "/bin/ksh")],
    );
    let expect = "record 'www-data': shell is '/bin/sh' in current and '/bin/ksh' in post";
    assert_eq!(conflict.unwrap_err(), expect);
}

#[test]
fn a_number_that_another_name_took_is_a_conflict() {
    let current = format!("{PASSWD}exim:x:101:105::/var/spool/exim4:/usr/sbin/nologin\n");
    let conflict = run(
        &PASSWD_FILE,
        [PASSWD, &current, &format!("{PASSWD}{POSTGRES}")],
    );
    assert_eq!(
        conflict.unwrap_err(),
        "record 'postgres': uid 101 already belongs to 'exim'"
    );
    let moved = PASSWD.replace("messagebus:x:100", "messagebus:x:101");
    let conflict = run(
        &PASSWD_FILE,
        [PASSWD, &moved, &format!("{PASSWD}{POSTGRES}")],
    );
    assert_eq!(
        conflict.unwrap_err(),
        "record 'postgres': uid 101 already belongs to 'messagebus'"
    );
    let conflict = run(
        &GROUP_FILE,
        [
            GROUP,
            &format!("{GROUP}a:x:7:\n"),
            &format!("{GROUP}b:x:7:\n"),
        ],
    );
    assert_eq!(
        conflict.unwrap_err(),
        "record 'b': gid 7 already belongs to 'a'"
    );
}

#[test]
fn an_alias_made_by_one_side_on_purpose_is_kept() {
    let alias = format!("{PASSWD}toor:x:0:0::/root:/bin/sh\n");
    let other = format!("{PASSWD}{POSTGRES}");
    assert_eq!(
        run(&PASSWD_FILE, [PASSWD, &other, &alias])
            .unwrap()
            .lines()
            .count(),
        6
    );
    assert_eq!(
        run(&PASSWD_FILE, [PASSWD, &alias, &other]).unwrap(),
        format!("{alias}{POSTGRES}")
    );
}

#[test]
fn group_members_are_a_set() {
    let current = GROUP
        .replace("27:", "27:alice,bob")
        .replace("103:postgres", "103:");
    let post = GROUP
        .replace("27:", "27:carol")
        .replace("103:postgres", "103:postgres,exim");
    let merged = run(&GROUP_FILE, [GROUP, &current, &post]).unwrap();
    assert_eq!(
        merged,
        "root:x:0:\nadm:x:4:\nsudo:x:27:alice,bob,carol\nssl-cert:x:103:exim\n"
    );
    let merged = run(&GSHADOW_FILE, ["g:!::a,b\n", "g:!:x:a\n", "g:!:y:a,b,c\n"]).unwrap();
    assert_eq!(merged, "g:!:x,y:a,c\n");
}

#[test]
fn a_removed_user_stays_removed_unless_the_other_side_changed_it() {
    let without = PASSWD.replace("daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n", "");
    let post = format!("{PASSWD}{POSTGRES}");
    assert_eq!(
        run(&PASSWD_FILE, [PASSWD, &without, &post]).unwrap(),
        format!("{without}{POSTGRES}")
    );
    assert_eq!(
        run(&PASSWD_FILE, [PASSWD, &post, &without]).unwrap(),
        format!("{without}{POSTGRES}")
    );
    let edited = PASSWD.replace("1:1:daemon:", "1:1:Daemon:");
    let conflict = run(&PASSWD_FILE, [PASSWD, &without, &edited]).unwrap_err();
    assert_eq!(
        conflict,
        "record 'daemon': removed in current, modified in post"
    );
}

#[test]
fn one_locked_account_made_on_two_days_is_no_conflict() {
    let [a, b] = ["20582", "20593"].map(|day| format!("{SHADOW}polkitd:!*:{day}::::::\n"));
    assert_eq!(run(&SHADOW_FILE, [SHADOW, &a, &b]).unwrap(), b);
    assert_eq!(run(&SHADOW_FILE, [SHADOW, &b, &a]).unwrap(), b);
    let expired = b.replace("20593", "0");
    assert!(
        run(&SHADOW_FILE, [SHADOW, &a, &expired])
            .unwrap_err()
            .contains("last change is")
    );
}

#[test]
fn different_passwords_are_a_conflict_that_does_not_quote_them() {
    let [a, b] = ["$y$j9T$aaaa", "$y$j9T$bbbb"]
        .map(|hash| SHADOW.replace("root:*", &format!("root:{hash}")));
    let conflict = run(&SHADOW_FILE, [SHADOW, &a, &b]).unwrap_err();
    assert_eq!(
        conflict,
        "record 'root': password was changed differently in current and post"
    );
}

#[test]
fn lines_that_cannot_be_read_are_named_with_their_side() {
    let bad = "root:x:0:0\n";
    for (sides, expect) in [
        (
            [PASSWD, bad, ""],
            "record 'line 1': current: 4 fields, passwd has 7",
        ),
        (
            [PASSWD, "", bad],
            "record 'line 1': post: 4 fields, passwd has 7",
        ),
        (
            [bad, PASSWD, ""],
            "record 'line 1': pre: 4 fields, passwd has 7",
        ),
        (
            ["", "a:x:b:0:::\n", PASSWD],
            "record 'line 1': current: uid 'b' is not a number",
        ),
        (
            ["", "\n:x:1:0:::\n", PASSWD],
            "record 'line 2': current: the name is empty",
        ),
        (
            ["", "a:x:1:1:\0::\n", PASSWD],
            "record 'line 1': current: a NUL byte",
        ),
        (
            ["", "a:x:1:1:::\na:x:1:1:::\n", PASSWD],
            "record 'line 2': current: duplicate of 'a' on line 1",
        ),
    ] {
        assert_eq!(run(&PASSWD_FILE, sides).unwrap_err(), expect);
    }
}

#[test]
fn a_damaged_but_untouched_file_passes_through() {
    let bad = "root:x:0:0\n\0garbage";
    assert_eq!(run(&PASSWD_FILE, [PASSWD, bad, PASSWD]).unwrap(), bad);
    assert_eq!(run(&PASSWD_FILE, [bad, bad, PASSWD]).unwrap(), PASSWD);
}

#[test]
fn new_users_go_before_the_compatibility_lines() {
    let current = format!("{PASSWD}+@admins::::::\n+\n");
    let merged = run(
        &PASSWD_FILE,
        [PASSWD, &current, &format!("{PASSWD}{POSTGRES}")],
    )
    .unwrap();
    assert_eq!(merged, format!("{PASSWD}{POSTGRES}+@admins::::::\n+\n"));
}

#[test]
fn overlapping_subordinate_ranges_are_a_conflict() {
    let alice = "alice:100000:65536\n";
    for (sides, expect) in [
        (
            ["", alice, "bob:100000:65536\n"],
            Err("record 'bob:100000': the range overlaps 'alice:100000:65536'"),
        ),
        (
            ["", alice, "alice:150000:65536\n"],
            Err("record 'alice:150000': the range overlaps 'alice:100000:65536'"),
        ),
        (
            ["", alice, "bob:165536:65536\n"],
            Ok("alice:100000:65536\nbob:165536:65536\n"),
        ),
        (
            ["", "a:1:1\na:5:100\nb:6:1\n", "c:50:1\n"],
            Err("record 'c:50': the range overlaps 'a:5:100'"),
        ),
        // Overlaps that one side made on its own are not new.
        (
            ["", "a:0:100\nb:0:100\n", "c:100:1\n"],
            Ok("a:0:100\nb:0:100\nc:100:1\n"),
        ),
        (
            ["", alice, "alice:100000:1\n"],
            Err("record 'alice:100000': count is '65536' in current and '1' in post"),
        ),
        (
            ["", alice, "alice:0:99999999999\n"],
            Err("record 'line 1': post: count '99999999999' is not a number"),
        ),
        // Only the merge of both brings the grown range and the new one together.
        (
            [
                alice,
                "alice:100000:70000\n",
                "alice:100000:65536\nbob:165536:10\n",
            ],
            Err("record 'bob:165536': the range overlaps 'alice:100000:70000'"),
        ),
    ] {
        let got = run(&SUBUID_FILE, sides);
        assert_eq!(
            got.as_deref(),
            expect.map_err(str::to_owned).as_deref(),
            "{sides:?}"
        );
    }
}
