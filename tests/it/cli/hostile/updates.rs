//! A target that follows a channel, while its mirror lies: what runs is not touched, and one honest answer is enough.

use super::World;
use super::world::{Mirror, listing, stable};
use crate::remote::servers::{Seen, Step, WebServer};

type Attack = (
    &'static str,
    fn(&Mirror),
    fn(&Seen, usize) -> Option<Step>,
    &'static str,
);

const ATTACKS: [Attack; 5] = [
    (
        "altered",
        |mirror| {
            mirror.tamper(|head| {
                let text = head.targets.get_mut(&stable().target()).unwrap();
                *text = text.replacen("\"serial\": 2", "\"serial\": 3", 1);
            });
        },
        |_, _| None,
        "was changed after it was signed",
    ),
    (
        "damaged",
        |mirror| mirror.spoil(|bytes| bytes.iter_mut().for_each(|byte| *byte ^= 1)),
        |_, _| None,
        "is damaged: its index has another digest",
    ),
    (
        "silent",
        |_| {},
        |_, _| Some(Step::Silent),
        "no answer to a request for 2 s",
    ),
    (
        "stalling",
        |_| {},
        |seen, _| seen.path.starts_with("/blobs/").then_some(Step::Hold(50)),
        "no answer to a request halfway for 2 s",
    ),
    (
        "broken",
        |_| {},
        |_, _| Some(Step::Say("500 Oops".to_owned(), Vec::new())),
        "it answers 500 Internal Server Error",
    ),
];

#[test]
fn an_update_that_fails_leaves_the_target_as_it_is_and_the_next_one_succeeds() {
    let world = World::fresh();
    let target = world.path("target");
    let update = |trust: &std::path::Path| {
        let line = format!(
            "update --quiet --target {} --trust {}",
            target.display(),
            trust.display()
        );
        let output = world.pull_command("seed", &line).output().unwrap();
        world.machine("seed").ran(&line, output)
    };
    for (name, change, rule, said) in ATTACKS {
        let mirror = world.mirror(name);
        change(&mirror);
        let server = WebServer::ruled(&mirror.dir, rule);
        let ran = update(&world.policy(name, &[&server.url])).says(&[said, "hint: "]);
        assert_ne!(ran.status, 0, "{}", ran.transcript());
        assert_eq!(listing(&target.join("layerset")), world.deployed, "{name}");
        world.has_release("seed", 1);
    }
    let page = || std::fs::read_to_string(target.join("layerset/current/root/srv/page.html"));
    assert_eq!(page().unwrap(), "<p>version 1</p>\n");
    let remote = world.path("remote");
    update(&world.policy("good", &[remote.to_str().unwrap()])).expect(0);
    assert_eq!(page().unwrap(), "<p>version 2</p>\n");
}
