//! Updates by deltas, of which some are damaged, gone, or start from what is damaged.

use layerset::format::release::ReleaseKind;
use layerset::transfer::{Catalogue as _, Delivery};

use super::world::*;
use super::{is_clean, part, stable_of};

/// Publishes two versions, gives a machine the first, and returns the delta blobs of the second.
pub fn two_versions(
    dir: &std::path::Path,
) -> (
    MemoryRemote,
    layerset::id::ImageId,
    Vec<layerset::sha256::Sha256>,
    impl Fn(&str) -> layerset::store::Repository,
) {
    let publisher = open(&dir.join("p"));
    let remote = MemoryRemote::default();
    let first = build(&publisher, 1);
    publish_image(&publisher, &remote, first);
    let seed = dir.join("seed");
    pull_stable(&open(&seed), &remote, &pull_options()).unwrap();
    let second = build(&publisher, 2);
    publish_image(&publisher, &remote, second);
    let ledger = Ledger::read(&remote);
    let mut deltas = Vec::new();
    for (kind, name) in [
        (ReleaseKind::Layer, "base"),
        (ReleaseKind::Layer, "app"),
        (ReleaseKind::Image, "web"),
    ] {
        let releases = ledger.releases(kind, name).unwrap();
        deltas.extend(
            releases
                .iter()
                .flat_map(|release| &release.deltas)
                .map(|delta| delta.blob),
        );
    }
    let dir = dir.to_owned();
    let machine = move |name: &str| {
        let to = dir.join(name);
        let copied = std::process::Command::new("cp")
            .arg("-a")
            .arg(&seed)
            .arg(&to)
            .status();
        assert!(copied.unwrap().success());
        open(&to)
    };
    (remote, second, deltas, machine)
}

#[test]
fn an_update_by_deltas_takes_one_request_for_each_layer_and_little_more_than_the_change() {
    let dir = tempfile::tempdir().unwrap();
    let (remote, second, deltas, machine) = two_versions(dir.path());
    assert!(!deltas.is_empty());
    let machine = machine("m");
    remote.log.lock().unwrap().clear();
    let report = pull_stable(&machine, &remote, &pull_options()).unwrap();
    let base = part(&report, "base");
    assert_eq!(
        (base.how, base.fallback_objects),
        (Delivery::Delta, 0),
        "{report:?}"
    );
    // Ten bytes of each of four files of 400 kB changed; their names did too.
    assert!(base.delta_bytes < 5_000, "{report:?}");
    assert_eq!(report.fallback_bytes, 0);
    assert_eq!(stable_of(&machine), second);
    is_clean(&machine);
}

#[test]
fn a_delta_that_is_damaged_or_gone_costs_bytes_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (remote, second, deltas, machine) = two_versions(dir.path());
    let (mut number, mut fallback) = (0, 0);
    for blob in deltas {
        let right = remote.blobs.lock().unwrap()[&blob].clone();
        for at in (0..right.len()).step_by(right.len() / 7 + 1) {
            let mut wrong = right.clone();
            wrong[at] ^= 0x55;
            remote.blobs.lock().unwrap().insert(blob, wrong);
            number += 1;
            let machine = machine(&format!("m{number}"));
            let report = pull_stable(&machine, &remote, &pull_options()).unwrap();
            fallback += report.fallback_bytes;
            assert_eq!(stable_of(&machine), second);
            is_clean(&machine);
        }
        remote.blobs.lock().unwrap().remove(&blob);
        let machine = machine(&format!("gone{number}"));
        pull_stable(&machine, &remote, &pull_options()).unwrap();
        is_clean(&machine);
        remote.blobs.lock().unwrap().insert(blob, right);
    }
    // What that cost is told: four files of 400 kB, where the delta of the base was of no use.
    assert!(fallback > 1_600_000, "{fallback}");
}

#[test]
fn a_layer_that_is_here_in_part_is_made_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (remote, second, _, machine) = two_versions(dir.path());
    // As a loss of power while an earlier pull was written leaves it: names that nothing refers to, some of them gone.
    for (number, part) in ["trees", "objects", "layers"].into_iter().enumerate() {
        let name = format!("m{number}");
        let donor = open(&dir.path().join(format!("donor{number}")));
        pull_stable(&donor, &remote, &pull_options()).unwrap();
        let machine = machine(&name);
        let root = dir.path().join(&name);
        let base = donor.read_image(&second).unwrap().layers[0].id;
        let layer = donor.read_layer(&base).unwrap();
        let all = std::process::Command::new("cp")
            .args(["-an", "--no-target-directory"])
            .args([donor.root(), &root.join(".")])
            .status();
        assert!(all.unwrap().success());
        std::fs::remove_dir_all(root.join("images")).unwrap();
        std::fs::create_dir(root.join("images")).unwrap();
        std::fs::remove_dir_all(root.join("refs/remotes")).unwrap();
        match part {
            "trees" => std::fs::remove_file(root.join("trees").join(layer.changeset.to_hex())),
            "objects" => std::fs::remove_file(machine.object_path(&layerset::id::ObjectId::of(
                &base_files(2)["usr/lib/libalpha.so.2"],
            ))),
            _ => std::fs::remove_file(root.join("layers").join(base.to_hex())),
        }
        .unwrap();
        pull_stable(&machine, &remote, &pull_options()).unwrap();
        assert_eq!(stable_of(&machine), second, "{part}");
        is_clean(&machine);
    }
}

#[test]
fn a_delta_that_starts_from_what_cannot_be_read_is_done_without() {
    let dir = tempfile::tempdir().unwrap();
    let (remote, second, _, machine) = two_versions(dir.path());
    let machine = machine("m");
    let first = machine.refs().unwrap();
    let first = first
        .iter()
        .find(|(name, _)| name.to_string().contains("stable"))
        .unwrap();
    let first = machine.resolve_image(&first.0.to_string()).unwrap();
    let base = machine.read_image(&first).unwrap().layers[0].id;
    let changeset = machine.read_layer(&base).unwrap().changeset;
    let path = dir.path().join("m/trees").join(changeset.to_hex());
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, b"rotten").unwrap();
    let report = pull_stable(&machine, &remote, &pull_options()).unwrap();
    assert_eq!(part(&report, "base").how, Delivery::Packs);
    assert_eq!(stable_of(&machine), second);
}

#[test]
fn a_delta_whose_base_is_gone_falls_back_and_says_what_that_cost() {
    let dir = tempfile::tempdir().unwrap();
    let (remote, second, _, machine) = two_versions(dir.path());
    let machine = machine("m");
    let files = base_files(1);
    let base = layerset::id::ObjectId::of(&files["usr/lib/libalpha.so.1"]);
    std::fs::remove_file(machine.object_path(&base)).unwrap();
    let report = pull_stable(&machine, &remote, &pull_options()).unwrap();
    let part = part(&report, "base");
    assert_eq!(
        (part.how, part.fallback_objects),
        (Delivery::Delta, 1),
        "{report:?}"
    );
    assert!(report.fallback_bytes > 400_000, "{report:?}");
    let image = machine.read_image(&second).unwrap();
    let tree = machine.read_tree(&image.tree).unwrap();
    let object = tree
        .get(b"usr/lib/libalpha.so.2")
        .unwrap()
        .object()
        .unwrap();
    machine.verify_object(&object).unwrap();
}
