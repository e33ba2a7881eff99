//! A layer holds copies of what the base brings: who notices when the base moves.

use serde_json::Value;

use super::shared::world;
use super::swap::move_base;
use super::world::{layer_ids, text};

/// Copies a library as it is and inside a packed archive.
const COPY: &str = "\nmkdir -p /opt/copies\ncd /usr/lib/x86_64-linux-gnu\n\
    cp libcap.so.2 /opt/copies/\n\
    tar -czf /opt/copies/bundle.tar.gz $(readlink libzstd.so.1)\n";

fn findings_of(report: &Value, layer: &str) -> Vec<String> {
    let layers = report["layers"].as_array().unwrap();
    let layer = layers.iter().find(|l| l["name"] == layer).unwrap();
    let findings = layer["findings"].as_array().unwrap();
    findings.iter().map(|f| text(&f["id"])).collect()
}

#[test]
fn a_layer_with_copies_of_the_base_is_rebuilt_when_they_move_and_then_safe() {
    let test = "a_layer_with_copies_of_the_base_is_rebuilt_when_they_move_and_then_safe";
    let Some(at) = world(test) else { return };
    at.append("layers/hello/setup.sh", COPY);
    let before = layer_ids(&at.build());
    move_base(&at, "moved", |archive| {
        archive.bump(&["libcap2", "libzstd1"])
    });
    let report = at.build();
    assert_eq!(layer_ids(&report)["nginx"], before["nginx"], "{report:#}");
    assert_eq!(
        findings_of(&report, "hello"),
        [
            "derived:hello:/opt/copies/bundle.tar.gz",
            "derived:hello:/opt/copies/libcap.so.2"
        ],
        "{report:#}"
    );
    at.run("deploy web --target t").expect(0);
    let root = at.path("t/layerset/current/root");
    let read = |path: &str| std::fs::read(root.join(path)).unwrap();
    let copy = read("opt/copies/libcap.so.2");
    let library = at.chroot(&["readlink", "-f", "/usr/lib/x86_64-linux-gnu/libcap.so.2"]);
    assert_eq!(copy, read(library.trim_end().trim_start_matches('/')));
    let check = at.json("check web --json");
    assert_eq!(check["verdict"], "safe", "{check:#}");
}

#[test]
fn a_copy_that_a_definition_brings_is_refused_until_it_is_current_or_waived() {
    let test = "a_copy_that_a_definition_brings_is_refused_until_it_is_current_or_waived";
    let Some(at) = world(test) else { return };
    at.build();
    at.run("deploy web --target t").expect(0);
    let library = at.chroot(&["readlink", "-f", "/usr/lib/x86_64-linux-gnu/libcap.so.2"]);
    let root = at.path("t/layerset/current/root");
    let library = root.join(library.trim_end().trim_start_matches('/'));
    let vendor = at.path("layers/hello/files/opt/vendor");
    std::fs::create_dir_all(&vendor).unwrap();
    std::fs::copy(&library, vendor.join("libcap.so.2")).unwrap();
    at.build();
    move_base(&at, "moved", |archive| archive.bump(&["libcap2"]));
    let ran = at.run("build recipes/web.toml").expect(3);
    ran.says(&[
        "'/opt/vendor/libcap.so.2' of 'hello' holds a copy of",
        "(libcap2), and 'debian' has another one now",
        "hint: rebuilding 'hello' would change nothing",
    ]);

    let id = "derived:hello:/opt/vendor/libcap.so.2";
    let waiver = format!(
        "\n[[waivers]]\nfinding = \"{id}\"\nreason = \"not reached\"\nexpires = 2999-01-01\n"
    );
    at.append("recipes/web.toml", &waiver);
    at.build();
    // With the current one in its place, nothing is to be accepted.
    let recipe = at.read("recipes/web.toml").replace(&waiver, "");
    at.write("recipes/web.toml", &recipe);
    at.run("build recipes/web.toml").expect(3);
    std::fs::remove_file(vendor.join("libcap.so.2")).unwrap();
    at.build();
}
