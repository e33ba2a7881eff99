//! Publishing and pulling, between two repositories and a remote that may misbehave.

mod labour;
pub mod world;

use layerset::format::release::{Channel, Kind};
use layerset::store::{FsckOptions, RefName};
use layerset::transfer::{
    Catalogue as _, Fetched, How, Publication, PullOptions, PullReport, Quiet, TransferError, What,
    publish, pull,
};
use world::*;

/// What a repository says of itself after whatever happened.
pub fn is_clean(repository: &layerset::store::Repository) {
    let report = repository
        .fsck(FsckOptions {
            threads: 2,
            progress: &|_, _| {},
        })
        .unwrap();
    assert_eq!(report.damaged, [], "{report:?}");
}

/// Returns the part of a report that a layer or an image is.
fn part<'a>(report: &'a PullReport, name: &str) -> &'a Fetched {
    let mut parts = report.parts.iter();
    parts.find(|part| part.name == name).unwrap()
}

/// Returns the image that a machine pulled last.
fn stable_of(machine: &layerset::store::Repository) -> layerset::id::ImageId {
    machine
        .resolve_image("remotes/main/images/web/stable")
        .unwrap()
}

#[test]
fn an_image_that_was_published_arrives_whole_and_the_next_one_costs_what_changed() {
    let dir = tempfile::tempdir().unwrap();
    let (publisher, machine) = (open(&dir.path().join("p")), open(&dir.path().join("m")));
    let remote = MemoryRemote::default();
    let first = build(&publisher, 1);
    let outcome = publish_image(&publisher, &remote, first);
    assert!(outcome.changed);
    let report = pull_stable(&machine, &remote, &pull_options()).unwrap();
    assert!(report.parts.iter().all(|part| part.how == How::Packs));
    remote.asked_once();
    let full = report.bytes_fetched;
    assert!(full > 2_400_000, "{full}");
    assert_eq!(machine.read_image(&first).unwrap().layers.len(), 2);
    is_clean(&machine);

    let again = pull_stable(&machine, &remote, &pull_options()).unwrap();
    assert_eq!((again.bytes_fetched, again.new_objects), (0, 0));

    let second = build(&publisher, 2);
    let sent = publish_image(&publisher, &remote, second);
    let fresh = open(&dir.path().join("fresh"));
    let report = pull_stable(
        &machine,
        &remote,
        &PullOptions {
            deltas: false,
            ..pull_options()
        },
    )
    .unwrap();
    // Four files of 400 kB, a page, and what says so.
    assert!(report.bytes_fetched < 1_700_000, "{report:?}");
    assert!(sent.bytes_sent < 1_800_000, "{sent:?}");
    let report = pull_stable(&fresh, &remote, &pull_options()).unwrap();
    assert!(
        report.bytes_fetched < full + 50_000,
        "{} of {full}",
        report.bytes_fetched
    );
    assert_eq!(stable_of(&machine), second);
    is_clean(&fresh);
}

#[test]
fn publishing_the_same_again_sends_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let publisher = open(dir.path());
    let remote = MemoryRemote::default();
    let id = build(&publisher, 1);
    publish_image(&publisher, &remote, id);
    let head = remote.head.lock().unwrap().clone();
    let again = publish_image(&publisher, &remote, id);
    assert!(!again.changed);
    assert_eq!(again.bytes_sent, 0);
    assert_eq!(*remote.head.lock().unwrap(), head);
}

#[test]
fn what_arrived_is_unpacked_while_the_rest_is_on_its_way() {
    let dir = tempfile::tempdir().unwrap();
    let (publisher, machine) = (open(&dir.path().join("p")), open(&dir.path().join("m")));
    let remote = MemoryRemote::default();
    let id = build(&publisher, 1);
    publish_image(&publisher, &remote, id);
    let staging = dir.path().join("m/tmp");
    let hold = move || {
        let works = std::fs::read_dir(&staging).unwrap().flatten();
        let mut files = works.filter_map(|work| std::fs::read_dir(work.path()).ok());
        files.any(|mut files| {
            files
                .any(|file| file.is_ok_and(|file| file.metadata().is_ok_and(|m| m.len() > 300_000)))
        })
    };
    *remote.hold.lock().unwrap() = Some(Box::new(hold));
    pull_stable(&machine, &remote, &pull_options()).unwrap();
    assert!(
        remote.hold.lock().unwrap().is_none(),
        "nothing was held back"
    );
    is_clean(&machine);
}

