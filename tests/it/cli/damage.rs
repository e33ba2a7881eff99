//! `fsck`: every damage to every kind of file.

use std::path::Path;

use serde_json::Value;

use super::fixture::{Small, small};

#[test]
fn a_sound_repository_passes_fsck() {
    let at = small();
    insta::assert_snapshot!(at.session.run("fsck").transcript(), @r"
    $ layerset fsck
    2 objects and 4 manifests verified
    [status 0]
    ");
}

#[test]
fn damage_is_shown_with_what_it_harms() {
    let at = small();
    harm(&at.file("object"), "flip");
    insta::assert_snapshot!(at.session.run("fsck").transcript(), @r"
    $ layerset fsck
    object b3:608602bae30040bf1a835253af0dadd2c9a9074443b9119f21dc62f3111fb821 is corrupt
      used by image web (263ef339af8b) at /srv/page.html
      used by layer site (9c8a046d5ad4) at /srv/page.html
    2 objects and 4 manifests verified
    ! error: 1 thing is damaged
    ! hint: `layerset fsck --repair` brings back what it can, and says what helps with the rest; deploys of what uses them are refused
    [status 4]
    ");
}

/// Damages a file; it may be read-only, as objects are.
fn harm(file: &Path, how: &str) {
    let mut bytes = std::fs::read(file).unwrap();
    std::fs::remove_file(file).unwrap();
    match how {
        "delete" => return,
        "truncate" => bytes.truncate(bytes.len() / 2),
        // One bit of a digit or letter, which stays a digit or letter.
        "flip" => {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        }
        other => panic!("no such damage: {other}"),
    }
    std::fs::write(file, bytes).unwrap();
}

/// Damages one file of a fresh repository, runs `fsck --json`, and returns its status and what it found.
fn found_after(what: &str, how: &str) -> (Small, i32, Vec<Value>) {
    let at = small();
    harm(&at.file(what), how);
    let ran = at.session.run("fsck --json");
    let mut documents = serde_json::Deserializer::from_str(&ran.stdout).into_iter::<Value>();
    let report = documents.next().unwrap().unwrap();
    let damaged = report["damaged"].as_array().unwrap().clone();
    (at, ran.status, damaged)
}

#[test]
fn every_damage_to_every_kind_of_file_is_found_and_named() {
    for what in ["object", "tree", "changeset", "layer", "image"] {
        for (how, damage) in [
            ("delete", "missing"),
            ("truncate", "corrupt"),
            ("flip", "corrupt"),
        ] {
            let (at, status, damaged) = found_after(what, how);
            assert_eq!(status, 4, "{how} {what}: {damaged:?}");
            let name = at.name(what);
            let thing = damaged.iter().find(|thing| thing["name"] == name.as_str());
            let thing = thing.unwrap_or_else(|| panic!("{how} {what}: {name} not in {damaged:?}"));
            assert_eq!(thing["what"], what, "{how} {what}");
            assert_eq!(thing["damage"], damage, "{how} {what}");
            assert_ne!(thing["used_by"], serde_json::json!([]), "{how} {what}");
        }
    }
}

#[test]
fn every_damage_to_a_ref_is_found_and_named() {
    for what in ["image ref", "layer ref"] {
        let (at, status, damaged) = found_after(what, "truncate");
        assert_eq!(status, 4, "truncate {what}: {damaged:?}");
        assert_eq!(damaged[0]["what"], "ref", "truncate {what}");
        assert_eq!(damaged[0]["name"], at.name(what).as_str());

        // A ref with another digit is a good ref of something that is not there.
        let (at, status, damaged) = found_after(what, "flip");
        assert_eq!(status, 4, "flip {what}: {damaged:?}");
        assert_eq!(damaged[0]["damage"], "missing", "flip {what}");
        let user = format!("ref {}", at.name(what));
        assert_eq!(damaged[0]["used_by"][0]["name"], user.as_str());
    }
}

/// A ref is the only record of itself: without it the image is what nothing needs, which is no damage.
#[test]
fn a_deleted_ref_leaves_a_sound_repository() {
    let (_, status, damaged) = found_after("image ref", "delete");
    assert_eq!((status, damaged), (0, Vec::new()));
}

#[test]
fn a_file_that_is_no_object_is_named() {
    let at = small();
    std::fs::write(at.repo().join("objects/ab/stray"), "x").unwrap();
    let ran = at.session.run("fsck").expect(4);
    assert!(
        ran.stdout.contains("object objects/ab/stray is unreadable"),
        "{}",
        ran.stdout
    );
}

#[test]
fn a_report_of_damage_is_the_one_json_document() {
    let at = small();
    harm(&at.file("object"), "flip");
    let ran = at.session.run("--json fsck").expect(4);
    assert_eq!(
        ran.json()["damaged"][0]["name"],
        at.page.to_string().as_str()
    );
}
