//! Owners, modes and names that programs insist on, and what stands in the place of a program.

use super::disabled::{furnished, refused, refused_on, with_mode};
use super::*;

const NONE: [&str; 0] = [];

fn path(text: &str) -> RelPath {
    RelPath::from_text(text).unwrap()
}

/// Puts a file of this text into a tree.
fn put(bench: &Bench, tree: &mut Tree, place: &str, text: &str, mode: u16) {
    for (path, inode) in bench.tree(&[(place, text)]).iter() {
        if path.as_bytes() == place.as_bytes() {
            let inode = inode.clone();
            tree.insert(path.clone(), Inode { mode, ..inode });
        } else if tree.get(path.as_bytes()).is_none() {
            tree.insert(path.clone(), inode.clone());
        }
    }
}

fn give(tree: &mut Tree, place: &str, mode: u16) {
    let inode = tree.get(place.as_bytes()).unwrap().clone();
    let owner = Owner::from_text("me").unwrap();
    tree.insert(
        path(place),
        Inode {
            owner,
            mode,
            ..inode
        },
    );
}

/// Returns an ELF program without anything in it but this text.
fn program(text: &str) -> String {
    let mut header = String::from("\x7fELF\x02\x01\x01");
    header.push_str(&"\0".repeat(9));
    header.push_str("\x02\0\x3e\0\x01\0\0\0");
    header.push_str(&"\0".repeat(28));
    header.push_str("\x40\0\x38\0\0\0\x40\0\0\0\0\0");
    format!("{header}\0{text}\0")
}

#[test]
fn what_root_must_own_is_not_for_a_layer_to_give_away() {
    let bench = Bench::new();
    let mut ground = furnished(&bench);
    put(&bench, &mut ground, "etc/sudoers", "root ALL=ALL\n", 0o440);
    put(&bench, &mut ground, "etc/cron.d/used", "\n", 0o644);
    put(&bench, &mut ground, "usr/bin/su", &program("su"), 0o4755);
    put(&bench, &mut ground, "usr/bin/at", &program("at"), 0o2755);
    let given = refused_on(&bench, &ground, &|tree| {
        give(tree, "etc", 0o755);
        give(tree, "etc/cron.d/used", 0o644);
        give(tree, "usr/bin/su", 0o755);
        // Anybody may own what is only read.
        give(tree, "etc/used.conf", 0o644);
    });
    let grave = [
        "disabled:/etc",
        "disabled:/etc/cron.d/used",
        "disabled:/usr/bin/su",
    ];
    assert_eq!(given, grave);
    let open = refused_on(&bench, &ground, &|tree| {
        with_mode(tree, "", 0o777);
        with_mode(tree, "etc/sudoers", 0o666);
        with_mode(tree, "var", 0o775);
    });
    assert_eq!(open, ["disabled:/", "disabled:/etc/sudoers"]);
    // That is how systems are hardened.
    let hardened = refused_on(&bench, &ground, &|tree| {
        with_mode(tree, "usr/bin/su", 0o755);
        with_mode(tree, "usr/bin/at", 0o755);
        with_mode(tree, "etc/cron.d/used", 0o600);
        with_mode(tree, "etc/cron.d", 0o700);
    });
    assert_eq!(hardened, NONE);
}

#[test]
fn what_all_programs_read_stays_readable() {
    let bench = Bench::new();
    let mut ground = furnished(&bench);
    put(
        &bench,
        &mut ground,
        "etc/nsswitch.conf",
        "hosts: files\n",
        0o644,
    );
    put(&bench, &mut ground, "etc/alternatives/awk", "x", 0o755);
    let closed = refused_on(&bench, &ground, &|tree| {
        with_mode(tree, "etc/passwd", 0o600);
        with_mode(tree, "etc/nsswitch.conf", 0o640);
        with_mode(tree, "etc/alternatives", 0o700);
        with_mode(tree, "etc/used.conf", 0o600);
    });
    let grave = [
        "disabled:/etc/alternatives",
        "disabled:/etc/nsswitch.conf",
        "disabled:/etc/passwd",
    ];
    assert_eq!(closed, grave);
}

#[test]
fn what_a_program_opens_by_name_stays_while_its_package_does() {
    let bench = Bench::new();
    let without = |namer: Option<(&str, &str)>, gone: &[&str]| {
        let mut ground = furnished(&bench);
        put(&bench, &mut ground, "usr/lib/used/modules/a", "x", 0o644);
        put(&bench, &mut ground, "etc/pam.d/used", "auth x\n", 0o644);
        if let Some((place, text)) = namer {
            put(&bench, &mut ground, place, text, 0o755);
        }
        refused_on(&bench, &ground, &|tree| {
            for place in gone {
                let below: Vec<RelPath> = tree
                    .subtree(place.as_bytes())
                    .map(|(path, _)| path.clone())
                    .collect();
                below
                    .iter()
                    .for_each(|path| drop(tree.remove(path.as_bytes())));
            }
        })
    };
    let conf = ["etc/used.conf"];
    let names = program("%s\0/etc/used.conf");
    let service = "usr/lib/systemd/system/used.service";
    let said = ["disabled:/etc/used.conf"];
    assert_eq!(without(None, &conf), NONE);
    assert_eq!(without(Some(("usr/bin/names", &names)), &conf), said);
    let unit = "[Service]\nExecStart=/usr/bin/own -c /etc/used.conf\n";
    assert_eq!(without(Some((service, unit)), &conf), said);
    // A script looks first, and a longer name is another one.
    let script = "#!/bin/sh\n[ -e /etc/used.conf ]\n";
    assert_eq!(without(Some(("usr/bin/names", script)), &conf), NONE);
    let other = program("/etc/used.conf.d\0/opt/etc/used.conf");
    assert_eq!(without(Some(("usr/bin/names", &other)), &conf), NONE);
    let dir = program("/usr/lib/used/modules");
    assert_eq!(
        without(Some(("usr/bin/names", &dir)), &["usr/lib/used/modules"]),
        ["disabled:/usr/lib/used/modules"]
    );
    // Without it, PAM asks `other`.
    assert_eq!(
        without(None, &["etc/pam.d/used"]),
        ["disabled:/etc/pam.d/used"]
    );
    // With its package, all of it goes.
    let list = "usr/lib/sysimage/var/lib/dpkg/info/used.list";
    let purged = without(Some(("usr/bin/names", &names)), &["etc/used.conf", list]);
    assert_eq!(purged, NONE);
}

#[test]
fn a_program_gives_way_to_no_script_but_to_one_that_starts_it() {
    let bench = Bench::new();
    let mut ground = furnished(&bench);
    for name in ["used", "spare", "own"] {
        put(
            &bench,
            &mut ground,
            &format!("usr/bin/{name}"),
            &program(name),
            0o755,
        );
    }
    let with = |name: &str, text: &str| {
        let place = format!("usr/bin/{name}");
        refused_on(&bench, &ground, &|tree| {
            put(&bench, tree, &place, text, 0o755)
        })
    };
    for text in ["#!/bin/sh\nexit 0\n".to_owned(), "#!/bin/sh\n".repeat(99)] {
        assert_eq!(with("used", &text), ["disabled:/usr/bin/used"]);
        // Nobody relies on it, or no package promises it.
        assert_eq!(with("spare", &text), NONE);
        assert_eq!(with("own", &text), NONE);
    }
    assert_eq!(with("used", "#!/bin/sh\nexec used.real \"$@\"\n"), NONE);
    assert_eq!(with("used", &program("another")), NONE);
    assert_eq!(refused(&bench, &|_| ()), NONE);
}