#[test]
fn what_arrived_before_a_pull_broke_off_is_not_fetched_again() {
    let dir = tempfile::tempdir().unwrap();
    let (publisher, machine) = (open(&dir.path().join("p")), open(&dir.path().join("m")));
    let remote = MemoryRemote::default();
    let id = build(&publisher, 1);
    publish_image(&publisher, &remote, id);
    let largest = {
        let blobs = remote.blobs.lock().unwrap();
        let largest = blobs.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
        (*largest.0, largest.1.len() as u64)
    };
    let mut fetched = Vec::new();
    for stop in [20_000, 0, 100_000, 300_000, 700_000] {
        let fault = vec![Fault::StopAfter(stop)];
        remote.faults.lock().unwrap().insert(largest.0, fault);
        remote.log.lock().unwrap().clear();
        match pull_stable(&machine, &remote, &pull_options()) {
            Err(error) => {
                assert!(
                    error.to_string().contains("the connection broke"),
                    "{error}"
                );
                assert!(machine.read_image(&id).is_err());
                is_clean(&machine);
            }
            Ok(_) => panic!("nothing broke off"),
        }
        fetched.push(stop);
    }
    remote.log.lock().unwrap().clear();
    remote.faults.lock().unwrap().clear();
    let report = pull_stable(&machine, &remote, &pull_options()).unwrap();
    let arrived: u64 = fetched.iter().sum();
    assert!(arrived > 1_000_000, "{arrived}");
    assert!(
        report.bytes_fetched <= largest.1 - arrived + 20_000,
        "{report:?}"
    );
    is_clean(&machine);
}

#[test]
fn garbage_collection_frees_what_arrived_for_a_pull_that_broke_off() {
    let dir = tempfile::tempdir().unwrap();
    let (publisher, machine) = (open(&dir.path().join("p")), open(&dir.path().join("m")));
    let remote = MemoryRemote::default();
    publish_image(&publisher, &remote, build(&publisher, 1));
    let blobs: Vec<_> = remote.blobs.lock().unwrap().keys().copied().collect();
    for blob in blobs {
        let fault = vec![Fault::StopAfter(100_000)];
        remote.faults.lock().unwrap().insert(blob, fault);
    }
    pull_stable(&machine, &remote, &pull_options()).unwrap_err();
    let plan = machine.plan_gc().unwrap();
    assert!(plan.bytes() > 100_000, "{plan:?}");
    machine.apply_gc(&plan).unwrap();
    assert_eq!(machine.plan_gc().unwrap().files, []);
    assert_eq!(
        std::fs::read_dir(dir.path().join("m/cache/incoming"))
            .unwrap()
            .count(),
        0
    );
    remote.faults.lock().unwrap().clear();
    pull_stable(&machine, &remote, &pull_options()).unwrap();
}

#[test]
fn a_byte_that_arrives_wrong_is_fetched_again_and_a_wrong_remote_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let publisher = open(&dir.path().join("p"));
    let remote = MemoryRemote::default();
    let id = build(&publisher, 1);
    publish_image(&publisher, &remote, id);
    let blobs: Vec<_> = remote
        .blobs
        .lock()
        .unwrap()
        .iter()
        .map(|(b, v)| (*b, v.len()))
        .collect();
    let mut number = 0;
    for (blob, length) in blobs {
        for at in [0, 5, length / 3, length / 2, length - 40] {
            number += 1;
            let machine = open(&dir.path().join(format!("m{number}")));
            let flip = vec![Fault::Flip(at as u64)];
            remote.faults.lock().unwrap().insert(blob, flip);
            pull_stable(&machine, &remote, &pull_options()).unwrap();
            is_clean(&machine);
            remote.faults.lock().unwrap().clear();
        }
        // For good.
        let machine = open(&dir.path().join(format!("bad{number}")));
        let right = remote.blobs.lock().unwrap()[&blob].clone();
        let mut wrong = right.clone();
        wrong[0] ^= 1;
        wrong[length - 40] ^= 1;
        remote.blobs.lock().unwrap().insert(blob, wrong);
        let error = pull_stable(&machine, &remote, &pull_options()).unwrap_err();
        assert!(matches!(error, TransferError::Damaged { .. }), "{error}");
        assert!(machine.read_image(&id).is_err());
        is_clean(&machine);
        remote.blobs.lock().unwrap().insert(blob, right);
        pull_stable(&machine, &remote, &pull_options()).unwrap();
        is_clean(&machine);
    }
}

