//! The package side against a tiny archive built on the spot: real apt, real packages, no network.
#![allow(clippy::unwrap_used, clippy::panic)]

use layerset::apt::{
    AptError, AptRoot, Bootstrap, BootstrapVariant, DebCache, InstallPlan, LocalRepo,
    LockedPackage, LowerPackages, PackageRequest, PackageSources,
};
use sha2::Digest as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

use crate::support::skip;

/// A flat archive, a work directory and a cache, all gone at the end of the test.
struct World {
    dir: TempDir,
    arch: String,
}

impl World {
    /// Makes an archive with an essential `tiny-base`; `None`, with the reason said, where Debian's tools are missing.
    fn new(test: &str) -> Option<Self> {
        for tool in ["apt-get", "dpkg-deb", "apt-ftparchive"] {
            if Command::new(tool).arg("--version").output().is_err() {
                skip(test, &format!("needs {tool}"));
                return None;
            }
        }
        let arch = Command::new("dpkg")
            .arg("--print-architecture")
            .output()
            .unwrap();
        let arch = String::from_utf8(arch.stdout).unwrap().trim().to_owned();
        let world = Self {
            dir: TempDir::new().unwrap(),
            arch,
        };
        fs::create_dir(world.archive()).unwrap();
        fs::write(
            world.dir.path().join("sources.list"),
            format!("deb [trusted=yes] file:{} ./\n", world.archive().display()),
        )
        .unwrap();
        world.deb("tiny-base", "1", "Essential: yes\n");
        Some(world)
    }

    fn archive(&self) -> PathBuf {
        self.dir.path().join("archive")
    }

    fn cache(&self) -> DebCache {
        DebCache::new(self.dir.path().join("debs"))
    }

    fn deb(&self, name: &str, version: &str, fields: &str) {
        self.deb_of(name, version, fields, "1600000000");
    }

    /// Makes a package of that date.
    fn deb_of(&self, name: &str, version: &str, fields: &str, date: &str) {
        let tree = self.dir.path().join(format!("tree-{name}"));
        fs::create_dir_all(tree.join("DEBIAN")).unwrap();
        let control = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: T <t@example.org>\n{fields}\
             Description: {name}\n For tests.\n"
        );
        fs::write(tree.join("DEBIAN/control"), control).unwrap();
        // dpkg-deb refuses what a strict umask makes.
        for dir in [&tree, &tree.join("DEBIAN")] {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let status = Command::new("dpkg-deb")
            .env("SOURCE_DATE_EPOCH", date)
            .arg("--build")
            .arg(&tree)
            .arg(self.archive())
            .output()
            .unwrap()
            .status;
        assert!(status.success());
    }

    fn remove(&self, file: &str) {
        fs::remove_file(self.archive().join(file)).unwrap();
    }

    /// Writes the indexes for what is in the archive now.
    fn publish(&self) {
        for (arguments, file) in [
            (&["packages", "."][..], "Packages"),
            (
                &[
                    "-o",
                    "APT::FTPArchive::Release::Label=Tiny World",
                    "release",
                    ".",
                ],
                "Release",
            ),
        ] {
            let _ = fs::remove_file(self.archive().join("Release"));
            let out = Command::new("apt-ftparchive")
                .args(arguments)
                .current_dir(self.archive())
                .output()
                .unwrap();
            assert!(
                out.status.success(),
                "{}",
                String::from_utf8_lossy(&out.stderr)
            );
            fs::write(self.archive().join(file), out.stdout).unwrap();
        }
    }

    fn open(&self) -> AptRoot {
        let work = self.dir.path().join("apt");
        let file = self.dir.path().join("sources.list");
        let sources = PackageSources {
            file: Some(&file),
            ..PackageSources::default()
        };
        AptRoot::open(&work, self.cache(), &spec(), &self.arch, &sources).unwrap()
    }

