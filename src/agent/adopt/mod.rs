//! How an ordinary Debian becomes a host of a directory target: what of it a release brings as well, and
//! what is only here.
//!
//! Looking changes nothing. [`carry`] brings edited configuration to the target; services and their data
//! are moved by whoever knows when they may stop.

mod host;

pub use host::HostFacts;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::deploy::{DeployError, Target};
use crate::durable::{Disk, replace_file};
use crate::format::Layer;
use crate::path::RelPath;
use crate::transfer::ReleasePreview;
use crate::tree::{Inode, Tree};

/// A package that host and release have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SharedPackage {
    /// Its name.
    pub name: String,
    /// The host's version.
    pub here: String,
    /// The release's.
    pub release: String,
}

/// What a release means for a host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct AdoptionReport {
    /// Packages that both have.
    pub shared: Vec<SharedPackage>,
    /// Packages that somebody asked for here, and that the release does not have.
    pub only_here: Vec<String>,
    /// Services that run here, and that the release brings.
    pub services: Vec<String>,
    /// Configuration of shared packages that was edited here, below `/etc`.
    pub edited: Vec<PathBuf>,
    /// Directories of `/var` in which a service of the release keeps its data, and that hold some here.
    pub state: Vec<PathBuf>,
}

/// Directories of `/var/lib` that belong to the system, not to a service.
const OF_SYSTEM: [&[u8]; 18] = [
    b"apt",
    b"aspell",
    b"dbus",
    b"dpkg",
    b"initramfs-tools",
    b"initscripts",
    b"ispell",
    b"logrotate",
    b"misc",
    b"os-prober",
    b"pam",
    b"polkit-1",
    b"private",
    b"python",
    b"shells.state",
    b"systemd",
    b"ucf",
    b"vim",
];

/// Compares a host with a release; `has_data` says whether a directory holds anything.
pub fn compare(
    host: &HostFacts,
    release: &ReleasePreview,
    has_data: &dyn Fn(&Path) -> bool,
) -> AdoptionReport {
    let packages = release.layers.iter().flat_map(|layer| &layer.packages);
    let mut shared: Vec<SharedPackage> = packages
        .filter_map(|package| {
            Some(SharedPackage {
                name: package.name.clone(),
                here: host.packages.get(&package.name)?.clone(),
                release: package.version.clone(),
            })
        })
        .collect();
    shared.sort_by(|a, b| a.name.cmp(&b.name));
    shared.dedup_by(|a, b| a.name == b.name);
    let names: BTreeSet<&str> = shared.iter().map(|package| package.name.as_str()).collect();
    let manual = host.manual.iter();
    let only_here = manual
        .filter(|name| !names.contains(name.as_str()))
        .cloned();
    AdoptionReport {
        only_here: only_here.collect(),
        services: services(host, &release.tree, &release.layers),
        edited: edited(host, &release.tree, &names),
        state: state(&release.tree, &release.layers, has_data),
        shared,
    }
}

/// Units that the release has beyond its base, and that run here.
fn services(host: &HostFacts, tree: &Tree, layers: &[Layer]) -> Vec<String> {
    // The base of a host goes on running beside the target: its udev and its journal are not replaced.
    let above = layers.iter().skip(1);
    let packages: BTreeSet<&str> = above
        .flat_map(|layer| &layer.packages)
        .map(|package| package.name.as_str())
        .collect();
    let is_brought = |unit: &str| {
        let at = format!("usr/lib/systemd/system/{unit}");
        tree.get(at.as_bytes()).is_some()
    };
    let running = host.services.iter();
    running
        .filter(|(unit, package)| packages.contains(package.as_str()) && is_brought(unit))
        .map(|(unit, _)| unit.clone())
        .collect()
}

fn edited(host: &HostFacts, tree: &Tree, shared: &BTreeSet<&str>) -> Vec<PathBuf> {
    let is_file = |path: &Path| {
        let path = path.strip_prefix("/").unwrap_or(path);
        RelPath::from_text(&path.to_string_lossy())
            .ok()
            .and_then(|path| tree.get(path.as_bytes()).and_then(Inode::object))
            .is_some()
    };
    let edited = host.edited.iter();
    edited
        .filter(|(path, package)| shared.contains(package.as_str()) && is_file(path))
        .map(|(path, _)| path.clone())
        .collect()
}

/// Directories directly below `/var/lib` and `/var/www` that layers above the base have.
fn state(tree: &Tree, layers: &[Layer], has_data: &dyn Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    if layers.len() < 2 {
        return found;
    }
    for above in ["var/lib", "var/www"] {
        for name in tree.names(above.as_bytes()) {
            let path = Path::new("/")
                .join(above)
                .join(&*String::from_utf8_lossy(name));
            let inode = tree.get(&[above.as_bytes(), b"/", name].concat());
            let is_of_service = inode.is_some_and(Inode::is_dir) && !OF_SYSTEM.contains(&name);
            if is_of_service && has_data(&path) {
                found.push(path);
            }
        }
    }
    found
}

/// Says whether a directory of this host holds a file, at any depth.
pub fn holds_files(dir: &Path) -> bool {
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => todo.push(entry.path()),
                Ok(_) => return true,
                Err(_) => {}
            }
        }
    }
    false
}

