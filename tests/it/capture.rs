//! What packages do to a system, and what of it a capture reports; each time compared with a naive scan of the whole view.

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::sync::Mutex;

use layerset::id::ObjectId;
use layerset::materialise::{
    FileMeta, HashSink, IdLookup, ObjectDir, ObjectSink, ObjectSource, ScanOptions, hash_file, scan,
};
use layerset::path::RelPath;
use layerset::sandbox::{BuildView, CapturedChanges, LowerKind, LowerTree, SandboxError, capture};
use layerset::tree::{Changeset, Inode, Node, Owner, Tree};
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};

use crate::support::{
    CAP_NET_RAW, at, awkward_tree, differences, file, ids, is_root, linked, mounts, path,
};

/// Remembers which files a capture wanted to store.
#[derive(Default)]
struct Recorder(Mutex<Vec<String>>);

impl ObjectSink for Recorder {
    fn put_file(&self, mut file: File, meta: &FileMeta, path: &Path) -> io::Result<ObjectId> {
        self.0.lock().unwrap().push(path.display().to_string());
        hash_file(&mut file, meta.size)
    }
}

/// The tree that packages are installed on.
fn base(objects: &Path) -> Tree {
    let mut tree = awkward_tree(objects);
    let mut put = |name: &[u8], inode: Inode| {
        tree.insert(path(name), inode);
    };
    let passwd = b"root:x:0:0::/root:/bin/sh\nwww-data:x:33:33:::\nbig:x:200000:200000:::\n";
    let group = b"root:x:0:\nwww-data:x:33:\nshadow:x:42:\nbig:x:200000:\n";
    put(b"etc/passwd", at(50, 0, file(objects, passwd, 0o644)));
    put(b"etc/group", at(50, 0, file(objects, group, 0o644)));
    for dir in [&b"opt"[..], b"opt/app", b"opt/app/lib", b"opt/app/lib/deep"] {
        put(dir, at(60, 0, Inode::directory(0o755)));
    }
    put(
        b"opt/app/lib/a.so",
        at(61, 5, file(objects, b"library a", 0o644)),
    );
    put(
        b"opt/app/lib/deep/b.so",
        at(62, 6, file(objects, b"library b", 0o755)),
    );
    put(
        b"opt/app/readme",
        at(63, 7, file(objects, b"read me", 0o644)),
    );
    let triple = linked(50, at(64, 8, file(objects, b"three names", 0o644)));
    for name in [&b"opt/one"[..], b"opt/two", b"opt/three"] {
        put(name, triple.clone());
    }
    tree.canonicalize_hardlinks();
    tree
}

/// Applies a changeset the plainest way; groups of the changeset are other groups than those of the tree.
fn apply(lower: &Tree, changeset: &Changeset) -> Tree {
    let mut tree = lower.clone();
    for (path, change) in changeset.iter() {
        assert_eq!(
            tree.get(path.as_bytes()),
            change.pre.as_ref(),
            "pre-image of {path}"
        );
        match &change.post {
            None => {
                tree.remove(path.as_bytes());
            }
            Some(post) => {
                let mut post = post.clone();
                if post.hardlink != 0 {
                    post.hardlink += 1_000_000;
                }
                tree.insert(path.clone(), post);
            }
        }
    }
    tree.canonicalize_hardlinks();
    tree
}

fn without_directory_times(tree: Tree) -> Tree {
    tree.into_iter()
        .map(|(path, inode)| match inode.node {
            Node::Directory => (path, at(0, 0, inode)),
            _ => (path, inode),
        })
        .collect()
}

/// The changes as `+path`, `-path` and `~path`.
fn summary(changeset: &Changeset) -> Vec<String> {
    changeset
        .iter()
        .map(|(path, change)| {
            let sign = match (&change.pre, &change.post) {
                (None, _) => '+',
                (_, None) => '-',
                _ => '~',
            };
            format!("{sign}{path}")
        })
        .collect()
}

struct Outcome {
    captured: CapturedChanges,
    stored: Vec<String>,
    naive: Tree,
    lower: Tree,
}