    fn lock(
        &self,
        layer: &str,
        packages: &[&str],
        lower: &[LowerPackages<'_>],
    ) -> Result<Vec<LockedPackage>, AptError> {
        let packages: Vec<String> = packages.iter().map(|p| (*p).to_owned()).collect();
        let root = self.open();
        root.update()?.resolve(
            PackageRequest {
                layer,
                packages: &packages,
                recommends: false,
                base: None,
            },
            lower,
        )
    }

    fn lock_base(&self, packages: &[&str]) -> Vec<LockedPackage> {
        let mut spec = spec();
        spec.packages = packages.iter().map(|p| (*p).to_owned()).collect();
        let root = self.open();
        let request = PackageRequest {
            layer: "base",
            packages: &[],
            recommends: false,
            base: Some(&spec),
        };
        root.update().unwrap().resolve(request, &[]).unwrap()
    }
}

fn spec() -> Bootstrap {
    Bootstrap {
        suite: "tiny".into(),
        components: vec!["main".into()],
        pockets: vec![],
        variant: BootstrapVariant::Essential,
        packages: vec![],
        sources: vec![],
        snapshots: vec![],
    }
}

fn base(packages: &[LockedPackage]) -> [LowerPackages<'_>; 1] {
    [LowerPackages {
        layer: "base",
        packages,
    }]
}

fn shown(packages: &[LockedPackage]) -> Vec<String> {
    let mark = |p: &LockedPackage| if p.manual { "manual" } else { "auto" };
    packages
        .iter()
        .map(|p| format!("{} {} {} {}", p.name, p.version, p.archive, mark(p)))
        .collect()
}

fn quiet(_: u64, _: u64) {}

#[test]
fn a_lock_holds_the_variant_what_was_asked_for_and_its_dependencies() {
    let Some(world) =
        World::new("a_lock_holds_the_variant_what_was_asked_for_and_its_dependencies")
    else {
        return;
    };
    world.deb(
        "app",
        "1:2.0+b~1-3",
        "Depends: lib (>= 1)\nRecommends: extra\n",
    );
    world.deb("lib", "1", "");
    world.deb("extra", "1", "");
    world.publish();
    let locked = world.lock_base(&["app"]);
    assert_eq!(
        shown(&locked),
        [
            "app 1:2.0+b~1-3 tiny-world manual",
            "lib 1 tiny-world auto",
            "tiny-base 1 tiny-world manual"
        ]
    );
    assert_eq!(
        locked,
        world.lock_base(&["app"]),
        "the same question has the same answer"
    );
    // The index of a flat archive writes "./", and a lock is refused with that.
    let app = locked.iter().find(|p| p.name == "app").unwrap();
    assert_eq!(app.pool_path, "app_2.0+b~1-3_all.deb");
    let root = world.open();
    let packages = ["extra".to_owned(), "app".to_owned()];
    let request = PackageRequest {
        layer: "up",
        packages: &packages,
        recommends: true,
        base: None,
    };
    let base_only = world.lock_base(&[]);
    let upper = root
        .update()
        .unwrap()
        .resolve(request, &base(&base_only))
        .unwrap();
    assert_eq!(
        shown(&upper),
        [
            "app 1:2.0+b~1-3 tiny-world manual",
            "extra 1 tiny-world manual",
            "lib 1 tiny-world auto"
        ]
    );
}

#[test]
fn recommended_packages_come_only_when_asked_for() {
    let Some(world) = World::new("recommended_packages_come_only_when_asked_for") else {
        return;
    };
    world.deb("app", "1", "Recommends: extra\n");
    world.deb("extra", "1", "");
    world.publish();
    let locked = world.lock_base(&[]);
    for (recommends, count) in [(false, 1), (true, 2)] {
        let root = world.open();
        let request = PackageRequest {
            layer: "up",
            packages: &["app".to_owned()],
            recommends,
            base: None,
        };
        assert_eq!(
            root.update()
                .unwrap()
                .resolve(request, &base(&locked))
                .unwrap()
                .len(),
            count
        );
    }
}

#[test]
fn an_unknown_package_is_named_with_the_one_that_was_meant() {
    let Some(world) = World::new("an_unknown_package_is_named_with_the_one_that_was_meant") else {
        return;
    };
    world.deb("nginx", "1", "");
    world.publish();
    let error = world.lock("web", &["ngnix"], &[]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "layer 'web': no package 'ngnix' in tiny main (did you mean 'nginx'?)"
    );
    let error = world.lock("web", &["frobnicate"], &[]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "layer 'web': no package 'frobnicate' in tiny main"
    );
    let error = world.lock("web", &["nginx=7"], &[]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "layer 'web': no version '7' of 'nginx' (there is 1)"
    );
}

#[test]
fn what_apt_would_read_as_something_else_is_refused() {
    let Some(world) = World::new("what_apt_would_read_as_something_else_is_refused") else {
        return;
    };
    world.deb("nginx", "1", "");
    world.publish();
    for bad in [
        "--allow-downgrades",
        "nginx-",
        "?essential",
        "~n.",
        "ngin.*",
        "nginx=",
        "/etc/passwd",
        "./x.deb",
        "",
    ] {
        let error = world.lock("web", &[bad], &[]).unwrap_err();
        assert!(matches!(error, AptError::BadName { .. }), "{bad}: {error}");
    }
    // A dot is allowed in names, but must not work as a regular expression.
    assert!(matches!(
        world.lock("web", &["ngin."], &[]).unwrap_err(),
        AptError::UnknownPackage { .. }
    ));
}

#[test]
fn a_lower_package_that_would_have_to_move_is_the_reason_given() {
    let Some(world) = World::new("a_lower_package_that_would_have_to_move_is_the_reason_given")
    else {
        return;
    };
    world.deb("lib", "1", "");
    world.publish();
    let locked = world.lock_base(&["lib"]);
    world.deb("lib", "2", "");
    world.deb("app", "1", "Depends: middle\n");
    world.deb("middle", "1", "Depends: deep\n");
    world.deb("deep", "1", "Depends: lib (>= 2)\n");
    world.deb("foe", "1", "Breaks: lib (<< 2)\n");
    world.deb("hopeless", "1", "Depends: lib (>= 9)\n");
    world.publish();
    let reason = |package: &str| {
        world
            .lock("web", &[package], &base(&locked))
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        reason("app"),
        "layer 'web' needs lib (>= 2) (for deep), but layer 'base' holds 1: lock --update base would allow it"
    );
    assert_eq!(
        reason("foe"),
        "layer 'web' has foe, which breaks lib (< 2), but layer 'base' holds 1: lock --update base would allow it"
    );
    assert_eq!(
        reason("hopeless"),
        "layer 'web' needs lib (>= 9) (for hopeless), but layer 'base' holds 1"
    );
    world.deb("app", "0", "Depends: lib (= 1)\n");
    fs::rename(
        world.archive().join("app_0_all.deb"),
        world.archive().join("older.deb"),
    )
    .unwrap();
    world.publish();
    assert!(
        reason("app").ends_with(": lock --update base would allow it, 'app=0' fits as it is"),
        "{}",
        reason("app")
    );
    assert!(matches!(
        world.lock("web", &["lib=2"], &base(&locked)).unwrap_err(),
        AptError::Held(held) if held.movable
    ));
}

#[test]
fn a_conflict_without_lower_layers_gives_apts_reason() {
    let Some(world) = World::new("a_conflict_without_lower_layers_gives_apts_reason") else {
        return;
    };
    world.deb("app", "1", "Depends: absent-thing (>= 3)\n");
    world.publish();
    let error = world.lock("web", &["app"], &[]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the packages of layer 'web' cannot be installed together:\n  app depends on absent-thing (>= 3) but it is not installable"
    );
}

#[test]
fn a_name_that_is_only_mentioned_is_no_package_and_the_one_after_it_is_named() {
    let Some(world) =
        World::new("a_name_that_is_only_mentioned_is_no_package_and_the_one_after_it_is_named")
    else {
        return;
    };
    world.deb("server11", "1", "Breaks: server10\n");
    world.publish();
    let error = world.lock("web", &["server10"], &[]).unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("layer 'web': no package 'server10' in "),
        "{text}"
    );
    assert!(text.ends_with(" (did you mean 'server11'?)"), "{text}");
}