/// Brings edited configuration of the host to the current deployment of a target. Each file keeps the
/// owner and mode that the image gave it. Returns what could not be brought, and why.
pub fn carry(
    target: &Target,
    disk: &dyn Disk,
    edited: &[PathBuf],
) -> Result<Vec<(PathBuf, String)>, DeployError> {
    let mut left = Vec::new();
    let Some(etc) = target.current_etc()? else {
        return Ok(left);
    };
    for path in edited {
        let Ok(below) = path.strip_prefix("/etc") else {
            continue;
        };
        if let Err(why) = carry_one(disk, path, &etc.join(below)) {
            left.push((path.clone(), why));
        }
    }
    Ok(left)
}

fn carry_one(disk: &dyn Disk, from: &Path, to: &Path) -> Result<(), String> {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let bytes = std::fs::read(from).map_err(|error| error.to_string())?;
    let there = std::fs::symlink_metadata(to).map_err(|error| error.to_string())?;
    if !there.is_file() {
        return Err("the image has no file there".to_owned());
    }
    let mode = there.permissions().mode() & 0o7777;
    replace_file(disk, to, mode, &bytes).map_err(|error| error.to_string())?;
    std::os::unix::fs::chown(to, Some(there.uid()), Some(there.gid()))
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::LayerPackage;

    fn package(name: &str, version: &str) -> LayerPackage {
        LayerPackage {
            name: name.to_owned(),
            architecture: "amd64".to_owned(),
            version: version.to_owned(),
            sha256: "0".repeat(64),
        }
    }

    fn release() -> ReleasePreview {
        let mut base = Layer::bare("debian", []);
        base.packages = vec![package("libc6", "2.41"), package("systemd", "257")];
        let mut shop = Layer::bare("shop", []);
        shop.packages = vec![package("nginx", "1.26"), package("postgresql-17", "17.6")];
        let mut tree = Tree::new();
        let mut add = |path: &str, inode: Inode| {
            tree.insert(RelPath::from_text(path).unwrap(), inode);
        };
        let object = crate::id::ObjectId::of(b"x");
        for dir in [
            "var",
            "var/lib",
            "var/lib/postgresql",
            "var/lib/dpkg",
            "var/www",
        ] {
            add(dir, Inode::directory(0o755));
        }
        for file in [
            "usr/lib/systemd/system/nginx.service",
            "usr/lib/systemd/system/systemd-udevd.service",
            "etc/nginx/nginx.conf",
            "etc/systemd/journald.conf",
        ] {
            add(file, Inode::file(object, 1, 0o644));
        }
        ReleasePreview {
            image: crate::format::Image {
                format: 1,
                name: "shop".to_owned(),
                architecture: "amd64".to_owned(),
                layers: Vec::new(),
                tree: crate::id::TreeId::of(b"x"),
                bytes: 0,
                entries: 0,
                keep: 3,
                waivers: Vec::new(),
            },
            tree,
            layers: vec![base, shop],
        }
    }

    #[test]
    fn a_host_is_told_what_the_release_brings_and_what_it_does_not() {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        let host = HostFacts {
            packages: [
                pair("libc6", "2.36"),
                pair("nginx", "1.22"),
                pair("mc", "4.8"),
                pair("vim", "9"),
            ]
            .into(),
            manual: ["mc".to_owned(), "nginx".to_owned()].into(),
            services: [
                pair("nginx.service", "nginx"),
                pair("systemd-udevd.service", "systemd"),
                pair("exim4.service", "exim4"),
            ]
            .into(),
            edited: [
                (PathBuf::from("/etc/nginx/nginx.conf"), "nginx".to_owned()),
                (PathBuf::from("/etc/nginx/gone.conf"), "nginx".to_owned()),
                (PathBuf::from("/etc/mc/mc.ini"), "mc".to_owned()),
            ]
            .into(),
            ..HostFacts::default()
        };
        let report = compare(&host, &release(), &|path| path.ends_with("postgresql"));
        let shared: Vec<_> = report.shared.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(shared, ["libc6", "nginx"]);
        assert_eq!(
            (
                report.shared[1].here.as_str(),
                report.shared[1].release.as_str()
            ),
            ("1.22", "1.26")
        );
        assert_eq!(report.only_here, ["mc"]);
        assert_eq!(report.services, ["nginx.service"]);
        assert_eq!(report.edited, [PathBuf::from("/etc/nginx/nginx.conf")]);
        assert_eq!(report.state, [PathBuf::from("/var/lib/postgresql")]);
    }

    #[test]
    fn an_edited_file_keeps_the_mode_of_the_image() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        std::fs::write(&from, "mine").unwrap();
        std::fs::write(&to, "image's").unwrap();
        std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o640)).unwrap();
        carry_one(&crate::durable::RealDisk, &from, &to).unwrap();
        assert_eq!(std::fs::read_to_string(&to).unwrap(), "mine");
        let mode = std::fs::metadata(&to).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o640);
        assert!(!holds_files(&dir.path().join("none")));
        assert!(holds_files(dir.path()));
        let gone = carry_one(&crate::durable::RealDisk, &from, &dir.path().join("gone"));
        assert!(gone.is_err());
    }
}
