//! What is in files: read once, and remembered by object.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{BufReader, Read as _};
use std::rc::Rc;

use super::{MIN_BYTES, unreadable};
use crate::codec::members::{ArchiveContents, HEAD_BYTES, may_hold, members};
use crate::compose::error::ComposeError;
use crate::id::ObjectId;
use crate::store::{Index, Transaction};

/// The kind of fact in the index; raise the number when other members are found.
const MEMBERS: &str = "members-1";

/// Reads contents through a transaction.
pub(super) struct Contents<'a> {
    transaction: &'a Transaction<'a>,
    index: &'a Index,
    fresh: RefCell<BTreeMap<ObjectId, Rc<ArchiveContents>>>,
}

impl<'a> Contents<'a> {
    pub(super) fn new(transaction: &'a Transaction<'a>, index: &'a Index) -> Self {
        Self {
            transaction,
            index,
            fresh: RefCell::default(),
        }
    }

    /// Reads the first bytes of an object.
    pub(super) fn head(&self, object: &ObjectId) -> Result<Vec<u8>, ComposeError> {
        let mut head = Vec::new();
        let file = self.transaction.open_object(object)?;
        file.take(HEAD_BYTES as u64)
            .read_to_end(&mut head)
            .map_err(|error| unreadable(object, error))?;
        Ok(head)
    }

    /// Returns what an object holds that starts with `head`; `None` for what holds nothing.
    pub(super) fn of(
        &self,
        object: &ObjectId,
        head: &[u8],
    ) -> Result<Option<Rc<ArchiveContents>>, ComposeError> {
        if !may_hold(head) {
            return Ok(None);
        }
        if let Some(known) = self.fresh.borrow().get(object) {
            return Ok(Some(Rc::clone(known)));
        }
        let known = self.index.get(MEMBERS, object.as_bytes());
        if let Some(known) = known.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
            return Ok(Some(Rc::new(known)));
        }
        let mut file = BufReader::new(self.transaction.open_object(object)?);
        let held = members(&mut file, MIN_BYTES).map_err(|error| unreadable(object, error))?;
        let held = Rc::new(held);
        self.fresh.borrow_mut().insert(*object, Rc::clone(&held));
        Ok(Some(held))
    }

    /// Reads a whole object.
    pub(super) fn read(&self, object: &ObjectId) -> Result<Vec<u8>, ComposeError> {
        Ok(self.transaction.read_object(object)?)
    }

    /// Keeps what had to be read, for the next time.
    pub(super) fn remember(&self) {
        let fresh = self.fresh.take().into_iter();
        let facts: Vec<_> = fresh
            .filter_map(|(id, held)| {
                let encoded = serde_json::to_vec(held.as_ref()).ok()?;
                Some((id.as_bytes().to_vec(), encoded))
            })
            .collect();
        if !facts.is_empty() {
            self.index.put_all(MEMBERS, facts);
        }
    }
}
