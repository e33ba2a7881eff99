//! Whole deltas: opened and applied where the old files are; nothing is made that has another digest.
#![no_main]

use std::collections::HashMap;
use std::io::{self, Cursor};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use layerset::delta::{ObjectReader, Delta, Fill, DeltaLimits, PutError, ReadSeek, DeltaSink};
use layerset::id::ObjectId;
use libfuzzer_sys::fuzz_target;

#[path = "../sample.rs"]
mod sample;

/// Far below what a real delta may take: a small input must not ask for much.
const LIMITS: DeltaLimits = DeltaLimits {
    index: 1 << 20,
    document: 1 << 16,
    memory: 64 << 20,
    objects: 8 << 20,
};

struct Objects(Mutex<HashMap<ObjectId, Vec<u8>>>);

impl ObjectReader for Objects {
    fn open(&self, id: &ObjectId) -> io::Result<Box<dyn ReadSeek + '_>> {
        let bytes = self.0.lock().expect("nobody panics").get(id).cloned();
        Ok(Box::new(Cursor::new(bytes.ok_or(io::ErrorKind::NotFound)?)))
    }
}

impl DeltaSink for Objects {
    fn put(&self, id: &ObjectId, size: u64, fill: &mut Fill<'_>) -> Result<(), PutError> {
        let mut bytes = Vec::new();
        fill(&mut bytes).map_err(|error| PutError::Content(error.to_string()))?;
        if bytes.len() as u64 != size || ObjectId::of(&bytes) != *id {
            return Err(PutError::Content("other bytes than expected".to_owned()));
        }
        self.0.lock().expect("nobody panics").insert(*id, bytes);
        Ok(())
    }
}

fuzz_target!(|bytes: &[u8]| {
    let old = sample::version(1);
    let objects = old.iter().map(|(_, bytes)| (ObjectId::of(bytes), bytes.clone()));
    let objects = Objects(Mutex::new(objects.collect()));
    let Ok(delta) = Delta::open(&bytes, sample::DOCUMENTS[0], sample::DOCUMENTS[0], &LIMITS) else {
        return;
    };
    let _ = (delta.manifest(), delta.tree());
    let cancel = AtomicBool::new(false);
    let _ = delta.apply(&objects, &objects, &|_| true, 1, &|_| {}, &cancel);
});
