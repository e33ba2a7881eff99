use super::*;
use crate::check::paths::testing::{Image, assert_ids};

fn image() -> Image {
    Image::new()
        .link("bin", "usr/bin")
        .link("lib", "usr/lib")
        .program("usr/bin/sh")
        .program("usr/sbin/daemon")
        .file("usr/lib/data", b"")
        .file(
            "etc/passwd",
            b"root:x:0:0::/:/bin/sh\nwww:x:33:33::/:/bin/sh\n",
        )
        .file("etc/group", b"root:x:0:\nwww:x:33:\n")
        .file("usr/lib/sysusers.d/x.conf", b"u made -\n")
}

/// Checks one system unit 'a.service' of these lines.
fn check(text: &str, expect: &[&str]) {
    let image = image().file("usr/lib/systemd/system/a.service", text.as_bytes());
    let full: Vec<String> = expect.iter().map(|id| expand_id(id)).collect();
    let full: Vec<&str> = full.iter().map(String::as_str).collect();
    assert_ids(&units(&image.tree, &image.view).unwrap(), &full);
}

/// Puts the path of that unit into a short id.
fn expand_id(id: &str) -> String {
    let (mark, rest) = match id.strip_prefix('!') {
        Some(rest) => ("!", rest),
        None => ("", id),
    };
    format!("{mark}unit:/usr/lib/systemd/system/a.service:{rest}")
}

#[test]
fn every_program_of_a_unit_has_to_exist() {
    check(
        "[Service]\nExecStart=/usr/sbin/daemon -x\nExecStop=/bin/sh -c :\n",
        &[],
    );
    check(
        "[Service]\nExecStart=/usr/sbin/gone\n",
        &["!/usr/sbin/gone"],
    );
    check("[Service]\nExecStart=/usr/lib/data\n", &["!/usr/lib/data"]);
    check("[Service]\nExecStart=/usr/lib\n", &["!/usr/lib"]);
    check(
        "[Service]\nExecStartPre=!!/usr/bin/gone ; /bin/sh ; other\n",
        &["!/usr/bin/gone", "!other"],
    );
    check(
        "[Service]\nExecStart=\\\n# why\n  daemon \\\n  -x\nExecStartPost=+gone\n",
        &["!gone"],
    );
    check(
        "[Service]\nExecReload=\"/usr/lib/my app\"\n",
        &["!/usr/lib/my\\x20app"],
    );
    check(
        "[Socket]\nExecStartPre=@/usr/bin/gone x\n",
        &["!/usr/bin/gone"],
    );
    check(
        "[Service]\nExecCondition=:|/usr/bin/gone\n",
        &["!/usr/bin/gone"],
    );
}

#[test]
fn a_program_that_may_fail_or_appear_weighs_little() {
    check(
        "[Service]\nExecStart=-/usr/sbin/gone\n",
        &["/usr/sbin/gone"],
    );
    check(
        "[Service]\nExecStart=@-/usr/sbin/gone x\n",
        &["/usr/sbin/gone"],
    );
    check("[Service]\nExecStart=/run/made/here\n", &["/run/made/here"]);
    check(
        "[Service]\nExecStart=-/bin/x\nExecStop=/bin/x\n",
        &["!/bin/x"],
    );
}

#[test]
fn what_only_a_running_system_can_tell_is_left_alone() {
    for value in [
        "%h/bin/x",
        "/usr/lib/%p",
        "relative/path",
        "'/open",
        "",
        "%%h/x",
        "%",
    ] {
        check(&format!("[Service]\nExecStart={value}\n"), &[]);
    }
    check("[Service]\nExecStart=/usr/bin/100%%\n", &["!/usr/bin/100%"]);
}

#[test]
fn an_empty_value_starts_the_list_anew() {
    check(
        "[Service]\nExecStart=/bin/gone\nExecStart=\nExecStart=/bin/sh\n",
        &[],
    );
    check(
        "[Service]\nExecStart=/bin/gone\nExecStop=\n",
        &["!/bin/gone"],
    );
}

