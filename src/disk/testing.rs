//! A disk in memory for tests.

use std::io;

use super::medium::Medium;

pub(crate) struct Memory(Vec<u8>);

impl Memory {
    pub(crate) fn new(size: usize) -> Self {
        Self(vec![0; size])
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Medium for Memory {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let range = self.0.get_mut(start..start + bytes.len());
        range
            .ok_or(io::ErrorKind::InvalidInput)?
            .copy_from_slice(bytes);
        Ok(())
    }
}
