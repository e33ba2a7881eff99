use super::super::problems;
use crate::check::paths::testing::{Image, assert_ids};

const RUN: &[u8] = b"#!/usr/bin/python3\nimport sys\nimport yaml\n";

/// A tree with Python 3.`minor` as Debian has it.
fn debian(minor: u32) -> Image {
    let lib = |name: &str| format!("usr/lib/python3.{minor}/{name}");
    let program = format!("usr/bin/python3.{minor}");
    let target = format!("python3.{minor}");
    Image::new()
        .program("usr/bin/env")
        .program(&program)
        .link("usr/bin/python3", &target)
        .file(&lib("os.py"), b"import sys\nimport abc\n")
        .file(&lib("abc.py"), b"")
        .file(&lib("io.py"), b"")
        .file(&lib("site.py"), b"import os\n")
        .file(&lib("encodings/__init__.py"), b"from . import aliases\n")
        .file(&lib("encodings/aliases.py"), b"")
        .file(
            &lib(&format!(
                "lib-dynload/_ssl.cpython-3{minor}-x86_64-linux-gnu.so"
            )),
            b"x",
        )
        .dir("usr/lib/python3/dist-packages")
}

fn check(image: &Image, expect: &[&str]) {
    assert_ids(&problems(&image.tree, &image.view).unwrap(), expect);
}

#[test]
fn a_module_that_a_unit_or_a_script_has_run_is_looked_for() {
    let unit = |dir: &str, more: &str| {
        format!(
            "[Service]\nWorkingDirectory={dir}\nExecStart=/usr/bin/python3 -u -m app.main\n{more}"
        )
    };
    let image = |dir: &str, more: &str| {
        let unit = unit(dir, more);
        debian(11)
            .program("usr/bin/sh")
            .dir("opt/app")
            .file("etc/systemd/system/a.service", unit.as_bytes())
            .exec("opt/run", b"#!/usr/bin/sh\nexec python3 -m gone\n")
    };
    let script = "!import:/opt/run:gone";
    let lost = ["!import:/etc/systemd/system/a.service:app", script];
    check(&image("/opt/app", ""), &lost);
    // Where only a machine has the directory, or the unit says where modules are, nobody knows.
    check(
        &image("/opt/app", "Environment=PYTHONPATH=/srv\n"),
        &[script],
    );
    let part = "!import:/etc/systemd/system/a.service:app.main";
    let whole = image("/opt/app", "").file("opt/app/app/__init__.py", b"");
    check(&whole, &[part, script]);
    check(
        &whole.file("opt/app/app/main.py", b"import sys\n"),
        &[script],
    );
    // A script may be started anywhere.
    let elsewhere = image("/opt/app", "Environment=PYTHONPATH=/srv\n");
    check(&elsewhere.file("srv/gone.py", b""), &[]);
}

#[test]
fn a_module_of_each_directory_is_found_and_one_of_none_is_named() {
    check(&debian(11), &[]);
    let image = debian(11).exec("opt/run", RUN);
    check(&image, &["!import:/opt/run:yaml"]);
    for place in [
        "usr/lib/python3/dist-packages/yaml/__init__.py",
        "usr/lib/python3/dist-packages/yaml.py",
        "usr/lib/python3/dist-packages/yaml/part.py",
        "usr/local/lib/python3.11/dist-packages/yaml.pyc",
        "usr/lib/python3.11/yaml.py",
        "usr/lib/python3.11/lib-dynload/yaml.cpython-311-x86_64-linux-gnu.so",
        "usr/lib/python3/dist-packages/yaml.abi3.so",
        "opt/yaml.py",
    ] {
        check(&image.clone().file(place, b""), &[]);
    }
    for place in [
        "usr/lib/python3/dist-packages/yaml/__pycache__/a.cpython-311.pyc",
        "usr/lib/python3/dist-packages/yaml.cpython-310-x86_64-linux-gnu.so",
        "usr/local/lib/python3.10/dist-packages/yaml.py",
        "usr/share/yaml.py",
    ] {
        check(&image.clone().file(place, b""), &["!import:/opt/run:yaml"]);
    }
}

#[test]
fn modules_that_the_program_imports_are_looked_at_and_others_are_not() {
    let image = debian(11)
        .exec(
            "opt/app/run",
            b"#!/usr/bin/env python3\nfrom core.work import go\n",
        )
        .file("opt/app/core/__init__.py", b"import six\n")
        .file(
            "opt/app/core/work.py",
            b"from . import near, far\nfrom .deep.er import x\nimport os.path\n",
        )
        .file("opt/app/core/near.py", b"import yaml\nimport core.none\n")
        .file("opt/app/core/unused.py", b"import gone\n")
        .file("usr/lib/python3/dist-packages/six.py", b"import lost\n");
    check(
        &image,
        &[
            "!import:/opt/app/core/near.py:core.none",
            "!import:/opt/app/core/near.py:yaml",
            "!import:/opt/app/core/work.py:.deep",
            "!import:/usr/lib/python3/dist-packages/six.py:lost",
        ],
    );
    let found = problems(&image.tree, &image.view).unwrap();
    assert!(
        found[1]
            .reason
            .ends_with("so '/opt/app/run' does not start"),
        "{found:?}"
    );
}