#[test]
fn publishers_to_two_channels_lose_nothing_and_of_two_to_one_the_second_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (open(&dir.path().join("a")), open(&dir.path().join("b")));
    let remote = MemoryRemote::default();
    let (first, second) = (build(&a, 1), build(&b, 2));
    let beta = "images/web/beta".parse().unwrap();
    let (mut one, mut two) = (Ledger::read(&remote), Ledger::read(&remote));
    let of_one = publication(&a, &remote, &one, What::Image(first), &stable());
    let of_two = publication(&b, &remote, &two, What::Image(second), &beta);
    let late = publication(&b, &remote, &two, What::Image(second), &stable());
    let mut three = Ledger::read(&remote);
    publish(&remote, &mut one, &of_one, &Quiet).unwrap();
    let outcome = publish(&remote, &mut two, &of_two, &Quiet).unwrap();
    assert_eq!(outcome.retries, 1);
    let error = publish(&remote, &mut three, &late, &Quiet).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("'images/web/stable' was pointed at"),
        "{text}"
    );
    let ledger = Ledger::read(&remote);
    let at = |name: &layerset::format::release::ChannelName| ledger.channel(name).unwrap().unwrap();
    assert_eq!(at(&stable()).release.image(), first);
    assert_eq!(at(&beta).release.image(), second);
    assert_ne!(at(&stable()).serial, at(&beta).serial);
}

#[test]
fn an_older_release_is_published_only_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let publisher = open(dir.path());
    let remote = MemoryRemote::default();
    let first = build(&publisher, 1);
    publish_image(&publisher, &remote, first);
    publish_image(&publisher, &remote, build(&publisher, 2));
    let mut ledger = Ledger::read(&remote);
    let mut back = publication(&publisher, &remote, &ledger, What::Image(first), &stable());
    let error = publish(&remote, &mut ledger, &back, &Quiet).unwrap_err();
    assert!(error.to_string().contains("release 1 is older"), "{error}");
    back.downgrade = Some("2 eats disks".to_owned());
    publish(&remote, &mut ledger, &back, &Quiet).unwrap();
    let channel = Ledger::read(&remote).channel(&stable()).unwrap().unwrap();
    assert_eq!(channel.release.image(), first);
    assert_eq!(channel.downgrade.unwrap().from, 2);
}

/// Points the stable channel at an image, with changes to how, and returns what the channel says then.
fn point(
    publisher: &layerset::store::Repository,
    remote: &MemoryRemote,
    id: layerset::id::ImageId,
    how: impl FnOnce(&mut Publication),
) -> Channel {
    let mut ledger = Ledger::read(remote);
    let mut publication = publication(publisher, remote, &ledger, What::Image(id), &stable());
    how(&mut publication);
    publish(remote, &mut ledger, &publication, &Quiet).unwrap();
    Ledger::read(remote).channel(&stable()).unwrap().unwrap()
}

#[test]
fn what_a_channel_gave_up_stays_given_up_until_releases_are_newer_again() {
    let dir = tempfile::tempdir().unwrap();
    let publisher = open(dir.path());
    let remote = MemoryRemote::default();
    let images: Vec<_> = (1..=3).map(|version| build(&publisher, version)).collect();
    for image in &images {
        point(&publisher, &remote, *image, |_| ());
    }
    let back = point(&publisher, &remote, images[0], |publication| {
        publication.downgrade = Some("3 eats disks".to_owned());
    });
    assert_eq!(back.downgrade.unwrap().from, 3);
    // Up from 1, and below what machines that were off may still have.
    let second = point(&publisher, &remote, images[1], |_| ());
    assert_eq!((second.serial, second.downgrade.unwrap().from), (2, 3));
    let fourth = point(&publisher, &remote, build(&publisher, 4), |_| ());
    assert_eq!((fourth.serial, fourth.downgrade), (4, None));

    // A channel that was taken away with all that it said starts over, and machines can be told so.
    let remote = MemoryRemote::default();
    let again = point(&publisher, &remote, images[0], |publication| {
        publication.downgrade = Some("starts over".to_owned());
    });
    assert!(again.downgrade.unwrap().from > 1 << 50);
}

#[test]
fn a_first_release_that_is_staged_never_becomes_what_everybody_has() {
    let dir = tempfile::tempdir().unwrap();
    let publisher = open(dir.path());
    for is_dated in [false, true] {
        let remote = MemoryRemote::default();
        let stage = |publication: &mut Publication| match is_dated {
            true => publication.not_before = publication.now + 1000,
            false => publication.percent = 10,
        };
        let first = point(&publisher, &remote, build(&publisher, 1), stage);
        assert_eq!(first.rollout.others, None);
        let second = point(&publisher, &remote, build(&publisher, 2), stage);
        assert_eq!(second.rollout.others, None);
        // Once one is for all, the next staged one leaves it to the others.
        let third = build(&publisher, 3);
        point(&publisher, &remote, third, |_| ());
        let fourth = point(&publisher, &remote, build(&publisher, 4), stage);
        assert_eq!(fourth.rollout.others, Some(third.into()));
        let fifth = point(&publisher, &remote, build(&publisher, 5), stage);
        assert_eq!(fifth.rollout.others, Some(third.into()));
    }
}

