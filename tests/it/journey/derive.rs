//! Caches that several layers add to: no layer carries them, and an image has what one installation of all would have.

use std::collections::BTreeMap;
use std::fs;

use super::shared::{adopt_debs, keep_debs, world};
use super::world::{World, actions, row};

const FIRST: &str = "[\"desktop-file-utils\", \"shared-mime-info\"]";
const SECOND: &str = "[\"glib-networking\"]";
const BOTH: &str = "[\"desktop-file-utils\", \"glib-networking\", \"shared-mime-info\"]";

/// What both siblings made in their builds, and what neither of them may carry.
const DERIVED: [&str; 7] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/ssl/certs/own.pem",
    "/usr/lib/x86_64-linux-gnu/gio/modules/giomodule.cache",
    "/usr/share/applications/mimeinfo.cache",
    "/usr/share/glib-2.0/schemas/gschemas.compiled",
    "/usr/share/mime/application/x-own.xml",
    "/usr/share/mime/mime.cache",
];

const SCHEMA: &str = "<schemalist><schema id='org.own' path='/org/own/'>\
    <key name='k' type='s'><default>'v'</default></key></schema></schemalist>\n";
const ENTRY: &str =
    "[Desktop Entry]\nType=Application\nName=Own\nExec=own\nMimeType=application/x-own;\n";
const TYPE: &str = "<mime-info xmlns='http://www.freedesktop.org/standards/shared-mime-info'>\
    <mime-type type='application/x-own'><glob pattern='*.own'/></mime-type></mime-info>\n";
/// Any text does: nobody asks who signed it.
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\n\
MIIBCTCBvAIUUdHT5lxTDNNLQZ7yfGyfTn4gH2owBQYDK2VwMCYxJDAiBgNVBAMM\n\
-----END CERTIFICATE-----\n";

fn layer(at: &World, name: &str, packages: &str, has_files: bool) {
    let dir = format!("layers/{name}");
    fs::create_dir(at.path(&dir)).unwrap();
    let mut text = format!("on = [\"debian\"]\n\n[apt]\npackages = {packages}\n");
    if has_files {
        text.push_str("\n[files]\n\n[run]\nscripts = [\"setup.sh\"]\n");
        for (path, contents) in [
            ("usr/local/share/ca-certificates/own.crt", CERTIFICATE),
            ("usr/share/applications/own.desktop", ENTRY),
            ("usr/share/glib-2.0/schemas/org.own.gschema.xml", SCHEMA),
            ("usr/share/mime/packages/own.xml", TYPE),
        ] {
            let path = at.path(&format!("{dir}/files/{path}"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, contents).unwrap();
        }
        let script = "update-ca-certificates\n\
            /usr/lib/x86_64-linux-gnu/glib-2.0/glib-compile-schemas /usr/share/glib-2.0/schemas\n";
        at.write(&format!("{dir}/setup.sh"), script);
    }
    at.write(&format!("{dir}/layer.toml"), &text);
}

fn recipe(at: &World, name: &str, layers: &str) {
    let text = format!("architecture = \"amd64\"\nlayers = [\"debian\", {layers}]\n");
    at.write(&format!("recipes/{name}.toml"), &text);
    // The base stays as it was built.
    fs::copy(
        at.path("recipes/web.lock"),
        at.path(&format!("recipes/{name}.lock")),
    )
    .unwrap();
    at.run(&format!("lock recipes/{name}.toml")).expect(0);
}

/// Returns the lines of an image's or a layer's dump by path, without times.
fn dump(at: &World, what: &str) -> BTreeMap<String, String> {
    let text = at
        .session
        .run_words(&["show", what, "--dump"])
        .expect(0)
        .stdout;
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    let without_time = lines.map(|(path, facts)| {
        let mut words: Vec<&str> = facts.split(' ').collect();
        words.remove(4);
        (path.to_owned(), words.join(" "))
    });
    without_time.collect()
}

#[test]
fn siblings_get_the_caches_of_one_installation_and_carry_none() {
    let Some(at) = world("siblings_get_the_caches_of_one_installation_and_carry_none") else {
        return;
    };
    adopt_debs(&at);
    layer(&at, "first", FIRST, false);
    layer(&at, "second", SECOND, true);
    layer(&at, "both", BOTH, true);
    recipe(&at, "siblings", "\"first\", \"second\"");
    recipe(&at, "alone", "\"both\"");
    for name in ["siblings", "alone"] {
        at.run(&format!("build recipes/{name}.toml")).expect(0);
    }
    keep_debs(&at.path("repo"));
    let [siblings, alone] = ["siblings", "alone"].map(|name| dump(&at, name));
    for path in DERIVED {
        assert!(siblings.contains_key(path), "{path}");
        assert_eq!(siblings[path], alone[path], "{path}");
    }
    for (recipe, name) in [
        ("siblings", "first"),
        ("siblings", "second"),
        ("alone", "both"),
    ] {
        let id = at.read(&format!("repo/refs/layers/{recipe}/{name}"));
        let manifest = at
            .session
            .run_words(&["show", "--json", id.trim()])
            .expect(0)
            .json();
        let carried = dump(&at, manifest["changeset"].as_str().unwrap());
        for path in DERIVED {
            let change = carried
                .keys()
                .find(|change| change.trim_start_matches(['+', '-', '~']) == path);
            assert_eq!(change, None, "'{name}'");
        }
    }

    // What was made before is found again, whatever else is lost.
    let made = at.stamps("repo/cache/derived");
    fs::remove_dir_all(at.path("repo/cache/compositions")).unwrap();
    let report = at.json("build recipes/siblings.toml --json");
    let kept = ["debian", "first", "second"].map(|name| row(name, "kept", 0));
    assert_eq!(actions(&report), kept);
    assert_eq!(report["changed"], false);
    at.is_untouched(&made);
    // A lost result is made again, and comes out the same.
    fs::remove_dir_all(at.path("repo/cache/compositions")).unwrap();
    fs::remove_dir_all(at.path("repo/cache/derived")).unwrap();
    assert_eq!(
        at.json("build recipes/siblings.toml --json")["changed"],
        false
    );
    at.is_clean();
}
