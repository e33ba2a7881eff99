#![allow(clippy::unwrap_used)]

use super::*;
use crate::id::{LayerId, TreeId};
use crate::sha256::Sha256;
use crate::transfer::ObjectEntry;

fn id(name: &str) -> ReleaseId {
    LayerId::of(name.as_bytes()).into()
}

fn object(name: &str) -> ObjectId {
    ObjectId::of(name.as_bytes())
}

/// A release of a layer with deltas of these sizes from these releases.
fn release(name: &str, deltas: &[(&str, u64)]) -> Release {
    let deltas = deltas.iter().map(|(from, bytes)| DeltaRef {
        from: id(from),
        blob: Sha256::from_bytes(*blake3::hash(format!("{from} {name}").as_bytes()).as_bytes()),
        bytes: *bytes,
    });
    Release {
        format: 1,
        kind: ReleaseKind::Layer,
        name: name.to_owned(),
        version: "1".to_owned(),
        serial: 1,
        published: 0,
        id: id(name),
        manifest_bytes: 10,
        tree: TreeId::of(name.as_bytes()),
        tree_bytes: 20,
        corrections: None,
        layers: Vec::new(),
        objects: 1,
        object_bytes: 100,
        packs: vec![PackRef {
            blob: Sha256::from_bytes(*blake3::hash(name.as_bytes()).as_bytes()),
            bytes: 200,
            index_bytes: 50,
            index: Sha256::from_bytes([0; 32]),
        }],
        deltas: deltas.collect(),
        baseline: None,
    }
}

fn holdings(present: &[&str], bases: &[&str]) -> Holdings {
    Holdings {
        present: present.iter().map(|name| id(name)).collect(),
        bases: bases.iter().map(|name| id(name)).collect(),
    }
}

/// Returns how the parts of a plan arrive: the word, with the bytes of a delta.
fn routes(plan: &PullPlan) -> Vec<(Delivery, u64)> {
    let parts = plan.parts().iter().map(|part| match &part.route {
        Route::Delta(by_delta) => (Delivery::Delta, by_delta.delta.bytes),
        route => (route.how(), 0),
    });
    parts.collect()
}

/// Objects by part: the name of each, all of ten bytes.
fn objects(parts: &[(usize, &[&str])]) -> BTreeMap<usize, ObjectMap> {
    let each = parts.iter().map(|(number, names)| {
        let content = ObjectEntry {
            size: 10,
            paths: Vec::new(),
        };
        let objects = names.iter().map(|name| (object(name), content.clone()));
        (*number, objects.collect())
    });
    each.collect()
}

/// Three parts: one that is here, one with two deltas, one without.
fn plan() -> PullPlan {
    let releases = vec![
        release("here", &[("old", 5)]),
        release("changed", &[("older", 9), ("old", 7), ("gone", 1)]),
        release("new", &[("gone", 1)]),
    ];
    PullPlan::new(releases, &holdings(&["here"], &["old", "older"]))
}

fn wanted(plan: &PullPlan, here: &[&str]) -> WantedObjects {
    let objects = objects(&[(1, &["a", "b", "c"]), (2, &["c", "d"])]);
    let here: Vec<ObjectId> = here.iter().map(|name| object(name)).collect();
    plan.wanted(&objects, &|id, size| size == 10 && here.contains(id))
}

fn ids(names: &[&str]) -> Vec<ObjectId> {
    let ids: BTreeSet<ObjectId> = names.iter().map(|name| object(name)).collect();
    ids.into_iter().collect()
}

#[track_caller]
fn assert_wanted(wanted: &WantedObjects, all: &[&str], fallback: &[&str]) {
    let found: Vec<ObjectId> = wanted.objects.keys().copied().collect();
    assert_eq!(found, ids(all));
    let found = wanted.fallback.iter().copied().map(ObjectId::from_digest);
    assert_eq!(found.collect::<Vec<_>>(), ids(fallback));
}

#[test]
fn what_is_here_does_not_arrive_and_the_smallest_delta_from_what_is_here_is_taken() {
    assert_eq!(
        routes(&plan()),
        [
            (Delivery::Present, 0),
            (Delivery::Delta, 7),
            (Delivery::Packs, 0)
        ]
    );
    let without = PullPlan::new(vec![release("changed", &[("old", 7)])], &holdings(&[], &[]));
    assert_eq!(routes(&without), [(Delivery::Packs, 0)]);
}

#[test]
fn a_base_that_cannot_be_read_gives_way_to_the_next_and_is_no_lost_delta() {
    let next = plan().without_base(1);
    assert_eq!(routes(&next)[1], (Delivery::Delta, 9));
    let none = next.without_base(1);
    assert_eq!(routes(&none)[1], (Delivery::Packs, 0));
    assert_wanted(&wanted(&none, &[]), &["a", "b", "c", "d"], &[]);
}

#[test]
fn a_delta_of_no_use_is_not_replaced_by_another_and_its_objects_count_as_fallback() {
    let lost = plan().without_delta(1, 7);
    assert_eq!(routes(&lost)[1], (Delivery::Packs, 0));
    assert_wanted(&wanted(&lost, &["a"]), &["b", "c", "d"], &["b", "c"]);
    let report = lost.into_report();
    assert_eq!((report[1].how, report[1].delta_bytes), (Delivery::Packs, 7));
}

#[test]
fn what_a_delta_makes_is_not_fetched_and_what_is_quicker_later_or_failed_is_told_apart() {
    // Before anything is made, and after `a` and `b` were.
    assert_wanted(&wanted(&plan(), &[]), &["a", "b", "c", "d"], &[]);
    assert_wanted(&wanted(&plan(), &["a", "b"]), &["c", "d"], &[]);
    let split = plan().with_split(
        1,
        DeltaSplit {
            quicker: BTreeSet::from([object("a")]),
            gap: Some(4096),
            later: BTreeSet::from([object("b")]),
        },
    );
    assert_eq!((split.gap(1 << 20), split.gap(64)), (4096, 64));
    let failed = split.with_failed(1, vec![(object("c"), "no base".to_owned())]);
    assert_eq!(failed.later(), BTreeSet::from([object("b")]));
    assert_wanted(&wanted(&failed, &[]), &["a", "c", "d"], &["c"]);
    // Everything came but `b`, which cannot be made after all.
    let made = failed.with_rest_made(1, vec![(object("b"), "damaged".to_owned())]);
    assert!(made.later().is_empty());
    assert_wanted(&wanted(&made, &["a", "c", "d"]), &["b"], &["b"]);
    let report = made.into_report();
    let part = &report[1];
    assert_eq!((part.how, part.delta_bytes), (Delivery::Delta, 7));
    assert_eq!((part.quicker_objects, part.fallback_objects), (1, 2));
}

#[test]
fn only_packs_of_parts_that_lack_something_are_looked_at() {
    let packs = |here: &[&str]| wanted(&plan(), here).packs.len();
    assert_eq!(packs(&[]), 2);
    // What part 1 wants already does not make part 2 lack anything.
    assert_eq!(packs(&["d"]), 1);
    assert_eq!(packs(&["a", "b", "c", "d"]), 0);
}

#[test]
fn steps_change_the_delta_of_one_part_and_nothing_else() {
    let before = plan();
    let after = before
        .clone()
        .without_delta(0, 1)
        .without_base(2)
        .with_failed(2, vec![(object("d"), "no base".to_owned())])
        .with_failed(7, Vec::new());
    assert_eq!(before, after);
    let after = before.clone().without_delta(1, 7);
    assert_eq!(before.parts()[0], after.parts()[0]);
    assert_eq!(before.parts()[2], after.parts()[2]);
}
