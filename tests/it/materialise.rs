//! Trees mounted, checked out and read back: what comes back is what was written.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use layerset::id::ObjectId;
use layerset::materialise::{
    BindAccess, Capabilities, HashSink, MaterialiseError, MountSource, ObjectDir, Ownership,
    PasswdIds, ScanOptions, UpperDirs, UpperLifetime, bind, checkout, checkout_subtree,
    erofs_image, is_mountpoint, mount_readonly, mount_source, mount_writable, private_namespace,
    scan, unmount, unmount_lazily,
};
use layerset::path::RelPath;
use layerset::tree::{Inode, Tree};

use crate::support::{awkward_tree, differences, file, ids, is_root, path, skip};

fn write_image(tree: &Tree, at: &Path) {
    std::fs::write(at, erofs_image(tree, &ids()).unwrap()).unwrap();
}

fn rescan(root: &Path) -> Tree {
    scan(root, &ScanOptions::default(), &ids(), &HashSink).unwrap()
}

fn assert_same(left: &Tree, right: &Tree) {
    assert!(left == right, "{:#?}", differences(left, right));
}

#[test]
fn an_awkward_tree_comes_back_from_the_mount_exactly() {
    if !is_root("an_awkward_tree_comes_back_from_the_mount_exactly") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (objects, image, root) = (
        dir.path().join("o"),
        dir.path().join("i"),
        dir.path().join("r"),
    );
    std::fs::create_dir(&root).unwrap();
    let tree = awkward_tree(&objects);
    write_image(&tree, &image);
    private_namespace(|| {
        mount_readonly(&image, &objects, &root, "layerset:test id")?;
        assert_same(&tree, &rescan(&root));
        assert_eq!(
            std::fs::read(root.join("usr/bin/wall")).unwrap(),
            [8; 70_000]
        );
        let links = std::fs::metadata(root.join("usr/perl")).unwrap().nlink();
        assert_eq!(links, 3);
        assert!(is_mountpoint(&root)?);
        assert_eq!(mount_source(&root)?.unwrap(), "layerset:test id");
        assert_eq!(mount_source(&root.join("usr"))?, None);
        let error = std::fs::write(root.join("etc/new"), "x").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
        unmount(&root)?;
        assert!(!is_mountpoint(&root)?);
        Ok::<_, MaterialiseError>(())
    })
    .unwrap();
}

#[test]
fn files_over_four_gibibytes_and_overlay_attributes_survive_the_mount() {
    if !is_root("files_over_four_gibibytes_and_overlay_attributes_survive_the_mount") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (objects, image, root) = (
        dir.path().join("o"),
        dir.path().join("i"),
        dir.path().join("r"),
    );
    std::fs::create_dir(&root).unwrap();
    let size = (5 << 30) + 3;
    let id = ObjectId::of(b"stands for a sparse file");
    let object = objects.join(ObjectDir::relative_path(&id));
    std::fs::create_dir_all(object.parent().unwrap()).unwrap();
    std::fs::File::create(&object)
        .unwrap()
        .set_len(size)
        .unwrap();
    let mut marked = Inode::directory(0o755);
    marked
        .xattrs
        .insert(b"trusted.overlay.opaque".to_vec(), b"y".to_vec());
    marked
        .xattrs
        .insert(b"user.overlay.redirect".to_vec(), b"/etc".to_vec());
    let tree: Tree = [
        (RelPath::root(), Inode::directory(0o755)),
        (path(b"huge"), Inode::file(id, size, 0o644)),
        (path(b"marked"), marked),
    ]
    .into_iter()
    .collect();
    write_image(&tree, &image);
    private_namespace(|| {
        mount_readonly(&image, &objects, &root, "layerset:test")?;
        assert_eq!(std::fs::metadata(root.join("huge")).unwrap().len(), size);
        let mut value = [0u8; 8];
        let name = "trusted.overlay.opaque";
        let length = rustix::fs::lgetxattr(root.join("marked"), name, &mut value).unwrap();
        assert_eq!(&value[..length], b"y");
        let name = "user.overlay.redirect";
        let length = rustix::fs::lgetxattr(root.join("marked"), name, &mut value).unwrap();
        assert_eq!(&value[..length], b"/etc");
        // They are read back, as the machine's own would be.
        let selected = layerset::materialise::Selection {
            path: path(b"marked"),
            depth: layerset::materialise::ScanDepth::InodeOnly,
        };
        let options = layerset::materialise::ScanOptions::default();
        let sink = layerset::materialise::HashSink;
        let read =
            layerset::materialise::scan_selected(&root, &[selected], &options, &ids(), &sink)?;
        let marked = tree.get(b"marked").unwrap();
        assert_eq!(read.get(b"marked").unwrap().xattrs, marked.xattrs);
        Ok::<_, MaterialiseError>(())
    })
    .unwrap();
}

