//! What tests of real file systems share: objects on disk, trees written briefly, and honest skipping.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use layerset::format::{Baseline, BuildFacts, Health, Image, Layer, RebuildRule};
use layerset::id::{BuildKey, ImageId, LayerId, ObjectId, TreeId};
use layerset::materialise::{ObjectDir, PasswdIds};
use layerset::path::RelPath;
use layerset::store::{RefName, Repository, Transaction};
use layerset::time::Timestamp;
use layerset::tree::{Changeset, Inode, Node, Owner, Tree};

/// Records that the running test cannot run, or not all of it, and why; `scripts/test.sh` counts and lists it.
///
/// The harness names a test's thread after it; on another thread, `test` is the name that is told.
pub fn skip(test: &str, reason: &str) {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or(test);
    // Straight to the descriptor: the harness would swallow what `eprintln!` writes in a test that passes.
    let line = format!("SKIPPED {name}: {reason}\n");
    let _ = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
    if let Some(list) = std::env::var_os("LAYERSET_TEST_SKIPS") {
        let list = std::fs::File::options().append(true).open(list);
        // One write, for tests run side by side.
        let line = format!("{name}\t{}\n", reason.replace('\n', " "));
        list.unwrap().write_all(line.as_bytes()).unwrap();
    }
}

/// Says whether the test runs as root; records it as skipped when not.
pub fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skip(test, "needs root for mounts, owners and devices");
    }
    root
}

/// Copies a program that is to be started, with its mode.
///
/// Another process copies: were it this one, a child that another test starts could hold the descriptor open for
/// writing for a moment, and Linux starts no such file (`ETXTBSY`).
pub fn copy_program(from: &Path, to: &Path) {
    let mut cp = std::process::Command::new("cp");
    let status = cp.arg("-Lp").arg("--").arg(from).arg(to).status();
    assert!(status.unwrap().success(), "{}", to.display());
}

/// How long a test waits for what must happen: more than a loaded machine or a slow disk needs, and not for ever.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// What happens at once happens within this, wherever; what it is told from takes much longer.
pub const AT_ONCE: Duration = Duration::from_secs(30);

