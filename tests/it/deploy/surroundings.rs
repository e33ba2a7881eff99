//! What is made on a disk is the same whatever the umask is, and whatever the directory above hands on.

use std::os::unix::fs::lchown;

use rustix::fs::{Mode, XattrFlags};

use super::*;
use crate::support::skip;

/// `user::rwx user:1234:rwx group::rwx mask::rwx other::rwx` as the kernel keeps it
/// (`linux/posix_acl_xattr.h`).
const OPEN_TO_1234: [u8; 44] = [
    2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 7, 0, 0xd2, 4, 0, 0, 4, 0, 7, 0, 255, 255,
    255, 255, 16, 0, 7, 0, 255, 255, 255, 255, 32, 0, 7, 0, 255, 255, 255, 255,
];

/// Mode, owners and attributes by path.
type Listing = BTreeMap<String, String>;

fn list(world: &World) -> Listing {
    let mut found = Listing::new();
    let id = world.target().id().to_owned();
    for top in ["repo", "target", "state"] {
        list_below(world.dir.path(), Path::new(top), &id, &mut found);
    }
    found
}

fn list_below(root: &Path, at: &Path, id: &str, found: &mut Listing) {
    let path = root.join(at);
    let metadata = fs::symlink_metadata(&path).unwrap();
    let mut names = [0u8; 512];
    let count = rustix::fs::llistxattr(&path, &mut names[..]).unwrap();
    let fact = format!(
        "{:o} {}:{} {}",
        metadata.mode(),
        metadata.uid(),
        metadata.gid(),
        String::from_utf8_lossy(&names[..count]).replace('\0', " ")
    );
    let name = at.to_str().unwrap().replace(id, "ID");
    // The database names its own files, in a directory that is closed.
    let is_closed = name.ends_with("index.sled");
    found.insert(name, fact);
    if metadata.is_dir() && !is_closed {
        for entry in fs::read_dir(&path).unwrap() {
            list_below(root, &at.join(entry.unwrap().file_name()), id, found);
        }
    }
}

/// Deploys twice in a directory that `prepare` made odd, under a umask, and lists what is there then.
fn deployed(umask: u32, prepare: impl Fn(&Path) + Send + Sync) -> Listing {
    let work = || {
        // Only this thread's umask changes: other tests run beside it.
        #[allow(deprecated)]
        rustix::thread::unshare(rustix::thread::UnshareFlags::FS).unwrap();
        rustix::process::umask(Mode::from_raw_mode(0o022));
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        prepare(dir.path());
        rustix::process::umask(Mode::from_raw_mode(umask));
        let world = World::below(dir, |_| Arc::new(RealDisk));
        let trust = world.dir.path().join("state/trust");
        layerset::durable::make_dirs(&world.dir.path().join("state"), 0o755).unwrap();
        layerset::trust::TrustState::open(Arc::new(RealDisk), &trust).unwrap();
        for version in ["1", "2"] {
            let app = format!("f version {version}\n");
            let image = world.image(version, &with(base(), &[("usr/app", &app)]));
            let generation = world.stage(&image, &copied()).unwrap();
            world.switch(generation).unwrap();
            // What a program of the machine makes follows the rules of its own directory.
            fs::write(world.at("current/etc/app.conf"), "edited\n").unwrap();
        }
        world.unmount();
        list(&world)
    };
    std::thread::scope(|scope| scope.spawn(work).join().unwrap())
}

#[test]
fn what_is_made_does_not_depend_on_umask_access_lists_or_setgid_of_the_surroundings() {
    let test = "what_is_made_does_not_depend_on_umask_access_lists_or_setgid_of_the_surroundings";
    if !is_root(test) {
        return;
    }
    let plain = deployed(0o022, |_| {});
    for (path, mode) in [
        ("target/layerset/state/var", "40755"),
        ("target/layerset/deployments/1", "40755"),
        ("target/layerset/history.jsonl", "100644"),
        ("repo/objects", "40700"),
        ("state/trust", "40755"),
    ] {
        assert!(
            plain[path].starts_with(&format!("{mode} 0:0 ")),
            "{path}: {}",
            plain[path]
        );
    }
    let setgid = |dir: &Path| {
        lchown(dir, None, Some(1234)).unwrap();
        fs::set_permissions(dir, fs::Permissions::from_mode(0o2755)).unwrap();
    };
    let scratch = tempfile::tempdir().unwrap();
    let list = "system.posix_acl_default";
    let has_lists =
        rustix::fs::setxattr(scratch.path(), list, &OPEN_TO_1234, XattrFlags::empty()).is_ok();
    let hands_on = |dir: &Path| {
        rustix::fs::setxattr(dir, list, &OPEN_TO_1234, XattrFlags::empty()).unwrap();
    };
    assert_eq!(deployed(0o077, |_| {}), plain);
    assert_eq!(deployed(0, |_| {}), plain);
    assert_eq!(deployed(0o022, setgid), plain);
    if has_lists {
        assert_eq!(deployed(0o022, hands_on), plain);
    } else {
        skip(
            test,
            "the filesystem of the temporary directory has no access lists",
        );
    }
}