#[test]
fn a_writable_view_keeps_changes_in_its_upper_directory() {
    if !is_root("a_writable_view_keeps_changes_in_its_upper_directory") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for name in ["r", "upper", "work"] {
        std::fs::create_dir(at(name)).unwrap();
    }
    let tree = awkward_tree(&at("o"));
    write_image(&tree, &at("i"));
    private_namespace(|| {
        let (image, objects, upper, work) = (at("i"), at("o"), at("upper"), at("work"));
        let source = MountSource::Image {
            image: &image,
            objects: &objects,
        };
        let dirs = UpperDirs {
            upper: &upper,
            work: &work,
            lifetime: UpperLifetime::Persistent,
        };
        mount_writable(source, dirs, &at("r"), "layerset:rw")?;
        std::fs::write(at("r").join("etc/new"), "new").unwrap();
        std::fs::remove_file(at("r").join("usr/noted")).unwrap();
        unmount(&at("r"))
    })
    .unwrap();
    assert_eq!(std::fs::read(at("upper").join("etc/new")).unwrap(), b"new");
    assert_eq!(
        std::fs::symlink_metadata(at("upper").join("usr/noted"))
            .unwrap()
            .rdev(),
        0
    );
}

#[test]
fn binds_can_be_read_only_and_are_taken_away_lazily() {
    if !is_root("binds_can_be_read_only_and_are_taken_away_lazily") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    for at in [&from, &to] {
        std::fs::create_dir(at).unwrap();
    }
    private_namespace(|| {
        bind(&from, &to, BindAccess::ReadWrite)?;
        std::fs::write(to.join("x"), "1").unwrap();
        unmount(&to)?;
        bind(&from, &to, BindAccess::ReadOnly)?;
        assert!(std::fs::write(to.join("x"), "2").is_err());
        let _busy = std::fs::File::open(to.join("x")).unwrap();
        assert!(unmount(&to).is_err());
        unmount_lazily(&to)?;
        assert!(!is_mountpoint(&to)?);
        Ok::<_, MaterialiseError>(())
    })
    .unwrap();
    assert!(is_mountpoint(Path::new("/proc")).unwrap() && !is_mountpoint(&from).unwrap());
    assert!(!is_mountpoint(&from.join("none")).unwrap());
}

