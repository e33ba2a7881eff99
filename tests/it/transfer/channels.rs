//! What channels say after several publications: who wins, what is staged, given up and forgotten.

use layerset::format::release::{Channel, ReleaseKind};
use layerset::transfer::{Catalogue as _, NoProgress, Publication, ReleaseSubject, publish};

use super::world::*;

#[test]
fn publishers_to_two_channels_lose_nothing_and_of_two_to_one_the_second_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (open(&dir.path().join("a")), open(&dir.path().join("b")));
    let remote = MemoryRemote::default();
    let (first, second) = (build(&a, 1), build(&b, 2));
    let beta = "images/web/beta".parse().unwrap();
    let (mut one, mut two) = (Ledger::read(&remote), Ledger::read(&remote));
    let of_one = publication(&a, &remote, &one, ReleaseSubject::Image(first), &stable());
    let of_two = publication(&b, &remote, &two, ReleaseSubject::Image(second), &beta);
    let late = publication(&b, &remote, &two, ReleaseSubject::Image(second), &stable());
    let mut three = Ledger::read(&remote);
    publish(&remote, &mut one, &of_one, &NoProgress).unwrap();
    let outcome = publish(&remote, &mut two, &of_two, &NoProgress).unwrap();
    assert_eq!(outcome.retries, 1);
    let error = publish(&remote, &mut three, &late, &NoProgress).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("somebody else has pointed channel 'images/web/stable'"),
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
    let mut back = publication(
        &publisher,
        &remote,
        &ledger,
        ReleaseSubject::Image(first),
        &stable(),
    );
    let error = publish(&remote, &mut ledger, &back, &NoProgress).unwrap_err();
    assert!(error.to_string().contains("release 1 is older"), "{error}");
    back.downgrade = Some("2 eats disks".to_owned());
    publish(&remote, &mut ledger, &back, &NoProgress).unwrap();
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
    let mut publication = publication(
        publisher,
        remote,
        &ledger,
        ReleaseSubject::Image(id),
        &stable(),
    );
    how(&mut publication);
    publish(remote, &mut ledger, &publication, &NoProgress).unwrap();
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
        let mut next = publication(
            &publisher,
            &remote,
            &ledger,
            ReleaseSubject::Image(id),
            &channel,
        );
        next.keep = 2;
        publish(&remote, &mut ledger, &next, &NoProgress).unwrap();
    }
    let ledger = Ledger::read(&remote);
    let images = ledger.releases(ReleaseKind::Image, "web").unwrap();
    let listed: Vec<_> = images.iter().map(|release| release.id.image()).collect();
    assert_eq!(listed.first(), Some(&ids[1]));
    assert_eq!(listed.last(), Some(&ids[4]));
    assert!(listed.len() < 5, "{listed:?}");
    let needed: std::collections::BTreeSet<String> = images
        .iter()
        .flat_map(|image| image.layers.iter().map(|layer| layer.id.to_string()))
        .collect();
    let layers = ledger.releases(ReleaseKind::Layer, "app").unwrap();
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
    let dir = tempfile::tempdir().unwrap();
    let publisher = open(dir.path());
    let remote = MemoryRemote::default();
    let layers = |version: u32, unreadable: Option<&str>| {
        let id = build(&publisher, version);
        let mut ledger = Ledger::read(&remote);
        ledger.unreadable = unreadable.map(str::to_owned);
        let mut next = publication(
            &publisher,
            &remote,
            &ledger,
            ReleaseSubject::Image(id),
            &stable(),
        );
        next.keep = 1;
        publish(&remote, &mut ledger, &next, &layerset::transfer::NoProgress).unwrap();
        let layers = Ledger::read(&remote)
            .releases(ReleaseKind::Layer, "app")
            .unwrap();
        layers.len()
    };
    for version in 1..=3 {
        assert_eq!(layers(version, Some("abandoned")), version as usize);
    }
    assert!(layers(4, None) < 4);
}