#[test]
fn a_unit_that_asks_for_its_program_is_skipped_in_silence() {
    let with = |condition: &str| format!("[Unit]\n{condition}\n[Service]\nExecStart=/bin/gone\n");
    check(&with("ConditionPathExists=/bin/gone"), &[]);
    check(&with("ConditionFileIsExecutable=/bin/gone"), &[]);
    check(&with("ConditionFileIsExecutable=|/bin/gone"), &[]);
    check(&with("ConditionPathExists=/bin/other"), &["!/bin/gone"]);
    check(&with("ConditionPathExists=!/bin/gone"), &["!/bin/gone"]);
    check(&with("AssertPathExists=/bin/gone"), &["!/bin/gone"]);
    check(
        &with("ConditionFileIsExecutable=|/bin/gone\nConditionVirtualization=|vm"),
        &["!/bin/gone"],
    );
}

#[test]
fn units_that_are_required_have_to_exist() {
    let image = |text: &str| {
        image()
            .file("usr/lib/systemd/system/a.service", text.as_bytes())
            .file("usr/lib/systemd/system/b.target", b"")
            .file("usr/lib/systemd/system/t@.service", b"")
            .link(
                "etc/systemd/system/alias.service",
                "/lib/systemd/system/b.target",
            )
            .exec("etc/init.d/old", b"")
    };
    let check = |text: &str, expect: &[&str]| {
        let image = image(text);
        let full: Vec<String> = expect.iter().map(|id| expand_id(id)).collect();
        let full: Vec<&str> = full.iter().map(String::as_str).collect();
        assert_ids(&units(&image.tree, &image.view).unwrap(), &full);
    };
    check(
        "[Unit]\nRequires=b.target t@x.service alias.service old.service\nBindsTo=t@%i.service dev-sda.device -.mount x.slice %i.service\n",
        &[],
    );
    check("[Unit]\nWants=c.service\nAfter=d.service\n", &[]);
    check(
        "[Unit]\nRequires=c.service\nBindsTo=u@%i.service b.target\n",
        &["!requires:c.service", "!requires:u@.service"],
    );
    check("[Service]\nRequires=c.service\n", &[]);
}

#[test]
fn accounts_have_to_exist_or_be_made() {
    check("[Service]\nUser=www\nGroup=www\n", &[]);
    check(
        "[Service]\nUser=made\nGroup=made\nSupplementaryGroups=root 4\n",
        &[],
    );
    check("[Service]\nUser=1000\nGroup=%i\n", &[]);
    check("[Service]\nUser=ghost\nDynamicUser=yes\n", &[]);
    check("[Service]\nUser=ghost\n", &["!user:ghost"]);
    check("[Service]\nUser=ghost\nUser=www\n", &[]);
    check(
        "[Service]\nGroup=ghosts\nSupplementaryGroups=www more\n",
        &["!group:ghosts", "!group:more"],
    );
    check(
        "[Socket]\nSocketUser=ghost\nSocketGroup=ghost\n",
        &["!group:ghost", "!user:ghost"],
    );
}

#[test]
fn drop_ins_count_and_overridden_files_do_not() {
    let broken = b"[Service]\nExecStart=/bin/gone\nUser=ghost\n";
    let image = image()
        .file("usr/lib/systemd/system/over.service", broken)
        .file(
            "etc/systemd/system/over.service",
            b"[Service]\nExecStart=/bin/sh\n",
        )
        .file(
            "usr/lib/systemd/system/other.service",
            b"[Service]\nExecStart=/bin/sh\nUser=ghost\n",
        )
        .file(
            "etc/systemd/system/other.service.d/user.conf",
            b"[Service]\nUser=www\n",
        )
        .file("usr/lib/systemd/system/masked.service", broken)
        .link("etc/systemd/system/masked.service", "/dev/null")
        .file(
            "usr/lib/systemd/system/reset.service",
            b"[Service]\nExecStart=/bin/gone\n",
        )
        .file(
            "etc/systemd/system/reset.service.d/x.conf",
            b"[Service]\nExecStart=\nExecStart=/bin/sh\n",
        )
        .file(
            "usr/lib/systemd/system/fine.service",
            b"[Service]\nExecStart=/bin/sh\n",
        )
        .file(
            "usr/lib/systemd/system/fine.service.d/x.conf",
            b"[Service]\nExecStartPre=/bin/gone\n",
        )
        .file(
            "usr/lib/systemd/system/service.d/all.conf",
            b"[Service]\nExecStartPre=/bin/gone2\n",
        )
        .file(
            "usr/lib/systemd/user/me.service",
            b"[Service]\nUser=ghost\nExecStart=/bin/gone\n",
        )
        .file(
            "usr/lib/systemd/system/binary.service",
            b"[Service]\nExecStart=/bin/gone\xff\0\n",
        )
        .file(
            "usr/lib/systemd/system/README",
            b"[Service]\nExecStart=/bin/gone\n",
        );
    assert_ids(
        &units(&image.tree, &image.view).unwrap(),
        &[
            "!unit:/usr/lib/systemd/system/fine.service.d/x.conf:/bin/gone",
            "!unit:/usr/lib/systemd/system/service.d/all.conf:/bin/gone2",
            "!unit:/usr/lib/systemd/user/me.service:/bin/gone",
        ],
    );
}