#[test]
fn an_awkward_tree_comes_back_from_a_checkout_exactly() {
    if !is_root("an_awkward_tree_comes_back_from_a_checkout_exactly") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let objects = ObjectDir::new(dir.path().join("o"));
    let mut tree = awkward_tree(objects.path());
    let dest = dir.path().join("dest");
    let report = checkout(&tree, &objects, &dest, &ids(), Ownership::Exact).unwrap();
    assert_eq!((report.entries, report.reduced_entries), (tree.len(), 0));
    assert_same(&tree, &rescan(&dest));

    let etc = dir.path().join("etc");
    let report = checkout_subtree(&tree, b"etc", &objects, &etc, &ids(), Ownership::Exact).unwrap();
    assert_eq!(report.entries, 3);
    let only: Tree = tree
        .subtree(b"etc")
        .map(|(p, i)| (p.rebase(b"etc", b"").unwrap(), i.clone()))
        .collect();
    assert_same(&only, &rescan(&etc));

    let error = checkout_subtree(
        &tree,
        b"etc/shadow",
        &objects,
        &etc,
        &ids(),
        Ownership::Exact,
    );
    assert!(error.unwrap_err().to_string().contains("not a directory"));
    tree.insert(
        path(b"gone"),
        Inode::file(ObjectId::of(b"never stored"), 3, 0o644),
    );
    let error = checkout(
        &tree,
        &objects,
        &dir.path().join("2"),
        &ids(),
        Ownership::Exact,
    );
    assert!(
        matches!(error, Err(MaterialiseError::Object { path, .. }) if path.as_bytes() == b"gone")
    );
}

#[test]
fn an_object_of_the_wrong_size_is_damage_and_not_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let objects = ObjectDir::new(dir.path().join("o"));
    let good = file(objects.path(), b"12345", 0o644);
    let short = Inode::file(good.object().unwrap(), 6, 0o644);
    let tree: Tree = [
        (RelPath::root(), Inode::directory(0o755)),
        (path(b"f"), short),
    ]
    .into_iter()
    .collect();
    let options = Ownership::Current;
    let error = checkout(&tree, &objects, &dir.path().join("d"), &ids(), options).unwrap_err();
    assert!(matches!(error, MaterialiseError::Object { .. }), "{error}");
}

#[test]
fn without_root_owners_are_refused_by_name_or_left_out_on_request() {
    let test = "without_root_owners_are_refused_by_name_or_left_out_on_request";
    if !is_root(test) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let objects = ObjectDir::new(dir.path().join("o"));
    let tree: Tree = [
        (RelPath::root(), Inode::directory(0o755)),
        (
            path(b"f"),
            crate::support::owned("www-data", "shadow", file(objects.path(), b"1", 0o644)),
        ),
        (
            path(b"null"),
            Inode::new(layerset::tree::Node::CharDevice(0x103), 0o666),
        ),
    ]
    .into_iter()
    .collect();
    std::os::unix::fs::chown(dir.path(), Some(65_534), Some(65_534)).unwrap();
    // A thread's credentials are its own in the kernel; rustix sets them for the calling thread only. Capabilities go with the uid.
    let (exact, current) = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                let (uid, gid) = (
                    rustix::fs::Uid::from_raw(65_534),
                    rustix::fs::Gid::from_raw(65_534),
                );
                rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
                rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
                let run = |name: &str, ownership| {
                    checkout(&tree, &objects, &dir.path().join(name), &ids(), ownership)
                };
                (
                    run("exact", Ownership::Exact),
                    run("current", Ownership::Current),
                )
            })
            .join()
            .unwrap()
    });
    assert_eq!(
        exact.unwrap_err().to_string(),
        "cannot give '/f' to 33:42, which needs root"
    );
    let report = current.unwrap();
    assert_eq!((report.entries, report.reduced_entries), (3, 3));
    assert_eq!(std::fs::read(dir.path().join("current/f")).unwrap(), b"1");
}

#[test]
fn scanning_leaves_out_what_it_is_told_and_does_not_follow_links() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    for name in ["proc/1", "cache/deep", "keep"] {
        std::fs::create_dir_all(root.join(name)).unwrap();
    }
    std::fs::write(root.join("cache/deep/f"), "x").unwrap();
    std::fs::write(root.join("keep/f"), "y").unwrap();
    std::os::unix::fs::symlink("/etc", root.join("outside")).unwrap();
    let options = ScanOptions {
        closed: [path(b"proc")].into(),
        omitted: [path(b"cache")].into(),
    };
    let tree = scan(root, &options, &PasswdIds::parse(b"", b""), &HashSink).unwrap();
    let names: Vec<_> = tree.iter().map(|(p, _)| p.to_string()).collect();
    assert_eq!(names, ["/", "/keep", "/keep/f", "/outside", "/proc"]);
    assert_eq!(
        tree.get(b"keep/f").unwrap().object(),
        Some(ObjectId::of(b"y"))
    );
}

