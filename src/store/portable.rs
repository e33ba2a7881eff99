//! A repository as values: the part that one image needs, as it lies on a new disk.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use super::baseline::BASELINES;
use super::{DIRECTORIES, RefName, Repository, RepositoryConfig, StoreError};
use crate::id::{ImageId, ObjectId};
use crate::path::RelPath;
use crate::tree::{Inode, Node, Tree};

/// Files as values: a tree, and the contents of those that no repository has.
#[derive(Debug, Clone, Default)]
pub struct PortableFiles {
    /// The files, below a root.
    pub tree: Tree,
    /// The contents that are no objects, by their ids.
    pub made: BTreeMap<ObjectId, Made>,
}

/// Contents that are no object of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Made {
    /// These bytes.
    Bytes(Vec<u8>),
    /// Those of a file that is named by its digest: a tree or changeset.
    File(PathBuf),
}

impl PortableFiles {
    /// Adds a file with contents of its own. A path that cannot be in a tree is left out: callers
    /// make them of checked parts.
    pub fn put(&mut self, path: &str, mode: u16, bytes: Vec<u8>) {
        let id = ObjectId::of(&bytes);
        self.insert(path, Inode::file(id, bytes.len() as u64, mode));
        self.made.insert(id, Made::Bytes(bytes));
    }

    /// Adds a file with the contents of one of the repository that is named by its digest.
    fn put_file(&mut self, path: &str, mode: u16, id: ObjectId, from: PathBuf, size: u64) {
        self.insert(path, Inode::file(id, size, mode));
        self.made.insert(id, Made::File(from));
    }

    /// Adds whatever is no file with contents of its own.
    pub fn insert(&mut self, path: &str, inode: Inode) {
        if let Ok(path) = RelPath::from_text(path) {
            self.tree.insert(path, inode);
        }
    }

    /// Dates a file, in seconds since 1970.
    pub fn date(&mut self, path: &str, sec: i64) {
        let entry = RelPath::from_text(path)
            .ok()
            .and_then(|path| Some((self.tree.get(path.as_bytes())?.clone(), path)));
        if let Some((mut inode, path)) = entry {
            inode.mtime.sec = sec;
            self.tree.insert(path, inode);
        }
    }

    /// Takes all files of another set, below `dir`.
    pub fn graft(&mut self, dir: &str, other: PortableFiles) {
        for (path, inode) in other.tree {
            if let Some(path) = path.rebase(b"", dir.as_bytes()) {
                self.tree.insert(path, inode);
            }
        }
        self.made.extend(other.made);
    }
}

/// What [`Repository::portable`] gives.
#[derive(Debug, Clone, Default)]
pub struct PortableRepository {
    /// The files of the repository.
    pub files: PortableFiles,
    /// Its objects in the order of the layers that bring them, each once: what a later layer
    /// changes moves nothing of an earlier one.
    pub order: Vec<ObjectId>,
}

impl Repository {
    /// Returns a repository that holds one image, whose tree is `tree`, with the given refs to it, and
    /// nothing else.
    pub fn portable(
        &self,
        id: &ImageId,
        tree: &Tree,
        refs: &[RefName],
    ) -> Result<PortableRepository, StoreError> {
        let mut made = PortableRepository::default();
        let files = &mut made.files;
        files.insert("", Inode::directory(0o755));
        for (name, mode) in DIRECTORIES {
            files.insert(name, Inode::directory(mode as u16));
        }
        for byte in 0..=255u8 {
            files.insert(&format!("objects/{byte:02x}"), Inode::directory(0o700));
        }
        files.put("lock", 0o644, Vec::new());
        let config = RepositoryConfig::default().to_toml();
        files.put("config.toml", 0o644, config.into_bytes());
        for name in refs {
            let text = name.as_str();
            for (end, _) in text.match_indices('/') {
                let dir = format!("refs/{}", &text[..end]);
                files.insert(&dir, Inode::directory(0o755));
            }
            let line = format!("{id}\n").into_bytes();
            files.put(&format!("refs/{text}"), 0o644, line);
        }
        self.add_manifests(id, &mut made)?;
        let PortableRepository { files, order } = &mut made;
        self.each_object(id, tree, |object, size| {
            let hex = object.to_hex();
            let path = format!("objects/{}/{}", &hex[..2], &hex[2..]);
            files.insert(&path, Inode::file(object, size, 0o400));
            order.push(object);
        })?;
        Ok(made)
    }

    /// Returns the objects of an image, whose tree is `tree`, in the order in which its layers bring
    /// them, each once.
    pub fn object_order(&self, id: &ImageId, tree: &Tree) -> Result<Vec<ObjectId>, StoreError> {
        let mut order = Vec::new();
        self.each_object(id, tree, |object, _| order.push(object))?;
        Ok(order)
    }

    fn add_manifests(&self, id: &ImageId, made: &mut PortableRepository) -> Result<(), StoreError> {
        let image = self.read_image(id)?;
        let mut names = vec![format!("images/{}", id.to_hex())];
        let mut trees = vec![image.tree];
        let mut baselines = vec![id.to_hex()];
        for layer in &image.layers {
            let changeset = self.read_layer(&layer.id)?.changeset;
            names.push(format!("layers/{}", layer.id.to_hex()));
            trees.push(changeset);
            baselines.push(layer.id.to_hex());
        }
        for name in names {
            let bytes = self.read_file(&name)?;
            made.files.put(&name, 0o444, bytes);
        }
        // They are as long as the image has files, so that they stay where they are.
        for tree in trees {
            let name = format!("trees/{}", tree.to_hex());
            let path = self.root.join(&name);
            let metadata = std::fs::metadata(&path)
                .map_err(|error| StoreError::io("look at", &path, error))?;
            let id = ObjectId::from_digest(*tree.as_bytes());
            made.files.put_file(&name, 0o444, id, path, metadata.len());
        }
        for hex in baselines {
            let name = format!("{BASELINES}/{hex}");
            if self.root.join(&name).exists() {
                let bytes = self.read_file(&name)?;
                made.files.put(&name, 0o444, bytes);
            }
        }
        Ok(())
    }

    /// Calls `each` with every object and its size: layer by layer, and what composing made of them
    /// last.
    fn each_object(
        &self,
        id: &ImageId,
        tree: &Tree,
        mut each: impl FnMut(ObjectId, u64),
    ) -> Result<(), StoreError> {
        let image = self.read_image(id)?;
        let mut seen = HashSet::new();
        let mut add = |object: ObjectId, size: u64| {
            if seen.insert(object) {
                each(object, size);
            }
        };
        for layer in &image.layers {
            let layer = self.read_layer(&layer.id)?;
            for (object, size) in self.read_changed_files(&layer.changeset)? {
                add(object, size);
            }
            for object in layer.pre_images {
                let path = self.object_path(&object);
                let metadata = std::fs::metadata(&path)
                    .map_err(|error| StoreError::io("look at", &path, error))?;
                add(object, metadata.len());
            }
        }
        for (_, inode) in tree.iter() {
            if let Node::File { object, size } = inode.node {
                add(object, size);
            }
        }
        Ok(())
    }

    fn read_file(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        let path = self.root.join(Path::new(name));
        std::fs::read(&path).map_err(|error| StoreError::io("read", &path, error))
    }
}
