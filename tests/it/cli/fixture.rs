//! The repositories that the sessions look at.

use crate::session::Session;
use crate::support::{bare_layer, commit_web, path};
use layerset::durable::RealDisk;

use layerset::id::{ImageId, LayerId, ObjectId, TreeId};
use layerset::store::{Repository, RepositoryOptions};
use layerset::tree::{Changeset, Inode, Tree};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A session with nothing there yet.
pub struct Empty {
    pub dir: tempfile::TempDir,
    pub session: Session,
}

pub fn empty() -> Empty {
    let dir = tempfile::tempdir().unwrap();
    let session = Session::new(dir.path(), &dir.path().join("repo"));
    Empty { dir, session }
}

impl Empty {
    pub fn write(&self, name: &str, text: &str) {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

/// A session with a repository of one image `web` made of one layer `site`, and one object that nothing needs.
pub struct Small {
    pub dir: tempfile::TempDir,
    pub session: Session,
    pub page: ObjectId,
    pub tree: TreeId,
    pub changeset: TreeId,
    pub layer: LayerId,
    pub image: ImageId,
}

pub const PAGE: &[u8] = b"<h1>It works</h1>\n";

impl Small {
    /// Makes another image `web`, with another page.
    pub fn rebuild(&self, version: &str, page: &[u8]) -> ImageId {
        web(&open(&self.repo()), version, page).image
    }

    pub fn repo(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    /// Returns the file that holds a thing.
    pub fn file(&self, what: &str) -> PathBuf {
        let repo = self.repo();
        match what {
            "object" => {
                let hex = self.page.to_hex();
                repo.join("objects").join(&hex[..2]).join(&hex[2..])
            }
            "tree" => repo.join("trees").join(self.tree.to_hex()),
            "changeset" => repo.join("trees").join(self.changeset.to_hex()),
            "layer" => repo.join("layers").join(self.layer.to_hex()),
            "image" => repo.join("images").join(self.image.to_hex()),
            "image ref" => repo.join("refs/images/web"),
            "layer ref" => repo.join("refs/layers/web/site"),
            other => panic!("no such thing: {other}"),
        }
    }

    /// Returns what messages call a thing.
    pub fn name(&self, what: &str) -> String {
        match what {
            "object" => self.page.to_string(),
            "tree" => self.tree.to_string(),
            "changeset" => self.changeset.to_string(),
            "layer" => self.layer.to_string(),
            "image" => self.image.to_string(),
            "image ref" => "images/web".to_owned(),
            "layer ref" => "layers/web/site".to_owned(),
            other => panic!("no such thing: {other}"),
        }
    }
}

pub fn open(repo: &Path) -> Repository {
    Repository::init(repo, Arc::new(RealDisk)).unwrap();
    Repository::open(repo, Arc::new(RealDisk), RepositoryOptions::default()).unwrap()
}

/// What an image `web` of one layer `site` with one page consists of.
struct Web {
    page: ObjectId,
    tree: TreeId,
    changeset: TreeId,
    layer: LayerId,
    image: ImageId,
}

fn web(repository: &Repository, version: &str, page_bytes: &[u8]) -> Web {
    let transaction = repository.begin().unwrap();
    let page = transaction.put_object(page_bytes).unwrap();
    let mut tree = Tree::new();
    tree.insert(path(b""), Inode::directory(0o755));
    tree.insert(path(b"srv"), Inode::directory(0o755));
    let file = Inode::file(page, page_bytes.len() as u64, 0o644);
    tree.insert(path(b"srv/page.html"), file);
    let changes = Changeset::between(&Tree::new(), &tree);
    let changeset = transaction.put_changeset(&changes).unwrap();
    // A tree is there before an image of it is.
    let whole = transaction.put_tree(&tree).unwrap();
    let layer = bare_layer(("site", version), (b"site", 1_700_000_000, 1), changeset);
    let size = page_bytes.len() as u64;
    let (layer, image) = commit_web(repository, transaction, &layer, (whole, size, 3));
    let tree = whole;
    Web {
        page,
        tree,
        changeset,
        layer,
        image,
    }
}

pub fn small() -> Small {
    let Empty { dir, session } = empty();
    let repository = open(&dir.path().join("repo"));
    let Web {
        page,
        tree,
        changeset,
        layer,
        image,
    } = web(&repository, "1", PAGE);

    let transaction = repository.begin().unwrap();
    transaction.put_object(b"nobody needs this\n").unwrap();
    transaction.store().unwrap();
    drop(repository);
    Small {
        dir,
        session,
        page,
        tree,
        changeset,
        layer,
        image,
    }
}
