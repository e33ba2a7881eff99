//! Deploying, going back, keeping.

use serde_json::json;

use super::scene::Scene;
use super::{Report, hold};
use crate::support::is_root;

#[test]
fn what_was_reported_of_switches_and_rollbacks_is_not_so_here() {
    if is_root("what_was_reported_of_switches_and_rollbacks_is_not_so_here") {
        hold(REPORTS);
    }
}

pub const REPORTS: &[Report] = &[
    Report {
        source: "ostreedev/ostree#1595",
        said: "After one deployment was pinned, every later one was pinned too.",
        case: || {
            let scene = Scene::new();
            scene.deployed("one", &[]);
            scene.run("pin 1").expect(0);
            scene.deployed("two", &[]);
            assert_eq!(scene.each("pinned"), [(1, json!(true)), (2, json!(false))]);
        },
    },
    Report {
        source: "coreos/rpm-ostree#1309",
        said: "Cleaning up took a pinned deployment away.",
        case: || {
            let scene = Scene::new();
            scene.deployed("one", &[]);
            scene.run("pin 1").expect(0);
            for name in ["two", "three", "four"] {
                scene.image(name, &[]);
                scene.run(&format!("deploy {name} --keep 1")).expect(0);
            }
            assert!(
                scene.generations().contains(&1),
                "{:?}",
                scene.generations()
            );
            scene.run("rollback --to 1").expect(0);
            assert_eq!(scene.version(), "one");
        },
    },
    Report {
        source: "coreos/rpm-ostree#906",
        said: "A rollback worked once, and the second one said that there is nothing to go back to.",
        case: || {
            let scene = Scene::new();
            scene.deployed("one", &[]);
            scene.deployed("two", &[]);
            scene.run("rollback").expect(0);
            assert_eq!(scene.version(), "one");
            // Back is to an earlier one. Forward again is by number, and that is what the error says.
            let refused = scene.run("rollback").expect(1);
            assert!(refused.stderr.contains("--to"), "{}", refused.transcript());
            for (to, expected) in [(2, "two"), (1, "one"), (2, "two")] {
                scene.run(&format!("rollback --to {to}")).expect(0);
                assert_eq!(scene.version(), expected);
            }
        },
    },
    Report {
        source: "coreos/rpm-ostree#1434",
        said: "A rollback while a deployment was staged dumped core.",
        case: || {
            let scene = Scene::new();
            scene.deployed("one", &[]);
            scene.deployed("two", &[]);
            scene.image("three", &[]);
            scene.run("deploy three --stage-only").expect(0);
            scene.run("rollback").expect(0);
            assert_eq!(scene.version(), "one");
        },
    },
    Report {
        source: "bootc-dev/bootc#1418",
        said: "A rollback deleted the staged deployment without a word.",
        case: || {
            let scene = Scene::new();
            scene.deployed("one", &[]);
            scene.deployed("two", &[]);
            scene.image("three", &[]);
            scene.run("deploy three --stage-only").expect(0);
            scene.run("rollback").expect(0);
            assert!(
                scene.each("state").contains(&(3, json!("staged"))),
                "{}",
                scene.status()
            );
            scene.run("deploy three").expect(0);
            assert_eq!(scene.version(), "three");
        },
    },
    Report {
        source: "bootc-dev/bootc#2208",
        said: "Deploying the same image by another name, and then going back, broke status and rollback for good.",
        case: || {
            let scene = Scene::new();
            scene.deployed("one", &[]);
            let id = scene.image("two", &[]);
            scene.run("deploy two").expect(0);
            scene.run(&format!("deploy {id}")).expect(0);
            scene.run("rollback").expect(0);
            assert_eq!(scene.version(), "one");
            scene.status();
            scene.run("rollback --to 2").expect(0);
            assert_eq!(scene.version(), "two");
        },
    },
    Report {
        source: "bootc-dev/bootc#1887",
        said: "An update from a rolled back machine left it in a state that status could not read.",
        case: || {
            let scene = Scene::new();
            scene.deployed("one", &[]);
            scene.deployed("two", &[]);
            scene.run("rollback").expect(0);
            scene.deployed("three", &[]);
            assert_eq!(scene.status()["current"], 3);
            scene.run("rollback").expect(0);
            assert_eq!(scene.version(), "one");
        },
    },
    Report {
        source: "NixOS/nixpkgs#24374",
        said: "One can go back to the generation before only, not to any that is there.",
        case: || {
            let scene = Scene::new();
            for name in ["one", "two", "three"] {
                scene.deployed(name, &[]);
            }
            scene.run("rollback --to 1").expect(0);
            assert_eq!(scene.version(), "one");
            let refused = scene.run("rollback --to 9").expect(1);
            assert!(refused.stderr.contains('9'), "{}", refused.transcript());
        },
    },
    Report {
        source: "NixOS/nixpkgs#163936",
        said: "After going back, the list still names the newer generation as current.",
        case: || {
            let scene = Scene::new();
            scene.deployed("one", &[]);
            scene.deployed("two", &[]);
            scene.run("rollback").expect(0);
            assert_eq!(scene.status()["current"], 1);
            assert!(scene.each("state").contains(&(1, json!("current"))));
        },
    },
    Report {
        source: "NixOS/nixpkgs#93694",
        said: "One bad old generation keeps every later one from being made.",
        case: || {
            let scene = Scene::new();
            scene.deployed("one", &[]);
            scene.deployed("two", &[]);
            std::fs::write(scene.at("deployments/1/deployment.json"), "{").unwrap();
            scene.deployed("three", &[]);
            assert_eq!(scene.version(), "three");
            assert!(
                scene
                    .each("damaged")
                    .iter()
                    .any(|(_, damage)| !damage.is_null())
            );
        },
    },
    Report {
        source: "systemd/systemd#39751",
        said: "Updating to what is there already gives an error that explains nothing.",
        case: || {
            let scene = Scene::new();
            scene.deployed("one", &[]);
            let again = scene.run("deploy one").expect(0);
            assert!(again.stdout.contains("already"), "{}", again.transcript());
            assert_eq!(scene.generations(), [1]);
        },
    },
    Report {
        source: "systemd/systemd#41502",
        said: "An update that was broken off counts as installed, and cannot be tried again.",
        case: || {
            let scene = Scene::new();
            scene.deployed("one", &[]);
            scene.image("two", &[]);
            let object = scene.object("version two\n");
            let aside = object.with_extension("aside");
            std::fs::rename(&object, &aside).unwrap();
            for _ in 0..2 {
                let refused = scene.run("deploy two").expect(4);
                assert!(
                    refused.stderr.contains("usr/app"),
                    "{}",
                    refused.transcript()
                );
                assert_eq!(
                    (scene.generations(), scene.version()),
                    (vec![1], "one".to_owned())
                );
            }
            std::fs::rename(&aside, &object).unwrap();
            scene.run("deploy two").expect(0);
            assert_eq!(scene.version(), "two");
        },
    },
];
