use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::sync::Arc;

use super::*;
use crate::check::{CHECKS_VERSION, Finding};
use crate::durable::RealDisk;
use crate::format::{Baseline, BuildFacts, Health, ImageLayer, Layer, LayerPackage, RebuildRule};
use crate::id::{BuildKey, LayerId, TreeId};
use crate::store::{Repository, RepositoryOptions};
use crate::tree::{Changeset, Inode, Tree};

const LIBRARY: &str = "usr/lib/x86_64-linux-gnu/libz.so.1.3";
const LIST: &str = "usr/lib/sysimage/var/lib/dpkg/info/zlib1g:amd64.list";

/// Long enough to say something, also when it is packed.
fn bytes(what: &str) -> Vec<u8> {
    let mut bytes = vec![0; 600];
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(what.as_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

/// A base, and a layer on it, as they were built and as they are put together.
struct World {
    repository: Repository,
    /// By layer: its build, its packages, and its files.
    base: Files,
    app: Files,
    packages: Vec<LayerPackage>,
    brought: BTreeSet<ObjectId>,
    _dir: tempfile::TempDir,
}

type Files = BTreeMap<&'static str, Vec<u8>>;

impl World {
    /// A base with a library of a package.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Repository::init(dir.path(), Arc::new(RealDisk)).unwrap();
        let options = RepositoryOptions::default();
        let repository = Repository::open(dir.path(), Arc::new(RealDisk), options).unwrap();
        let list = format!("/.\n/{LIBRARY}\n").into_bytes();
        Self {
            repository,
            base: BTreeMap::from([(LIBRARY, bytes("library 1")), (LIST, list)]),
            app: BTreeMap::new(),
            packages: Vec::new(),
            brought: BTreeSet::new(),
            _dir: dir,
        }
    }

    fn with(files: impl IntoIterator<Item = (&'static str, Vec<u8>)>) -> Self {
        let mut world = Self::new();
        world.app.extend(files);
        world
    }

    fn changes(&self, transaction: &Transaction<'_>, below: &Files, files: &Files) -> Changeset {
        let tree = |files: &Files| {
            let mut tree = Tree::new();
            tree.insert(RelPath::root(), Inode::directory(0o755));
            for (path, bytes) in files {
                let object = transaction.put_object(bytes).unwrap();
                let path = RelPath::from_text(path).unwrap();
                let mut parent = path.parent();
                while let Some(dir) = parent.filter(|dir| !dir.is_root()) {
                    tree.insert(dir.clone(), Inode::directory(0o755));
                    parent = dir.parent();
                }
                tree.insert(path, Inode::file(object, bytes.len() as u64, 0o644));
            }
            tree
        };
        let mut all = below.clone();
        all.extend(files.clone());
        Changeset::between(&tree(below), &tree(&all))
    }

    /// Composes both; `build` is what the layer was built on.
    fn set(&self, transaction: &Transaction<'_>, build: &Files) -> (Composition, Vec<Member>) {
        let id = |files: &Files| LayerId::of(format!("{files:?}").as_bytes());
        let nothing = Files::new();
        let base = member("debian", id(&self.base), None);
        let base = Member {
            changeset: self.changes(transaction, &nothing, &self.base),
            ..base
        };
        let mut app = member("app", id(&self.app), Some(("debian", id(build))));
        app.changeset = self.changes(transaction, build, &self.app);
        app.layer.packages = self.packages.clone();
        let members = vec![base, app];
        let mut composition = Composition::default();
        for (number, member) in members.iter().enumerate() {
            for (path, change) in member.changeset.iter() {
                if let Some(post) = &change.post {
                    composition.tree.insert(path.clone(), post.clone());
                    composition.origin.insert(path.clone(), number);
                }
            }
        }
        (composition, members)
    }

    /// What the layer is made of, when it is built on today's base.
    fn derived(&self, earlier: &[DerivedFile]) -> Vec<DerivedFile> {
        let transaction = self.repository.begin().unwrap();
        let (composition, members) = self.set(&transaction, &self.base);
        let index = self.repository.index();
        derived(&Evidence {
            composition: &composition,
            members: &members,
            earlier: vec![earlier],
            brought: Some(&self.brought),
            transaction: &transaction,
            index: &index,
        })
        .unwrap()
    }

    /// What a check says of the layer with this evidence, built on `build`, on today's base.
    fn check(&self, derived: &[DerivedFile], build: &Files) -> Vec<Finding> {
        let transaction = self.repository.begin().unwrap();
        let (composition, mut members) = self.set(&transaction, build);
        members[1].baseline.derived = derived.to_vec();
        moved(&composition, &members)
    }

    /// Builds the layer, gives the base another file, and returns what a check says then.
    fn after(&mut self, path: &'static str, bytes: Option<Vec<u8>>) -> Vec<Finding> {
        let (derived, build) = (self.derived(&[]), self.base.clone());
        assert_eq!(self.check(&derived, &build), [], "before the base moved");
        match bytes {
            Some(bytes) => drop(self.base.insert(path, bytes)),
            None => drop(self.base.remove(path)),
        }
        self.check(&derived, &build)
    }
}

fn member(name: &str, id: LayerId, on: Option<(&str, LayerId)>) -> Member {
    let on = on.map(|(name, id)| ImageLayer {
        name: name.to_owned(),
        id,
        version: "1".to_owned(),
    });
    let layer = Layer {
        format: 1,
        name: name.to_owned(),
        version: "1".to_owned(),
        architecture: "amd64".to_owned(),
        changeset: TreeId::of(b""),
        pre_images: Vec::new(),
        build: BuildFacts {
            key: BuildKey::of(b""),
            on: on.into_iter().collect(),
            epoch: 0,
            builder: 0,
        },
        packages: Vec::new(),
        first_boot: BTreeMap::new(),
        health: Health::default(),
        restart: Vec::new(),
        rebuild: RebuildRule::default(),
        sweeps: Vec::new(),
        shipped: BTreeMap::new(),
        baseline: Baseline::default(),
    };
    Member {
        id: Some(id),
        layer,
        changeset: Changeset::new(),
        baseline: Baseline {
            checks: CHECKS_VERSION,
            ..Baseline::default()
        },
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An archive of cpio.
fn cpio(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, contents) in members.iter().chain(&[("TRAILER!!!", &b""[..])]) {
        let mut header = "070701".to_owned();
        for field in [
            1,
            0o100_644,
            0,
            0,
            1,
            0,
            contents.len(),
            0,
            0,
            0,
            0,
            name.len() + 1,
            0,
        ] {
            header += &format!("{field:08x}");
        }
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(name.as_bytes());
        out.push(0);
        out.resize(out.len().next_multiple_of(4), 0);
        out.extend_from_slice(contents);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    out
}

fn ids(findings: &[Finding]) -> Vec<String> {
    let line = |finding: &Finding| format!("{:?} {}", finding.severity, finding.id);
    findings.iter().map(line).collect()
}

#[test]
fn a_copy_asks_for_a_rebuild_when_its_origin_moves_or_leaves() {
    let mut world = World::with([("opt/app/lib/libz.so.1", bytes("library 1"))]);
    let found = world.after(LIBRARY, Some(bytes("library 2")));
    assert_eq!(ids(&found), ["Rebuild derived:app:/opt/app/lib/libz.so.1"]);
    assert_eq!(
        found[0].reason,
        format!(
            "'/opt/app/lib/libz.so.1' of 'app' holds a copy of '/{LIBRARY}' (zlib1g), and 'debian' has another one now"
        )
    );
    // Built again, it holds today's.
    world
        .app
        .insert("opt/app/lib/libz.so.1", bytes("library 2"));
    let again = world.derived(&World::with([]).derived(&[]));
    assert_eq!(world.check(&again, &world.base), []);
    let found = world.after(LIBRARY, None);
    assert_eq!(ids(&found), ["Rebuild derived:app:/opt/app/lib/libz.so.1"]);
    assert!(
        found[0]
            .reason
            .ends_with("and the layers below have it no more")
    );
}

#[test]
fn the_same_file_under_another_name_is_still_the_same() {
    let mut world = World::with([("opt/app/lib/libz.so.1", bytes("library 1"))]);
    world.base.insert("usr/lib/other", bytes("something"));
    assert_eq!(world.after("usr/lib/other", Some(bytes("else"))), []);
    let (derived, build) = (world.derived(&[]), world.base.clone());
    let library = world.base.remove(LIBRARY).unwrap();
    world.base.insert("usr/lib/libz.so.1.3", library);
    assert_eq!(world.check(&derived, &build), []);
}

#[test]
fn members_of_archives_are_copies_too() {
    let library = bytes("library 1");
    let initrd = cpio(&[("usr/lib/x86_64-linux-gnu/libz.so.1.3", &library)]);
    let early = cpio(&[("kernel/x86/microcode/x.bin", &bytes("microcode"))]);
    let initrd = [
        early,
        vec![0; 512],
        zstd::encode_all(initrd.as_slice(), 3).unwrap(),
    ]
    .concat();
    for (path, archive) in [
        ("boot/initrd.img-6.12.1", initrd),
        (
            "opt/app/bundle.cpio.gz",
            gzip(&cpio(&[("x/libz.so", &library)])),
        ),
        ("opt/app/libz.gz", gzip(&library)),
    ] {
        let mut world = World::with([(path, archive)]);
        let found = world.after(LIBRARY, Some(bytes("library 2")));
        assert_eq!(ids(&found), [format!("Rebuild derived:app:/{path}")]);
        assert!(found[0].reason.contains("(zlib1g)"), "{}", found[0].reason);
    }
}

#[test]
fn a_module_in_an_initramfs_is_known_although_it_was_unpacked() {
    const MODULE: &str = "usr/lib/modules/6.12.1/kernel/fs/ext4.ko.xz";
    let module = bytes("module 1");
    let initrd = cpio(&[("usr/lib/modules/6.12.1/kernel/fs/ext4.ko", &module)]);
    let mut world = World::with([("boot/initrd.img-6.12.1", initrd)]);
    world
        .base
        .insert(MODULE, liblzma::encode_all(module.as_slice(), 6).unwrap());
    let other = liblzma::encode_all(bytes("module 2").as_slice(), 6).unwrap();
    let found = world.after(MODULE, Some(other));
    assert_eq!(ids(&found), ["Rebuild derived:app:/boot/initrd.img-6.12.1"]);
}

#[test]
fn a_stripped_program_is_known_by_its_build_id() {
    let program = |build: u8, more: &str| {
        let note = [4, 0, 0, 0, 20, 0, 0, 0, 3, 0, 0, 0, b'G', b'N', b'U', 0];
        [
            b"\x7fELF",
            &[0; 300][..],
            &note,
            &[build; 20],
            more.as_bytes(),
        ]
        .concat()
    };
    let initrd = cpio(&[("usr/bin/kmod", &program(1, ""))]);
    let mut world = World::with([("boot/initrd.img-6.12.1", initrd)]);
    world.base.insert("usr/bin/kmod", program(1, "symbols"));
    let found = world.after("usr/bin/kmod", Some(program(2, "symbols")));
    assert_eq!(ids(&found), ["Rebuild derived:app:/boot/initrd.img-6.12.1"]);
}

#[test]
fn an_initramfs_that_nobody_can_read_hangs_on_everything() {
    let sealed = [b"BZh91AY&SY".as_slice(), &[7; 300]].concat();
    let mut world = World::with([("boot/initrd.img-6.12.1", sealed.clone())]);
    let found = world.after(LIBRARY, Some(bytes("library 2")));
    assert_eq!(ids(&found), ["Rebuild derived:app:/boot/initrd.img-6.12.1"]);
    let mut world = World::with([("opt/data.bz2", sealed)]);
    assert_eq!(world.after(LIBRARY, Some(bytes("library 2"))), []);
}

#[test]
fn what_packages_bring_and_what_says_little_is_no_evidence() {
    let licence = bytes("Everyone is permitted to copy");
    let mut world = World::with([
        ("usr/share/app/data", bytes("library 1")),
        ("opt/app/LICENSE.txt", licence.clone()),
        ("opt/app/__init__.py", Vec::new()),
        ("opt/app/short", b"short".to_vec()),
        ("home/app/.bashrc", bytes("rc")),
        (
            "usr/lib/sysimage/var/lib/dpkg/info/app.list",
            b"/usr/share/app/data\n".to_vec(),
        ),
        (
            "usr/lib/sysimage/var/lib/dpkg/info/app.postinst",
            bytes("postinst"),
        ),
        // A copy of what the layer's own package brings, wherever else that may stand.
        ("opt/app/data", bytes("library 1")),
    ]);
    world.packages.push(LayerPackage {
        name: "app".to_owned(),
        architecture: "all".to_owned(),
        version: "1".to_owned(),
        sha256: String::new(),
    });
    world.base.extend([
        ("usr/share/common-licenses/GPL-3", licence),
        ("usr/lib/python3/x/__init__.py", Vec::new()),
        ("usr/lib/short", b"short".to_vec()),
        ("etc/skel/.bashrc", bytes("rc")),
        (
            "usr/lib/sysimage/var/lib/dpkg/info/x.postinst",
            bytes("postinst"),
        ),
    ]);
    assert_eq!(world.derived(&[]), []);
    // Nobody's package, the same file is a copy.
    world.packages.clear();
    let found = world.derived(&[]);
    let paths: Vec<String> = found.iter().map(|file| file.path.to_string()).collect();
    assert_eq!(paths, ["/opt/app/data", "/usr/share/app/data"]);
}

#[test]
fn what_the_definition_brings_is_refused_for_no_rebuild_changes_it() {
    let mut world = World::with([("opt/app/lib/libz.so.1", bytes("library 1"))]);
    world.brought.insert(ObjectId::of(&bytes("library 1")));
    let found = world.after(LIBRARY, Some(bytes("library 2")));
    assert_eq!(ids(&found), ["Refuse derived:app:/opt/app/lib/libz.so.1"]);
    assert!(found[0].is_waivable());
    assert!(found[0].hint.contains("put what is current in place of"));
}

#[test]
fn a_rebuild_that_leaves_the_old_copy_does_not_make_it_normal() {
    let mut world = World::with([("opt/app/lib/libz.so.1", bytes("library 1"))]);
    let first = world.derived(&[]);
    world.base.insert(LIBRARY, bytes("library 2"));
    // A script unpacked it from somewhere: it is there again.
    let second = world.derived(&first);
    let found = world.check(&second, &world.base);
    assert_eq!(ids(&found), ["Refuse derived:app:/opt/app/lib/libz.so.1"]);
    // Other checks forget nothing.
    assert_eq!(world.derived(&second), second);
    // Once it is gone, so is the finding.
    world
        .app
        .insert("opt/app/lib/libz.so.1", bytes("library 2"));
    let third = world.derived(&second);
    assert_eq!(world.check(&third, &world.base), []);
}

#[test]
fn an_environment_hangs_on_the_minor_version_of_its_python() {
    let config = b"home = /usr/bin\ninclude-system-site-packages = false\nversion = 3.13.5\n";
    let mut world = World::with([("opt/venv/pyvenv.cfg", config.to_vec())]);
    world
        .base
        .insert("usr/bin/python3.13", bytes("python 3.13.5"));
    let patched = Some(bytes("python 3.13.6"));
    assert_eq!(world.after("usr/bin/python3.13", patched), []);
    let found = world.after("usr/bin/python3.13", None);
    assert_eq!(ids(&found), ["Rebuild derived:app:/opt/venv/pyvenv.cfg"]);
    assert!(
        found[0]
            .reason
            .contains("is made for '/usr/bin/python3.13'")
    );
}

#[test]
fn a_module_hangs_on_the_headers_that_it_was_built_against() {
    const SYMBOLS: &str = "usr/src/linux-headers-6.12.1/Module.symvers";
    let module = [bytes("code"), b"\0vermagic=6.12.1 SMP preempt \0".to_vec()].concat();
    for path in ["usr/lib/modules/6.12.1/extra/x.ko", "opt/app/x.ko"] {
        let mut world = World::with([(path, module.clone())]);
        world.base.insert(SYMBOLS, bytes("symbols"));
        let found = world.after(SYMBOLS, Some(bytes("others")));
        assert_eq!(ids(&found), [format!("Rebuild derived:app:/{path}")]);
    }
}

#[test]
fn a_copied_directory_is_one_entry_and_many_origins_stay_few() {
    let mut world = World::new();
    let leak = |text: String| -> &'static str { text.leak() };
    for number in 0..1100 {
        let contents = bytes(&format!("file {number}"));
        let from = leak(format!("usr/lib/tool/{}/f{number}", number % 80));
        let to = leak(format!("opt/copy/tool/{}/f{number}", number % 80));
        world.base.insert(from, contents.clone());
        world.app.insert(to, contents);
    }
    world.app.insert("opt/one", bytes("library 1"));
    let found = world.derived(&[]);
    let paths: Vec<String> = found.iter().map(|file| file.path.to_string()).collect();
    assert_eq!(paths, ["/opt/copy", "/opt/one"]);
    assert!(found[0].origins.len() <= 8, "{}", found[0].origins.len());
    let found = world.after("usr/lib/tool/7/f7", Some(bytes("other")));
    assert_eq!(ids(&found), ["Rebuild derived:app:/opt/copy"]);
}

#[test]
fn a_copy_that_an_upper_layer_replaced_is_nobodys_concern() {
    let mut world = World::with([("opt/app/lib/libz.so.1", bytes("library 1"))]);
    let (derived, build) = (world.derived(&[]), world.base.clone());
    world.base.insert(LIBRARY, bytes("library 2"));
    let transaction = world.repository.begin().unwrap();
    let (mut composition, mut members) = world.set(&transaction, &build);
    members[1].baseline.derived = derived;
    assert_eq!(moved(&composition, &members).len(), 1);
    let path = RelPath::from_text("opt/app/lib/libz.so.1").unwrap();
    let object = transaction.put_object(&bytes("library 2")).unwrap();
    composition
        .tree
        .insert(path, Inode::file(object, 600, 0o644));
    assert_eq!(moved(&composition, &members), []);
    // What a sibling above makes of the origin is not what a rebuild would see.
    world.base.insert(LIBRARY, bytes("library 1"));
    let (mut composition, mut members) = world.set(&transaction, &build);
    members[1].baseline.derived = world.derived(&[]);
    let path = RelPath::from_text(LIBRARY).unwrap();
    composition
        .tree
        .insert(path.clone(), Inode::file(object, 600, 0o644));
    composition.origin.insert(path, 2);
    assert_eq!(moved(&composition, &members), []);
}

#[test]
fn what_was_unpacked_from_an_archive_below_hangs_on_that_archive() {
    const WHEEL: &str = "usr/share/python-wheels/pip-25.whl";
    let wheel = |version: &str| {
        let members = ["a", "b"].map(|name| (name, bytes(&format!("{name} {version}"))));
        gzip(&cpio(&[
            (members[0].0, &members[0].1),
            (members[1].0, &members[1].1),
        ]))
    };
    let mut world = World::with([
        ("opt/venv/lib/pip/a.py", bytes("a 25")),
        ("opt/venv/lib/pip/b.py", bytes("b 25")),
        ("opt/venv/own.py", bytes("own")),
    ]);
    world.base.insert(WHEEL, wheel("25"));
    let found = world.after(WHEEL, Some(wheel("26")));
    assert_eq!(ids(&found), ["Rebuild derived:app:/opt/venv/lib/pip"]);
    assert!(
        found[0]
            .reason
            .contains("/usr/share/python-wheels/pip-25.whl")
    );
}