fn run(kind: &str, action: &(dyn Fn(&Path) + Sync)) -> Outcome {
    let dir = tempfile::tempdir().unwrap();
    let objects = ObjectDir::new(dir.path().join("objects"));
    let work = dir.path().join("work");
    fs::create_dir(&work).unwrap();
    let tree = base(objects.path());
    let ids = ids();
    let lower = LowerTree {
        tree: &tree,
        ids: &ids as &dyn IdLookup,
        objects: &objects as &dyn ObjectSource,
        kind: match kind {
            "image" => LowerKind::Image(objects.path()),
            _ => LowerKind::Checkout,
        },
    };
    let recorder = Recorder::default();
    let (captured, naive) = BuildView::with(&work, lower, |view| {
        action(view.merged());
        let none = ScanOptions::default();
        let captured = capture(view.merged(), view.upper(), &tree, &none, &recorder)?;
        let naive = scan(view.merged(), &none, &captured.ids, &HashSink)?;
        Ok::<_, SandboxError>((captured, naive))
    })
    .unwrap();
    assert_eq!(
        fs::read_dir(&work).unwrap().count(),
        0,
        "the work directory is clean"
    );
    let mut stored = recorder.0.into_inner().unwrap();
    stored.sort();
    Outcome {
        captured,
        stored,
        naive,
        lower: tree,
    }
}

/// Runs `action` on both kinds of view; the changeset must be `expected`, store `stored`, and give what the view shows.
fn check(action: impl Fn(&Path) + Sync, expected: &[&str], stored: &[&str]) {
    for kind in ["image", "checkout"] {
        let outcome = run(kind, &action);
        let changeset = &outcome.captured.changeset;
        assert_eq!(summary(changeset), expected, "{kind}");
        assert_eq!(outcome.stored, stored, "{kind}");
        let applied = without_directory_times(apply(&outcome.lower, changeset));
        let naive = without_directory_times(outcome.naive);
        assert!(
            applied == naive,
            "{kind}: {:#?}",
            differences(&applied, &naive)
        );
    }
}

