//! Packages that left their archive.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use layerset::durable::RealDisk;
use layerset::format::LayerPackage;
use layerset::store::{Repository, RepositoryOptions};
use layerset::tree::{Changeset, Inode, Tree};

use super::{Site, TRUSTED, run};
use crate::remote::servers::WebServer;
use crate::session::Session;
use crate::support::{bare_layer, commit_web, path};

#[test]
fn what_left_its_archive_comes_from_a_snapshot() {
    let Some(site) = Site::new("what_left_its_archive_comes_from_a_snapshot") else {
        return;
    };
    site.deb("a/pool", "tiny-base", "1", "Essential: yes\n");
    site.deb("a/pool", "app", "1", "");
    site.flat("a");
    site.base(&TRUSTED.replace("URI", &site.uri("a")), &["app"]);
    site.layer("app", "base", &["app"], "");
    site.lock().expect(0);
    run("cp", &["-a", "a", "2020"], site.dir.path());
    site.deb("a/pool", "tiny-base", "2", "Essential: yes\n");
    fs::remove_file(site.path("a/pool/tiny-base_1_all.deb")).unwrap();
    site.flat("a");
    let cache = site.path("cache");
    fs::rename(site.path("repo/cache/debs"), &cache).unwrap();
    site.forget();
    site.session
        .run("lock recipes/web.toml --update app")
        .expect(1)
        .says(&["the archive 'a' no longer has tiny-base 1", "snapshots = "]);
    let base = site.read("layers/base/layer.toml");
    let with_snapshot = |address: &str| {
        let named = format!("variant = \"essential\"\nsnapshots = [\"{address}\"]\n");
        site.write(
            "layers/base/layer.toml",
            base.replace("variant = \"essential\"\n", &named),
        );
        site.forget();
        site.session.run("lock recipes/web.toml --update app")
    };
    // So does the cache of another repository have it, whichever way it is reached.
    fs::create_dir_all(site.path("kept")).unwrap();
    fs::rename(&cache, site.path("kept/debs")).unwrap();
    let snapshot = WebServer::start(&site.path("2020"), []);
    let kept = WebServer::start(&site.path("kept/debs"), []);
    for address in [
        snapshot.url.clone(),
        site.uri("2020"),
        kept.url.clone(),
        site.uri("kept/debs"),
    ] {
        with_snapshot(&address).expect(0);
        assert_eq!(site.locked("web"), ["tiny-base 1 a", "app 1 a"]);
    }
    // Another file under the same name is not taken for it.
    site.deb(
        "2020/pool",
        "tiny-base",
        "1",
        "Essential: yes\nSection: other\n",
    );
    with_snapshot(&site.uri("2020"))
        .expect(1)
        .says(&["Hash Sum mismatch"]);
}

/// Makes an image `web` of a layer that the locked packages were installed in: what a build leaves.
fn built(site: &Site) -> Vec<String> {
    let lock = site.read("recipes/web.lock");
    let word = |line: &str, key: &str| -> String {
        let rest = line.split_once(&format!("{key} = \"")).unwrap().1;
        rest.split('"').next().unwrap().to_owned()
    };
    let lines = lock.lines().filter(|line| line.contains("pool_path"));
    let packages: Vec<LayerPackage> = lines
        .map(|line| LayerPackage {
            name: word(line, " name"),
            architecture: word(line, "architecture"),
            version: word(line, "version"),
            sha256: word(line, "sha256"),
        })
        .collect();
    let disk = Arc::new(RealDisk);
    let repository =
        Repository::open(&site.path("repo"), disk, RepositoryOptions::default()).unwrap();
    let transaction = repository.begin().unwrap();
    let mut tree = Tree::new();
    tree.insert(path(b""), Inode::directory(0o755));
    let changes = Changeset::between(&Tree::new(), &tree);
    let changeset = transaction.put_changeset(&changes).unwrap();
    let whole = transaction.put_tree(&tree).unwrap();
    let mut layer = bare_layer(("base", "1"), (b"base", 1_700_000_000, 1), changeset);
    let digests = packages.iter().map(|package| package.sha256.clone());
    let digests = digests.collect();
    layer.packages = packages;
    commit_web(&repository, transaction, &layer, (whole, 0, 1));
    digests
}

fn blob(remote: &Path, digest: &str) -> std::path::PathBuf {
    remote.join("blobs/sha256").join(&digest[..2]).join(digest)
}

