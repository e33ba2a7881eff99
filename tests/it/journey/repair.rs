//! A build server whose disk damages its repository, and which has its locks.

use std::fs;
use std::path::PathBuf;

use super::shared::world;
use super::world::{World, text};

/// Returns the id that a line of a dump names, as hex digits.
fn id_in(line: &str) -> String {
    let at = line
        .find("b3:")
        .unwrap_or_else(|| panic!("no id in {line}"));
    line[at + 3..at + 67].to_owned()
}

/// A file of each kind: of a layer that can be built, of the image, and what programs of the image made.
fn kinds(at: &World) -> Vec<PathBuf> {
    let object = |hex: &str| format!("objects/{}/{}", &hex[..2], &hex[2..]);
    let dump = at.run("show web --dump").expect(0).stdout;
    let in_image = |path: &str| {
        let line = dump
            .lines()
            .find(|line| line.starts_with(&format!("{path} ")));
        object(&id_in(line.unwrap_or_else(|| panic!("no {path}"))))
    };
    let layer = at.layer_ref("hello").replace("b3:", "");
    let image = at
        .read("repo/refs/images/web")
        .trim_end()
        .replace("b3:", "");
    let of = |name: &str, field: &str| {
        let manifest = at.run(&format!("show {name} --json")).expect(0).json();
        text(&manifest[field]).replace("b3:", "")
    };
    let names = [
        in_image("/usr/share/hello/page.html"),
        in_image("/etc/ld.so.cache"),
        format!("trees/{}", of("web/hello", "changeset")),
        format!("trees/{}", of("web", "tree")),
        format!("layers/{layer}"),
        format!("images/{image}"),
        format!("baselines/{layer}"),
        format!("baselines/{image}"),
        "refs/images/web".to_owned(),
        "refs/layers/web/hello".to_owned(),
    ];
    names.map(|name| at.path("repo").join(name)).to_vec()
}

#[test]
fn a_build_server_heals_from_its_locks() {
    let Some(at) = world("a_build_server_heals_from_its_locks") else {
        return;
    };
    let before = (at.layer_ref("hello"), at.read("repo/refs/images/web"));
    for how in ["deleted", "truncated", "flipped", "emptied"] {
        for file in kinds(&at) {
            let times = fs::metadata(&file).unwrap().modified().unwrap();
            let mut bytes = fs::read(&file).unwrap();
            fs::remove_file(&file).unwrap();
            let middle = bytes.len() / 2;
            match how {
                "deleted" => continue,
                "truncated" => bytes.truncate(middle),
                "flipped" => bytes[middle] ^= 1,
                _ => bytes.clear(),
            }
            fs::write(&file, bytes).unwrap();
            let times = fs::FileTimes::new().set_modified(times);
            let file = fs::File::options().write(true).open(&file).unwrap();
            file.set_times(times).unwrap();
        }
        if how != "deleted" {
            at.run("fsck").expect(4);
        }
        let repaired = at.run("fsck --repair");
        let command = "layerset build recipes/web.toml";
        if repaired.status != 0 {
            assert!(
                repaired.stderr.contains(command),
                "{how}: {}",
                repaired.transcript()
            );
        }
        at.run(command.trim_start_matches("layerset ")).expect(0);
        at.run("fsck").expect(0);
        let after = (at.layer_ref("hello"), at.read("repo/refs/images/web"));
        assert_eq!(after, before, "{how}");
    }
    at.run("deploy web --target t").expect(0);
}

/// Today's complaint: the build says that nothing changed, for ever.
#[test]
fn a_build_after_a_lost_tree_heals() {
    let Some(at) = world("a_build_after_a_lost_tree_heals") else {
        return;
    };
    for field in ["web", "web/hello"] {
        let manifest = at.run(&format!("show {field} --json")).expect(0).json();
        let field = if field == "web" { "tree" } else { "changeset" };
        let tree = text(&manifest[field]).replace("b3:", "");
        fs::remove_file(at.path("repo/trees").join(tree)).unwrap();
        at.build();
        at.run("fsck").expect(0);
    }
}