#[test]
fn services_of_dbus_need_their_program_and_user() {
    let dir = "usr/share/dbus-1/system-services";
    let image = image()
        .file(
            &format!("{dir}/fine.service"),
            b"[D-BUS Service]\nName=a\nExec=/usr/sbin/daemon -x\nUser=www\n",
        )
        .file(
            &format!("{dir}/by-systemd.service"),
            b"[D-BUS Service]\nExec=/bin/gone\nUser=ghost\nSystemdService=a.service\n",
        )
        .file(
            &format!("{dir}/never.service"),
            b"[D-BUS Service]\nExec=/bin/false\n",
        )
        .file(
            &format!("{dir}/gone.service"),
            b"[D-BUS Service]\nExec=\"/usr/lib/my gone\" --x\nUser=ghost\n",
        )
        .file(&format!("{dir}/empty.service"), b"")
        .file(
            &format!("{dir}/binary.service"),
            b"[D-BUS Service]\nExec=/bin/gone\0\n",
        )
        .link(&format!("{dir}/dangling.service"), "nowhere")
        .file(
            "usr/share/dbus-1/services/gone.service",
            b"[D-BUS Service]\nExec=gone\n",
        );
    assert_ids(
        &units(&image.tree, &image.view).unwrap(),
        &[
            "!unit:/usr/share/dbus-1/services/gone.service:gone",
            "!unit:/usr/share/dbus-1/system-services/gone.service:/usr/lib/my\\x20gone",
            "!unit:/usr/share/dbus-1/system-services/gone.service:user:ghost",
        ],
    );
}

#[test]
fn a_system_needs_something_to_boot_into() {
    let image = Image::new()
        .program("usr/lib/systemd/systemd")
        .file("usr/lib/systemd/system/sysinit.target", b"[Unit]\n");
    let found = units(&image.tree, &image.view).unwrap();
    assert_ids(&found, &["!unit:/usr/lib/systemd/systemd:default.target"]);
    for place in [
        "usr/lib/systemd/system/default.target",
        "etc/systemd/system/default.target",
    ] {
        let image = image.clone().link(place, "sysinit.target");
        assert_ids(&units(&image.tree, &image.view).unwrap(), &[]);
    }
}

#[test]
fn programs_that_units_and_shells_start_are_named_by_their_places() {
    let unit = "[Unit]\nConditionFileIsExecutable=/bin/gone\n[Service]\nExecStartPre=-/bin/may\n\
                ExecStart=/bin/gone -x\nExecStop=daemon\n";
    let image = image()
        .file("usr/lib/systemd/system/a.service", unit.as_bytes())
        .file("usr/bin/plain", b"");
    let found = started_by_units(&image.tree, &image.view).unwrap();
    let names: Vec<_> = found.iter().map(|at| String::from_utf8_lossy(at)).collect();
    assert_eq!(names, ["usr/bin/gone", "usr/sbin/daemon"]);
    for (text, places) in [
        ("daemon -t -q", &["usr/sbin/daemon"][..]),
        ("A=1 sh -c x && daemon", &["usr/bin/sh"]),
        ("plain; /bin/gone", &["usr/bin/gone", "usr/bin/plain"]),
        ("nowhere || daemon", &[]),
        ("$PROGRAM -t", &[]),
    ] {
        let found = started_by_shell(&image.tree, text);
        let names: Vec<_> = found.iter().map(|at| String::from_utf8_lossy(at)).collect();
        assert_eq!(names, places, "{text}");
    }
}
