//! Little-endian fields of structures of a known size.

/// Bytes of a structure, zero where nothing is put.
pub(super) struct Record(Vec<u8>);

impl Record {
    pub(super) fn new(size: usize) -> Self {
        Self(vec![0; size])
    }

    /// Puts `bytes` at `offset`, which the structure has room for; what has none is dropped.
    pub(super) fn put(&mut self, offset: usize, bytes: &[u8]) -> &mut Self {
        for (place, byte) in self.0.iter_mut().skip(offset).zip(bytes) {
            *place = *byte;
        }
        self
    }

    pub(super) fn u8(&mut self, offset: usize, value: u8) -> &mut Self {
        self.put(offset, &[value])
    }

    pub(super) fn u16(&mut self, offset: usize, value: u16) -> &mut Self {
        self.put(offset, &value.to_le_bytes())
    }

    pub(super) fn u32(&mut self, offset: usize, value: u32) -> &mut Self {
        self.put(offset, &value.to_le_bytes())
    }

    pub(super) fn u64(&mut self, offset: usize, value: u64) -> &mut Self {
        self.put(offset, &value.to_le_bytes())
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}
