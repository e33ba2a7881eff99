//! What a layer takes away from those below it.

use super::*;
use crate::check::Severity;

/// What dpkg keeps of three packages: `essential` and `used` are relied on, `spare` is not.
const PACKAGES: [(&str, &str); 4] = [
    (
        "usr/lib/sysimage/var/lib/dpkg/status",
        "Package: essential\nEssential: yes\nStatus: install ok installed\nVersion: 1\nArchitecture: amd64\n\n\
         Package: used\nStatus: install ok installed\nVersion: 1\nArchitecture: amd64\n\n\
         Package: spare\nStatus: install ok installed\nVersion: 1\nArchitecture: amd64\nDepends: used\n\n",
    ),
    (
        "usr/lib/sysimage/var/lib/dpkg/info/essential.list",
        "/usr\n/bin/grep\n/usr/bin/sed\n/usr/lib/x86_64-linux-gnu/libx.so.1\n",
    ),
    (
        "usr/lib/sysimage/var/lib/dpkg/info/used.list",
        "/usr/bin/used\n/usr/bin/moved\n/usr/share/perl5/Used\n/usr/share/perl5/Used.pm\n/usr/share/perl5/Used/words\n/etc/used.conf\n/var/lib/used\n/usr/lib/python3.13/locale.py\n/usr/share/perl5/Part/A.pm\n/usr/share/perl5/Part/B.pm\n/etc/pam.d/used\n/usr/lib/used/modules\n/usr/share/perl/5.40.1/List/Util.pm\n",
    ),
    (
        "usr/lib/sysimage/var/lib/dpkg/info/spare.list",
        "/usr/bin/spare\n",
    ),
];

/// A tree with the programs of those packages, and a program of none.
pub(super) fn furnished(bench: &Bench) -> Tree {
    let programs = ["grep", "sed", "used", "moved", "spare", "own"];
    let programs = programs.map(|name| format!("usr/bin/{name}"));
    let mut files = PACKAGES.to_vec();
    files.extend(programs.iter().map(|path| (path.as_str(), "a program")));
    files.push(("usr/lib/x86_64-linux-gnu/libx.so.1", "a library"));
    files.push(("etc/used.conf", "settings"));
    files.push(("usr/share/perl5/Part/A.pm", "one"));
    files.push(("usr/share/perl5/Part/B.pm", "two"));
    files.push(("usr/lib/python3.13/locale.py", "pass"));
    files.push(("usr/share/perl5/Used.pm", "a module"));
    files.push(("usr/share/perl5/Used/words", "some words"));
    files.push(("usr/lib/sysimage/var/lib/apt/list", "a list"));
    let mut tree = bench.tree(&files);
    for (path, target) in [
        ("bin", "usr/bin"),
        ("var/lib/apt", "/usr/lib/sysimage/var/lib/apt"),
    ] {
        tree.insert(RelPath::from_text(path).unwrap(), Inode::symlink(target));
    }
    let data = RelPath::from_text("var/lib/used").unwrap();
    tree.insert(data, Inode::directory(0o755));
    tree
}

/// Returns what refuses a layer that does this to the furnished tree.
pub(super) fn refused(bench: &Bench, change: &dyn Fn(&mut Tree)) -> Vec<String> {
    refused_on(bench, &furnished(bench), change)
}

/// Returns what refuses a layer that does this to a tree.
pub(super) fn refused_on(bench: &Bench, ground: &Tree, change: &dyn Fn(&mut Tree)) -> Vec<String> {
    let base = bench.layer("base", &[], &Tree::new(), ground);
    let mut after = ground.clone();
    change(&mut after);
    let top = bench.layer("top", &[base], ground, &after);
    let report = bench.check("set", &[base, top], &[]);
    let kinds = ["account:", "disabled:", "merged:"];
    let is_meant = |id: &str| kinds.iter().any(|kind| id.starts_with(kind));
    let findings = report.findings.iter();
    let refusals = findings.filter(|found| found.severity > Severity::Note);
    let ids = refusals.map(|found| found.id.to_string());
    ids.filter(|id| is_meant(id)).collect()
}