#[test]
fn what_left_the_standard_library_is_told_so() {
    let run = b"#!/usr/bin/python3\nimport cgi\nimport spwd\nimport distutils.core\n";
    let old = debian(11)
        .exec("opt/run", run)
        .file("usr/lib/python3.11/cgi.py", b"")
        .file("usr/lib/python3.11/distutils/core.py", b"");
    check(&old, &[]);
    let new = debian(13).exec("opt/run", run);
    let expect = [
        "!import:/opt/run:cgi",
        "!import:/opt/run:distutils",
        "!import:/opt/run:spwd",
    ];
    check(&new, &expect);
    let found = problems(&new.tree, &new.view).unwrap();
    assert!(found[0].reason.contains("after Python 3.12"), "{found:?}");
    // setuptools brings its own.
    let hack = b"import os; var = 'X'; os.environ.get(var) and __import__('_distutils_hack')\n";
    let new = new.file(
        "usr/lib/python3/dist-packages/distutils-precedence.pth",
        hack,
    );
    check(&new, &[expect[0], expect[2]]);
}

#[test]
fn an_environment_sees_the_system_where_it_says_so() {
    let venv = |shared: &str| {
        let cfg =
            format!("home = /usr/bin\ninclude-system-site-packages = {shared}\nversion = 3.11.2\n");
        debian(11)
            .link("opt/venv/bin/python", "/usr/bin/python3")
            .file("opt/venv/pyvenv.cfg", cfg.as_bytes())
            .exec(
                "opt/venv/bin/run",
                b"#!/opt/venv/bin/python\nimport own, yaml\n",
            )
            .file("opt/venv/lib/python3.11/site-packages/own.py", b"")
            .file("usr/lib/python3/dist-packages/yaml/__init__.py", b"")
    };
    check(&venv("true"), &[]);
    check(&venv("false"), &["!import:/opt/venv/bin/run:yaml"]);
}

#[test]
fn search_paths_of_programs_and_sites_count() {
    let image = debian(11)
        .exec(
            "opt/a",
            b"#!/usr/bin/python3\nsys.path.insert(0, '/srv/lib')\nimport one\n",
        )
        .exec(
            "opt/b",
            b"#!/usr/bin/python3\nsys.path.insert(0, here)\nimport one\nimport none\n",
        )
        .exec("opt/c", b"#!/usr/bin/python3\nimport egg\n")
        .exec("opt/d", b"#!/usr/bin/python3\nimport one\n")
        .file("srv/lib/one.py", b"")
        .file(
            "usr/lib/python3/dist-packages/easy.pth",
            b"# x\n/opt/egg-1\ngone\n",
        )
        .file("opt/egg-1/egg.py", b"");
    check(&image, &["!import:/opt/b:none", "!import:/opt/d:one"]);
}

#[test]
fn files_that_units_and_cron_run_are_programs() {
    let main = b"import yaml\nif __name__ == '__main__':\n  import late\n";
    let image = debian(11)
        .file("opt/app/main.py", main)
        .file("opt/app/pkg/web.py", main)
        .file("opt/app/tool/__main__.py", b"import more\n")
        .file("opt/app/unused.py", main)
        .program("usr/bin/gunicorn")
        .file(
            "etc/systemd/system/a.service",
            b"[Service]\nExecStart=/bin/sh -c 'exec /usr/bin/python3 -u /opt/app/main.py -m x'\n",
        )
        .file(
            "etc/systemd/system/b.service",
            b"[Service]\nWorkingDirectory=/opt/app\nExecStart=/usr/bin/gunicorn pkg.web:app\n",
        )
        .file(
            "etc/cron.d/c",
            b"# /opt/app/unused.py\n* * * * * root cd / && python3 /opt/app/main.py\n",
        )
        .file(
            "usr/lib/systemd/system/d.service",
            b"[Service]\nWorkingDirectory=/opt/app\nExecStart=/usr/bin/python3 -m tool --x\n",
        );
    check(
        &image,
        &[
            "!import:/opt/app/main.py:late",
            "!import:/opt/app/main.py:yaml",
            "!import:/opt/app/pkg/web.py:yaml",
            "!import:/opt/app/tool/__main__.py:more",
        ],
    );
}

#[test]
fn an_interpreter_without_a_part_of_its_library_is_told() {
    let mut image = debian(11);
    image.tree.remove(b"usr/lib/python3.11/abc.py");
    check(&image, &["!import:/usr/lib/python3.11/os.py:abc"]);
    let found = problems(&image.tree, &image.view).unwrap();
    assert!(
        found[0]
            .reason
            .contains("'/usr/bin/python3.11' does not start"),
        "{found:?}"
    );
}

#[test]
fn a_python_without_its_library_starts_nothing() {
    let bare = Image::new()
        .program("usr/bin/python3.11")
        .link("usr/bin/python3", "python3.11");
    check(&bare, &["!import:/usr/bin/python3.11:os"]);
    check(&bare.clone().file("usr/lib/python311.zip", b"x"), &[]);
    check(&bare.clone().file("usr/lib/python3.11/os.pyc", b"x"), &[]);
}