#[test]
fn old_releases_are_forgotten_with_the_layers_that_no_listed_image_needs() {
    let dir = tempfile::tempdir().unwrap();
    let publisher = open(dir.path());
    let remote = MemoryRemote::default();
    let mut ids = Vec::new();
    for version in 1..=5 {
        let id = build(&publisher, version);
        ids.push(id);
        let mut ledger = Ledger::read(&remote);
        // The second one stays on a channel of its own.
        let mut channel = stable();
        if version == 2 {
            channel.channel = "kept".to_owned();
        }
        let mut next = publication(&publisher, &remote, &ledger, What::Image(id), &channel);
        next.keep = 2;
        publish(&remote, &mut ledger, &next, &Quiet).unwrap();
    }
    let ledger = Ledger::read(&remote);
    let images = ledger.releases(Kind::Image, "web").unwrap();
    let listed: Vec<_> = images.iter().map(|release| release.id.image()).collect();
    assert_eq!(listed.first(), Some(&ids[1]));
    assert_eq!(listed.last(), Some(&ids[4]));
    assert!(listed.len() < 5, "{listed:?}");
    let needed: std::collections::BTreeSet<String> = images
        .iter()
        .flat_map(|image| image.layers.iter().map(|layer| layer.id.to_string()))
        .collect();
    let layers = ledger.releases(Kind::Layer, "app").unwrap();
    assert!(layers.len() < 5, "{} layers", layers.len());
    let there: Vec<String> = layers.iter().map(|layer| layer.id.to_string()).collect();
    for layer in publisher.read_image(&ids[1]).unwrap().layers {
        assert!(needed.contains(&layer.id.to_string()));
        if layer.name == "app" {
            assert!(there.contains(&layer.id.to_string()));
        }
    }
    let machine = open(&dir.path().join("machine"));
    pull_stable(&machine, &remote, &pull_options()).unwrap();
}

#[test]
fn while_some_image_cannot_be_read_others_publish_and_no_layer_is_forgotten() {
    use layerset::format::release::Kind;
    use layerset::transfer::Catalogue as _;
    let dir = tempfile::tempdir().unwrap();
    let publisher = open(dir.path());
    let remote = MemoryRemote::default();
    let layers = |version: u32, unreadable: Option<&str>| {
        let id = build(&publisher, version);
        let mut ledger = Ledger::read(&remote);
        ledger.unreadable = unreadable.map(str::to_owned);
        let mut next = publication(&publisher, &remote, &ledger, What::Image(id), &stable());
        next.keep = 1;
        publish(&remote, &mut ledger, &next, &layerset::transfer::Quiet).unwrap();
        let layers = Ledger::read(&remote).releases(Kind::Layer, "app").unwrap();
        layers.len()
    };
    for version in 1..=3 {
        assert_eq!(layers(version, Some("abandoned")), version as usize);
    }
    assert!(layers(4, None) < 4);
}

#[test]
fn an_image_that_its_layers_do_not_make_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (publisher, machine) = (open(&dir.path().join("p")), open(&dir.path().join("m")));
    let remote = MemoryRemote::default();
    let id = build(&publisher, 1);
    let mut forged = publisher.read_image(&id).unwrap();
    let mut tree = publisher.read_tree(&forged.tree).unwrap();
    let transaction = publisher.begin().unwrap();
    let object = transaction.put_object(b"evil").unwrap();
    let path = layerset::path::RelPath::from_text("usr/lib/evil").unwrap();
    tree.insert(path, layerset::tree::Inode::file(object, 4, 0o4755));
    forged.tree = transaction.put_tree(&tree).unwrap();
    let forged = transaction.put_image(&forged).unwrap();
    transaction.store().unwrap();
    publish_image(&publisher, &remote, forged);
    // Trying again does not help: nothing of the first time vouches for it.
    for _ in 0..2 {
        let error = pull_stable(&machine, &remote, &pull_options()).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("is not what its layers make") && text.contains("usr/lib/evil"),
            "{text}"
        );
        assert!(machine.read_image(&forged).is_err());
        assert!(
            machine
                .resolve_image("remotes/main/images/web/stable")
                .is_err()
        );
    }
    // An admin may say that this remote's images are to be taken as they are signed.
    let mut options = pull_options();
    options.recompose = false;
    pull_stable(&machine, &remote, &options).unwrap();
}

