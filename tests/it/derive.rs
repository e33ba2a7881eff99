//! Compares what the derivers make of a real installation with what its packages made.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use layerset::builder::{BuildSink, SandboxedGenerator};
use layerset::compose::{Generate, TreeView, UnavailableGenerator, clear, fill};
use layerset::durable::RealDisk;
use layerset::materialise::{PasswdIds, ScanOptions, scan};
use layerset::merge::derive::generators::{Job, jobs};
use layerset::merge::derive::javacerts;
use layerset::path::RelPath;
use layerset::store::{Repository, RepositoryOptions, Transaction};
use layerset::tree::{Inode, Node, Tree};

use crate::debian::bootstrap;
use crate::support::{is_root, skip};

/// Packages whose installation runs every generator of the table but those for kernels and X fonts.
const PACKAGES: &str = "adwaita-icon-theme,ca-certificates,dconf-gsettings-backend,desktop-file-utils,glib-networking,\
    gsettings-desktop-schemas,gtk-update-icon-cache,hicolor-icon-theme,ibus-gtk3,info,install-info,libgtk-3-0t64,\
    librsvg2-common,shared-mime-info,udev";

/// Differences that are meant, with their reasons.
const ALLOWED: [(&str, &str); 3] = [
    (
        "/usr/share/icons/hicolor/icon-theme.cache: is in the real root only",
        "the cache of a theme without icons says nothing",
    ),
    (
        "/usr/share/info/dir:",
        "update-info-dir takes files as the directory lists them, which differs from disk to disk; checked by lines below",
    ),
    (
        "/usr/share/info/dir.old:",
        "a backup means nothing in an image",
    ),
];

/// A real root directory: the one that `LAYERSET_DERIVE_ROOT` names, or a fresh one.
fn real_root(test: &str, dir: &Path) -> Option<PathBuf> {
    if !is_root(test) {
        return None;
    }
    if let Some(root) = std::env::var_os("LAYERSET_DERIVE_ROOT") {
        return Some(root.into());
    }
    if Command::new("mmdebstrap")
        .arg("--version")
        .output()
        .is_err()
    {
        skip(test, "needs mmdebstrap");
        return None;
    }
    let root = dir.join("root");
    bootstrap(&root, PACKAGES);
    Some(root)
}

fn scanned(root: &Path, transaction: &Transaction<'_>) -> Tree {
    let read = |name: &str| std::fs::read(root.join(name)).unwrap();
    let ids = PasswdIds::parse(&read("etc/passwd"), &read("etc/group"));
    let closed = [
        "boot",
        "dev",
        "proc",
        "run",
        "sys",
        "tmp",
        "var/cache",
        "var/lib/apt",
    ];
    let options = ScanOptions {
        closed: closed.map(|dir| RelPath::from_text(dir).unwrap()).into(),
        ..ScanOptions::default()
    };
    scan(root, &options, &ids, &BuildSink::new(transaction)).unwrap()
}

#[derive(Debug, Default, PartialEq)]
struct Differences(Vec<String>);

fn compare(
    job: &Job,
    real: &Tree,
    derived: &Tree,
    read: &dyn Fn(&Inode) -> Vec<u8>,
) -> Differences {
    let paths: BTreeSet<RelPath> = job
        .outputs(real)
        .into_iter()
        .chain(job.outputs(derived))
        .collect();
    let mut found = Differences::default();
    for path in &paths {
        let what = match (real.get(path.as_bytes()), derived.get(path.as_bytes())) {
            (Some(real), Some(derived)) if real.same_content(derived) => continue,
            (Some(real), Some(derived)) => {
                let sizes = (read(real).len(), read(derived).len());
                format!("{sizes:?} bytes, modes {:o} {:o}", real.mode, derived.mode)
            }
            (Some(_), None) => "is in the real root only".to_owned(),
            _ => "is derived only".to_owned(),
        };
        found.0.push(format!("{path}: {what}"));
    }
    found
}

/// Returns alias and fingerprint of each entry of a key store, as the root's own program reads it.
fn keytool(root: &Path, store: &str) -> BTreeSet<(String, String)> {
    let proc = root.join("proc");
    rustix::mount::mount(
        "proc",
        &proc,
        "proc",
        rustix::mount::MountFlags::empty(),
        None,
    )
    .unwrap();
    let output = Command::new("chroot")
        .arg(root)
        .args([
            "keytool",
            "-list",
            "-storepass",
            "changeit",
            "-keystore",
            store,
        ])
        .env("LC_ALL", "C")
        .output();
    rustix::mount::unmount(&proc, rustix::mount::UnmountFlags::DETACH).unwrap();
    let output = output.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let lines: Vec<&str> = text.lines().collect();
    let entries = lines
        .windows(2)
        .filter(|pair| pair[0].ends_with("trustedCertEntry, "));
    let entries: BTreeSet<_> = entries
        .map(|pair| {
            (
                pair[0].split(',').next().unwrap().to_owned(),
                pair[1].to_owned(),
            )
        })
        .collect();
    assert!(entries.len() > 100, "{text}");
    entries
}

