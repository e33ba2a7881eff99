//! Too little room: on the machine that pulls, and where it is published to.

use std::fs;
use std::path::Path;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::World;
use super::world::{copy, honest, listing};
use crate::remote::servers::{Seen, WebServer};
use crate::support::is_root;

/// A small filesystem, which goes when this does.
struct Small(std::path::PathBuf);

impl Small {
    fn new(at: &Path, options: &str) -> Self {
        fs::create_dir_all(at).unwrap();
        let options = std::ffi::CString::new(options).unwrap();
        let flags = MountFlags::empty();
        mount("tmpfs", at, "tmpfs", flags, Some(options.as_c_str())).unwrap();
        Self(at.to_owned())
    }

    fn free(&self) -> u64 {
        let stat = rustix::fs::statvfs(&self.0).unwrap();
        stat.f_bavail * stat.f_frsize
    }

    /// Fills it up to so many bytes.
    fn leave(&self, bytes: u64) {
        let filler = self.0.join("filler");
        let _ = fs::remove_file(&filler);
        let size = self.free() - bytes;
        fs::write(&filler, vec![1; usize::try_from(size).unwrap()]).unwrap();
    }

    fn make_room(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

fn asked_for_blobs(server: &WebServer) -> Vec<String> {
    let is_blob = |seen: &&Seen| seen.path.starts_with("/blobs/");
    let seen = server.seen();
    seen.iter()
        .filter(is_blob)
        .map(|seen| seen.path.clone())
        .collect()
}

/// The numbers in a text, large ones only.
fn sizes(text: &str) -> Vec<u64> {
    let words = text.split(|c: char| !c.is_ascii_digit());
    words
        .filter_map(|word| word.parse().ok())
        .filter(|n| *n > 4096)
        .collect()
}

#[test]
fn a_pull_that_cannot_fit_says_so_before_a_byte_of_it_is_fetched() {
    if !is_root("a_pull_that_cannot_fit_says_so_before_a_byte_of_it_is_fetched") {
        return;
    }
    let world = World::new();
    let server = WebServer::ruled(&world.path("remote"), honest);
    let trust = world.policy("small", &[&server.url]);
    let small = Small::new(&world.path("small"), "size=16m");
    // A machine that has nothing yet, and one that updates by deltas of 80 kB and more.
    world.machine("small/new").run("init").expect(0);
    copy(&world.path("seed"), &world.path("small/old"));
    for (machine, free) in [("small/new", 200 << 10), ("small/old", 60 << 10)] {
        small.leave(free);
        let ran = world.pull_on(machine, &trust).expect(1);
        let ran = ran.says(&["bytes free", "hint: free some space"]);
        assert_eq!(asked_for_blobs(&server), Vec::<String>::new(), "{machine}");
        let numbers = sizes(&ran.stderr);
        assert_eq!(numbers.len(), 2, "{}", ran.stderr);
        assert!(
            numbers.iter().any(|n| *n <= free) && numbers.iter().any(|n| *n > free),
            "{}",
            ran.stderr
        );
        world.machine(machine).run("fsck").expect(0);
        small.make_room();
    }
    // And with room, it works.
    for machine in ["small/new", "small/old"] {
        world.pull_on(machine, &trust).expect(0);
        world.has_release(machine, 2);
    }
}

#[test]
fn a_disk_that_fills_up_while_a_pull_writes_harms_nothing() {
    if !is_root("a_disk_that_fills_up_while_a_pull_writes_harms_nothing") {
        return;
    }
    let world = World::new();
    let trust = world.policy("few", &[world.path("remote").to_str().unwrap()]);
    // Inodes are what nobody counts beforehand.
    let small = Small::new(&world.path("few"), "size=16m,nr_inodes=600");
    world.machine("few/new").run("init").expect(0);
    let stat = rustix::fs::statvfs(&small.0).unwrap();
    fs::create_dir(small.0.join("filler")).unwrap();
    for left in [3, 12, 20] {
        let mut free = rustix::fs::statvfs(&small.0).unwrap().f_favail;
        assert!(free <= stat.f_favail);
        while free > left {
            fs::write(small.0.join(format!("filler/{free}")), "").unwrap();
            free -= 1;
        }
        world
            .pull_on("few/new", &trust)
            .expect(1)
            .says(&["No space left on device", "hint: free some space"]);
        for entry in fs::read_dir(small.0.join("filler")).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        world.machine("few/new").run("fsck").expect(0);
    }
    world.pull_on("few/new", &trust).expect(0);
    world.has_release("few/new", 2);
}

#[test]
fn a_remote_that_is_full_is_told_and_shows_what_it_showed() {
    if !is_root("a_remote_that_is_full_is_told_and_shows_what_it_showed") {
        return;
    }
    let world = World::published();
    world.build(2);
    let original = world.path("remote");
    let kept = world.path("kept");
    copy(&original, &kept);
    fs::remove_dir_all(&original).unwrap();
    let small = Small::new(&original, "size=16m");
    let all = format!("{}/.", kept.display());
    copy(Path::new(&all), &original);
    let before = listing(&original);
    for free in [0, 4096, 60 << 10] {
        small.leave(free);
        let ran = world.publish("stable", "").expect(1);
        insta::allow_duplicates! {
            insta::assert_snapshot!(ran.stderr.trim(), @r#"
            error: 'DIR/remote' is full: No space left on device (os error 28)
            hint: nothing was published: make room there, and run the command again
            "#);
        }
        small.make_room();
        assert_eq!(
            listing(&original),
            before,
            "something is left of what did not fit"
        );
    }
    world.publish("stable", "").expect(0);
}
