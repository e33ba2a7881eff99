//! Readers that an archive is read through: one that can be looked at before it is read, and one
//! that hashes what passes.

use std::io::{self, BufRead, Read};

use crate::id::ObjectId;

const CHUNK: usize = 64 << 10;

/// A reader of which the next bytes can be seen before they are read.
pub(super) struct Feed<'a> {
    inner: &'a mut dyn Read,
    buffer: Vec<u8>,
    /// Where in the buffer the next byte is.
    at: usize,
}

impl<'a> Feed<'a> {
    pub(super) fn new(inner: &'a mut dyn Read) -> Self {
        Self {
            inner,
            buffer: Vec::new(),
            at: 0,
        }
    }

    /// Returns the next `len` bytes, fewer only at the end.
    pub(super) fn head(&mut self, len: usize) -> io::Result<&[u8]> {
        while self.buffer.len() - self.at < len {
            if !self.fill()? {
                break;
            }
        }
        let rest = &self.buffer[self.at..];
        Ok(&rest[..rest.len().min(len)])
    }

    /// Reads a chunk more; false at the end.
    fn fill(&mut self) -> io::Result<bool> {
        self.buffer.drain(..self.at);
        self.at = 0;
        let old = self.buffer.len();
        self.buffer.resize(old + CHUNK, 0);
        let read = self.inner.read(&mut self.buffer[old..]);
        self.buffer.truncate(old + *read.as_ref().unwrap_or(&0));
        Ok(read? > 0)
    }

    pub(super) fn skip_zeros(&mut self) -> io::Result<()> {
        loop {
            let rest = self.fill_buf()?;
            let zeros = rest.iter().take_while(|byte| **byte == 0).count();
            let is_over = rest.is_empty() || zeros < rest.len();
            self.consume(zeros);
            if is_over {
                return Ok(());
            }
        }
    }

    /// Reads and drops `len` bytes, fewer at the end.
    pub(super) fn skip(&mut self, len: u64) -> io::Result<()> {
        io::copy(&mut self.take(len), &mut io::sink()).map(drop)
    }

    /// Gives `visit` a reader of the next `len` bytes, and goes behind them.
    pub(super) fn part(
        &mut self,
        len: u64,
        visit: impl FnOnce(&mut dyn Read) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut part = self.take(len);
        visit(&mut part)?;
        io::copy(&mut part, &mut io::sink())?;
        match part.limit() {
            0 => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl Read for Feed<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let rest = self.fill_buf()?;
        let len = rest.len().min(out.len());
        out[..len].copy_from_slice(&rest[..len]);
        self.consume(len);
        Ok(len)
    }
}

impl BufRead for Feed<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.buffer.len() {
            self.fill()?;
        }
        Ok(&self.buffer[self.at..])
    }

    fn consume(&mut self, amount: usize) {
        self.at = (self.at + amount).min(self.buffer.len());
    }
}

/// Hashes what is read through it, and fails behind `left` bytes.
pub(super) struct Tee<'a> {
    inner: &'a mut dyn Read,
    hasher: blake3::Hasher,
    left: u64,
}

impl<'a> Tee<'a> {
    pub(super) fn new(inner: &'a mut dyn Read, left: u64) -> Self {
        Self {
            inner,
            hasher: blake3::Hasher::new(),
            left,
        }
    }

    /// Returns the id and the size of what was read.
    pub(super) fn finish(self) -> (ObjectId, u64) {
        let id = ObjectId::from_digest(*self.hasher.finalize().as_bytes());
        (id, self.hasher.count())
    }
}

impl Read for Tee<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(out)?;
        self.hasher.update(&out[..read]);
        self.left = self
            .left
            .checked_sub(read as u64)
            .ok_or_else(|| super::invalid("too much is packed"))?;
        Ok(read)
    }
}
