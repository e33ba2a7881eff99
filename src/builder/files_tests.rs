use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use super::*;
use crate::id::ObjectId;
use crate::recipe::SourceFile;

struct World {
    dir: tempfile::TempDir,
    definition: Definition,
}

impl World {
    fn new(modes: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for made in ["view/opt", "view/usr", "host", "layer/files/opt"] {
            fs::create_dir_all(dir.path().join(made)).unwrap();
        }
        fs::set_permissions(dir.path().join("host"), fs::Permissions::from_mode(0o755)).unwrap();
        let text = format!("on = [\"base\"]\n[files.mode]\n{modes}\n");
        let definition =
            Definition::parse(&SourceFile::new("layers/evil/layer.toml", text), "evil").unwrap();
        Self { dir, definition }
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn copy(&self, path: &str, mode: u16, content: FileContent) -> Result<(), BuildError> {
        let input = FileInput {
            path: RelPath::new(path.as_bytes()).unwrap(),
            mode,
            content,
        };
        let (layer, view) = (self.at("layer"), self.at("view"));
        copy(&[input], &layer, &self.definition, &view, 0)
    }

    fn mode(&self, name: &str) -> u32 {
        self.at(name).metadata().unwrap().mode() & 0o7777
    }
}

/// A lower layer's link at the place itself, which a mode once followed to the machine that builds.
#[test]
fn a_mode_follows_no_link_out_of_the_view() {
    let world = World::new("\"opt/evil\" = \"0777\"");
    let host = world.at("host");
    symlink(&host, world.at("view/opt/evil")).unwrap();
    world
        .copy("opt/evil", 0o777, FileContent::Directory)
        .unwrap();
    assert_eq!(world.mode("host"), 0o755);
    // The link leads to a directory of the view, which has the mode now.
    let inside = format!("view{}", host.display());
    assert_eq!(world.mode(&inside), 0o777);
}

/// `/var/lock` is a link to `/run/lock`, which the machine that builds may have and the view not.
#[test]
fn what_a_link_to_nowhere_leads_to_is_made_in_the_view() {
    let world = World::new("");
    let host = world.at("host");
    for (name, target) in [
        ("there", host.join("there")),
        ("missing", host.join("gone")),
    ] {
        fs::create_dir_all(host.join("there")).unwrap();
        symlink(target, world.at("view/opt").join(name)).unwrap();
        let file = format!("opt/{name}/file");
        let source = world.at("layer/files").join(&file);
        fs::create_dir_all(source.parent().unwrap()).unwrap();
        fs::write(source, "mine").unwrap();
        let content = FileContent::File(ObjectId::of(b"mine"));
        world.copy(&file, 0o4711, content).unwrap();
        let link = format!("opt/{name}/link");
        let content = FileContent::Link(b"/etc/passwd".as_slice().into());
        world.copy(&link, 0o777, content).unwrap();
    }
    assert_eq!(fs::read_dir(&host).unwrap().count(), 1);
    assert_eq!(fs::read_dir(host.join("there")).unwrap().count(), 0);
    let inside = format!("view{}", host.display());
    for name in ["there", "gone"] {
        assert_eq!(world.mode(&format!("{inside}/{name}/file")), 0o4711);
        assert!(world.at(&format!("{inside}/{name}/link")).is_symlink());
    }
}

#[test]
fn a_file_replaces_a_link_and_nothing_replaces_a_directory() {
    let world = World::new("");
    fs::write(world.at("host/target"), "of the host").unwrap();
    symlink(world.at("host/target"), world.at("view/opt/conf")).unwrap();
    fs::write(world.at("layer/files/opt/conf"), "mine").unwrap();
    let content = FileContent::File(ObjectId::of(b"mine"));
    world.copy("opt/conf", 0o640, content.clone()).unwrap();
    assert_eq!(fs::read(world.at("view/opt/conf")).unwrap(), b"mine");
    assert_eq!(fs::read(world.at("host/target")).unwrap(), b"of the host");
    assert_eq!(world.mode("view/opt/conf"), 0o640);
    let refused = world.copy("usr", 0o644, content).unwrap_err();
    assert!(matches!(refused, BuildError::SourceKind { .. }));
}

/// The accounts of a view whose `/etc/passwd` is a link to elsewhere are those of the view.
#[test]
fn owners_are_the_accounts_of_the_view() {
    let world = World::new("");
    fs::create_dir_all(world.at("view/etc")).unwrap();
    fs::write(world.at("host/passwd"), "evil:x:0:0::/:/bin/sh\n").unwrap();
    fs::write(world.at("host/group"), "evil:x:0:\n").unwrap();
    for name in ["passwd", "group"] {
        symlink(world.at("host").join(name), world.at("view/etc").join(name)).unwrap();
    }
    fs::write(world.at("view/opt/mine"), "").unwrap();
    let owner = Owner::Name("evil".into());
    let wanted = BTreeMap::from([(RelPath::new(b"opt/mine").unwrap(), (owner.clone(), owner))]);
    own(&wanted, &world.at("view"), OwnerPass::All).unwrap_err();
}