/// Publishes an image of a thousand files, of which the uppermost layer has one; returns the id and what was sent.
fn publish_thousand(
    publisher: &layerset::store::Repository,
    remote: &MemoryRemote,
    page: &str,
) -> (layerset::id::ImageId, u64) {
    let files = (0..1000).map(|n| (format!("usr/share/doc/{n}"), format!("{n}").into_bytes()));
    let nothing = layerset::tree::Tree::new();
    let (base, tree) = layer(publisher, "base", &nothing, &files.collect());
    let files = Files::from([("srv/page".to_owned(), page.as_bytes().to_vec())]);
    let (app, _) = layer(publisher, "app", &tree, &files);
    let id = image(publisher, &[base, app]);
    (id, publish_image(publisher, remote, id).bytes_sent)
}

#[test]
fn a_changed_file_is_published_without_the_tree_of_the_image() {
    let dir = tempfile::tempdir().unwrap();
    let publisher = open(&dir.path().join("p"));
    let remote = MemoryRemote::default();
    let (first, all) = publish_thousand(&publisher, &remote, "one");
    let machine = open(&dir.path().join("m"));
    pull_stable(&machine, &remote, &pull_options()).unwrap();
    let (second, sent) = publish_thousand(&publisher, &remote, "two");
    assert_ne!(first, second);
    assert!(all > 30_000 && sent < 6_000, "{all}, then {sent}");
    // By the delta, from packs with layers that are there, and from packs alone.
    let fresh = open(&dir.path().join("fresh"));
    let half = open(&dir.path().join("half"));
    let packs = PullOptions {
        deltas: false,
        ..pull_options()
    };
    let report = pull_stable(&machine, &remote, &pull_options()).unwrap();
    assert!(report.bytes_fetched < 6_000, "{report:?}");
    assert!(
        report.parts.iter().all(|part| part.how != How::Packs),
        "{report:?}"
    );
    pull_stable(&fresh, &remote, &packs).unwrap();
    publish_thousand(&half, &MemoryRemote::default(), "one");
    let report = pull_stable(&half, &remote, &packs).unwrap();
    assert!(report.bytes_fetched < 6_000, "{report:?}");
    for repository in [&machine, &fresh, &half] {
        let tree = repository.read_image(&second).unwrap().tree;
        assert!(
            repository
                .read_tree(&tree)
                .unwrap()
                .get(b"srv/page")
                .is_some()
        );
        is_clean(repository);
    }
}

#[test]
fn layers_and_corrections_that_make_another_tree_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (publisher, machine) = (open(&dir.path().join("p")), open(&dir.path().join("m")));
    let remote = MemoryRemote::default();
    let id = build(&publisher, 1);
    publish_image(&publisher, &remote, id);
    let ledger = Ledger::read(&remote);
    let mut release = ledger.release(Kind::Image, "web", &id.into()).unwrap();
    release.tree = layerset::id::TreeId::of(b"another");
    let name = RefName::new("remotes/main/images/web/stable").unwrap();
    let error = pull(&machine, &remote, &ledger, &release, &name, &pull_options()).unwrap_err();
    assert!(
        error.to_string().contains("its tree has another digest"),
        "{error}"
    );
    assert!(machine.read_image(&id).is_err());
    is_clean(&machine);
}

/// Publishes two versions, gives a machine the first, and returns the delta blobs of the second.
fn two_versions(
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
        (Kind::Layer, "base"),
        (Kind::Layer, "app"),
        (Kind::Image, "web"),
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
        (How::Delta, 0),
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
    let mut number = 0;
    for blob in deltas {
        let right = remote.blobs.lock().unwrap()[&blob].clone();
        for at in (0..right.len()).step_by(right.len() / 7 + 1) {
            let mut wrong = right.clone();
            wrong[at] ^= 0x55;
            remote.blobs.lock().unwrap().insert(blob, wrong);
            number += 1;
            let machine = machine(&format!("m{number}"));
            pull_stable(&machine, &remote, &pull_options()).unwrap();
            assert_eq!(stable_of(&machine), second);
            is_clean(&machine);
        }
        remote.blobs.lock().unwrap().remove(&blob);
        let machine = machine(&format!("gone{number}"));
        pull_stable(&machine, &remote, &pull_options()).unwrap();
        is_clean(&machine);
        remote.blobs.lock().unwrap().insert(blob, right);
    }
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
    assert_eq!(part(&report, "base").how, How::Packs);
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
        (How::Delta, 1),
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
