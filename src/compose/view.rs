//! A composed tree as derivers see it: contents from the repository, facts of files by object from
//! the index.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use crate::id::ObjectId;
use crate::path::escape;
use crate::store::{Index, StoreError, Transaction};
use crate::tree::Tree;
use crate::tree::view::{FACTS_VERSION, FileFacts, ImageView, ViewError, ViewNode};

/// Files up to this size are read whole for their facts.
const WHOLE_BYTES: u64 = 4 << 20;

/// The kind of fact in the index; another version of the facts is another kind.
fn file_facts() -> String {
    format!("facts-{FACTS_VERSION}")
}

/// The kind of a fact, and its key in the index.
type FactKey = (String, Vec<u8>);

/// A key in the index, and the fact.
type Fact = (Vec<u8>, Vec<u8>);

/// A read-only look at a tree while it is composed.
pub struct TreeView<'a> {
    tree: &'a Tree,
    transaction: &'a Transaction<'a>,
    index: &'a Index,
    /// What had to be computed, by its kind in the index.
    fresh: RefCell<BTreeMap<FactKey, Vec<u8>>>,
    /// Facts that were read already: several checks look at the same files.
    known: RefCell<HashMap<ObjectId, FileFacts>>,
}

impl<'a> TreeView<'a> {
    /// Looks at `tree`.
    pub fn new(tree: &'a Tree, transaction: &'a Transaction<'a>, index: &'a Index) -> Self {
        Self {
            tree,
            transaction,
            index,
            fresh: RefCell::default(),
            known: RefCell::default(),
        }
    }

    /// Keeps the facts that had to be computed, for the next composition.
    pub fn remember(&self) {
        let mut kinds: BTreeMap<String, Vec<Fact>> = BTreeMap::new();
        for ((kind, key), facts) in self.fresh.take() {
            kinds.entry(kind).or_default().push((key, facts));
        }
        for (kind, facts) in kinds {
            self.index.put_all(&kind, facts);
        }
    }

    fn fresh_facts(&self, path: &[u8], id: ObjectId) -> Result<FileFacts, ViewError> {
        let facts = read_facts(self.transaction, &id).map_err(|error| unreadable(path, error))?;
        if let Ok(encoded) = serde_json::to_vec(&facts) {
            let key = (file_facts(), id.as_bytes().to_vec());
            self.fresh.borrow_mut().insert(key, encoded);
        }
        Ok(facts)
    }

    /// Returns the object of the regular file at a path.
    pub(super) fn object_at(&self, path: &[u8]) -> Option<ObjectId> {
        self.tree.get(path).and_then(crate::tree::Inode::object)
    }

    /// Reads an object that is, or was, at a path.
    pub(super) fn read_object(&self, path: &[u8], id: &ObjectId) -> Result<Vec<u8>, ViewError> {
        let read = self.transaction.read_object(id);
        read.map_err(|error| unreadable(path, error))
    }

    fn object(&self, path: &[u8]) -> Result<ObjectId, ViewError> {
        let missing = || StoreError::NotFound {
            what: "regular file",
            name: format!("'{}'", escape(path)),
        };
        self.object_at(path)
            .ok_or_else(|| unreadable(path, missing()))
    }
}

/// Reads the facts of an object, which was checked against its id; a large one is not held in
/// memory.
fn read_facts(transaction: &Transaction<'_>, id: &ObjectId) -> Result<FileFacts, StoreError> {
    let fail = |error| StoreError::io("read", std::path::Path::new(&id.to_hex()), error);
    let file = transaction.open_object(id)?;
    let size = file.metadata().map_err(fail)?.len();
    if size <= WHOLE_BYTES {
        return Ok(FileFacts::of(&*transaction.read_object(id)?));
    }
    transaction.verify_object(id)?;
    let read = |range: Range<u64>| {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        file.read_exact_at(&mut bytes, range.start)?;
        Ok(bytes)
    };
    FileFacts::of_large(size, read).map_err(fail)
}

fn unreadable(path: &[u8], source: StoreError) -> ViewError {
    ViewError::Read {
        path: escape(path),
        source: Box::new(source),
    }
}

impl ImageView for TreeView<'_> {
    fn node(&self, path: &[u8]) -> Option<ViewNode> {
        Some(ViewNode::from(&self.tree.get(path)?.node))
    }

    fn names(&self, dir: &[u8]) -> Vec<Vec<u8>> {
        self.tree.names(dir).map(<[u8]>::to_vec).collect()
    }

    fn read(&self, path: &[u8]) -> Result<Vec<u8>, ViewError> {
        let id = self.object(path)?;
        self.read_object(path, &id)
    }

    fn facts(&self, path: &[u8]) -> Result<FileFacts, ViewError> {
        let id = self.object(path)?;
        if let Some(facts) = self.known.borrow().get(&id) {
            return Ok(facts.clone());
        }
        let known = self.index.get(&file_facts(), id.as_bytes());
        let known = known.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let facts = match known {
            Some(facts) => facts,
            None => self.fresh_facts(path, id)?,
        };
        self.known.borrow_mut().insert(id, facts.clone());
        Ok(facts)
    }

    fn computed(
        &self,
        path: &[u8],
        kind: &'static str,
        compute: &dyn Fn(&[u8]) -> Vec<u8>,
    ) -> Result<Vec<u8>, ViewError> {
        let id = self.object(path)?;
        self.concluded(kind, id.as_bytes(), &mut || Ok(compute(&self.read(path)?)))
    }

    fn concluded(
        &self,
        kind: &'static str,
        key: &[u8],
        conclude: &mut dyn FnMut() -> Result<Vec<u8>, ViewError>,
    ) -> Result<Vec<u8>, ViewError> {
        let full_key = (kind.to_owned(), key.to_vec());
        if let Some(known) = self.fresh.borrow().get(&full_key) {
            return Ok(known.clone());
        }
        if let Some(known) = self.index.get(kind, key) {
            return Ok(known);
        }
        let made = conclude()?;
        self.fresh.borrow_mut().insert(full_key, made.clone());
        Ok(made)
    }
}
