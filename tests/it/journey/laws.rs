//! Whose doing it is: a layer breaks what is below it, or loses what its siblings use.

use std::fs;

use super::shared::{adopt_debs, world};
use super::world::{World, layer_ids, text};

/// Makes a layer that runs a script on the base, and a recipe of its name with both.
fn scripted(at: &World, name: &str, script: &str) {
    fs::create_dir_all(at.path(&format!("layers/{name}"))).unwrap();
    at.write(
        &format!("layers/{name}/layer.toml"),
        "on = [\"debian\"]\n\n[run]\nscripts = [\"setup.sh\"]\n",
    );
    at.write(&format!("layers/{name}/setup.sh"), script);
    recipe(at, name, &format!("\"debian\", \"{name}\""), &[]);
}

/// Writes a recipe that accepts these findings.
fn recipe(at: &World, name: &str, layers: &str, accepted: &[String]) {
    let waivers = accepted.iter().map(|finding| {
        format!("\n[[waivers]]\nfinding = \"{finding}\"\nreason = \"r\"\nexpires = 2999-01-01\n")
    });
    let waivers: String = waivers.collect();
    at.write(
        &format!("recipes/{name}.toml"),
        &format!("architecture = \"amd64\"\nlayers = [{layers}]\n{waivers}"),
    );
}

/// Returns the ids of findings that stand on lines of their own.
fn ids(stderr: &str) -> Vec<String> {
    let kinds = ["elf:", "script:", "link:", "merged:", "unit:"];
    let lines = stderr.lines().map(str::trim);
    let ids = lines.filter(|line| kinds.iter().any(|kind| line.starts_with(kind)));
    ids.map(str::to_owned).collect()
}

#[test]
fn a_layer_that_breaks_what_is_below_it_is_refused_by_name_until_somebody_accepts_it() {
    let Some(at) =
        world("a_layer_that_breaks_what_is_below_it_is_refused_by_name_until_somebody_accepts_it")
    else {
        return;
    };
    let lib = "/usr/lib/x86_64-linux-gnu";
    let rm = format!("rm {lib}/libpcre2-8.so.0* {lib}/libcrypt.so.1*\n");
    scripted(&at, "cut", &rm);
    adopt_debs(&at);
    at.run("lock recipes/cut.toml").expect(0);
    let failed = at.run("build recipes/cut.toml").expect(3);
    let failed = failed.says(&[
        "layer 'cut' breaks what is below it",
        "'/usr/bin/grep' needs 'libpcre2-8.so.0'",
        "elf:needed:/usr/bin/perl:libcrypt.so.1",
        "let layers/cut leave it as it is",
        "[[waivers]]",
    ]);
    assert!(!at.path("repo/refs/layers/cut/cut").exists());
    assert!(!at.path("repo/refs/images/cut").exists());
    at.is_clean();

    let accepted = ids(&failed.stderr);
    assert!(accepted.len() > 5, "{accepted:?}");
    let layers = "\"debian\", \"cut\"";
    recipe(&at, "cut", layers, &accepted[1..]);
    let failed = at.run("build recipes/cut.toml").expect(3);
    assert_eq!(ids(&failed.stderr), accepted[..1]);
    recipe(&at, "cut", layers, &accepted);
    let report = at.json("build recipes/cut.toml --json");
    let waived = report["findings"].as_array().unwrap().iter();
    let waived = waived.filter(|f| f["waived"].is_string() && f["layer"] == "cut");
    assert_eq!(waived.count(), accepted.len(), "{report:#}");

    // The layer is there now, and no other recipe takes it for sound; its base is not blamed.
    scripted(&at, "also", "echo x > /usr/share/also\n");
    recipe(&at, "also", "\"debian\", \"cut\", \"also\"", &[]);
    at.run("lock recipes/also.toml").expect(0);
    let failed = at.run("build recipes/also.toml").expect(3);
    let failed = failed.says(&["built also", "[cut] '/usr/bin/grep' needs"]);
    assert!(!failed.stderr.contains("[debian]"), "{}", failed.stderr);
}

#[test]
fn an_archive_that_replaces_a_link_of_the_root_is_refused_with_the_reason() {
    let Some(at) = world("an_archive_that_replaces_a_link_of_the_root_is_refused_with_the_reason")
    else {
        return;
    };
    let tar = "set -e\ncd /usr/local\nmkdir -p v/bin v/lib\ncp /usr/bin/true v/bin/vendor\n\
               cp /usr/bin/true v/lib/vendor\ntar -C v -cf v.tar bin lib\n";
    scripted(&at, "vendor", &format!("{tar}tar -C / -xf v.tar\n"));
    adopt_debs(&at);
    at.run("lock recipes/vendor.toml").expect(0);
    let failed = at.run("build recipes/vendor.toml").expect(3);
    let failed = failed.says(&[
        "layer 'vendor' breaks what is below it",
        "'/bin' was a link to 'usr/bin' and is a directory now",
        "'/lib' was a link to 'usr/lib' and is a directory now",
        "--keep-directory-symlink",
    ]);
    // One cause, and not each file that is not found.
    assert_eq!(ids(&failed.stderr), ["merged:/bin", "merged:/lib"]);
    at.is_clean();

    let keep = format!("{tar}tar -C / -xf v.tar --keep-directory-symlink\n");
    at.write("layers/vendor/setup.sh", &keep);
    let report = at.json("build recipes/vendor.toml --json");
    assert!(layer_ids(&report).contains_key("vendor"), "{report:#}");
}