pub(super) fn with_mode(tree: &mut Tree, path: &str, mode: u16) {
    let inode = tree.get(path.as_bytes()).unwrap().clone();
    let path = RelPath::from_text(path).unwrap();
    tree.insert(path, Inode { mode, ..inode });
}

#[test]
fn what_a_layer_takes_from_a_package_or_makes_useless_is_found() {
    let bench = Bench::new();
    let none: [&str; 0] = [];
    let gone = refused(&bench, &|tree| {
        for name in ["grep", "used", "spare", "own"] {
            tree.remove(format!("usr/bin/{name}").as_bytes());
        }
        tree.remove(b"usr/lib/python3.13/locale.py");
        tree.remove(b"usr/share/perl5/Used.pm");
    });
    let grave = [
        "disabled:/usr/bin/grep",
        "disabled:/usr/bin/used",
        "disabled:/usr/lib/python3.13/locale.py",
    ];
    assert_eq!(gone, grave);

    let useless = refused(&bench, &|tree| {
        with_mode(tree, "usr/bin/grep", 0o644);
        with_mode(tree, "usr/bin/own", 0o644);
        with_mode(tree, "usr/lib/x86_64-linux-gnu/libx.so.1", 0o600);
        with_mode(tree, "usr", 0o700);
        let empty = bench.tree(&[("usr/bin/sed", "")]);
        let empty = empty.get(b"usr/bin/sed").unwrap().clone();
        tree.insert(RelPath::from_text("usr/bin/sed").unwrap(), empty);
    });
    let grave = [
        "disabled:/usr",
        "disabled:/usr/bin/grep",
        "disabled:/usr/bin/sed",
        "disabled:/usr/lib/x86_64-linux-gnu/libx.so.1",
    ];
    assert_eq!(useless, grave);

    let hardened = refused(&bench, &|tree| {
        with_mode(tree, "usr/bin/grep", 0o700);
        with_mode(tree, "usr/lib/x86_64-linux-gnu/libx.so.1", 0o444);
        let other = bench.tree(&[("usr/bin/sed", "another program")]);
        let other = other.get(b"usr/bin/sed").unwrap().clone();
        tree.insert(RelPath::from_text("usr/bin/sed").unwrap(), other);
    });
    assert_eq!(hardened, none);
}

#[test]
fn a_program_that_a_unit_starts_is_missed_even_where_the_unit_is_skipped_without_it() {
    let bench = Bench::new();
    let off: [&dyn Fn(&mut Tree); 2] = [&|tree| with_mode(tree, "usr/bin/spare", 0o644), &|tree| {
        tree.remove(b"usr/bin/spare");
    }];
    for take in off {
        assert!(refused(&bench, take).is_empty());
        for unit in [
            "[Unit]\nConditionFileIsExecutable=/bin/spare\n[Service]\nExecStart=/bin/spare\n",
            "[Unit]\nConditionPathExists=/usr/bin/spare\n[Service]\nExecStartPre=/usr/bin/spare -t\n",
        ] {
            let mut ground = furnished(&bench);
            let files = bench.tree(&[("usr/lib/systemd/system/spare.service", unit)]);
            for (path, inode) in files.iter() {
                ground.insert(path.clone(), inode.clone());
            }
            let found = refused_on(&bench, &ground, take);
            assert_eq!(found, ["disabled:/usr/bin/spare"], "{unit}");
            // Who takes the unit as well means it.
            let found = refused_on(&bench, &ground, &|tree| {
                take(tree);
                tree.remove(b"usr/lib/systemd/system/spare.service");
            });
            assert!(found.is_empty(), "{found:?}");
        }
    }
}

