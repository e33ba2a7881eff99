//! Archives of other people's kinds, through `layerset lock`: real packages, real indexes and signatures, made on the
//! spot; by `file:` and by http on loopback.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::remote::servers::{Step, WebServer};
use crate::session::{Ran, Session};
use crate::support::{is_root, skip};

/// An archive that trusts itself, at `URI`, as one source of a base.
const TRUSTED: &str = "uris = [\"URI\"]\nsuites = [\"./\"]\ntrusted = true\n";

/// A place for archives, and a workspace that locks from them.
struct Site {
    dir: TempDir,
    session: Session,
    arch: String,
}

/// A key that signs archives.
struct SigningKey {
    home: TempDir,
}

fn run(program: &str, arguments: &[&str], dir: &Path) -> Vec<u8> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(dir)
        .env("SOURCE_DATE_EPOCH", "1600000000")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    output.stdout
}

impl SigningKey {
    fn new(name: &str) -> Self {
        // A short path: the agent's socket has to fit into 108 bytes.
        let home = tempfile::Builder::new()
            .prefix("ls-gpg-")
            .tempdir_in("/tmp");
        let key = Self {
            home: home.unwrap(),
        };
        key.gpg(&["--quick-generate-key", name, "ed25519", "sign", "never"]);
        key
    }

    fn gpg(&self, arguments: &[&str]) -> Vec<u8> {
        let home = self.home.path().to_str().unwrap();
        let fixed = [
            "--homedir",
            home,
            "--batch",
            "--quiet",
            "--yes",
            "--passphrase",
            "",
            "--pinentry-mode",
            "loopback",
        ];
        run("gpg", &[&fixed[..], arguments].concat(), Path::new("/"))
    }

    fn armored(&self) -> Vec<u8> {
        self.gpg(&["--armor", "--export"])
    }

    /// Signs the `Release` file in `dir`.
    fn sign(&self, dir: &Path) {
        let (from, to) = (dir.join("Release"), dir.join("InRelease"));
        self.gpg(&[
            "--clearsign",
            "--output",
            to.to_str().unwrap(),
            from.to_str().unwrap(),
        ]);
    }
}

impl Drop for SigningKey {
    fn drop(&mut self) {
        let home = self.home.path().to_str().unwrap();
        let _ = Command::new("gpgconf")
            .args(["--homedir", home, "--kill", "gpg-agent"])
            .output();
    }
}

