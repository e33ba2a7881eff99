//! Making one object of a delta.

use std::io::{self, Write};

use super::extents::ExtentReader;
use super::run::{ApplyRun, MakeFailure, UnpackedFrame, cannot_read};
use crate::codec::Recompressor;
use crate::format::delta::{DeltaObject, Piece};

/// One object on its way.
pub(super) struct ObjectMaker<'m, 'r, 'a, 'c> {
    pub(super) run: &'m ApplyRun<'r, 'a>,
    /// How far the fresh data is used.
    pub(super) fresh: u64,
    pub(super) extents: &'m mut ExtentReader<'c>,
    pub(super) unpacked: &'m mut Option<UnpackedFrame>,
    pub(super) missing: Option<String>,
}

impl ObjectMaker<'_, '_, '_, '_> {
    pub(super) fn write(
        &mut self,
        object: &DeltaObject,
        out: &mut dyn Write,
    ) -> Result<(), MakeFailure> {
        let mut out = LimitedWriter {
            out,
            left: object.size,
        };
        for segment in &object.segments {
            let Some(coding) = &segment.coding else {
                self.pieces(&segment.pieces, &mut out)?;
                continue;
            };
            let size = segment.pieces.iter().map(Piece::len).sum();
            let mut recompressor = Recompressor::new(coding, size, &mut out)?;
            self.pieces(&segment.pieces, &mut recompressor)?;
            recompressor.finish()?;
        }
        Ok(())
    }

    fn pieces(&mut self, pieces: &[Piece], out: &mut dyn Write) -> Result<(), MakeFailure> {
        for piece in pieces {
            match piece {
                Piece::Fresh(len) => self.fresh(*len, out)?,
                Piece::Copy(extent) => {
                    let slice = self.run.locate(extent)?;
                    let copied = self.extents.copy(&slice, out);
                    copied.map_err(|error| MakeFailure::Object(cannot_read(&slice.id, &error)))?;
                }
            }
        }
        Ok(())
    }

    /// Writes the next bytes of the fresh data.
    fn fresh(&mut self, len: u64, out: &mut dyn Write) -> Result<(), MakeFailure> {
        let end = self.fresh + len;
        while self.fresh < end {
            let frames = &self.run.delta.frames;
            let number = frames.partition_point(|frame| frame.data.end <= self.fresh);
            if self
                .unpacked
                .as_ref()
                .is_none_or(|unpacked| unpacked.number != number)
            {
                // What was there goes first: memory for one is enough.
                *self.unpacked = None;
                *self.unpacked = Some(self.run.unpack(number, self.extents)?);
            }
            let Some(unpacked) = self.unpacked.as_ref() else {
                continue;
            };
            if self.missing.is_none() {
                self.missing.clone_from(&unpacked.missing);
            }
            let data = unpacked
                .data
                .as_ref()
                .map_err(|reason| MakeFailure::Object(reason.clone()))?;
            let range = &frames[number].data;
            let until = end.min(range.end);
            out.write_all(
                &data[(self.fresh - range.start) as usize..(until - range.start) as usize],
            )?;
            self.fresh = until;
        }
        Ok(())
    }
}

/// Passes on no more bytes than an object may have.
pub(super) struct LimitedWriter<'o> {
    pub(super) out: &'o mut dyn Write,
    pub(super) left: u64,
}

impl Write for LimitedWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left = self
            .left
            .checked_sub(bytes.len() as u64)
            .ok_or_else(|| io::Error::other("it becomes larger than it should"))?;
        self.out.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