#[test]
fn what_others_load_is_not_for_a_layer_to_close_or_to_cut_off() {
    let bench = Bench::new();
    let none: [&str; 0] = [];
    let closed = refused(&bench, &|tree| {
        with_mode(tree, "usr/share/perl5/Used", 0o700);
        with_mode(tree, "usr/share/perl5/Used.pm", 0o600);
        with_mode(tree, "usr/share/perl5/Used/words", 0o640);
    });
    let grave = [
        "disabled:/usr/share/perl5/Used",
        "disabled:/usr/share/perl5/Used.pm",
        "disabled:/usr/share/perl5/Used/words",
    ];
    assert_eq!(closed, grave);
    let covered = refused(&bench, &|tree| {
        for path in ["etc/used.conf", "usr/bin/spare", "usr/share/perl5/Used.pm"] {
            tree.insert(RelPath::from_text(path).unwrap(), Inode::directory(0o755));
        }
    });
    assert_eq!(
        covered,
        [
            "disabled:/etc/used.conf",
            "disabled:/usr/bin/spare",
            "disabled:/usr/share/perl5/Used.pm"
        ]
    );
    // Whoever gives it to a group says who is to have it.
    let given = refused(&bench, &|tree| {
        for path in grave {
            let path = RelPath::from_text(path.trim_start_matches("disabled:/")).unwrap();
            let inode = tree.get(path.as_bytes()).unwrap().clone();
            let group = Owner::from_text("adm").unwrap();
            let mode = inode.mode & 0o770;
            tree.insert(
                path,
                Inode {
                    mode,
                    group,
                    ..inode
                },
            );
        }
    });
    assert_eq!(given, none);

    let with = |path: &str, text: &str| {
        refused(&bench, &|tree| {
            let other = bench.tree(&[(path, text)]);
            let other = other.get(path.as_bytes()).unwrap().clone();
            tree.insert(RelPath::from_text(path).unwrap(), other);
        })
    };
    let module = "usr/share/perl5/Used.pm";
    for text in ["", "a mod"] {
        assert_eq!(
            with(module, text),
            ["disabled:/usr/share/perl5/Used.pm"],
            "{text}"
        );
    }
    assert_eq!(with("usr/bin/spare", "a pro"), ["disabled:/usr/bin/spare"]);
    assert_eq!(with("usr/bin/spare", ""), none);
    // Other content is somebody's decision, and so are fewer words.
    assert_eq!(with(module, "mine"), none);
    assert_eq!(with("usr/share/perl5/Used/words", "some"), none);
}

#[test]
fn a_module_goes_with_all_beside_it_only() {
    let bench = Bench::new();
    let none: [&str; 0] = [];
    let without = |paths: &[&str]| {
        refused(&bench, &|tree| {
            for path in paths {
                tree.remove(path.as_bytes());
            }
        })
    };
    let (one, two) = ("usr/share/perl5/Part/A.pm", "usr/share/perl5/Part/B.pm");
    assert_eq!(without(&[one]), ["disabled:/usr/share/perl5/Part/A.pm"]);
    assert_eq!(without(&[one, two]), none);
    // A standard library stays, also where its directory goes.
    let module = "usr/share/perl/5.40.1/List/Util.pm";
    let mut ground = furnished(&bench);
    for (path, inode) in bench.tree(&[(module, "1")]).iter() {
        if ground.get(path.as_bytes()).is_none() {
            ground.insert(path.clone(), inode.clone());
        }
    }
    let whole = refused_on(&bench, &ground, &|tree| {
        tree.remove(module.as_bytes());
        tree.remove(b"usr/share/perl/5.40.1/List");
    });
    assert_eq!(whole, ["disabled:/usr/share/perl/5.40.1/List/Util.pm"]);
}

#[test]
fn what_a_package_diverts_and_what_left_with_its_package_is_right() {
    let bench = Bench::new();
    let none: [&str; 0] = [];
    let diverted = |by: &str| {
        let text = format!("/usr/bin/moved\n/usr/bin/moved.real\n{by}\n");
        refused(&bench, &|tree| {
            tree.remove(b"usr/bin/moved");
            let path = "usr/lib/sysimage/var/lib/dpkg/diversions";
            let file = bench.tree(&[(path, &text)]);
            let file = file.get(path.as_bytes()).unwrap().clone();
            tree.insert(RelPath::from_text(path).unwrap(), file);
        })
    };
    assert_eq!(diverted("spare"), none);
    assert_eq!(diverted(":"), ["disabled:/usr/bin/moved"]);
    let purged = refused(&bench, &|tree| {
        tree.remove(b"usr/bin/used");
        tree.remove(b"usr/bin/moved");
        tree.remove(b"usr/lib/sysimage/var/lib/dpkg/info/used.list");
    });
    assert_eq!(purged, none);
}