#[test]
fn a_directory_of_two_hundred_thousand_entries_is_mounted_and_scanned() {
    if !is_root("a_directory_of_two_hundred_thousand_entries_is_mounted_and_scanned") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (objects, image, root) = (
        dir.path().join("o"),
        dir.path().join("i"),
        dir.path().join("r"),
    );
    std::fs::create_dir(&root).unwrap();
    let one = file(&objects, b"one", 0o644);
    let mut tree: Tree = [
        (RelPath::root(), Inode::directory(0o755)),
        (path(b"d"), Inode::directory(0o755)),
    ]
    .into_iter()
    .collect();
    for number in 0..200_000 {
        tree.insert(path(format!("d/file-{number}").as_bytes()), one.clone());
    }
    write_image(&tree, &image);
    private_namespace(|| {
        mount_readonly(&image, &objects, &root, "layerset:big")?;
        let mut names: Vec<_> = std::fs::read_dir(root.join("d"))
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names.len(), 200_000);
        assert!(
            names
                .iter()
                .map(|n| n.as_encoded_bytes())
                .eq(tree.names(b"d"))
        );
        let mut text = String::new();
        std::fs::File::open(root.join("d/file-199999"))
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "one");
        Ok::<_, MaterialiseError>(())
    })
    .unwrap();
}

#[test]
fn the_probe_tells_the_truth_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let found = Capabilities::probe(dir.path()).unwrap();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    if !is_root("the_probe_tells_the_truth_and_leaves_nothing") {
        return;
    }
    if !found.composefs.works() {
        skip(
            "the_probe_tells_the_truth_and_leaves_nothing",
            &format!("{:?}", found.composefs),
        );
    }
    // Overlayfs cannot have procfs as data layer, and nothing can be created there.
    assert!(Capabilities::probe(Path::new("/proc")).is_err());
}

#[test]
fn extents_are_shared_where_the_file_system_can() {
    let test = "extents_are_shared_where_the_file_system_can";
    if !is_root(test) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (disk, at) = (dir.path().join("disk"), dir.path().join("mnt"));
    std::fs::create_dir(&at).unwrap();
    std::fs::File::create(&disk)
        .unwrap()
        .set_len(512 << 20)
        .unwrap();
    let made = Command::new("mkfs.xfs").arg("-q").arg(&disk).status();
    if !made.is_ok_and(|status| status.success()) {
        return skip(test, "mkfs.xfs is not installed");
    }
    private_namespace(|| {
        let mounted = Command::new("mount")
            .args(["-o", "loop"])
            .arg(&disk)
            .arg(&at)
            .status();
        if !mounted.is_ok_and(|status| status.success()) {
            skip(
                test,
                "an xfs file system cannot be mounted from a file here",
            );
            return Ok(());
        }
        assert!(Capabilities::probe(&at)?.reflink.works());
        let objects = ObjectDir::new(at.join("o"));
        let mut tree = awkward_tree(objects.path());
        // XFS takes link targets up to 1023 bytes only.
        for long in [&b"usr/long"[..], b"usr/middle"] {
            tree.remove(long);
        }
        let report = checkout(&tree, &objects, &at.join("d"), &ids(), Ownership::Exact)?;
        assert_eq!(report.copied_files, 0);
        // All regular files but the empty one and two further names of a hard link.
        assert!(report.reflinked_files > 10, "{report:?}");
        assert_same(&tree, &rescan(&at.join("d")));
        unmount(&at)
    })
    .unwrap();
}
