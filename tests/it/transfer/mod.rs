//! Publishing and pulling, between two repositories and a remote that may misbehave.

mod channels;
mod deltas;
mod forecast;
mod labour;
pub mod world;

use layerset::format::release::ReleaseKind;
use layerset::remote::RemoteError;
use layerset::store::{FsckOptions, RefName};
use layerset::transfer::{
    Catalogue as _, Delivery, PullOptions, PullReport, PulledPart, TransferError, pull,
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
fn part<'a>(report: &'a PullReport, name: &str) -> &'a PulledPart {
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
    assert!(report.parts.iter().all(|part| part.how == Delivery::Packs));
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
        report.parts.iter().all(|part| part.how != Delivery::Packs),
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
    let mut release = ledger
        .release(ReleaseKind::Image, "web", &id.into())
        .unwrap();
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

/// A remote that knows no ranges, and whose first answer breaks off.
struct Wholesale<'a> {
    inner: &'a MemoryRemote,
    /// Whether anything was asked for.
    was_asked: std::sync::atomic::AtomicBool,
    /// The blobs that were asked for as a whole.
    wholes: std::sync::Mutex<Vec<layerset::sha256::Sha256>>,
}

impl layerset::remote::Remote for Wholesale<'_> {
    fn location(&self) -> &str {
        self.inner.location()
    }

    fn read_head(&self, limit: u64) -> Result<Option<layerset::remote::Head>, RemoteError> {
        self.inner.read_head(limit)
    }

    fn blob_size(&self, blob: &layerset::sha256::Sha256) -> Result<Option<u64>, RemoteError> {
        self.inner.blob_size(blob)
    }

    fn read_blob(
        &self,
        blob: &layerset::sha256::Sha256,
        range: std::ops::Range<u64>,
        sink: &mut layerset::remote::BlobSink<'_>,
    ) -> Result<(), RemoteError> {
        let size = self.blob_size(blob)?.unwrap();
        let refusal = RemoteError::WholeOnly {
            location: "memory".to_owned(),
            size,
        };
        if range.start > 0 {
            return Err(refusal);
        }
        if range.end < size {
            return self.inner.read_blob(blob, range, sink);
        }
        self.wholes.lock().unwrap().push(*blob);
        let is_first = !self
            .was_asked
            .swap(true, std::sync::atomic::Ordering::SeqCst);
        match is_first {
            true => self
                .inner
                .read_blob(blob, 0..size / 2, sink)
                .and(Err(refusal)),
            false => self.inner.read_blob(blob, range, sink),
        }
    }
}

#[test]
fn a_remote_that_knows_no_ranges_is_asked_for_each_blob_as_a_whole_and_once() {
    let dir = tempfile::tempdir().unwrap();
    let (publisher, machine) = (open(&dir.path().join("p")), open(&dir.path().join("m")));
    let remote = MemoryRemote::default();
    let wholesale = Wholesale {
        inner: &remote,
        was_asked: std::sync::atomic::AtomicBool::new(false),
        wholes: std::sync::Mutex::default(),
    };
    let name = RefName::new("remotes/main/images/web/stable").unwrap();
    for version in [1, 2] {
        let image = build(&publisher, version);
        publish_image(&publisher, &remote, image);
        let ledger = Ledger::read(&remote);
        let channel = ledger.channel(&stable()).unwrap().unwrap();
        let release = ledger
            .release(ReleaseKind::Image, "web", &channel.release)
            .unwrap();
        let options = PullOptions {
            deltas: false,
            ..pull_options()
        };
        pull(&machine, &wholesale, &ledger, &release, &name, &options).unwrap();
        assert_eq!(stable_of(&machine), image);
        let wholes = std::mem::take(&mut *wholesale.wholes.lock().unwrap());
        let blobs: std::collections::BTreeSet<_> = wholes.iter().collect();
        // The one that broke off was begun again.
        let again = usize::from(version == 1);
        assert!(!blobs.is_empty(), "nothing was asked for as a whole");
        assert_eq!(wholes.len(), blobs.len() + again, "{wholes:?}");
    }
    is_clean(&machine);
}