#[test]
fn of_a_name_that_several_packages_provide_they_are_named() {
    let Some(world) = World::new("of_a_name_that_several_packages_provide_they_are_named") else {
        return;
    };
    world.deb("one", "1", "Provides: agent\n");
    world.deb("two", "1", "Provides: agent\n");
    world.publish();
    let error = world.lock("web", &["agent"], &[]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "layer 'web': 'agent' is provided by several packages; name one of them: one, two"
    );
}

#[test]
fn updating_one_layer_leaves_a_superseded_base_as_it_is() {
    let Some(world) = World::new("updating_one_layer_leaves_a_superseded_base_as_it_is") else {
        return;
    };
    world.deb("lib", "1", "");
    world.deb("app", "1", "Depends: lib (>= 1)\n");
    world.publish();
    let locked = world.lock_base(&["lib"]);
    let old = world.lock("web", &["app"], &base(&locked)).unwrap();
    assert_eq!(shown(&old), ["app 1 tiny-world manual"]);
    world.open().fetch(&locked, &quiet).unwrap();
    world.remove("lib_1_all.deb");
    world.remove("app_1_all.deb");
    world.deb("lib", "2", "");
    world.deb("app", "2", "Depends: lib (>= 1)\n");
    world.publish();
    let new = world.lock("web", &["app"], &base(&locked)).unwrap();
    assert_eq!(shown(&new), ["app 2 tiny-world manual"], "lib stays at 1");
    // The same with nothing remembered from the old index: the cached file says enough.
    fs::remove_dir_all(world.dir.path().join("debs/index")).unwrap();
    assert_eq!(world.lock("web", &["app"], &base(&locked)).unwrap(), new);
    // And with the file gone too, the base cannot be known any more, and that is said.
    fs::remove_dir_all(world.dir.path().join("debs")).unwrap();
    let error = world.lock("web", &["app"], &base(&locked)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the archive 'tiny-world' no longer has lib 1: lock the layer again"
    );
}