fn set_mtime(at: &Path, sec: i64, nsec: i64) {
    let time = Timespec {
        tv_sec: sec,
        tv_nsec: nsec,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(CWD, at, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

macro_rules! scenario {
    ($name:ident, $action:expr, $expected:expr, $stored:expr) => {
        #[test]
        fn $name() {
            if is_root(stringify!($name)) {
                check($action, &$expected, &$stored);
            }
        }
    };
}

scenario!(doing_nothing_changes_nothing, |_: &Path| {}, [], []);

scenario!(
    reading_opening_and_rewriting_the_same_is_no_change,
    |root: &Path| {
        fs::read(root.join("usr/bin/wall")).unwrap();
        fs::write(root.join("opt/app/readme"), "read me").unwrap();
        set_mtime(&root.join("opt/app/readme"), 63, 7);
        fs::write(root.join("opt/app/tmp"), "x").unwrap();
        fs::remove_file(root.join("opt/app/tmp")).unwrap();
    },
    [],
    []
);

scenario!(
    removed_files_and_directories_are_removals_down_to_the_leaves,
    |root: &Path| {
        fs::remove_file(root.join("opt/app/readme")).unwrap();
        fs::remove_dir_all(root.join("opt/app/lib")).unwrap();
        fs::remove_file(root.join("dev/pipe")).unwrap();
    },
    [
        "-/dev/pipe",
        "-/opt/app/lib",
        "-/opt/app/lib/a.so",
        "-/opt/app/lib/deep",
        "-/opt/app/lib/deep/b.so",
        "-/opt/app/readme"
    ],
    []
);

scenario!(
    a_directory_removed_and_made_again_hides_what_was_in_it,
    |root: &Path| {
        fs::remove_dir_all(root.join("opt/app/lib")).unwrap();
        fs::create_dir(root.join("opt/app/lib")).unwrap();
        fs::set_permissions(root.join("opt/app/lib"), PermissionsExt::from_mode(0o755)).unwrap();
        fs::write(root.join("opt/app/lib/new.so"), "new").unwrap();
    },
    [
        "-/opt/app/lib/a.so",
        "-/opt/app/lib/deep",
        "-/opt/app/lib/deep/b.so",
        "+/opt/app/lib/new.so"
    ],
    ["opt/app/lib/new.so"]
);

scenario!(
    a_renamed_directory_moves_everything_and_stores_nothing,
    |root: &Path| {
        fs::rename(root.join("opt/app"), root.join("opt/moved")).unwrap();
        fs::rename(root.join("opt/moved/lib/deep"), root.join("opt/deep")).unwrap();
    },
    [
        "-/opt/app",
        "-/opt/app/lib",
        "-/opt/app/lib/a.so",
        "-/opt/app/lib/deep",
        "-/opt/app/lib/deep/b.so",
        "-/opt/app/readme",
        "+/opt/deep",
        "+/opt/deep/b.so",
        "+/opt/moved",
        "+/opt/moved/lib",
        "+/opt/moved/lib/a.so",
        "+/opt/moved/readme"
    ],
    []
);

scenario!(
    a_directory_renamed_over_a_former_one_brings_its_own_contents,
    |root: &Path| {
        fs::remove_dir_all(root.join("etc-old")).unwrap();
        fs::rename(root.join("opt/app/lib"), root.join("etc-old")).unwrap();
        fs::write(root.join("etc-old/deep/new"), "brand new").unwrap();
    },
    [
        "+/etc-old/a.so",
        "+/etc-old/deep",
        "+/etc-old/deep/b.so",
        "+/etc-old/deep/new",
        "-/etc-old/x",
        "-/opt/app/lib",
        "-/opt/app/lib/a.so",
        "-/opt/app/lib/deep",
        "-/opt/app/lib/deep/b.so"
    ],
    ["etc-old/deep/new"]
);

scenario!(
    a_new_name_for_a_linked_file_makes_a_group_of_its_own,
    |root: &Path| fs::hard_link(root.join("opt/one"), root.join("opt/four")).unwrap(),
    ["+/opt/four", "~/opt/one"],
    []
);

scenario!(
    a_renamed_file_is_a_removal_and_an_addition_without_new_contents,
    |root: &Path| fs::rename(root.join("opt/app/readme"), root.join("opt/README")).unwrap(),
    ["+/opt/README", "-/opt/app/readme"],
    []
);

scenario!(
    changed_modes_owners_and_times_store_no_contents,
    |root: &Path| {
        fs::set_permissions(root.join("usr/bin/wall"), PermissionsExt::from_mode(0o4711)).unwrap();
        chown(root.join("opt/app/readme"), Some(33), Some(42)).unwrap();
        chown(root.join("opt/app/lib"), Some(33), None).unwrap();
        set_mtime(&root.join("opt/app/lib/a.so"), 77, 123_456_789);
        set_mtime(&root.join("opt"), 1, 1);
    },
    [
        "~/opt/app/lib",
        "~/opt/app/lib/a.so",
        "~/opt/app/readme",
        "~/usr/bin/wall"
    ],
    []
);

scenario!(
    kinds_can_replace_each_other,
    |root: &Path| {
        fs::remove_file(root.join("opt/app/readme")).unwrap();
        symlink("lib/a.so", root.join("opt/app/readme")).unwrap();
        fs::remove_dir_all(root.join("opt/app/lib/deep")).unwrap();
        fs::write(root.join("opt/app/lib/deep"), "now a file").unwrap();
        fs::remove_file(root.join("usr/lib")).unwrap();
        fs::create_dir(root.join("usr/lib")).unwrap();
        fs::write(root.join("usr/lib/x"), "below a former link").unwrap();
    },
    [
        "~/opt/app/lib/deep",
        "-/opt/app/lib/deep/b.so",
        "~/opt/app/readme",
        "~/usr/lib",
        "+/usr/lib/x"
    ],
    ["opt/app/lib/deep", "usr/lib/x"]
);

scenario!(
    new_hard_links_are_grouped_also_with_files_from_below,
    |root: &Path| {
        fs::write(root.join("opt/n1"), "new pair").unwrap();
        fs::hard_link(root.join("opt/n1"), root.join("opt/n2")).unwrap();
        fs::hard_link(root.join("opt/app/readme"), root.join("opt/readme2")).unwrap();
        symlink("x", root.join("opt/s1")).unwrap();
        fs::hard_link(root.join("opt/s1"), root.join("opt/s2")).unwrap();
    },
    [
        "~/opt/app/readme",
        "+/opt/n1",
        "+/opt/n2",
        "+/opt/readme2",
        "+/opt/s1",
        "+/opt/s2"
    ],
    ["opt/n1"]
);

scenario!(
    a_changed_name_of_a_hard_link_leaves_its_group,
    |root: &Path| {
        fs::write(root.join("opt/two"), "changed").unwrap();
        fs::remove_file(root.join("usr/bin/perl5")).unwrap();
    },
    ["~/opt/two", "-/usr/bin/perl5"],
    ["opt/two"]
);

scenario!(
    capabilities_setuid_devices_fifos_sockets_and_attributes_are_seen,
    |root: &Path| {
        let flags = XattrFlags::empty();
        let set = |name: &str, key: &str, value: &[u8]| {
            rustix::fs::lsetxattr(root.join(name), key, value, flags).unwrap();
        };
        set("usr/bin/wall", "security.capability", CAP_NET_RAW);
        set("opt/app/readme", "user.origin", b"test");
        rustix::fs::lremovexattr(root.join("usr/bin/ping"), "security.capability").unwrap();
        fs::set_permissions(root.join("opt/one"), PermissionsExt::from_mode(0o6755)).unwrap();
        let node = |name: &str, kind, device| {
            rustix::fs::mknodat(
                CWD,
                root.join(name),
                kind,
                Mode::from_raw_mode(0o640),
                device,
            )
            .unwrap();
        };
        node("dev/sda", FileType::BlockDevice, rustix::fs::makedev(8, 0));
        node(
            "dev/tty",
            FileType::CharacterDevice,
            rustix::fs::makedev(5, 0),
        );
        node("opt/fifo", FileType::Fifo, 0);
        node("opt/sock", FileType::Socket, 0);
    },
    [
        "+/dev/sda",
        "+/dev/tty",
        "~/opt/app/readme",
        "+/opt/fifo",
        "~/opt/one",
        "+/opt/sock",
        "~/usr/bin/ping",
        "~/usr/bin/wall"
    ],
    []
);

scenario!(
    odd_names_sparse_files_and_empty_files_are_seen,
    |root: &Path| {
        let odd = |bytes: &[u8]| root.join(std::ffi::OsStr::from_bytes(bytes));
        fs::write(odd(b"opt/new\nline\xff"), "odd").unwrap();
        fs::remove_file(odd(b"bytes\xff\xfe/deep")).unwrap();
        fs::write(odd(&[b'z'; 255]), "longest").unwrap();
        File::create(root.join("opt/sparse"))
            .unwrap()
            .set_len(3 << 20)
            .unwrap();
        File::create(root.join("opt/empty")).unwrap();
        fs::create_dir_all(root.join("opt/x/y/z")).unwrap();
    },
    [
        "-/bytes\\xff\\xfe/deep",
        "+/opt/empty",
        "+/opt/new\\x0aline\\xff",
        "+/opt/sparse",
        "+/opt/x",
        "+/opt/x/y",
        "+/opt/x/y/z",
        &format!("~/{}", "z".repeat(255))
    ],
    [
        "opt/empty",
        "opt/new\nline\u{fffd}",
        "opt/sparse",
        &"z".repeat(255)
    ]
);

scenario!(
    the_roots_own_mode_is_a_change_and_its_time_is_not,
    |root: &Path| fs::set_permissions(root, PermissionsExt::from_mode(0o750)).unwrap(),
    ["~/"],
    []
);

#[test]
fn owners_get_their_names_from_the_users_that_the_build_added() {
    if !is_root("owners_get_their_names_from_the_users_that_the_build_added") {
        return;
    }
    let outcome = run("image", &|root| {
        let mut passwd = fs::read(root.join("etc/passwd")).unwrap();
        passwd.extend_from_slice(b"postgres:x:101:104::/var/lib/postgresql:/bin/bash\n");
        fs::write(root.join("etc/passwd"), passwd).unwrap();
        fs::create_dir(root.join("opt/data")).unwrap();
        chown(root.join("opt/data"), Some(101), Some(104)).unwrap();
    });
    let change = outcome.captured.changeset.get(b"opt/data").unwrap();
    let post = change.post.as_ref().unwrap();
    assert_eq!(post.owner, Owner::Name("postgres".into()));
    assert_eq!(post.group, Owner::Number(104));
}

#[test]
fn a_hard_link_broken_by_the_overlay_alone_is_no_change() {
    if !is_root("a_hard_link_broken_by_the_overlay_alone_is_no_change") {
        return;
    }
    let outcome = run("image", &|root| {
        // Opening for writing copies one name up, without its siblings.
        File::options()
            .append(true)
            .open(root.join("opt/two"))
            .unwrap();
        set_mtime(&root.join("opt/two"), 64, 8);
    });
    assert_eq!(summary(&outcome.captured.changeset), [""; 0]);
    assert_eq!(outcome.naive.get(b"opt/two").unwrap().hardlink, 0);
}

#[test]
fn omitted_paths_are_neither_additions_nor_removals() {
    if !is_root("omitted_paths_are_neither_additions_nor_removals") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let objects = ObjectDir::new(dir.path().join("objects"));
    let work = dir.path().join("work");
    fs::create_dir(&work).unwrap();
    let (tree, ids) = (base(objects.path()), ids());
    let kind = LowerKind::Image(objects.path());
    let lower = LowerTree {
        tree: &tree,
        ids: &ids,
        objects: &objects,
        kind,
    };
    let options = ScanOptions {
        closed: [path(b"dev")].into(),
        omitted: [path(b"opt/app/lib"), path(b"tmp")].into(),
    };
    let changeset = BuildView::with(&work, lower, |view| {
        let root = view.merged();
        fs::write(root.join("tmp/x"), "x").unwrap();
        fs::remove_file(root.join("dev/null")).unwrap();
        fs::write(root.join("dev/new"), "x").unwrap();
        fs::remove_dir_all(root.join("opt/app")).unwrap();
        let captured = capture(root, view.upper(), &tree, &options, &Recorder::default())?;
        Ok::<_, SandboxError>(captured.changeset)
    })
    .unwrap();
    assert_eq!(summary(&changeset), ["-/opt/app", "-/opt/app/readme"]);
}

#[test]
fn a_view_is_cleaned_up_after_errors_immutable_files_and_leaves_no_mount() {
    if !is_root("a_view_is_cleaned_up_after_errors_immutable_files_and_leaves_no_mount") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let objects = ObjectDir::new(dir.path().join("objects"));
    let (tree, ids) = (base(objects.path()), ids());
    let kind = LowerKind::Image(objects.path());
    let lower = LowerTree {
        tree: &tree,
        ids: &ids,
        objects: &objects,
        kind,
    };
    let result = BuildView::with(dir.path(), lower, |view| {
        assert!(
            mounts(dir.path()).is_empty(),
            "other threads do not see the mount"
        );
        fs::write(view.merged().join("opt/fixed"), "x").unwrap();
        let file = File::open(view.upper().join("opt/fixed")).unwrap();
        let flags = rustix::fs::ioctl_getflags(&file).unwrap() | rustix::fs::IFlags::IMMUTABLE;
        rustix::fs::ioctl_setflags(&file, flags).unwrap();
        Err::<(), _>(SandboxError::Cancelled {
            command: "test".into(),
            log: "log".into(),
        })
    });
    assert!(matches!(result, Err(SandboxError::Cancelled { .. })));
    let left: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(left, ["objects"]);
    assert!(mounts(dir.path()).is_empty());
}

#[test]
fn the_empty_tree_is_a_base_to_build_on() {
    if !is_root("the_empty_tree_is_a_base_to_build_on") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let objects = ObjectDir::new(dir.path().join("objects"));
    fs::create_dir(objects.path()).unwrap();
    let tree: Tree = [(RelPath::root(), Inode::directory(0o755))]
        .into_iter()
        .collect();
    let ids = ids();
    let kind = LowerKind::Image(objects.path());
    let lower = LowerTree {
        tree: &tree,
        ids: &ids,
        objects: &objects,
        kind,
    };
    let changeset = BuildView::with(dir.path(), lower, |view| {
        fs::create_dir_all(view.merged().join("etc")).unwrap();
        fs::write(view.merged().join("etc/hostname"), "x\n").unwrap();
        let none = ScanOptions::default();
        let captured = capture(view.merged(), view.upper(), &tree, &none, &HashSink)?;
        Ok::<_, SandboxError>(captured.changeset)
    })
    .unwrap();
    assert_eq!(summary(&changeset), ["+/etc", "+/etc/hostname"]);
}

#[test]
fn what_a_build_makes_does_not_depend_on_the_callers_umask() {
    if !is_root("what_a_build_makes_does_not_depend_on_the_callers_umask") {
        return;
    }
    let outcome = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // Only this thread's umask changes: other tests run beside it.
            #[allow(deprecated)]
            rustix::thread::unshare(rustix::thread::UnshareFlags::FS).unwrap();
            rustix::process::umask(Mode::from_raw_mode(0o077));
            let outcome = run("image", &|root| {
                fs::write(root.join("opt/new"), "x").unwrap()
            });
            assert_eq!(rustix::process::umask(Mode::empty()).as_raw_mode(), 0o077);
            outcome
        });
        thread.join().unwrap()
    });
    let change = outcome.captured.changeset.get(b"opt/new").unwrap();
    assert_eq!(change.post.as_ref().unwrap().mode, 0o644);
}