/// Waits until `is_so`; fails with `otherwise` when it never is.
#[track_caller]
pub fn wait_until(otherwise: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "{otherwise}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A port of loopback where nobody answers, and that nobody else gets as long as this lives.
pub struct Nobody {
    pub address: SocketAddr,
    _bound: tokio::net::TcpSocket,
}

impl Nobody {
    pub fn new() -> Self {
        // Bound, and never told to listen: the kernel refuses connections.
        let bound = tokio::net::TcpSocket::new_v4().unwrap();
        bound.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        Self {
            address: bound.local_addr().unwrap(),
            _bound: bound,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

pub fn path(bytes: &[u8]) -> RelPath {
    RelPath::new(bytes).unwrap()
}

pub fn ids() -> PasswdIds {
    PasswdIds::parse(
        b"root:x:0:0::/root:/bin/sh\nwww-data:x:33:33:::\nbig:x:200000:200000:::\n",
        b"root:x:0:\nwww-data:x:33:\nshadow:x:42:\nbig:x:200000:\n",
    )
}

/// Stores `bytes` as an object in `dir`, for everybody to read, and returns a file of them.
pub fn file(dir: &Path, bytes: &[u8], mode: u16) -> Inode {
    let id = ObjectId::of(bytes);
    let at = dir.join(ObjectDir::relative_path(&id));
    std::fs::create_dir_all(at.parent().unwrap()).unwrap();
    std::fs::write(&at, bytes).unwrap();
    // Whatever the umask of who runs the tests.
    let open = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    open(&at, 0o644);
    open(at.parent().unwrap(), 0o755);
    open(dir, 0o755);
    Inode::file(id, bytes.len() as u64, mode)
}

pub fn at(sec: i64, nsec: u32, inode: Inode) -> Inode {
    let mtime = Timestamp { sec, nsec };
    Inode { mtime, ..inode }
}

pub fn owned(user: &str, group: &str, inode: Inode) -> Inode {
    Inode {
        owner: Owner::from_text(user).unwrap(),
        group: Owner::from_text(group).unwrap(),
        ..inode
    }
}

pub fn xattr(name: &[u8], value: &[u8], mut inode: Inode) -> Inode {
    inode.xattrs.insert(name.to_vec(), value.to_vec());
    inode
}

pub fn linked(group: u32, inode: Inode) -> Inode {
    Inode {
        hardlink: group,
        ..inode
    }
}

/// `cap_net_raw+ep` as the kernel stores it (`struct vfs_cap_data`, revision 2).
pub const CAP_NET_RAW: &[u8] = &[
    1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

/// A tree with everything that is awkward, its objects stored in `objects`.
pub fn awkward_tree(objects: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut put = |name: &[u8], inode: Inode| {
        tree.insert(path(name), inode);
    };
    put(b"", at(1_700_000_000, 1, Inode::directory(0o755)));
    for dir in [
        &b"etc"[..],
        b"etc-old",
        b"usr",
        b"usr/bin",
        b"dev",
        b"empty",
    ] {
        put(dir, at(1_600_000_000, 999_999_999, Inode::directory(0o755)));
    }
    put(b"tmp", Inode::directory(0o1777));
    put(
        b"srv",
        owned("www-data", "www-data", Inode::directory(0o2750)),
    );
    put(
        b"etc/shadow",
        owned("root", "shadow", file(objects, b"root:*:1:\n", 0o640)),
    );
    put(b"etc/empty", at(5, 7, file(objects, b"", 0o600)));
    put(
        b"etc-old/x",
        owned("big", "#70000", file(objects, b"x", 0o644)),
    );
    put(b"usr/bin/su", file(objects, &[7; 5000], 0o4755));
    put(
        b"usr/bin/wall",
        owned("root", "shadow", file(objects, &[8; 70_000], 0o2755)),
    );
    put(
        b"usr/bin/ping",
        xattr(
            b"security.capability",
            CAP_NET_RAW,
            file(objects, b"ping", 0o755),
        ),
    );
    let noted = xattr(
        b"user.note",
        b"\0binary\xff",
        file(objects, b"noted", 0o644),
    );
    put(b"usr/noted", xattr(b"user.long", &[9; 3000], noted));
    put(
        b"usr/labelled",
        xattr(b"trusted.label", b"t", Inode::directory(0o700)),
    );
    let perl = linked(1, at(9, 9, file(objects, b"perl", 0o755)));
    put(b"usr/bin/perl", perl.clone());
    put(b"usr/bin/perl5", perl.clone());
    put(b"usr/perl", perl);
    put(b"usr/lib", Inode::symlink("bin"));
    put(b"usr/long", Inode::symlink(&"x".repeat(4095)));
    put(b"usr/middle", Inode::symlink(&"y".repeat(2100)));
    put(b"dev/null", Inode::new(Node::CharDevice(0x103), 0o666));
    put(
        b"dev/big",
        Inode::new(Node::BlockDevice(rustix::fs::makedev(259, 300)), 0o660),
    );
    put(b"dev/pipe", Inode::new(Node::Fifo, 0o640));
    put(
        b"dev/socket",
        owned("www-data", "root", Inode::new(Node::Socket, 0o777)),
    );
    put(b"new\nline", file(objects, b"n", 0o644));
    put(b"bytes\xff\xfe", Inode::directory(0o755));
    put(b"bytes\xff\xfe/deep", file(objects, b"d", 0o400));
    put(&[b'z'; 255], file(objects, b"z", 0o644));
    put(
        b"before1970",
        at(-5, 250_000_000, file(objects, b"old", 0o644)),
    );
    put(
        b"later2100",
        at(5_000_000_000, 3, file(objects, b"new", 0o644)),
    );
    tree.canonicalize_hardlinks();
    tree
}

/// The first differences of two trees, for a message that helps.
pub fn differences(left: &Tree, right: &Tree) -> Vec<String> {
    layerset::tree::diff(left, right)
        .take(10)
        .map(|(path, d)| format!("{path}: {:?} != {:?}", d.before, d.after))
        .collect()
}

/// What the mount table says of `dir` now, to prove that nothing was left.
pub fn mounts(dir: &std::path::Path) -> BTreeMap<String, usize> {
    let mut count = BTreeMap::new();
    for line in std::fs::read_to_string("/proc/self/mounts")
        .unwrap()
        .lines()
    {
        if line.contains(dir.to_str().unwrap()) {
            *count.entry(line.to_owned()).or_default() += 1;
        }
    }
    count
}

/// All that a changeset replaced, as a layer keeps it.
pub fn pre_images(changeset: &Changeset) -> Vec<ObjectId> {
    let objects = changeset
        .iter()
        .filter_map(|(_, change)| change.pre.as_ref()?.object());
    objects.collect::<BTreeSet<_>>().into_iter().collect()
}

/// A layer of no packages and no rules, as its build key names it: `builder` is the version of the
/// builder, and `epoch` its date.
pub fn bare_layer(
    (name, version): (&str, &str),
    (key, epoch, builder): (&[u8], i64, u32),
    changeset: TreeId,
) -> Layer {
    Layer {
        format: 1,
        name: name.to_owned(),
        version: version.to_owned(),
        architecture: "amd64".to_owned(),
        changeset,
        pre_images: Vec::new(),
        build: BuildFacts {
            key: BuildKey::of(key),
            on: Vec::new(),
            epoch,
            builder,
        },
        packages: Vec::new(),
        first_boot: BTreeMap::new(),
        health: Health::default(),
        restart: Vec::new(),
        forbids_live: false,
        rebuild: RebuildRule::default(),
        sweeps: Vec::new(),
        shipped: Default::default(),
        public_secrets: Default::default(),
        baseline: Baseline::default(),
    }
}

/// Makes the image `web` of one layer, whose ref it sets too.
pub fn commit_web(
    repository: &Repository,
    transaction: Transaction<'_>,
    layer: &Layer,
    (tree, bytes, entries): (TreeId, u64, u64),
) -> (LayerId, ImageId) {
    let layer_id = transaction.put_layer(layer).unwrap();
    let name = RefName::layer("web", &layer.name).unwrap();
    transaction.commit(&name, &layer_id.to_string()).unwrap();
    let transaction = repository.begin().unwrap();
    let image = Image {
        format: 1,
        name: "web".to_owned(),
        architecture: "amd64".to_owned(),
        layers: vec![layer.named(layer_id)],
        tree,
        bytes,
        entries,
        keep: 3,
        waivers: Vec::new(),
    };
    let id = transaction.put_image(&image).unwrap();
    let name = RefName::image("web").unwrap();
    transaction.commit(&name, &id.to_string()).unwrap();
    (layer_id, id)
}