impl Site {
    fn new(test: &str) -> Option<Self> {
        for tool in ["apt-get", "dpkg-deb", "apt-ftparchive", "gpg", "mmdebstrap"] {
            if Command::new(tool).arg("--version").output().is_err() {
                skip(test, &format!("needs {tool}"));
                return None;
            }
        }
        let dir = TempDir::new().unwrap();
        // The unprivileged user of apt has to get there.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let arch = run("dpkg", &["--print-architecture"], dir.path());
        let repo = dir.path().join("repo");
        let site = Self {
            session: Session::new(dir.path(), &repo),
            arch: String::from_utf8(arch).unwrap().trim().to_owned(),
            dir,
        };
        site.session.run("init").expect(0);
        Some(site)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn uri(&self, archive: &str) -> String {
        format!("file:{}", self.path(archive).display())
    }

    /// Makes a package in the directory `to`.
    fn deb(&self, to: &str, name: &str, version: &str, fields: &str) {
        let tree = self.path("tree");
        fs::create_dir_all(tree.join("DEBIAN")).unwrap();
        let control = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: T <t@example.org>\n{fields}\
             Description: {name}\n For tests.\n"
        );
        fs::write(tree.join("DEBIAN/control"), control).unwrap();
        for dir in [&tree, &tree.join("DEBIAN")] {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let to = self.path(to);
        fs::create_dir_all(&to).unwrap();
        run(
            "dpkg-deb",
            &["--build", tree.to_str().unwrap(), to.to_str().unwrap()],
            self.dir.path(),
        );
    }

    /// Writes the `Release` file of what is below `dir`, with these fields.
    fn release(&self, dir: &str, fields: &[(&str, &str)]) {
        let dir = self.path(dir);
        let _ = fs::remove_file(dir.join("Release"));
        let _ = fs::remove_file(dir.join("InRelease"));
        let hashes = String::from_utf8(run("apt-ftparchive", &["release", "."], &dir)).unwrap();
        let own: String = fields
            .iter()
            .map(|(key, value)| format!("{key}: {value}\n"))
            .collect();
        fs::write(dir.join("Release"), own + &hashes).unwrap();
    }

    /// Writes the index of a flat archive, and no `Release` file.
    fn flat(&self, archive: &str) {
        let dir = self.path(archive);
        let _ = fs::remove_file(dir.join("Release"));
        let index = run("apt-ftparchive", &["packages", "."], &dir);
        fs::write(dir.join("Packages"), index).unwrap();
    }

    /// Writes the indexes of an archive with a suite and components, whose packages are in `pool/<component>`.
    fn suite(&self, archive: &str, suite: &str, components: &[&str], fields: &[(&str, &str)]) {
        let dir = self.path(archive);
        for component in components {
            let pool = format!("pool/{component}");
            fs::create_dir_all(dir.join(&pool)).unwrap();
            let index = run("apt-ftparchive", &["packages", &pool], &dir);
            let to = format!(
                "{archive}/dists/{suite}/{component}/binary-{}/Packages",
                self.arch
            );
            self.write(&to, index);
        }
        let components = components.join(" ");
        let mut all = vec![
            ("Components", components.as_str()),
            ("Architectures", self.arch.as_str()),
        ];
        all.push(("Suite", suite));
        all.extend(fields);
        self.release(&format!("{archive}/dists/{suite}"), &all);
    }

    /// Writes a base that draws from a source, and recipe `web` of it and `layers`.
    fn base(&self, source: &str, layers: &[&str]) {
        let text = format!(
            "[bootstrap]\nsuite = \"tiny\"\npockets = []\nvariant = \"essential\"\n\n[[bootstrap.sources]]\n{source}"
        );
        self.write("layers/base/layer.toml", text);
        self.recipe("web", layers);
    }

    fn recipe(&self, name: &str, layers: &[&str]) {
        let all = [&["base"], layers].concat();
        self.write(
            &format!("recipes/{name}.toml"),
            format!("layers = {all:?}\n"),
        );
    }

    fn layer(&self, name: &str, on: &str, packages: &[&str], more: &str) {
        let text = format!("on = [\"{on}\"]\n\n[apt]\npackages = {packages:?}\n{more}");
        self.write(&format!("layers/{name}/layer.toml"), text);
    }

    fn lock(&self) -> Ran {
        self.session.run("lock recipes/web.toml")
    }

    /// Returns name, version and archive of all locked packages.
    fn locked(&self, recipe: &str) -> Vec<String> {
        let text = self.read(&format!("recipes/{recipe}.lock"));
        let lines = text.lines().filter(|line| line.contains("pool_path"));
        let word = |line: &str, key: &str| -> String {
            let rest = line.split_once(&format!(" {key} = \"")).unwrap().1;
            rest.split('"').next().unwrap().to_owned()
        };
        lines
            .map(|line| {
                format!(
                    "{} {} {}",
                    word(line, "name"),
                    word(line, "version"),
                    word(line, "archive")
                )
            })
            .collect()
    }

    /// Forgets the fetched packages and all that is known of archives, as a colleague's machine does.
    fn forget(&self) {
        for name in ["debs", "apt"] {
            let _ = fs::remove_dir_all(self.path("repo/cache").join(name));
        }
    }
}

#[test]
fn archives_lock_whatever_they_call_themselves() {
    let Some(site) = Site::new("archives_lock_whatever_they_call_themselves") else {
        return;
    };
    type Fields<'f> = Option<&'f [(&'f str, &'f str)]>;
    let fields: [(&str, Fields<'_>, &str); 6] = [
        ("none", None, "none"),
        ("silent", Some(&[]), "silent"),
        ("origin", Some(&[("Origin", "Acme Corp.")]), "acme-corp"),
        (
            "codename",
            Some(&[("Suite", "stable"), ("Codename", "hippo")]),
            "hippo",
        ),
        (
            "odd",
            Some(&[("Label", "日本 (C++)"), ("Origin", "x")]),
            "c",
        ),
        (
            "label",
            Some(&[("Label", "Vendor"), ("Origin", "x")]),
            "vendor",
        ),
    ];
    for (archive, release, name) in fields {
        site.deb(archive, "tiny-base", "1", "Essential: yes\n");
        site.deb(archive, "app", "1", "");
        site.flat(archive);
        if let Some(release) = release {
            site.release(archive, release);
        }
        site.layer("app", "base", &["app"], "");
        let server = WebServer::start(&site.path(archive), []);
        for (uri, name) in [(site.uri(archive), name), (server.url.clone(), name)] {
            // By http there is no path to go by.
            let by_path = matches!(archive, "none" | "silent") && uri.starts_with("http");
            let name = if by_path { "archive" } else { name };
            site.base(&TRUSTED.replace("URI", &uri), &["app"]);
            site.forget();
            let _ = fs::remove_file(site.path("recipes/web.lock"));
            let said = site.lock().expect(0).stderr;
            assert!(
                said.contains(
                    "layers/base/layer.toml:6:1: the archive is taken without a signature"
                ),
                "{said}"
            );
            let expected = [format!("tiny-base 1 {name}"), format!("app 1 {name}")];
            assert_eq!(site.locked("web"), expected, "{archive} {uri}");
            // What was written can be read, and fetched by somebody who has nothing else.
            let lock = site.read("recipes/web.lock");
            site.forget();
            site.session
                .run("lock recipes/web.toml --update app")
                .expect(0);
            assert_eq!(site.read("recipes/web.lock"), lock);
        }
    }
}

#[test]
fn flat_archives_in_folders_and_with_odd_paths_lock() {
    let Some(site) = Site::new("flat_archives_in_folders_and_with_odd_paths_lock") else {
        return;
    };
    site.deb("apt/stable/all", "tiny-base", "1+b~1", "Essential: yes\n");
    for (suite, from, pattern, replaced) in [
        ("stable/", "apt", "Filename: ", "Filename: "),
        ("stable/", "apt", "Filename: stable/", "Filename: ./stable/"),
        ("stable/", "apt", "Filename: stable/", "Filename: stable//"),
        ("/", "apt/stable", "Filename: ", "Filename: "),
        ("./", "apt/stable", "Filename: ", "Filename: "),
    ] {
        let scanned = if from == "apt" { "stable" } else { "." };
        let index = String::from_utf8(run(
            "apt-ftparchive",
            &["packages", scanned],
            &site.path(from),
        ))
        .unwrap();
        site.write("apt/stable/Packages", index.replace(pattern, replaced));
        for by_http in [false, true] {
            let server = WebServer::ruled(&site.path(from), |seen, _| {
                let path = seen
                    .path
                    .replace("//", "/")
                    .replace("%7e", "~")
                    .replace("%2b", "+");
                (path != seen.path)
                    .then(|| Step::Say(format!("301 Moved\r\nlocation: {path}"), vec![]))
            });
            let uri = if by_http {
                server.url.clone()
            } else {
                site.uri(from)
            };
            let source = TRUSTED.replace("URI", &uri).replace("./", suite);
            site.base(&source, &[]);
            site.forget();
            site.lock().expect(0);
            site.forget();
            site.lock().expect(0);
        }
    }
    let index = "Package: tiny-base\nEssential: yes\nVersion: 1\nArchitecture: all\nFilename: ../x.deb\nSize: 1\nSHA256: ";
    site.write(
        "apt/stable/Packages",
        format!("{index}{}\n", "0".repeat(64)),
    );
    site.base(&TRUSTED.replace("URI", &site.uri("apt/stable")), &[]);
    let said = site.lock().expect(1).stderr;
    assert!(
        said.contains("'../x.deb', the file of tiny-base 1, leaves the archive"),
        "{said}"
    );
}

#[test]
fn an_archive_that_changes_its_name_is_told_and_blocks_nothing() {
    let Some(site) = Site::new("an_archive_that_changes_its_name_is_told_and_blocks_nothing")
    else {
        return;
    };
    let key = SigningKey::new("one@example.org");
    site.deb("a/pool/main", "tiny-base", "1", "Essential: yes\n");
    site.deb("a/pool/main", "app", "1", "");
    site.suite(
        "a",
        "tiny",
        &["main"],
        &[("Label", "Old"), ("Origin", "Corp"), ("Codename", "alpha")],
    );
    key.sign(&site.path("a/dists/tiny"));
    site.write("layers/base/corp.asc", key.armored());
    let source = format!(
        "uris = [\"{}\"]\nsuites = [\"tiny\"]\ncomponents = [\"main\"]\nsigned_by = \"corp.asc\"\n",
        site.uri("a")
    );
    site.base(&source, &["app"]);
    site.layer("app", "base", &["app"], "");
    let said = site.lock().expect(0).stderr;
    assert!(!said.contains("changed its"), "{said}");
    assert_eq!(site.locked("web"), ["tiny-base 1 old", "app 1 old"]);
    let epochs = |text: &str| -> Vec<String> {
        text.lines()
            .filter(|l| l.starts_with("epoch"))
            .map(str::to_owned)
            .collect()
    };
    let before = site
        .read("recipes/web.lock")
        .replace("epoch = 1600000000", "epoch = 1500000000");
    site.write("recipes/web.lock", &before);

    site.suite(
        "a",
        "tiny",
        &["main"],
        &[
            ("Label", "New 'x'"),
            ("Origin", "Corp AG"),
            ("Codename", "beta"),
        ],
    );
    key.sign(&site.path("a/dists/tiny"));
    let ran = site.session.run("lock recipes/web.toml --json").expect(0);
    for (field, old, new) in [
        ("Label", "Old", "New 'x'"),
        ("Origin", "Corp", "Corp AG"),
        ("Codename", "alpha", "beta"),
    ] {
        let told = format!(
            "note: the archive 'file:DIR/a/ tiny' changed its {field} from '{old}' to '{new}'"
        );
        assert!(ran.stderr.contains(&told), "{}", ran.stderr);
        let changes = ran.json()["archive_changes"].clone();
        let is = |c: &Value| c["field"] == field && c["before"] == old && c["after"] == new;
        assert!(changes.as_array().unwrap().iter().any(is), "{changes}");
    }
    assert_eq!(site.locked("web"), ["tiny-base 1 new--x", "app 1 new--x"]);
    // The same files: an old epoch stays, and with it the layers.
    assert_eq!(epochs(&site.read("recipes/web.lock")), epochs(&before));
    let said = site.lock().expect(0).stderr;
    assert!(!said.contains("changed its"), "it is told once: {said}");

    // A lock that has the old name, and one of the first versions, are as good as ever.
    for name in ["old", "--label-"] {
        let text = site.read("recipes/web.lock").replace("new--x", name);
        site.write("recipes/web.lock", text);
        site.forget();
        site.session
            .run("lock recipes/web.toml --update app")
            .expect(0);
    }
}

#[test]
fn a_signed_archive_needs_its_own_key_and_every_fault_has_its_place() {
    let Some(site) = Site::new("a_signed_archive_needs_its_own_key_and_every_fault_has_its_place")
    else {
        return;
    };
    let (key, other) = (
        SigningKey::new("one@example.org"),
        SigningKey::new("two@example.org"),
    );
    site.deb("base", "tiny-base", "1", "Essential: yes\n");
    site.flat("base");
    site.base(&TRUSTED.replace("URI", &site.uri("base")), &["shop"]);
    site.deb("v/pool/main", "shop", "1", "");
    site.deb("v/pool/extra", "more", "1", "");
    site.suite("v", "stable", &["main", "extra"], &[("Label", "Shop")]);
    key.sign(&site.path("v/dists/stable"));
    let armored = String::from_utf8(key.armored()).unwrap();
    site.write("layers/shop/shop.asc", &armored);
    site.write("layers/shop/shop.gpg", key.gpg(&["--export"]));
    site.write("layers/shop/other.asc", other.armored());
    site.write(
        "layers/shop/secret.asc",
        key.gpg(&["--armor", "--export-secret-keys"]),
    );
    site.write("layers/shop/page.asc", "<html>Sign in</html>");
    let source = |more: &str| {
        format!(
            "\n[[apt.sources]]\nuris = [\"{}\"]\nsuites = [\"stable\"]\ncomponents = [\"main\", \"extra\"]\n{more}\n",
            site.uri("v")
        )
    };
    let with = |more: &str| {
        site.layer("shop", "base", &["shop", "more"], &source(more));
        site.forget();
        site.lock()
    };
    for good in [
        "signed_by = \"shop.asc\"",
        "signed_by = \"shop.gpg\"",
        &format!("signed_by = '''\n{armored}'''"),
    ] {
        with(good).expect(0);
        assert_eq!(
            site.locked("web")[1..],
            ["more 1 shop", "shop 1 shop"],
            "{good}"
        );
    }
    let id = String::from_utf8(key.gpg(&["--list-keys", "--with-colons"])).unwrap();
    let id = id
        .lines()
        .find_map(|l| l.strip_prefix("pub:")?.split(':').nth(3).map(str::to_owned))
        .unwrap();
    let at = "layers/shop/layer.toml:6:1: the archive 'file:DIR/v stable'";
    for (more, said) in [
        (
            "signed_by = \"other.asc\"",
            format!("{at} is signed with the key {id}, which is not the one that was named"),
        ),
        (
            "",
            format!("{at} is signed with the key {id}, which is not the one that was named"),
        ),
        (
            "signed_by = \"none.asc\"",
            "layers/shop/layer.toml:10:13: cannot read the key 'layers/shop/none.asc'".to_owned(),
        ),
        (
            "signed_by = \"secret.asc\"",
            "layers/shop/layer.toml:10:13: 'layers/shop/secret.asc' is a private key".to_owned(),
        ),
        (
            "signed_by = \"page.asc\"",
            "layers/shop/layer.toml:10:13: 'layers/shop/page.asc' is a web page, not a key"
                .to_owned(),
        ),
        (
            "signed_by = \"shop.asc\"\ntrusted = true",
            "layers/shop/layer.toml:10:1: 'signed_by' says nothing".to_owned(),
        ),
        (
            "signd_by = \"shop.asc\"",
            "unknown key 'signd_by' (did you mean 'signed_by'?)".to_owned(),
        ),
    ] {
        let ran = with(more).expect(1);
        assert!(ran.stderr.contains(&said), "{more}: {}", ran.stderr);
    }
    // Misspelt suites and components are no archives of nothing.
    let good = source("signed_by = \"shop.asc\"");
    for (from, to, said) in [
        ("\"stable\"", "\"stabel\"", "stabel' has no Release file"),
        ("\"extra\"", "\"extar\"", "stable' has no component 'extar'"),
    ] {
        site.layer("shop", "base", &["shop"], &good.replace(from, to));
        let ran = site.lock().expect(1);
        assert!(
            ran.stderr.contains(&format!(
                "layers/shop/layer.toml:6:1: the archive 'file:DIR/v {said}"
            )),
            "{}",
            ran.stderr
        );
    }
    // An archive that has expired, one that lost its signature, one that was changed.
    site.suite(
        "v",
        "stable",
        &["main", "extra"],
        &[("Valid-Until", "Sat, 28 Nov 2020 00:00:00 UTC")],
    );
    key.sign(&site.path("v/dists/stable"));
    let ran = with("signed_by = \"shop.asc\"").expect(1);
    assert!(
        ran.stderr.contains(&format!("{at} has expired ")),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr.contains("check_valid_until = false"),
        "{}",
        ran.stderr
    );
    with("signed_by = \"shop.asc\"\ncheck_valid_until = false").expect(0);
    let signed = site.read("v/dists/stable/InRelease");
    site.write(
        "v/dists/stable/InRelease",
        signed.replacen("Components: main", "Components: mian", 1),
    );
    let ran = with("signed_by = \"shop.asc\"").expect(1);
    assert!(
        ran.stderr
            .contains(&format!("{at} has a signature that does not fit")),
        "{}",
        ran.stderr
    );
    fs::remove_file(site.path("v/dists/stable/InRelease")).unwrap();
    let ran = with("signed_by = \"shop.asc\"").expect(1);
    assert!(
        ran.stderr.contains(&format!("{at} is not signed")),
        "{}",
        ran.stderr
    );
}

#[test]
fn an_archive_is_seen_by_its_layer_and_by_those_on_it_alone() {
    let Some(site) = Site::new("an_archive_is_seen_by_its_layer_and_by_those_on_it_alone") else {
        return;
    };
    site.deb("base", "tiny-base", "1", "Essential: yes\n");
    site.deb("base", "tool", "1", "");
    site.flat("base");
    for (name, version) in [("shop", "1"), ("plugin", "1"), ("tool", "9")] {
        site.deb("vendor", name, version, "");
    }
    site.flat("vendor");
    site.base(
        &TRUSTED.replace("URI", &site.uri("base")),
        &["shop", "plugin", "tool"],
    );
    let source = format!(
        "\n[[apt.sources]]\n{}",
        TRUSTED.replace("URI", &site.uri("vendor"))
    );
    site.layer("shop", "base", &["shop"], &source);
    site.layer("plugin", "shop", &["plugin"], "");
    site.layer("tool", "base", &["tool"], "");
    site.lock().expect(0);
    assert_eq!(
        site.locked("web"),
        [
            "tiny-base 1 base",
            "shop 1 vendor",
            "plugin 1 vendor",
            "tool 1 base"
        ]
    );
    site.layer("tool", "base", &["plugin"], "");
    let ran = site.lock().expect(1);
    assert!(
        ran.stderr
            .contains("layers/tool/layer.toml:4:13: no package 'plugin' in tiny main"),
        "{}",
        ran.stderr
    );
    // A sources file stands in for the base's archives, not for those that layers add.
    site.layer("tool", "base", &["tool"], "");
    site.write(
        "sources.list",
        format!("deb [trusted=yes] {} ./\n", site.uri("base")),
    );
    site.base(
        "uris = [\"http://127.0.0.1:9/\"]\nsuites = [\"./\"]\n",
        &["shop", "plugin", "tool"],
    );
    site.session
        .run("lock recipes/web.toml --apt-sources sources.list")
        .expect(0);
}

#[test]
fn recipes_that_are_locked_together_or_alike_have_one_base() {
    let Some(site) = Site::new("recipes_that_are_locked_together_or_alike_have_one_base") else {
        return;
    };
    let publish = |version: &str| {
        site.deb("a", "tiny-base", version, "Essential: yes\n");
        site.deb("a", "app", version, "");
        site.flat("a");
    };
    publish("1");
    site.base(&TRUSTED.replace("URI", &site.uri("a")), &["app"]);
    site.recipe("other", &["app"]);
    site.layer("app", "base", &["app"], "");
    site.lock().expect(0);
    publish("2");
    // Another recipe takes over what the first one has, also its dates.
    let text = site
        .read("recipes/web.lock")
        .replace("epoch = 1600000000", "epoch = 1500000000");
    site.write("recipes/web.lock", &text);
    site.session
        .run("lock recipes/other.toml --like recipes/web.toml")
        .expect(0);
    assert_eq!(site.locked("other"), site.locked("web"));
    assert_eq!(
        site.read("recipes/other.lock"),
        text.replace("\"web\"", "\"other\"")
    );
    // On their own they part; together they are one again.
    site.session.run("lock recipes/other.toml").expect(0);
    assert_eq!(site.locked("other"), ["tiny-base 2 a", "app 2 a"]);
    let ran = site
        .session
        .run("lock recipes/other.toml recipes/web.toml --json")
        .expect(0);
    assert_eq!(ran.json()["locks"].as_array().unwrap().len(), 2);
    assert_eq!(
        site.read("recipes/other.lock"),
        site.read("recipes/web.lock")
            .replace("\"web\"", "\"other\"")
    );
    // What differs stays different.
    site.layer("more", "base", &["app"], "recommends = true\n");
    site.recipe("other", &["more"]);
    site.session
        .run("lock recipes/web.toml recipes/other.toml")
        .expect(0);
    let ran = site
        .session
        .run("lock recipes/web.toml recipes/other.toml --update nothing")
        .expect(2);
    assert!(ran.stderr.contains("no layer 'nothing'"), "{}", ran.stderr);
}

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
    site.forget();
    let ran = site
        .session
        .run("lock recipes/web.toml --update app")
        .expect(1);
    assert!(
        ran.stderr
            .contains("the archive 'a' no longer has tiny-base 1"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("snapshots = "), "{}", ran.stderr);
    let server = WebServer::start(&site.path("2020"), []);
    let base = site.read("layers/base/layer.toml");
    for snapshot in [server.url.clone(), site.uri("2020")] {
        let named = format!("variant = \"essential\"\nsnapshots = [\"{snapshot}\"]\n");
        site.write(
            "layers/base/layer.toml",
            base.replace("variant = \"essential\"\n", &named),
        );
        site.forget();
        site.session
            .run("lock recipes/web.toml --update app")
            .expect(0);
        assert_eq!(site.locked("web"), ["tiny-base 1 a", "app 1 a"]);
    }
    // So does the cache of another repository have it, whichever way it is reached.
    fs::create_dir_all(site.path("kept")).unwrap();
    run("cp", &["-a", "repo/cache/debs", "kept"], site.dir.path());
    let server = WebServer::start(&site.path("kept/debs"), []);
    for cache in [server.url.clone(), site.uri("kept/debs")] {
        let named = format!("variant = \"essential\"\nsnapshots = [\"{cache}\"]\n");
        site.write(
            "layers/base/layer.toml",
            base.replace("variant = \"essential\"\n", &named),
        );
        site.forget();
        site.session
            .run("lock recipes/web.toml --update app")
            .expect(0);
        assert_eq!(site.locked("web"), ["tiny-base 1 a", "app 1 a"]);
    }
    site.write(
        "layers/base/layer.toml",
        base.replace(
            "variant = \"essential\"\n",
            &format!(
                "variant = \"essential\"\nsnapshots = [\"{}\"]\n",
                site.uri("2020")
            ),
        ),
    );
    // Another file under the same name is not taken for it.
    site.deb(
        "2020/pool",
        "tiny-base",
        "1",
        "Essential: yes\nSection: other\n",
    );
    site.forget();
    let ran = site
        .session
        .run("lock recipes/web.toml --update app")
        .expect(1);
    assert!(ran.stderr.contains("Hash Sum mismatch"), "{}", ran.stderr);
}

#[test]
fn credentials_are_the_machines_and_never_in_a_definition() {
    let test = "credentials_are_the_machines_and_never_in_a_definition";
    let Some(site) = Site::new(test) else { return };
    site.deb("a", "tiny-base", "1", "Essential: yes\n");
    site.flat("a");
    for address in [
        "https://bob:hunter2@apt.example/x",
        "https://hunter2@apt.example/x",
    ] {
        site.base(&TRUSTED.replace("URI", address), &[]);
        let ran = site.lock().expect(1);
        let said = "layers/base/layer.toml:7:9: the address on 'apt.example' holds credentials";
        assert!(
            ran.stderr.contains(said)
                && ran.stderr.contains("/etc/apt/auth.conf.d/apt.example.conf"),
            "{}",
            ran.stderr
        );
        assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
    }
    // bob:hunter2
    let server = WebServer::ruled(&site.path("a"), |seen, _| {
        (seen.header("authorization") != Some("Basic Ym9iOmh1bnRlcjI=")).then(|| {
            Step::Say(
                "401 No\r\nwww-authenticate: Basic\r\ncontent-length: 0".to_owned(),
                vec![],
            )
        })
    });
    site.base(&TRUSTED.replace("URI", &server.url), &[]);
    let host = server.url.trim_start_matches("http://").to_owned();
    let ran = site.lock().expect(1);
    assert!(
        ran.stderr.contains("wants credentials, or others"),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr
            .contains(&format!("machine http://{host} login USER")),
        "{}",
        ran.stderr
    );
    if !is_root(test) {
        return;
    }
    let entry = format!("machine http://{host} login bob password hunter2\n");
    site.write("auth/corp.conf", entry);
    // The machine's own folder, for this one command.
    let script = r#"mount --bind "$1" /etc/apt/auth.conf.d && shift && exec "$@""#;
    let command = site.session.command(&["lock", "recipes/web.toml"]);
    let mut inside = Command::new("unshare");
    inside
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(site.path("auth"))
        .arg(command.get_program());
    inside.args(command.get_args()).current_dir(site.dir.path());
    for (key, value) in command.get_envs() {
        inside.env(key, value.unwrap_or_default());
    }
    site.session.ran("lock", inside.output().unwrap()).expect(0);
    assert!(!site.read("recipes/web.lock").contains("hunter2"));
}