#[test]
fn cached_packages_need_no_archive() {
    let Some(world) = World::new("cached_packages_need_no_archive") else {
        return;
    };
    world.deb("lib", "1", "");
    world.publish();
    let locked = world.lock_base(&["lib"]);
    let calls = std::cell::RefCell::new(Vec::new());
    world
        .open()
        .fetch(&locked, &|done, total| {
            calls.borrow_mut().push((done, total))
        })
        .unwrap();
    let total: u64 = locked.iter().map(|p| p.size).sum();
    assert_eq!(calls.borrow().last(), Some(&(total, total)));
    fs::remove_dir_all(world.archive()).unwrap();
    fs::remove_dir_all(world.dir.path().join("apt")).unwrap();
    world.open().fetch(&locked, &quiet).unwrap();
    let repo = LocalRepo::create(&world.dir.path().join("repo"), &world.cache(), &locked).unwrap();
    let index = fs::read_to_string(repo.path().join("Packages")).unwrap();
    for package in &locked {
        assert!(
            index.contains(&format!("SHA256: {}\n", package.sha256)),
            "{index}"
        );
    }
    // Names what is missing, rather than going to look for it.
    let mut other = locked[0].clone();
    other.size += 1;
    assert_eq!(world.cache().missing(&[other]).len(), 1);
}