#[test]
fn what_is_derived_is_what_packages_make() {
    let test = "what_is_derived_is_what_packages_make";
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let Some(root) = real_root(test, dir.path()) else {
        return;
    };
    let repo = dir.path().join("repo");
    Repository::init(&repo, Arc::new(RealDisk)).unwrap();
    let repository =
        Repository::open(&repo, Arc::new(RealDisk), RepositoryOptions::default()).unwrap();
    let transaction = repository.begin().unwrap();
    let real = scanned(&root, &transaction);
    transaction.store().unwrap();

    let mut bare = real.clone();
    clear(&mut bare);
    assert!(jobs(&bare).iter().all(|job| job.outputs(&bare).is_empty()));
    let (cancel, turn) = (AtomicBool::new(false), Mutex::new(()));
    let said = Mutex::new(Vec::new());
    let tell = |what: &str| said.lock().unwrap().push((Instant::now(), what.to_owned()));
    let sandboxed = SandboxedGenerator {
        repository: &repository,
        cancel: &cancel,
        turn: &turn,
        tell: &tell,
    };
    let transaction = repository.begin().unwrap();
    let derive = |generate: &dyn Generate| {
        let started = Instant::now();
        let mut tree = bare.clone();
        fill(&mut tree, &transaction, generate).map(|()| (tree, started.elapsed()))
    };
    let (derived, first) = derive(&sandboxed).unwrap();
    let ran = said.lock().unwrap().len();
    let working = jobs(&bare).into_iter().filter(|job| job.has_work(&bare));
    assert_eq!(ran, working.count());
    let (again, second) = derive(&sandboxed).unwrap();
    assert_eq!(
        said.lock().unwrap().len(),
        ran,
        "something ran although it was known"
    );
    assert_eq!(derived, again);
    derived.validate().unwrap();
    let error = derive(&UnavailableGenerator).unwrap_err();
    assert!(error.to_string().starts_with("cannot run '"), "{error}");

    let said = said.lock().unwrap();
    let ends = said
        .iter()
        .skip(1)
        .map(|(at, _)| *at)
        .chain([Instant::now()]);
    for ((at, what), end) in said.iter().zip(ends) {
        eprintln!("{what}: {:?}", end.duration_since(*at));
    }
    eprintln!("derived in {first:?}, found again in {second:?}");
    let read = |inode: &Inode| match inode.node {
        Node::File { object, .. } => repository.read_object(&object).unwrap(),
        _ => Vec::new(),
    };
    let mut wrong = Vec::new();
    for job in jobs(&bare) {
        let differences = compare(&job, &real, &derived, &read);
        eprintln!(
            "{}: {} outputs, {differences:?}",
            job.name(),
            job.outputs(&derived).len()
        );
        let is_explained = |line: &String| ALLOWED.iter().any(|(path, _)| line.starts_with(path));
        wrong.extend(differences.0.into_iter().filter(|line| !is_explained(line)));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let lines = |tree: &Tree| {
        let text = read(tree.get(b"usr/share/info/dir").unwrap());
        let mut lines: Vec<Vec<u8>> = text
            .split(|byte| *byte == b'\n')
            .map(<[u8]>::to_vec)
            .collect();
        lines.sort();
        lines
    };
    assert_eq!(lines(&derived), lines(&real));

    let index = repository.index();
    let view = TreeView::new(&derived, &transaction, &index);
    match (
        javacerts::derive(&view).unwrap(),
        root.join("usr/bin/keytool").exists(),
    ) {
        (Some(cacerts), true) => {
            let inside = root.join("tmp/cacerts");
            std::fs::write(&inside, cacerts.contents).unwrap();
            assert_eq!(
                keytool(&root, "/tmp/cacerts"),
                keytool(&root, "/etc/ssl/certs/java/cacerts")
            );
            std::fs::remove_file(inside).unwrap();
        }
        // The root that is made here has no Java, which would double its size, and so nothing is
        // derived for it. LAYERSET_DERIVE_ROOT names one that has: then its keytool is the judge.
        (None, false) => {}
        (Some(_), false) => panic!("derived without a Java runtime"),
        (None, true) => panic!("there is a Java runtime, and nothing is derived for it"),
    }
}