#[test]
fn a_sibling_that_drops_what_another_layer_uses_is_named() {
    let Some(at) = world("a_sibling_that_drops_what_another_layer_uses_is_named") else {
        return;
    };
    for (layer, files) in [
        ("app", &[("app", "#!/usr/bin/jq -f\n.\n")][..]),
        ("tools", &[("jq", "#!/bin/sh\n"), ("yq", "#!/bin/sh\n")]),
    ] {
        let dir = format!("layers/{layer}/files/usr/bin");
        fs::create_dir_all(at.path(&dir)).unwrap();
        let mut modes = Vec::new();
        for (name, contents) in files {
            at.write(&format!("{dir}/{name}"), contents);
            modes.push(format!("\"usr/bin/{name}\" = \"0755\""));
        }
        let modes = modes.join(", ");
        at.write(
            &format!("layers/{layer}/layer.toml"),
            &format!("on = [\"debian\"]\n\n[files]\nmode = {{ {modes} }}\n"),
        );
    }
    let layers = "\"debian\", \"app\", \"tools\"";
    recipe(&at, "lab", layers, &[]);
    adopt_debs(&at);
    at.run("lock recipes/lab.toml").expect(0);
    at.run("build recipes/lab.toml").expect(0);
    let image = at.read("repo/refs/images/lab");

    at.write(
        "layers/tools/layer.toml",
        "on = [\"debian\"]\n\n[files]\nmode = { \"usr/bin/yq\" = \"0755\" }\n",
    );
    fs::remove_file(at.path("layers/tools/files/usr/bin/jq")).unwrap();
    let failed = at.run("build recipes/lab.toml").expect(3);
    let failed = failed.says(&[
        "[tools] the script '/usr/bin/app' asks for the interpreter '/usr/bin/jq'",
        "(since 'tools' changed)",
        "'app' uses what 'tools' brought",
        "finding = \"script:/usr/bin/app\"",
    ]);
    let again = "building it again would give the same";
    assert!(!failed.stderr.contains(again), "{}", failed.stderr);
    assert_eq!(at.read("repo/refs/images/lab"), image, "it is as it was");
    let check = at.run("check recipes/lab.toml --json");
    assert_eq!(
        (check.status, text(&check.json()["verdict"])),
        (3, "refused".to_owned())
    );

    // What is accepted is so while it is accepted, in the next image too.
    let id = ["script:/usr/bin/app".to_owned()];
    recipe(&at, "lab", layers, &id);
    at.run("build recipes/lab.toml").expect(0);
    recipe(&at, "lab", layers, &[]);
    at.run("build recipes/lab.toml")
        .expect(3)
        .says(&["'/usr/bin/app'"]);
}

#[test]
fn a_rebuild_is_asked_for_only_where_it_may_help() {
    let Some(at) = world("a_rebuild_is_asked_for_only_where_it_may_help") else {
        return;
    };
    scripted(
        &at,
        "below",
        "printf 'x\\n' > /usr/bin/tool\nchmod 755 /usr/bin/tool\n",
    );
    fs::create_dir_all(at.path("layers/app/files/usr/bin")).unwrap();
    at.write(
        "layers/app/layer.toml",
        "on = [\"below\"]\n\n[files]\nmode = { \"usr/bin/app\" = \"0755\" }\n",
    );
    at.write("layers/app/files/usr/bin/app", "#!/usr/bin/tool\n");
    recipe(&at, "lab", "\"debian\", \"below\", \"app\"", &[]);
    adopt_debs(&at);
    at.run("lock recipes/lab.toml").expect(0);
    let before = at.json("build recipes/lab.toml --json");
    at.write("layers/below/setup.sh", "printf 'x\\n' > /usr/share/tool\n");
    let failed = at.run("build recipes/lab.toml").expect(3);
    let failed = failed.says(&[
        "built below",
        "'/usr/bin/app'",
        "mend the file in layers/app",
        "[[waivers]]",
    ]);
    assert!(!failed.stderr.contains("built app"), "{}", failed.stderr);

    // A script may give something else: it is run again, and what was in vain is said.
    at.write(
        "layers/below/setup.sh",
        "printf 'x\\n' > /usr/bin/tool\nchmod 755 /usr/bin/tool\n",
    );
    let kept = at.json("build recipes/lab.toml --json");
    assert_eq!(layer_ids(&kept), layer_ids(&before));
    at.write(
        "layers/app/layer.toml",
        "on = [\"below\"]\n\n[files]\nmode = { \"usr/bin/app\" = \"0755\" }\n\n\
         [run]\nscripts = [\"setup.sh\"]\n",
    );
    at.write("layers/app/setup.sh", "true\n");
    at.run("build recipes/lab.toml").expect(0);
    at.write("layers/below/setup.sh", "printf 'x\\n' > /usr/share/tool\n");
    let failed = at.run("build recipes/lab.toml").expect(3);
    failed.says(&[
        "built app",
        "'app' was built again on today's layers, which did not help",
    ]);
}
