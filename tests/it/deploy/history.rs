//! What the history says, and what a target does when somebody took it away, or the pointer.

use super::*;

fn actions(world: &World) -> Vec<(HistoryAction, Option<u64>)> {
    let records = world.target().history().unwrap().records;
    records
        .iter()
        .map(|record| (record.action, record.about))
        .collect()
}

fn two_versions() -> World {
    let world = World::new();
    world.deploy(&world.image("1", &base()));
    world.deploy(&world.image("2", &with(base(), &[("usr/app", "f version 2\n")])));
    world
}

#[test]
fn a_history_that_is_cut_emptied_or_removed_is_told_for_ever_and_stops_nothing() {
    let test = "a_history_that_is_cut_emptied_or_removed_is_told_for_ever_and_stops_nothing";
    if !is_root(test) {
        return;
    }
    type Harm = fn(&Path, &str);
    let harms: [(&str, usize, Harm); 4] = [
        ("cut at a line end", 2, |path, text| {
            fs::write(path, format!("{}\n", text.lines().next().unwrap())).unwrap();
        }),
        ("emptied", 1, |path, _| fs::write(path, "").unwrap()),
        ("removed", 1, |path, _| fs::remove_file(path).unwrap()),
        // The first line as often as there were lines, each one sound by itself.
        ("replaced", 2, |path, text| {
            let first = text.lines().next().unwrap();
            fs::write(path, format!("{first}\n{first}\n")).unwrap();
        }),
    ];
    for (name, line, harm) in harms {
        let world = two_versions();
        assert_eq!(world.target().status().unwrap().history_broken, None);
        let log = world.at("history.jsonl");
        harm(&log, &fs::read_to_string(&log).unwrap());
        let told = world.target().status().unwrap().history_broken.unwrap();
        assert_eq!(told.line, line, "{name}: {told:?}");
        // It stays told after the next change, which works.
        let change_of = world.target();
        change_of.change("test").unwrap().pin(2, &note()).unwrap();
        assert_eq!(world.rollback(Some(1)).unwrap(), 1, "{name}");
        let history = world.target().history().unwrap();
        assert!(history.broken.is_some(), "{name}");
        assert!(
            history
                .records
                .iter()
                .any(|record| record.action == HistoryAction::Lost),
            "{name}: {history:?}"
        );
        assert!(
            !history
                .records
                .iter()
                .any(|record| record.action == HistoryAction::Recovered)
        );
    }
}

#[test]
fn a_history_of_an_earlier_version_has_no_head_and_gets_one() {
    if !is_root("a_history_of_an_earlier_version_has_no_head_and_gets_one") {
        return;
    }
    let world = two_versions();
    fs::remove_file(world.at("history.head")).unwrap();
    assert_eq!(world.target().history().unwrap().broken, None);
    drop(world.target().change("test").unwrap());
    assert!(world.at("history.head").exists());
    // One that got further than its head, as after a command that died in between.
    let head = fs::read(world.at("history.head")).unwrap();
    world.rollback(None).unwrap();
    fs::write(world.at("history.head"), head).unwrap();
    assert_eq!(world.target().history().unwrap().broken, None);
    drop(world.target().change("test").unwrap());
    assert_eq!(world.target().history().unwrap().broken, None);
}

#[test]
fn without_the_pointer_the_next_deployment_keeps_the_edits_of_what_was_current() {
    if !is_root("without_the_pointer_the_next_deployment_keeps_the_edits_of_what_was_current") {
        return;
    }
    let world = two_versions();
    fs::write(world.at("current/etc/hand"), "edited").unwrap();
    fs::remove_file(world.at("current")).unwrap();
    assert_eq!(world.target().status().unwrap().lost_current, Some(2));
    let image = world.image("3", &with(base(), &[("usr/app", "f version 3\n")]));
    assert_eq!(world.deploy(&image), 3);
    assert_eq!(world.read("current/etc/hand"), "edited");
    let recovered = (HistoryAction::Recovered, None);
    assert!(actions(&world).contains(&recovered));
    // When the history is gone as well, nothing can say whose edits count.
    fs::remove_file(world.at("current")).unwrap();
    fs::remove_file(world.at("history.jsonl")).unwrap();
    let error = world.stage(&image, &StageOptions::default()).unwrap_err();
    assert!(
        matches!(error, DeployError::NothingCurrent { newest: 3 }),
        "{error}"
    );
    assert_eq!(world.rollback(Some(3)).unwrap(), 3);
    world.stage(&image, &StageOptions::default()).unwrap();
}

#[test]
fn pins_marks_and_what_is_only_staged_are_recorded_as_what_they_are() {
    if !is_root("pins_marks_and_what_is_only_staged_are_recorded_as_what_they_are") {
        return;
    }
    let world = two_versions();
    let staged = world.stage(
        &world.image("3", &with(base(), &[("usr/app", "f version 3\n")])),
        &StageOptions::default(),
    );
    let target = world.target();
    let change = target.change("test").unwrap();
    change.pin(1, &note()).unwrap();
    change.pin(1, &note()).unwrap();
    change.unpin(1, &note()).unwrap();
    change.mark_bad(2, &note()).unwrap();
    change.mark_good(2, &note()).unwrap();
    // A deployment that was never current is deployed, not gone back to.
    assert_eq!(
        change.rollback(Some(staged.unwrap()), &note()).unwrap().to,
        3
    );
    drop(change);
    use HistoryAction::{Bad, Deploy, Good, Pin, Unpin};
    assert_eq!(
        actions(&world)[2..],
        [
            (Pin, Some(1)),
            (Unpin, Some(1)),
            (Bad, Some(2)),
            (Good, Some(2)),
            (Deploy, None)
        ]
    );
}
