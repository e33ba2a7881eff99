//! Reading: every byte that is parsed has been checked against the digest that names it.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::{RefName, Repository, StoreError};
use crate::format::{self, Image, Layer};
use crate::id::{IdPrefix, ImageId, LayerId, ObjectId, TreeId, hex};
use crate::tree::{Changeset, Tree};

/// What a name or an abbreviated id stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResolvedId {
    /// An image.
    Image(ImageId),
    /// A layer.
    Layer(LayerId),
    /// A tree or a changeset.
    Tree(TreeId),
    /// An object.
    Object(ObjectId),
}

impl Repository {
    /// Returns where an object lies, whether or not it is there.
    pub fn object_path(&self, id: &ObjectId) -> PathBuf {
        let hex = id.to_hex();
        self.root.join("objects").join(&hex[..2]).join(&hex[2..])
    }

    pub(super) fn named_path(&self, dir: &str, hex: &str) -> PathBuf {
        self.root.join(dir).join(hex)
    }

    /// Says whether an object is there.
    pub fn has_object(&self, id: &ObjectId) -> bool {
        self.object_path(id).exists()
    }

    /// Says whether an object is there with this size, and nobody wrote to it since it was put.
    pub fn is_untouched(&self, id: &ObjectId, size: u64) -> bool {
        std::fs::symlink_metadata(self.object_path(id))
            .is_ok_and(|metadata| is_untouched(&metadata, size))
    }

    /// Opens an object for reading; its bytes are not checked.
    pub fn open_object(&self, id: &ObjectId) -> Result<File, StoreError> {
        let path = self.object_path(id);
        File::open(&path).map_err(|error| not_found("object", &id.to_string(), &path, error))
    }

    /// Reads a whole object, and checks it.
    pub fn read_object(&self, id: &ObjectId) -> Result<Vec<u8>, StoreError> {
        read_checked(
            &self.object_path(id),
            "object",
            &id.to_string(),
            id.as_bytes(),
        )
    }

    /// Checks that an object is there and unharmed: by size and by its modification time, which is
    /// 0 as long as nobody wrote to it since it was put; one that was touched is read and hashed.
    pub fn check_object(&self, id: &ObjectId, size: u64) -> Result<(), StoreError> {
        let path = self.object_path(id);
        let metadata = std::fs::symlink_metadata(&path)
            .map_err(|error| not_found("object", &id.to_string(), &path, error))?;
        if is_untouched(&metadata, size) {
            return Ok(());
        }
        self.verify_object(id)
    }

    /// Reads an object and compares its digest, in constant memory.
    pub fn verify_object(&self, id: &ObjectId) -> Result<(), StoreError> {
        let path = self.object_path(id);
        let file = self.open_object(id)?;
        let mut hasher = blake3::Hasher::new();
        hasher
            .update_reader(file)
            .map_err(|error| StoreError::io("read", &path, error))?;
        let digest = hasher.finalize();
        if digest.as_bytes() == id.as_bytes() {
            Ok(())
        } else {
            Err(StoreError::Corrupt {
                what: "object",
                name: id.to_string(),
                found: hex(digest.as_bytes()),
            })
        }
    }

    /// Reads a tree.
    pub fn read_tree(&self, id: &TreeId) -> Result<Tree, StoreError> {
        let bytes = self.read_tree_bytes(id)?;
        format::decode_tree(&bytes).map_err(|source| StoreError::Format {
            what: "tree",
            name: id.to_string(),
            source,
        })
    }

    /// Reads a changeset.
    pub fn read_changeset(&self, id: &TreeId) -> Result<Changeset, StoreError> {
        let bytes = self.read_tree_bytes(id)?;
        format::decode_changeset(&bytes).map_err(|source| StoreError::Format {
            what: "changeset",
            name: id.to_string(),
            source,
        })
    }

    /// Reads the files that a changeset leaves, in the order of their paths: object and size. The
    /// changeset itself, which may be large, is not made.
    pub fn read_changed_files(&self, id: &TreeId) -> Result<Vec<(ObjectId, u64)>, StoreError> {
        let bytes = self.read_tree_bytes(id)?;
        format::decode_changed_files(&bytes).map_err(|source| StoreError::Format {
            what: "changeset",
            name: id.to_string(),
            source,
        })
    }

    /// Reads the canonical bytes of a tree or changeset.
    pub fn read_tree_bytes(&self, id: &TreeId) -> Result<Vec<u8>, StoreError> {
        read_checked(
            &self.named_path("trees", &id.to_hex()),
            "tree",
            &id.to_string(),
            id.as_bytes(),
        )
    }

    /// Reads a layer's manifest.
    pub fn read_layer(&self, id: &LayerId) -> Result<Layer, StoreError> {
        let name = id.to_string();
        let bytes = read_checked(
            &self.named_path("layers", &id.to_hex()),
            "layer",
            &name,
            id.as_bytes(),
        )?;
        format::from_canonical_json("layer", &bytes).map_err(|source| StoreError::Format {
            what: "layer",
            name,
            source,
        })
    }

    /// Says whether a layer's manifest is there.
    pub fn has_layer(&self, id: &LayerId) -> bool {
        self.named_path("layers", &id.to_hex()).exists()
    }

    /// Says whether the manifest of an image is there.
    pub fn has_image(&self, id: &ImageId) -> bool {
        self.named_path("images", &id.to_hex()).exists()
    }

