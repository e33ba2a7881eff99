//! Whose doing a problem is, and what helps.

use super::*;

#[test]
fn files_come_out_the_same_so_that_no_rebuild_is_asked_for_their_problems() {
    let mut app = member("app", "app", &[("base", "old")]);
    app.baseline.files_only = true;
    let members = [member("base", "new", &[]), app];
    let problems = ["elf:x", "shadow:file:/x:1", "trigger:app:p:x"]
        .map(|id| found(id, at("usr/x"), 1, Weight::Grave));
    let new = judge(problems.to_vec(), &members).new;
    assert_eq!(
        summary(&new),
        [
            "app Refuse elf:x",
            "app Rebuild shadow:file:/x:1",
            "app Rebuild trigger:app:p:x"
        ]
    );
    assert!(new[0].hint.contains("layers/app"), "{}", new[0].hint);
}

#[test]
fn a_refusal_says_what_helps() {
    let hint = |problem: MemberProblem, members: &[Member]| {
        judge(vec![problem], members).new[0].hint.clone()
    };
    let base = member("base", "b", &[]);
    let tool = with_package(member("tool", "t", &[("base", "b")]), "jq", "1");
    let app = with_package(member("app", "a", &[("base", "b")]), "web", "1");
    let members = [base, tool, app];
    let lock = hint(
        found("dpkg:depends:web:jq", package("web"), 2, Weight::Grave),
        &members,
    );
    assert!(
        lock.contains("`layerset lock RECIPE --update app`"),
        "{lock}"
    );
    let mut broken = found("elf:x", at("usr/x"), 2, Weight::Grave);
    broken.owner = 0;
    let leave = hint(broken, &members);
    assert!(leave.contains("let layers/app leave it"), "{leave}");
    let own = hint(found("elf:x", at("usr/x"), 2, Weight::Grave), &members);
    assert!(
        own.contains("--update app") && own.contains("add what is missing"),
        "{own}"
    );
    let files = hint(found("elf:x", at("usr/x"), 0, Weight::Grave), &members);
    assert!(!files.contains("lock"), "{files}");
}

#[test]
fn two_ways_to_run_php_beside_each_other_ask_for_one_to_stand_on_the_other() {
    let object = ObjectId::of(b"x");
    let dir = "/etc dir 0755 root root 0.0 -\n/etc/php dir 0755 root root 0.0 -\n\
               /etc/php/8.4 dir 0755 root root 0.0 -\n";
    let settings = |name: &str| {
        let text = format!("{dir}/etc/php/8.4/{name} file 0644 root root 0.0 {object} 1\n");
        with_files(member(name, name, &[("base", "b")]), &text)
    };
    let mut members = [member("base", "b", &[]), settings("web"), settings("fpm")];
    let id = "php:/etc/php/8.4/fpm/conf.d/15-xml.ini:enabled";
    let hint = |number: usize, members: &[Member]| {
        let found = found(id, at("etc/php/8.4/web"), number, Weight::Grave);
        judge(vec![found], members).new[0].hint.clone()
    };
    for number in [1, 2] {
        let said = hint(number, &members);
        assert!(
            said.starts_with("add \"web\" to `on` in layers/fpm/"),
            "{said}"
        );
    }
    members[1] = member("web", "web", &[("base", "b")]);
    let said = hint(2, &members);
    assert!(!said.contains("add \"web\""), "{said}");
}

/// Looks at members whose composition is the last state of each path, with these problems.
fn looked(members: &[Member], found: Vec<MemberProblem>) -> CheckedGround {
    let mut composition = Composition::default();
    for (number, member) in members.iter().enumerate() {
        for (path, change) in member.changeset.iter() {
            match &change.post {
                Some(inode) => {
                    composition.tree.insert(path.clone(), inode.clone());
                    composition.origin.insert(path.clone(), number);
                }
                None => drop(composition.tree.remove(path.as_bytes())),
            }
        }
    }
    CheckedGround { composition, found }
}

