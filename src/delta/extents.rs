//! Reading parts of objects, in any of their forms.

use std::io::{self, BufReader, Read, SeekFrom, Write};

use super::ObjectReader;
use crate::codec::{self, Form};
use crate::id::ObjectId;

/// The most bytes that are unpacked and passed over for one object: far more than sound deltas ask
/// for.
const MAX_SKIPPED: u64 = 4 << 30;

/// A range of bytes of an object, in one of its forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ObjectSlice {
    pub(super) id: ObjectId,
    pub(super) form: Form,
    pub(super) start: u64,
    pub(super) offset: u64,
    pub(super) len: u64,
}

/// Reads slices one after the other; slices that follow each other in one form are unpacked once.
pub(super) struct ExtentReader<'c> {
    contents: &'c dyn ObjectReader,
    cursor: Option<Cursor<'c>>,
    skipped: u64,
    buffer: Vec<u8>,
}

struct Cursor<'c> {
    key: (ObjectId, Form, u64),
    reader: Box<dyn Read + 'c>,
    at: u64,
}

impl<'c> ExtentReader<'c> {
    pub(super) fn new(contents: &'c dyn ObjectReader) -> Self {
        Self {
            contents,
            cursor: None,
            skipped: 0,
            buffer: vec![0; 128 << 10],
        }
    }

    /// Starts counting skipped bytes anew.
    pub(super) fn reset(&mut self) {
        self.skipped = 0;
    }

    /// Writes exactly the bytes of a slice.
    pub(super) fn copy(&mut self, slice: &ObjectSlice, out: &mut dyn Write) -> io::Result<()> {
        let mut cursor = self.seek(slice)?;
        self.pump(&mut cursor, slice.len, out)?;
        if slice.form != Form::Raw {
            self.cursor = Some(cursor);
        }
        Ok(())
    }

    fn seek(&mut self, slice: &ObjectSlice) -> io::Result<Cursor<'c>> {
        let key = (slice.id, slice.form, slice.start);
        if slice.form == Form::Raw {
            let mut file = self.contents.open(&slice.id)?;
            file.seek(SeekFrom::Start(slice.offset))?;
            return Ok(Cursor {
                key,
                reader: Box::new(file),
                at: slice.offset,
            });
        }
        let usable = |cursor: &Cursor<'c>| cursor.key == key && cursor.at <= slice.offset;
        let mut cursor = match self.cursor.take().filter(usable) {
            Some(cursor) => cursor,
            None => {
                let mut file = self.contents.open(&slice.id)?;
                file.seek(SeekFrom::Start(slice.start))?;
                let packed = BufReader::with_capacity(64 << 10, file);
                Cursor {
                    key,
                    reader: codec::reader(slice.form, packed)?,
                    at: 0,
                }
            }
        };
        let skip = slice.offset - cursor.at;
        self.skipped = self.skipped.saturating_add(skip);
        if self.skipped > MAX_SKIPPED {
            return Err(io::Error::other("too much would have to be unpacked"));
        }
        self.pump(&mut cursor, skip, &mut io::sink())?;
        Ok(cursor)
    }

    fn pump(&mut self, cursor: &mut Cursor<'c>, len: u64, out: &mut dyn Write) -> io::Result<()> {
        let mut left = len;
        while left > 0 {
            let most = self
                .buffer
                .len()
                .min(usize::try_from(left).unwrap_or(usize::MAX));
            let count = match cursor.reader.read(&mut self.buffer[..most]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            out.write_all(&self.buffer[..count])?;
            left -= count as u64;
        }
        cursor.at += len;
        Ok(())
    }
}