    /// Says whether there is no layer yet, and so nothing that a layer could share.
    pub fn is_bare(&self) -> bool {
        std::fs::read_dir(self.root().join("layers")).is_ok_and(|mut all| all.next().is_none())
    }

    /// Reads an image's manifest.
    pub fn read_image(&self, id: &ImageId) -> Result<Image, StoreError> {
        let name = id.to_string();
        let bytes = read_checked(
            &self.named_path("images", &id.to_hex()),
            "image",
            &name,
            id.as_bytes(),
        )?;
        format::from_canonical_json("image", &bytes).map_err(|source| StoreError::Format {
            what: "image",
            name,
            source,
        })
    }

    /// Finds what `text` stands for: a ref (`images/web`, or `web` for short), an id, or a unique
    /// abbreviation of one.
    pub fn resolve(&self, text: &str) -> Result<ResolvedId, StoreError> {
        if let Some(found) = self.resolve_ref(text)? {
            return Ok(found);
        }
        let Some(prefix) = IdPrefix::parse(text) else {
            return Err(StoreError::NotFound {
                what: "image, layer or ref",
                name: format!("'{text}'"),
            });
        };
        let mut found = Vec::new();
        for (dir, wrap) in [
            (
                "images",
                (|d| ResolvedId::Image(ImageId::from_digest(d))) as fn([u8; 32]) -> ResolvedId,
            ),
            ("layers", |d| ResolvedId::Layer(LayerId::from_digest(d))),
            ("trees", |d| ResolvedId::Tree(TreeId::from_digest(d))),
        ] {
            found.extend(
                self.with_prefix(&self.root.join(dir), "", prefix.digits())?
                    .into_iter()
                    .map(wrap),
            );
        }
        let (first, rest) = prefix.digits().split_at(2);
        let objects = self.root.join("objects").join(first);
        if objects.is_dir() {
            let ids = self.with_prefix(&objects, first, rest)?;
            found.extend(
                ids.into_iter()
                    .map(|digest| ResolvedId::Object(ObjectId::from_digest(digest))),
            );
        }
        match found.as_slice() {
            [] => Err(StoreError::NotFound {
                what: "image, layer, tree or object",
                name: format!("'{text}'"),
            }),
            [one] => Ok(*one),
            many => Err(StoreError::Ambiguous {
                name: text.to_owned(),
                count: many.len(),
            }),
        }
    }

    fn resolve_ref(&self, text: &str) -> Result<Option<ResolvedId>, StoreError> {
        for name in [
            text.to_owned(),
            format!("images/{text}"),
            format!("layers/{text}"),
        ] {
            let Ok(name) = RefName::new(&name) else {
                continue;
            };
            let Some(id) = self.read_ref(&name)? else {
                continue;
            };
            let bad = |_| StoreError::NotFound {
                what: "ref",
                name: format!("'{name}' (it holds no id)"),
            };
            return if name.is_layer() {
                id.parse()
                    .map(|id| Some(ResolvedId::Layer(id)))
                    .map_err(bad)
            } else {
                id.parse()
                    .map(|id| Some(ResolvedId::Image(id)))
                    .map_err(bad)
            };
        }
        Ok(None)
    }

    fn with_prefix(
        &self,
        dir: &Path,
        before: &str,
        prefix: &str,
    ) -> Result<Vec<[u8; 32]>, StoreError> {
        let entries = std::fs::read_dir(dir).map_err(|error| StoreError::io("list", dir, error))?;
        let names = entries
            .filter_map(Result::ok)
            .filter_map(|entry| entry.file_name().into_string().ok());
        let texts = names
            .filter(|name| name.starts_with(prefix))
            .map(|name| format!("b3:{before}{name}"));
        Ok(texts
            .filter_map(|text| text.parse::<ObjectId>().ok())
            .map(|id| *id.as_bytes())
            .collect())
    }

    /// Finds the image that `text` stands for.
    pub fn resolve_image(&self, text: &str) -> Result<ImageId, StoreError> {
        match self.resolve(text)? {
            ResolvedId::Image(id) => Ok(id),
            _ => Err(StoreError::NotFound {
                what: "image",
                name: format!("'{text}'"),
            }),
        }
    }
}

/// An object's modification time is 0 from the moment it is put; see `Transaction`.
fn is_untouched(metadata: &std::fs::Metadata, size: u64) -> bool {
    metadata.len() == size && metadata.mtime() == 0 && metadata.mtime_nsec() == 0
}

fn not_found(what: &'static str, name: &str, path: &Path, error: std::io::Error) -> StoreError {
    if error.kind() == std::io::ErrorKind::NotFound {
        StoreError::NotFound {
            what,
            name: name.to_owned(),
        }
    } else {
        StoreError::io("open", path, error)
    }
}

fn read_checked(
    path: &Path,
    what: &'static str,
    name: &str,
    digest: &[u8; 32],
) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    let mut file = File::open(path).map_err(|error| not_found(what, name, path, error))?;
    file.read_to_end(&mut bytes)
        .map_err(|error| StoreError::io("read", path, error))?;
    let found = blake3::hash(&bytes);
    if found.as_bytes() != digest {
        return Err(StoreError::Corrupt {
            what,
            name: name.to_owned(),
            found: hex(found.as_bytes()),
        });
    }
    Ok(bytes)
}
