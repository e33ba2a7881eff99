//! The package side against the real archive: needs root, mmdebstrap and the network, and is run on request.
#![allow(clippy::unwrap_used, clippy::panic)]

use layerset::build::apt::{
    AptError, AptRoot, Bootstrap, BootstrapSpec, DebCache, LocalRepo, LockedPackage, Pocket,
    Request, Variant,
};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

fn spec(variant: Variant) -> BootstrapSpec {
    BootstrapSpec {
        suite: "trixie".into(),
        components: vec!["main".into()],
        pockets: vec![Pocket::Updates, Pocket::Security],
        variant,
        packages: vec![],
    }
}

/// Lists every path with all that a tree records but times, and the content's digest.
fn listing(root: &Path) -> String {
    let find = "find . -printf '%p %y %m %U %G %l %n\\n' | sort; find . -type f -print0 | sort -z | xargs -0 sha256sum";
    let out = Command::new("sh")
        .args(["-c", find])
        .current_dir(root)
        .output()
        .unwrap();
    assert!(out.status.success());
    String::from_utf8(out.stdout).unwrap()
}

fn bootstrap(
    root: &Path,
    log: &Path,
    repo: &LocalRepo,
    packages: &[LockedPackage],
) -> Result<(), AptError> {
    Bootstrap {
        root,
        repo,
        packages,
        arch: "amd64",
        epoch: 1_789_199_741,
        log,
    }
    .run(&|_, _| {})
}

#[test]
#[ignore = "needs root, mmdebstrap and the network"]
fn a_base_made_twice_is_the_same_and_tells_nothing_of_this_machine() {
    let dir = TempDir::new().unwrap();
    let at = |name: &str| dir.path().join(name);
    let debs = DebCache::new(at("debs"));
    let spec = spec(Variant::Apt);
    let apt = AptRoot::open(&at("apt"), debs.clone(), &spec, "amd64", None).unwrap();
    let request = Request {
        layer: "debian",
        packages: &[],
        recommends: false,
        base: Some(&spec),
    };
    let locked = apt.update().unwrap().resolve(request, &[]).unwrap();
    apt.fetch(&locked, &|_, _| {}).unwrap();
    let mut listings = Vec::new();
    for (root, repo) in [("first", "repo-one"), ("second", "another/repo")] {
        let repo = LocalRepo::create(&at(repo), &debs, &locked).unwrap();
        bootstrap(&at(root), &at("log"), &repo, &locked).unwrap();
        listings.push(listing(&at(root)));
    }
    assert_eq!(listings[0], listings[1]);
    let leak = Command::new("grep")
        .arg("-rlF")
        .arg(dir.path())
        .arg(at("first"))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&leak.stdout), "");
    for absent in [
        "etc/resolv.conf",
        "etc/hostname",
        "etc/apt/sources.list",
        "etc/dpkg/dpkg.cfg.d/99mmdebstrap",
        "usr/sbin/policy-rc.d",
    ] {
        assert!(!at("first").join(absent).exists(), "{absent}");
    }
    // Without one of its packages the base cannot be made: the error shows the end of the log and where it is.
    let fewer: Vec<LockedPackage> = locked
        .iter()
        .filter(|p| p.name != "libc6")
        .cloned()
        .collect();
    let repo = LocalRepo::create(&at("lacking"), &debs, &fewer).unwrap();
    let error = bootstrap(&at("third"), &at("log"), &repo, &fewer).unwrap_err();
    let AptError::Bootstrap { reason, log, .. } = error else {
        panic!("{error}")
    };
    assert!(
        reason.contains("libc6") || reason.contains("unmet"),
        "{reason}"
    );
    assert!(reason.lines().count() <= 20 && log == at("log"));
}

#[test]
#[ignore = "needs mmdebstrap and the network"]
fn every_variant_holds_what_mmdebstrap_would_install() {
    let dir = TempDir::new().unwrap();
    let debs = DebCache::new(dir.path().join("debs"));
    for (variant, name) in [
        (Variant::Essential, "essential"),
        (Variant::Apt, "apt"),
        (Variant::Minbase, "minbase"),
    ] {
        let spec = spec(variant);
        let apt =
            AptRoot::open(&dir.path().join("apt"), debs.clone(), &spec, "amd64", None).unwrap();
        let request = Request {
            layer: "debian",
            packages: &[],
            recommends: false,
            base: Some(&spec),
        };
        let locked = apt.update().unwrap().resolve(request, &[]).unwrap();
        let ours: BTreeSet<String> = locked.into_iter().map(|p| p.name).collect();
        let output = Command::new("mmdebstrap")
            .args([
                "--simulate",
                "--verbose",
                &format!("--variant={name}"),
                "trixie",
            ])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout);
        let theirs: BTreeSet<String> = said
            .lines()
            .filter_map(|l| l.strip_prefix("Inst ")?.split(' ').next())
            .map(str::to_owned)
            .collect();
        assert!(theirs.len() > 20, "{said}");
        assert_eq!(ours, theirs, "{name}");
    }
}