#[test]
fn what_a_layer_breaks_below_it_is_its_doing_and_never_its_normal_state() {
    let file = |path: &str, text: &str| {
        let object = ObjectId::of(text.as_bytes());
        format!("/{path} file 0755 root root 0.0 {object} 1\n")
    };
    let base = with_files(
        member("base", "b", &[]),
        &[
            file("etc/passwd", "x"),
            file("grep", "old"),
            file("ls", "old"),
        ]
        .concat(),
    );
    let top = with_files(
        member("top", "t", &[("base", "b")]),
        &[
            file("etc/passwd", "y"),
            file("grep", "new"),
            file("own", "x"),
        ]
        .concat(),
    );
    let members = [base, top];
    let grave = |id: &str, path: &str, owner| found(id, at(path), owner, Weight::Grave);
    let mut problems = vec![
        grave("elf:ls", "ls", 0),
        grave("elf:was", "ls", 0),
        grave("elf:grep", "grep", 1),
        grave("elf:own", "own", 1),
        grave("owner:shell", "etc/passwd", 1),
        grave("php:ls:enabled", "ls", 0),
        grave("trigger:base:p:ls", "ls", 0),
        found("link:ls", at("ls"), 0, Weight::Minor),
    ];
    problems.sort_by(|a, b| a.problem.id.cmp(&b.problem.id));
    let of = |id: &str| {
        problems
            .iter()
            .find(|p| p.problem.id.as_str() == id)
            .cloned()
            .unwrap()
    };
    let whole = looked(&members, problems.clone());
    assert!(may_damage(&whole.composition, &problems, &members));
    assert!(!may_damage(&whole.composition, &[of("elf:own")], &members));
    let mut before = of("elf:was");
    let ground = looked(&members[..1], vec![before.clone()]);
    let done = damage(&problems, &members, &ground);
    let summary: Vec<_> = done
        .iter()
        .map(|d| (d.problem.id.as_str(), d.member, d.owner))
        .collect();
    assert_eq!(summary, [("elf:grep", 1, 0), ("elf:ls", 1, 0)]);
    // What was worth a note below, and is grave now, was made worse.
    before.problem.weight = Weight::Minor;
    let ground = looked(&members[..1], vec![before]);
    assert_eq!(damage(&problems, &members, &ground).len(), 3);

    let mut members = members;
    members[1].baseline = baseline(&problems, &members, &done, None);
    assert_eq!(members[1].baseline.broken, ["elf:grep", "elf:ls"]);
    let news = judge(problems.clone(), &members).new;
    let news: Vec<&str> = news.iter().map(|f| f.id.as_str()).collect();
    assert_eq!(news, ["elf:ls", "elf:grep"]);
    // A lower layer that was built without it does not make it normal either.
    members[0].baseline = knows(&["elf:ls"]);
    assert_eq!(judge(vec![of("elf:ls")], &members).new.len(), 1);
}

/// The interpreter of a script came with another layer: what the script imports is no news where it
/// did not run before.
#[test]
fn what_a_script_without_interpreter_lacks_besides_is_no_news() {
    let object = ObjectId::of(b"x");
    let hook = format!("/usr/hook.py file 0755 root root 0.0 {object} 1\n");
    let import = || {
        found(
            "import:/usr/hook.py:apport",
            at("usr/hook.py"),
            1,
            Weight::Grave,
        )
    };
    let base = member("base", "b", &[]);
    let app = with_files(member("app", "a", &[("base", "b")]), &hook);
    let python = member("python", "p", &[("base", "b"), ("app", "a")]);
    for (normal, expect) in [("script:/usr/hook.py", 0), ("script:/usr/hook", 1)] {
        let app = knowing(app.clone(), &[normal]);
        let members = [base.clone(), app, python.clone()];
        assert_eq!(
            judge(vec![import()], &members).new.len(),
            expect,
            "{normal}"
        );
        let before = found(normal, at("usr/hook.py"), 1, Weight::Grave);
        let ground = looked(&members[..2], vec![before]);
        assert_eq!(damage(&[import()], &members, &ground).len(), expect);
    }
}

#[test]
fn modules_of_a_kernel_that_left_are_grave_where_their_layer_has_no_others() {
    let object = ObjectId::of(b"x");
    let module = |version: &str| {
        let dirs = ["usr", "usr/lib", "usr/lib/modules"].map(str::to_owned);
        let below = ["", "/updates"].map(|end| format!("usr/lib/modules/{version}{end}"));
        let dirs = dirs.into_iter().chain(below);
        let dirs = dirs.map(|dir| format!("/{dir} dir 0755 root root 0.0 -\n"));
        let place = format!("usr/lib/modules/{version}/updates/zfs.ko");
        let file = format!("/{place} file 0644 root root 0.0 {object} 1\n");
        dirs.collect::<String>() + &file
    };
    let kernel = "/boot dir 0755 root root 0.0 -\n\
         /boot/vmlinuz-2 file 0644 root root 0.0 OBJECT 1\n";
    let base = with_files(
        member("base", "b", &[]),
        &kernel.replace("OBJECT", &object.to_string()),
    );
    let zfs = with_files(member("zfs", "z", &[("base", "b")]), &module("1"));
    let more = with_files(member("more", "m", &[("base", "b")]), &module("2"));
    let weight = |mut top: Member, both: bool| {
        if both {
            for (path, change) in more.changeset.iter() {
                top.changeset.insert(path.clone(), change.clone());
            }
        }
        let members = [base.clone(), top];
        let composition = looked(&members, Vec::new()).composition;
        let mut problems = check::paths::abi(&composition.tree);
        kernels::weigh(&mut problems, &composition, &members);
        let found = problems.into_iter();
        found
            .map(|p| (p.id.to_string(), p.weight))
            .collect::<Vec<_>>()
    };
    let id = "kernel:/usr/lib/modules/1/updates/zfs.ko:abi".to_owned();
    assert_eq!(weight(zfs.clone(), false), [(id.clone(), Weight::Grave)]);
    assert_eq!(weight(zfs, true), [(id, Weight::Minor)]);
    assert_eq!(weight(more.clone(), false), []);
}