#[test]
fn a_directory_that_a_service_expects_stays_or_is_made_again() {
    let bench = Bench::new();
    let none: [&str; 0] = [];
    let with = |path: &str, text: &str| {
        refused(&bench, &|tree| {
            tree.remove(b"var/lib/used");
            for (path, inode) in bench.tree(&[(path, text)]).iter() {
                if tree.get(path.as_bytes()).is_none() {
                    tree.insert(path.clone(), inode.clone());
                }
            }
        })
    };
    let line = "d /var/lib/used/tmp 0755 root root\n";
    assert_eq!(with("usr/lib/tmpfiles.d/used.conf", line), none);
    let unit = "[Service]\nExecStart=/usr/bin/used\nStateDirectory=other used\n";
    assert_eq!(with("usr/lib/systemd/system/used.service", unit), none);
    let other = "d /var/lib/used-up 0755 root root\nr /var/lib/used\n";
    let gone = ["disabled:/var/lib/used"];
    assert_eq!(with("usr/lib/tmpfiles.d/used.conf", other), gone);
}

#[test]
fn a_link_from_var_into_the_image_goes_with_what_it_leads_to_only() {
    let bench = Bench::new();
    let none: [&str; 0] = [];
    let link = refused(&bench, &|tree| drop(tree.remove(b"var/lib/apt")));
    assert_eq!(link, ["merged:/var/lib/apt"]);
    let all = refused(&bench, &|tree| {
        for path in ["", "/list"] {
            tree.remove(format!("usr/lib/sysimage/var/lib/apt{path}").as_bytes());
        }
        tree.remove(b"var/lib/apt");
    });
    assert_eq!(all, none);
}

#[test]
fn accounts_without_root_are_the_fault_of_who_took_root_away() {
    let bench = Bench::new();
    let said = refused(&bench, &|tree| {
        let other = bench.tree(&[("etc/passwd", "daemon:x:1:1::/:/usr/sbin/nologin\n")]);
        let other = other.get(b"etc/passwd").unwrap().clone();
        tree.insert(RelPath::from_text("etc/passwd").unwrap(), other);
    });
    assert_eq!(said, ["account:/etc/passwd"]);
}

#[test]
fn the_shell_of_an_account_below_is_not_for_a_layer_to_lose() {
    let bench = Bench::new();
    let with = |text: &str| {
        refused(&bench, &|tree| {
            let other = bench.tree(&[("etc/passwd", text)]);
            let other = other.get(b"etc/passwd").unwrap().clone();
            tree.insert(RelPath::from_text("etc/passwd").unwrap(), other);
        })
    };
    let root = "root:x:0:0::/:/usr/sbin/nologin\n";
    assert_eq!(
        with("root:x:0:0::/:/bin/none\n"),
        ["account:/etc/passwd:root"]
    );
    // An account of the layer itself is its own business.
    let none: [&str; 0] = [];
    assert_eq!(with(&format!("{root}me:x:1:1::/:/bin/none\n")), none);
}

#[test]
fn a_drop_in_that_breaks_a_unit_below_is_damage() {
    let bench = Bench::new();
    let unit = (
        "usr/lib/systemd/system/below.service",
        "[Service]\nExecStart=/usr/bin/own\n",
    );
    let drop_in = "[Service]\nExecStart=\nExecStart=/opt/none\n";
    let own = ("usr/bin/own", "a program");
    let verdict = |name: &str| {
        let ground = bench.tree(&[unit, own]);
        let base = bench.layer("base", &[], &Tree::new(), &ground);
        let path = format!("etc/systemd/system/{name}.service.d/x.conf");
        let after = bench.tree(&[unit, own, (&path, drop_in)]);
        let top = bench.layer("top", &[base], &ground, &after);
        bench.check("set", &[base, top], &[]).verdict
    };
    assert_eq!(verdict("below"), Verdict::Refused);
    // Of a unit that nobody has, it is the layer's own normal state.
    assert_eq!(verdict("absent"), Verdict::Safe);
}
