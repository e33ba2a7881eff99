//! Archives of other people's kinds, through `layerset lock`: real packages, real indexes and signatures, made on the
//! spot; by `file:` and by http on loopback.

mod keys;
mod names;
mod snapshots;
mod views;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::session::{Ran, Session};
use crate::support::skip;

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