#[test]
fn what_left_its_archive_comes_from_a_remote_that_the_machine_trusts() {
    let test = "what_left_its_archive_comes_from_a_remote_that_the_machine_trusts";
    let Some(site) = Site::new(test) else { return };
    for (name, fields) in [("tiny-base", "Essential: yes\n"), ("app", "")] {
        site.deb("a", name, "1", fields);
    }
    site.flat("a");
    let archive = WebServer::start(&site.path("a"), []);
    site.base(&TRUSTED.replace("URI", &archive.url), &["app"]);
    site.layer("app", "base", &["app"], "");
    site.lock().expect(0);
    let lock = site.read("recipes/web.lock");
    let digests = built(&site);
    let trust = "--keys keys --root root.json";
    let line = format!("trust init ./remote {trust}");
    site.session.run(&line).expect(0);
    fs::create_dir(site.path("empty")).unwrap();
    let publish = |options: &str| {
        let line = format!("publish web --to ./remote --channel stable {trust} --json {options}");
        site.session.run(&line)
    };
    // Only who asks for it sends them, and what they would be is said before.
    assert!(publish("").expect(0).json()["debs"].is_null());
    let sizes: u64 = ["tiny-base_1_all.deb", "app_1_all.deb"]
        .map(|name| fs::metadata(site.path("a").join(name)).unwrap().len())
        .iter()
        .sum();
    let debs =
        |sent: u64, bytes: u64| serde_json::json!({"files": 2, "sent": sent, "bytes": bytes});
    let remote = site.path("remote");
    let planned = publish("--debs --dry-run").expect(0).json();
    assert_eq!(planned["debs"], debs(2, sizes), "{planned}");
    assert!(!blob(&remote, &digests[0]).exists());
    // One that was changed here, or is gone, is not sent; nothing is.
    let cached = |digest: &str| site.path(&format!("repo/cache/debs/{digest}.deb"));
    let whole = fs::read(cached(&digests[0])).unwrap();
    fs::write(cached(&digests[0]), b"other").unwrap();
    publish("--debs")
        .expect(1)
        .says(&["the files of 1 packages are not here", "--rebuild LAYER"]);
    assert!(!blob(&remote, &digests[1]).exists());
    fs::write(cached(&digests[0]), whole).unwrap();
    assert_eq!(publish("--debs").expect(0).json()["debs"], debs(2, sizes));
    // What the remote has does not have to be here.
    site.forget();
    assert_eq!(publish("--debs").expect(0).json()["debs"], debs(0, 0));

    // The archive loses a package; a colleague has the definitions, the lock and the trust.
    site.deb("a", "tiny-base", "2", "Essential: yes\n");
    fs::remove_file(site.path("a/tiny-base_1_all.deb")).unwrap();
    site.flat("a");
    let server = WebServer::start(&remote, []);
    let policy = |remotes: &[&str]| {
        let remotes = remotes.iter().enumerate().map(|(number, location)| {
            format!("[[remote]]\nname = \"r{number}\"\nlocation = \"{location}\"\nroot = \"root.json\"\n")
        });
        site.write("trust.toml", remotes.collect::<String>());
    };
    let colleague = Session::new(site.dir.path(), &site.path("colleague"))
        .with("LAYERSET_TRUST", &site.path("trust.toml"));
    colleague.run("init").expect(0);
    let update = || {
        let _ = fs::remove_dir_all(site.path("colleague/cache"));
        colleague.run("lock recipes/web.toml --update app")
    };
    // By http, a flat archive without a name has no path to go by.
    let gone = "the archive 'archive' no longer has tiny-base 1";
    policy(&["./empty"]);
    update()
        .expect(1)
        .says(&[gone, "`layerset publish --debs`"]);
    // By http, after one that lacks it and one that does not answer.
    policy(&["./empty", "./nowhere", &server.url]);
    update().expect(0).says(&[
        "remote 'r1' could not be asked for packages",
        "1 package file that no archive has came from remote 'r2'",
    ]);
    assert_eq!(site.read("recipes/web.lock"), lock);
    // A build takes it too, before it begins.
    let _ = fs::remove_dir_all(site.path("colleague/cache"));
    let built = colleague.run("build recipes/web.toml");
    built.says(&["1 package file that no archive has came from remote 'r2'"]);
    assert!(digests.iter().any(|digest| {
        let name = format!("colleague/cache/debs/{digest}.deb");
        site.path(&name).exists()
    }));
    // Other bytes under its name are not taken, nor do they keep the next remote from being asked.
    let lost = digests.iter().find(|digest| blob(&remote, digest).exists());
    run("cp", &["-a", "remote", "damaged"], site.dir.path());
    for digest in &digests {
        let path = blob(&site.path("damaged"), digest);
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
    }
    assert!(lost.is_some());
    policy(&["./damaged"]);
    update().expect(1).says(&[gone]);
    policy(&["./damaged", &server.url]);
    update().expect(0);
    // Nor does a policy that cannot be read.
    site.write("trust.toml", "[[remote]]\n");
    update().expect(1).says(&["no remote is asked", gone]);
}
