//! The attacks that TUF is against, with the signed files of a real remote.

use std::sync::Arc;

use layerset::durable::RealDisk;
use layerset::format::release::{Channel, ReleaseKind};
use layerset::format::{decode_head, encode_head, from_canonical_json, to_canonical_json};
use layerset::store::{RefName, Repository};
use layerset::tree::Inode;

use super::World;
use super::world::{DAY, Fate, Mirror, honest, listing, masked, now, stable};
use crate::support::path;

/// What a mirror does to the head.
type Lie = (&'static str, fn(&World, &Mirror));

fn older(world: &World, mirror: &Mirror) {
    mirror.set_head(&world.first_head);
}

fn old_parts(world: &World, mirror: &Mirror, file: &str) {
    let old = decode_head(&world.first_head).unwrap();
    mirror.tamper(|head| {
        let text = old.metadata[file].clone();
        head.metadata.insert(file.to_owned(), text);
    });
}

/// Edits the text of one target.
fn edited(mirror: &Mirror, target: &str, old: &str, new: &str) {
    mirror.tamper(|head| {
        let text = head.targets.get_mut(target).unwrap();
        *text = text.replacen(old, new, 1);
    });
}

const LIES: [Lie; 13] = [
    (
        "arbitrary software: a channel that points elsewhere",
        |_, mirror| {
            edited(mirror, &stable().target(), "\"serial\": 2", "\"serial\": 3");
        },
    ),
    (
        "arbitrary software: signed by somebody else",
        |world, mirror| {
            let at = mirror.dir.join("theirs");
            let line = format!(
                "trust init {} --keys {1}/k --root {1}/r",
                at.display(),
                at.display()
            );
            std::fs::create_dir(&at).unwrap();
            std::fs::remove_dir(&at).unwrap();
            let line = line.replace("/theirs/", "/their-");
            world.publisher().run(&line).expect(0);
            std::fs::copy(at.join("head"), mirror.dir.join("head")).unwrap();
        },
    ),
    ("rollback: an older head", older),
    ("fast-forward: a version that nobody signed", |_, mirror| {
        mirror.tamper(|head| {
            let text = head.metadata.get_mut("timestamp.json").unwrap();
            let at = text.find("\"version\":").unwrap() + 10;
            text.insert(at, '9');
        });
    }),
    (
        "indefinite freeze: a head that has expired",
        |world, mirror| {
            world.sign_at(&mirror.dir, now() - 40 * DAY, &mut |_| Ok(()));
        },
    ),
    ("a clock that is a year ahead", |world, mirror| {
        world.sign_at(&mirror.dir, now() - 400 * DAY, &mut |_| Ok(()));
    }),
    ("endless data: a head that unpacks to 65 MB", |_, mirror| {
        let bomb = zstd::bulk::compress(&vec![b' '; 65 << 20], 3).unwrap();
        mirror.set_head(&bomb);
    }),
    (
        "extraneous layer: a release that lists one more",
        |world, mirror| {
            let target = release_target(world, ReleaseKind::Image);
            let layer = format!(
                "\"layers\": [\n    {{\n      \"id\": \"b3:{}\",\n      \"name\": \"evil\",\n      \"version\": \"1\"\n    }},",
                "0".repeat(64)
            );
            edited(mirror, &target, "\"layers\": [", &layer);
        },
    ),
    ("mix and match: the targets of before", |world, mirror| {
        old_parts(world, mirror, "targets.json");
    }),
    ("mix and match: the snapshot of before", |world, mirror| {
        old_parts(world, mirror, "snapshot.json");
    }),
    (
        "wrong software: a layer's release as the image's",
        |world, mirror| {
            mirror.tamper(|head| {
                let layer = head.targets[&release_target(world, ReleaseKind::Layer)].clone();
                head.targets
                    .insert(release_target(world, ReleaseKind::Image), layer);
            });
        },
    ),
    ("malicious mirror: the channel left out", |_, mirror| {
        mirror.tamper(|head| {
            head.targets.remove(&stable().target()).unwrap();
        });
    }),
    ("malicious mirror: half a head", |_, mirror| {
        let head = std::fs::read(mirror.dir.join("head")).unwrap();
        mirror.set_head(&head[..head.len() / 2]);
    }),
];

#[test]
fn who_steals_the_keys_of_the_build_server_cannot_choose_and_rotation_ends_it() {
    let world = World::new();
    let (honest, thief) = (world.path("remote"), world.mirror("thief").dir);
    let stolen = world.path("stolen");
    std::fs::create_dir(&stolen).unwrap();
    for entry in std::fs::read_dir(world.path("keys")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.starts_with("timestamp") || name.starts_with("snapshot") {
            std::fs::copy(&path, stolen.join(name)).unwrap();
        }
    }
    let session = world.publisher();
    let with_stolen = format!(
        "--keys {} --root {}",
        stolen.display(),
        world.path("root.json").display()
    );
    // Fast-forward: versions far ahead, properly signed.
    for _ in 0..3 {
        session
            .run(&format!("trust refresh {} {with_stolen}", thief.display()))
            .expect(0);
    }
    world.build(3);
    session
        .run(&format!(
            "publish web --channel stable --to {} {with_stolen}",
            thief.display()
        ))
        .expect(3)
        .says(&["role 'targets' needs 1 signature(s)"]);
    let from_thief = world.policy("thief", &[thief.to_str().unwrap()]);
    let from_owner = world.policy("owner", &[honest.to_str().unwrap()]);
    // What the thief can show is what was published.
    world.pull_on("seed", &from_thief).expect(0);
    world.has_release("seed", 2);
    world
        .pull_on("seed", &from_owner)
        .expect(3)
        .says(&["offers an older state than the one seen before"]);
    world
        .trust("rotate", &honest, "timestamp snapshot")
        .expect(0);
    world.pull_on("seed", &from_owner).expect(0);
    session
        .run(&format!("trust refresh {} {with_stolen}", thief.display()))
        .expect(0);
    world
        .pull_on("seed", &from_thief)
        .expect(3)
        .says(&["role 'timestamp' is not signed as it must be"]);
    world.has_release("seed", 2);
}

#[test]
fn who_may_sign_the_image_cannot_add_what_no_layer_has() {
    let world = World::new();
    let repository = Repository::open(
        &world.path("publisher"),
        Arc::new(RealDisk),
        Default::default(),
    )
    .unwrap();
    let mut forged = repository.read_image(&world.images[1]).unwrap();
    let mut tree = repository.read_tree(&forged.tree).unwrap();
    let transaction = repository.begin().unwrap();
    let object = transaction.put_object(b"evil").unwrap();
    tree.insert(path(b"usr/lib/evil"), Inode::file(object, 4, 0o4755));
    forged.tree = transaction.put_tree(&tree).unwrap();
    let forged = transaction.put_image(&forged).unwrap();
    let name = RefName::image("web").unwrap();
    transaction.commit(&name, &forged.to_string()).unwrap();
    drop(repository);
    world.publish("stable", "").expect(0);
    let fate = world.attack("forged", |_| {}, honest);
    world.is_unharmed(&fate);
    insta::assert_snapshot!(fate.row("forged"), @r#"
    forged [status 3]
      error: image 'web' is not what its layers make: 1 paths differ, '/usr/lib/evil' among them
      hint: it was composed by another version of layerset, or whoever signs the image adds what no layer has: nothing was taken over; `recompose = false` in the trust policy takes this remote's images as they are signed
    "#);
}

#[test]
fn a_publisher_does_not_build_on_a_head_that_somebody_put_back_or_changed() {
    let world = World::published();
    let head = world.path("remote/head");
    let first = std::fs::read(&head).unwrap();
    world.build(2);
    world.publish("stable", "").expect(0);
    let second = std::fs::read(&head).unwrap();
    world.build(3);
    let mut altered = decode_head(&second).unwrap();
    altered.metadata.remove("targets.json").unwrap();
    let altered = encode_head(&altered).unwrap();
    for (bytes, said) in [
        (&first, "offers an older state than the one seen before"),
        (&altered, "the remote's head lacks 'targets.json'"),
    ] {
        std::fs::write(&head, bytes).unwrap();
        let before = listing(&world.path("remote"));
        world
            .publish("stable", "")
            .expect(3)
            .says(&[said, "hint: "]);
        assert_eq!(listing(&world.path("remote")), before);
    }
    std::fs::write(&head, second).unwrap();
    world.publish("stable", "").expect(0);
}

#[test]
fn a_clock_that_is_behind_is_told_and_stops_nothing() {
    let world = World::new();
    let at = now() + 30 * DAY;
    let dir = world.path("remote");
    let head = decode_head(&std::fs::read(dir.join("head")).unwrap()).unwrap();
    let target = stable().target();
    let text = head.targets[&target].as_bytes();
    let mut channel: Channel = from_canonical_json("channel", text).unwrap();
    channel.published = at;
    let bytes = to_canonical_json("channel", &channel).unwrap();
    world.sign_at(&dir, at, &mut |editor| Ok(editor.put(&target, &bytes)?));
    let trust = world.policy("behind", &[dir.to_str().unwrap()]);
    let ran = world.pull_with("seed", &trust, "").expect(0);
    world.has_release("seed", 2);
    insta::assert_snapshot!(masked(ran.stderr.trim()), @r#"warning: this machine's clock says MOMENT, but channel 'images/web/stable' was signed on MOMENT: check it; until it is right, a stale remote looks current"#);
}

/// Returns the name of the newest release's document.
fn release_target(world: &World, kind: ReleaseKind) -> String {
    let head = std::fs::read(world.path("remote/head")).unwrap();
    let head = decode_head(&head).unwrap();
    let prefix = match kind {
        ReleaseKind::Image => "images/web/releases/",
        ReleaseKind::Layer => "layers/app/releases/",
    };
    let newest = head
        .targets
        .iter()
        .find(|(name, text)| name.starts_with(prefix) && text.contains("\"serial\": 2"));
    newest.unwrap().0.clone()
}

#[test]
fn every_lie_about_what_is_signed_is_refused_in_words_that_say_what_happened() {
    let world = World::new();
    let fates: Vec<(&str, Fate)> = std::thread::scope(|scope| {
        let all: Vec<_> = LIES
            .iter()
            .enumerate()
            .map(|(number, (name, lie))| {
                let world = &world;
                let machine = format!("lied-to-{number}");
                let attack = move || world.attack(&machine, |mirror| lie(world, mirror), honest);
                (*name, scope.spawn(attack))
            })
            .collect();
        all.into_iter()
            .map(|(name, fate)| (name, fate.join().unwrap()))
            .collect()
    });
    let mut table = String::new();
    for (name, fate) in &fates {
        world.is_unharmed(fate);
        table.push_str(&fate.row(name));
    }
    insta::assert_snapshot!(table, @r"
    arbitrary software: a channel that points elsewhere [status 3]
      error: 'images/web/channels/stable.json' was changed after it was signed
      hint: nothing was taken from there; try another mirror, and tell whoever runs this one
    arbitrary software: signed by somebody else [status 3]
      error: role 'timestamp' is not signed as it must be: it has 0 valid signature(s) by its keys and needs 1
      hint: nothing was taken from there: either the trusted root is another remote's (compare it with the root.json that `layerset trust init` made for this one), or the mirror is not to be trusted: try another, and tell whoever runs this one
    rollback: an older head [status 3]
      error: the remote offers an older state than the one seen before: role 'timestamp' has version 2, but version 3 was seen
      hint: nothing was taken from there; a mirror that lags behind does this too: try another one, or later
    fast-forward: a version that nobody signed [status 3]
      error: role 'timestamp' is not signed as it must be: it has 0 valid signature(s) by its keys and needs 1
      hint: nothing was taken from there: either the trusted root is another remote's (compare it with the root.json that `layerset trust init` made for this one), or the mirror is not to be trusted: try another, and tell whoever runs this one
    indefinite freeze: a head that has expired [status 3]
      error: role 'timestamp' expired at MOMENT, and this machine's clock says MOMENT: the remote has been stale for 33 day(s)
      hint: whoever publishes there has to run `layerset trust refresh REMOTE`; a mirror may also serve an old state: try another; what is deployed is not touched
    a clock that is a year ahead [status 3]
      error: role 'timestamp' expired at MOMENT, and this machine's clock says MOMENT, which looks wrong: check the clock
      hint: set the clock, or let it be set by NTP, and try again; what is deployed is not touched
    endless data: a head that unpacks to 65 MB [status 3]
      error: the remote's head is damaged: not a canonical head: it unpacks to more than 67108864 bytes
      hint: nothing was taken from there; try another mirror, and tell whoever runs this one
    extraneous layer: a release that lists one more [status 3]
      error: 'images/web/releases/ae8190c6976390fa8d2441d6e016b770b0906e970789d623a24e6058dcd635c2.json' is larger than the 1231 bytes that it may have
      hint: nothing was taken from there; try another mirror, and tell whoever runs this one
    mix and match: the targets of before [status 3]
      error: the remote mixes parts of different states: 'targets.json' is signed, but not the one that the rest names
      hint: nothing was taken from there; try another mirror, and tell whoever runs this one
    mix and match: the snapshot of before [status 3]
      error: the remote mixes parts of different states: 'snapshot.json' is signed, but not the one that the rest names
      hint: nothing was taken from there; try another mirror, and tell whoever runs this one
    wrong software: a layer's release as the image's [status 3]
      error: 'images/web/releases/ae8190c6976390fa8d2441d6e016b770b0906e970789d623a24e6058dcd635c2.json' was changed after it was signed
      hint: nothing was taken from there; try another mirror, and tell whoever runs this one
    malicious mirror: the channel left out [status 3]
      error: the remote's head lacks 'images/web/channels/stable.json'
      hint: nothing was taken from there; try another mirror, and tell whoever runs this one
    malicious mirror: half a head [status 3]
      error: the remote's head is damaged: not a canonical head: incomplete frame
      hint: nothing was taken from there; try another mirror, and tell whoever runs this one
    ");
}
