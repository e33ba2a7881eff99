use super::*;
use crate::check::paths::testing::{Image, assert_ids};

const DIST: &str = "usr/lib/python3/dist-packages";

fn with(minor: u32) -> Image {
    Image::new()
        .program(&format!("usr/bin/python3.{minor}"))
        .link("usr/bin/python3", &format!("python3.{minor}"))
}

fn check(image: Image, expect: &[&str]) {
    assert_ids(&python(&image.tree, &image.view).unwrap(), expect);
}

fn so(module: &str, minor: u32) -> String {
    format!("{DIST}/{module}.cpython-3{minor}-x86_64-linux-gnu.so")
}

#[test]
fn an_extension_module_needs_a_variant_for_the_default_interpreter() {
    check(with(13).file(&so("a", 13), b""), &[]);
    check(with(9).file(&so("a", 9), b""), &[]);
    check(
        with(13)
            .file(&so("a", 11), b"")
            .file(&so("np/b", 11), b"")
            .file(&so("np/b", 12), b""),
        &[
            "!python:/usr/lib/python3/dist-packages/a:abi",
            "!python:/usr/lib/python3/dist-packages/np/b:abi",
        ],
    );
    check(
        with(13).file(&so("a", 11), b"").file(&so("a", 13), b""),
        &[],
    );
    check(
        with(13)
            .file(&so("a", 11), b"")
            .file(&format!("{DIST}/a.abi3.so"), b""),
        &[],
    );
    check(
        with(13)
            .file(&so("a", 11), b"")
            .file(&format!("{DIST}/a.so"), b""),
        &[],
    );
    // The other one may be started by its name, yet 'import' of the default one fails.
    let other = with(13)
        .program("usr/bin/python3.11")
        .file(&so("a", 11), b"");
    check(other, &["!python:/usr/lib/python3/dist-packages/a:abi"]);
    check(
        Image::new().file(&so("a", 11), b""),
        &["!python:/usr/lib/python3/dist-packages/a:abi"],
    );
}

#[test]
fn private_modules_need_any_interpreter_embedded_ones_included() {
    let module = "usr/lib/app/x.cpython-311-x86_64-linux-gnu.so";
    check(with(13).file(module, b""), &["!python:/usr/lib/app/x:abi"]);
    check(
        with(13).program("usr/bin/python3.11").file(module, b""),
        &[],
    );
    check(
        with(13)
            .file("usr/lib/x86_64-linux-gnu/libpython3.11.so.1.0", b"")
            .file(module, b""),
        &[],
    );
}

#[test]
fn names_that_only_look_alike_are_left_alone() {
    check(
        with(13)
            .file(&format!("{DIST}/a.cpython-311d-x86_64-linux-gnu.so"), b"")
            .file(&format!("{DIST}/a.cpython-399999999999.so"), b"")
            .file(&format!("{DIST}/a.cpython-3.so"), b"")
            .file(&format!("{DIST}/a.pypy39-pp73.so"), b"")
            .file(&format!("{DIST}/a.cpython-311.pyc"), b"")
            .file("usr/share/python3.x/lib/python3/site-packages/a.py", b""),
        &[],
    );
}

#[test]
fn modules_of_a_missing_version_vanish_from_the_path() {
    let dir = "usr/local/lib/python3.11/dist-packages";
    let image = |minor| {
        with(minor)
            .file(&format!("{dir}/django/a.py"), b"")
            .file(
                &format!("{dir}/django/b.cpython-311-x86_64-linux-gnu.so"),
                b"",
            )
            .file(&format!("{dir}/django-1.dist-info/RECORD"), b"")
            .file(&format!("{dir}/one.py"), b"")
            .file(&format!("{dir}/__pycache__/one.cpython-311.pyc"), b"")
    };
    check(image(11), &[]);
    check(
        image(13),
        &[
            "!python:/usr/local/lib/python3.11/dist-packages/django:path",
            "!python:/usr/local/lib/python3.11/dist-packages/one.py:path",
        ],
    );
    check(with(13).dir(dir).dir(&format!("{dir}/empty")), &[]);
    // A directory of one version that has modules for another.
    check(
        with(13).file(
            "usr/lib/python3.13/dist-packages/a.cpython-311-x86_64-linux-gnu.so",
            b"",
        ),
        &["!python:/usr/lib/python3.13/dist-packages/a:abi"],
    );
}

#[test]
fn a_virtual_environment_needs_the_version_that_it_was_made_with() {
    let environment = |image: Image| {
        image
            .file("opt/app/pyvenv.cfg", b"home = /usr/bin\nversion = 3.11.2\n")
            .file("opt/app/lib/python3.11/site-packages/django/a.py", b"")
            .file("opt/app/lib/python3.11/site-packages/b.py", b"")
    };
    let linked = |image: Image| {
        environment(image)
            .link("opt/app/bin/python3", "/usr/bin/python3")
            .link("opt/app/bin/python", "python3")
            .link("opt/app/bin/python3.11", "python3")
    };
    let vanished = &["!python:/opt/app/lib/python3.11/site-packages:path"];
    check(linked(with(11)), &[]);
    check(linked(with(13)), vanished);
    check(linked(with(13).program("usr/bin/python3.11")), vanished);
    check(linked(Image::new()), vanished);
    check(environment(with(13)), vanished);
    // Copies of the interpreter, with and without a version in the name.
    check(environment(with(13)).program("opt/app/bin/python3"), &[]);
    check(environment(with(13)).program("opt/app/bin/python3.11"), &[]);
    let damaged = environment(with(13)).program("opt/app/bin/python3");
    check(
        damaged.clone().file("opt/app/pyvenv.cfg", b"\xff\0version"),
        &[],
    );
    check(
        damaged
            .clone()
            .file("opt/app/pyvenv.cfg", b"version = x.y\n"),
        &[],
    );
    check(
        damaged.file("opt/app/pyvenv.cfg", b"version_info = 3.12.1.final.0\n"),
        vanished,
    );
    // No environment: a program that brings its own interpreter, or none.
    let bundled = with(13).file("opt/tool/lib/python3.9/site-packages/a.py", b"");
    check(
        bundled.clone(),
        &["!python:/opt/tool/lib/python3.9/site-packages:path"],
    );
    check(bundled.program("opt/tool/bin/python3.9"), &[]);
}

#[test]
fn byte_code_of_missing_versions_is_said_once_a_package() {
    let pyc = |dir: &str, module: &str, minor: u32| {
        format!("{DIST}/{dir}/__pycache__/{module}.cpython-3{minor}.pyc")
    };
    check(
        with(13)
            .file(&pyc("old", "a", 11), b"")
            .file(&pyc("old", "b", 11), b"")
            .file(&pyc("old/deeper", "c", 11), b"")
            .file("usr/share/app/__pycache__/a.cpython-311.pyc", b"")
            .file(&pyc("both", "a", 11), b"")
            .file(&pyc("both", "a", 13), b"")
            .file(
                &format!("{DIST}/new/__pycache__/a.cpython-313.opt-1.pyc"),
                b"",
            ),
        &[
            "python:/usr/lib/python3/dist-packages/old:bytecode",
            "python:/usr/share/app:bytecode",
        ],
    );
    check(Image::new().file(&pyc("old", "a", 11), b""), &[]);
}
