//! What a machine decides: whom to follow, whether to go back, whether it takes part.

use proptest::prelude::*;

use super::*;

#[test]
fn a_machine_does_not_go_back_unless_that_is_signed() {
    let mut world = World::busy();
    let machine = world.watcher();
    let state = &machine.state;
    let mut channel = channel(
        ReleaseKind::Layer,
        "nginx",
        &release(ReleaseKind::Layer, "nginx", 5),
    );
    state.accept(&channel, None).unwrap();
    state.record(&channel).unwrap();
    state.accept(&channel, None).unwrap();
    channel.serial = 3;
    let error = state.accept(&channel, None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "channel 'layers/nginx/stable' goes back from release 5 to 3, and is not signed as going back"
    );
    // Signed as going back, but from less than this machine has.
    channel.downgrade = goes_back(4);
    assert!(state.accept(&channel, None).is_err());
    channel.downgrade = goes_back(5);
    state.accept(&channel, None).unwrap();
    // What is deployed counts too.
    assert!(state.accept(&channel, Some(6)).is_err());
    state.record(&channel).unwrap();
    assert_eq!(
        state.taken(&stable(ReleaseKind::Layer, "nginx")).unwrap(),
        Some(3)
    );
    channel.serial = 4;
    channel.downgrade = None;
    state.accept(&channel, None).unwrap();
    // Other channels have their own count.
    channel.channel = "beta".to_owned();
    channel.serial = 1;
    state.accept(&channel, None).unwrap();
}

#[test]
fn a_damaged_memory_is_told_and_not_overwritten() {
    let mut world = World::busy();
    let machine = world.watcher();
    machine.verify(&world.head).unwrap();
    std::fs::write(machine.dir.join("metadata.json"), "{").unwrap();
    let error = machine.verify(&world.head).unwrap_err();
    assert!(
        error.to_string().contains("metadata.json' is damaged"),
        "{error}"
    );
    assert!(!error.is_of_mirror());
}

const POLICY: &str = r#"
[[remote]]
name = "main"
location = "https://example.org/layers"
mirrors = ["/srv/mirror"]
root = "main.json"
channels = ["images/web/*", "layers/nginx/stable"]

[[remote]]
name = "lab"
location = "/srv/lab"
root = "/srv/lab.json"
"#;

#[test]
fn a_policy_says_where_and_what() {
    let path = Path::new("/etc/layerset/trust.toml");
    let policy = Policy::parse(path, POLICY).unwrap();
    let main = policy.remote("main").unwrap();
    assert_eq!(main.root, Path::new("/etc/layerset/main.json"));
    assert_eq!(
        main.locations().collect::<Vec<_>>(),
        ["https://example.org/layers", "/srv/mirror"]
    );
    for (name, allowed) in [
        ("images/web/stable", true),
        ("images/web/beta", true),
        ("layers/nginx/stable", true),
        ("layers/nginx/beta", false),
        ("images/webmail/stable", false),
    ] {
        assert_eq!(main.allows(&name.parse().unwrap()), allowed, "{name}");
    }
    let lab = policy.remote("lab").unwrap();
    assert!(main.recompose && lab.recompose);
    let trusting = POLICY.replace("name = \"lab\"", "name = \"lab\"\nrecompose = false");
    let trusting = Policy::parse(path, &trusting).unwrap();
    assert!(!trusting.remote("lab").unwrap().recompose);
    assert_eq!(lab.root, Path::new("/srv/lab.json"));
    assert!(lab.allows(&"layers/x/y".parse().unwrap()));
}

#[test]
fn faults_of_a_policy_have_a_place() {
    let path = Path::new("trust.toml");
    for (old, new, message) in [
        (
            "mirrors",
            "mirors",
            "trust.toml:5:1: unknown key 'mirors' (did you mean 'mirrors'?)",
        ),
        (
            "\"lab\"",
            "\"main\"",
            "trust.toml:10:8: there are two remotes called 'main'",
        ),
        (
            "\"main\"",
            "\"Main\"",
            "trust.toml:3:8: 'Main' cannot be the name of a remote",
        ),
        (
            "images/web/*",
            "web/*",
            "trust.toml:7:13: 'web/*' matches no channel",
        ),
        (
            "root = \"main.json\"\n",
            "",
            "trust.toml:2:1: missing key 'remote.root'",
        ),
        (
            "location = \"/srv/lab\"",
            "location = 5",
            "trust.toml:11:12: 'remote.location' must be a string, not an integer",
        ),
    ] {
        let error = Policy::parse(path, &POLICY.replacen(old, new, 1)).unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
    }
}

#[test]
fn all_mistakes_of_a_policy_are_named_in_one_run() {
    let text = r#"
remotes = []
[[remote]]
name = "Main"
location = ""
rot = "main.json"
channels = ["images/web/*", "web/*", 7]
[[remote]]
name = "lab"
mirrors = ["", "/srv/x"]
root = ""
recompose = "no"
[[remote]]
name = "lab"
location = "/srv/lab"
root = "x"
"#;
    let error = Policy::parse(Path::new("trust.toml"), text).unwrap_err();
    let said = error.to_string();
    let lines = said
        .lines()
        .filter_map(|line| line.trim().strip_prefix("trust.toml:"));
    let places: Vec<String> = lines
        .map(|line| line.splitn(3, ':').take(2).collect::<Vec<_>>().join(":"))
        .collect();
    let expected = [
        "2:1", "4:8", "5:12", "6:1", "7:29", "7:38", "8:1", "10:12", "11:8", "12:13", "14:8",
    ];
    assert_eq!(places, expected, "{said}");
    // The keys of the root are all named where none is near.
    let text = "colour = 'red'\n";
    let error = Policy::parse(Path::new("trust.toml"), text).unwrap_err();
    assert_eq!(
        error.to_string(),
        "trust.toml:1:1: unknown key 'colour' (known: remote)"
    );
}