#[test]
fn a_package_is_dated_by_its_own_bytes() {
    let Some(world) = World::new("a_package_is_dated_by_its_own_bytes") else {
        return;
    };
    for (name, date) in [("old", "1000000000"), ("new", "1700000000")] {
        world.deb_of(name, "1", "", date);
    }
    world.publish();
    let mut locked = world.lock_base(&["new", "old"]);
    let cache = world.cache();
    world.open().fetch(&locked, &quiet).unwrap();
    locked.retain(|package| package.name != "tiny-base");
    let dates: Vec<i64> = locked.iter().map(|p| cache.date(p).unwrap()).collect();
    assert_eq!(dates, [1_700_000_000, 1_000_000_000]);
    // Nothing is believed of a file that is not the locked one, nor of one that is no package.
    fs::write(cache.path(&locked[0]), "short").unwrap();
    let error = cache.date(&locked[0]).unwrap_err();
    assert!(matches!(error, AptError::HashMismatch { .. }), "{error}");
    for (bytes, said) in [
        (b"!<arch>\n".to_vec(), "too short for a package"),
        (vec![b' '; 100], "no ar archive"),
        ([b"!<arch>\n".to_vec(), vec![b'x'; 100]].concat(), "no date"),
    ] {
        let mut odd = locked[0].clone();
        odd.size = bytes.len() as u64;
        odd.sha256 = layerset::sha256::Sha256::from_bytes(sha2::Sha256::digest(&bytes).into());
        fs::write(cache.path(&odd), &bytes).unwrap();
        let error = cache.date(&odd).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn a_corrupt_cached_package_is_named_and_refused() {
    let Some(world) = World::new("a_corrupt_cached_package_is_named_and_refused") else {
        return;
    };
    world.deb("lib", "1", "");
    world.publish();
    let locked = world.lock_base(&["lib"]);
    let cache = world.cache();
    world.open().fetch(&locked, &quiet).unwrap();
    let path = cache.path(&locked[0]);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    let error = LocalRepo::create(&world.dir.path().join("repo"), &cache, &locked).unwrap_err();
    let AptError::HashMismatch {
        package,
        expected,
        found,
        path: named,
    } = error
    else {
        panic!("{error}")
    };
    assert_eq!(
        (package.as_str(), expected, named),
        ("lib 1", locked[0].sha256, path.clone())
    );
    assert_ne!(found, expected);
    // A file cut short is seen before its digest is computed, and fetched anew.
    fs::write(&path, "cut").unwrap();
    assert_eq!(cache.missing(&locked).len(), 1);
    world.open().fetch(&locked, &quiet).unwrap();
    cache.verify(&locked[0]).unwrap();
}

#[test]
fn an_archive_that_changed_or_lost_a_file_is_an_error_that_says_so() {
    let Some(world) = World::new("an_archive_that_changed_or_lost_a_file_is_an_error_that_says_so")
    else {
        return;
    };
    world.deb("lib", "1", "");
    world.deb("other", "1", "");
    world.publish();
    let locked = world.lock_base(&["lib", "other"]);
    world.deb("lib", "1", "Section: changed\n");
    let error = world.open().fetch(&locked, &quiet).unwrap_err();
    assert!(error.to_string().contains("Hash Sum mismatch"), "{error}");
    assert_eq!(
        world.cache().missing(&locked).len(),
        1,
        "what arrived is kept"
    );
    world.remove("lib_1_all.deb");
    let error = world.open().fetch(&locked, &quiet).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the archive 'tiny-world' no longer has lib 1: lock the layer again"
    );
    let mut foreign = locked.clone();
    foreign[0].archive = "elsewhere".into();
    let error = world.open().fetch(&foreign, &quiet).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no source for the archive 'elsewhere' of lib 1 (the sources offer tiny-world)"
    );
}

#[test]
fn an_archive_without_a_signature_is_refused() {
    let Some(world) = World::new("an_archive_without_a_signature_is_refused") else {
        return;
    };
    world.publish();
    fs::write(
        world.dir.path().join("sources.list"),
        format!("deb file:{} ./\n", world.archive().display()),
    )
    .unwrap();
    let error = world.lock("web", &["tiny-base"], &[]).unwrap_err();
    assert!(error.to_string().contains("is not signed"), "{error}");
}

#[test]
fn the_plan_for_a_sandbox_is_the_same_in_any_order() {
    let Some(world) = World::new("the_plan_for_a_sandbox_is_the_same_in_any_order") else {
        return;
    };
    world.deb("app", "1", "Depends: lib\n");
    world.deb("lib", "1", "");
    world.publish();
    let mut locked = world.lock_base(&["app"]);
    let requested = ["app".to_owned()];
    let plan = InstallPlan::new(&locked, &requested, &world.arch);
    locked.reverse();
    assert_eq!(InstallPlan::new(&locked, &requested, &world.arch), plan);
    let leaks = |text: &str| Path::new(text).exists() && text.contains("tmp");
    assert!(plan.files.iter().all(|(path, _)| !leaks(path)));
}
