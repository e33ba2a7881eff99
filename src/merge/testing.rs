//! Contents in memory, for tests of merges.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::{Blobs, MergeError};
use crate::id::ObjectId;

/// Contents by their ids.
#[derive(Default)]
pub(super) struct Memory(pub(super) RefCell<BTreeMap<ObjectId, Vec<u8>>>);

impl Blobs for Memory {
    fn read(&self, id: &ObjectId) -> Result<Vec<u8>, MergeError> {
        Ok(self.0.borrow()[id].clone())
    }

    fn write(&self, bytes: &[u8]) -> Result<ObjectId, MergeError> {
        let id = ObjectId::of(bytes);
        self.0.borrow_mut().insert(id, bytes.to_vec());
        Ok(id)
    }
}