/// Every key, so that each has mutants.
const WHOLE: &str = r#"
[[remote]]
name = "main"
location = "https://example.org/layers"
mirrors = ["/srv/mirror", "oci://example.org/x"]
root = "main.json"
channels = ["images/web/*", "layers/nginx/stable", "**"]
recompose = false
"#;

#[test]
fn a_policy_with_one_mistake_is_refused_by_reader_and_schema() {
    use crate::shape::testing::{Judge, mutants, unused};
    assert_eq!(unused(&TRUST, &[WHOLE]), Vec::<String>::new());
    let read = |text: &str| {
        let read = Policy::parse(Path::new("trust.toml"), text);
        read.map(|_| ()).map_err(|error| error.to_string())
    };
    let judge = Judge::new(&TRUST);
    for text in [WHOLE, POLICY] {
        read(text).unwrap();
        assert_eq!(judge.takes(text), Some(true));
    }
    let texts = [WHOLE, POLICY].map(mutants).concat();
    assert!(texts.len() > 300, "{}", texts.len());
    let refused = texts.iter().filter(|text| read(text).is_err()).count();
    assert!(refused > 200, "{refused}");
    // In the schema, a date is text that looks like one; that names differ, no schema says.
    let beyond = ["not a date", "there are two remotes called"];
    let wrong: Vec<String> = texts
        .iter()
        .filter_map(|text| judge.contradicts(text, read(text), &beyond))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

fn staged(percent: u8, not_before: i64) -> Channel {
    let mut channel = channel(
        ReleaseKind::Image,
        "web",
        &release(ReleaseKind::Image, "web", 1),
    );
    channel.rollout.percent = percent;
    channel.rollout.not_before = not_before;
    channel
}

#[test]
fn a_share_is_about_that_many_machines_and_differs_by_channel() {
    let machines: Vec<Machine> = (0..10_000)
        .map(|n| Machine::new(&format!("{n:032x}")))
        .collect();
    let count = |channel: &Channel| {
        machines
            .iter()
            .filter(|m| m.takes_part(channel, NOW))
            .count()
    };
    assert_eq!(count(&staged(0, 0)), 0);
    assert_eq!(count(&staged(100, 0)), 10_000);
    let tenth = count(&staged(10, 0));
    assert!((850..1150).contains(&tenth), "{tenth}");
    let mut beta = staged(10, 0);
    beta.channel = "beta".to_owned();
    let both = machines
        .iter()
        .filter(|m| m.takes_part(&staged(10, 0), NOW) && m.takes_part(&beta, NOW));
    let both = both.count();
    assert!((50..170).contains(&both), "{both}");
}

#[test]
fn a_choice_says_why() {
    let machine = Machine::new("0123456789abcdef0123456789abcdef\n");
    let mut channel = staged(100, NOW + 5);
    assert_eq!(
        machine.choose(&channel, NOW),
        RolloutChoice::NotYet { until: NOW + 5 }
    );
    assert_eq!(
        machine.choose(&channel, NOW + 5),
        RolloutChoice::Release(channel.release)
    );
    let others = release(ReleaseKind::Image, "web", 7).id;
    channel.rollout.others = Some(others);
    assert_eq!(machine.choose(&channel, NOW), RolloutChoice::Others(others));
    channel = staged(0, 0);
    assert_eq!(machine.choose(&channel, NOW), RolloutChoice::NotChosen);
    channel.rollout.others = Some(others);
    assert_eq!(machine.choose(&channel, NOW), RolloutChoice::Others(others));
}

#[test]
fn who_takes_part_is_golden() {
    // Another release of this program must not shuffle the machines of a running rollout.
    let chosen: Vec<u32> = (0..40)
        .filter(|n| Machine::new(&format!("{n:032x}")).takes_part(&staged(20, 0), NOW))
        .collect();
    assert_eq!(chosen, [6, 10, 29, 31, 33, 36, 39]);
}

proptest! {
    #[test]
    fn a_growing_share_only_adds_machines(id in "[0-9a-f]{32}", low in 0u8..=100, high in 0u8..=100) {
        let (low, high) = (low.min(high), low.max(high));
        let machine = Machine::new(&id);
        let takes = |percent| machine.takes_part(&staged(percent, 0), NOW);
        prop_assert!(!takes(low) || takes(high));
    }
}

#[test]
fn what_could_not_be_read_again_is_not_remembered() {
    let mut world = World::new();
    let machine = world.watcher();
    machine.verify(&world.head).unwrap();
    let before = files(&machine.dir);
    let work = machine.state.work(None).unwrap();
    for name in ["root.json", "timestamp.json"] {
        std::fs::write(work.path().join(name), "{}").unwrap();
    }
    let long = format!("\"{}\"", "x".repeat(17 << 20));
    std::fs::write(work.path().join("snapshot.json"), long).unwrap();
    let error = machine
        .state
        .commit(work.path(), BTreeMap::new(), false)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "'metadata.json' is larger than the 16777216 bytes that it may have"
    );
    drop(work);
    assert_eq!(files(&machine.dir), before);
    machine.verify(&world.head).unwrap();
}
