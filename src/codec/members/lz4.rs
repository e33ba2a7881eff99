//! Unpacks lz4: the frames of today and the old ones that Linux reads in an initramfs
//! (`lz4_Frame_format.md` and `lz4_Block_format.md` of lz4). Checksums are not verified.

use std::io::{self, Read};

use super::feed::Feed;
use super::invalid;

const FRAME: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
const OLD: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];
/// A block of an old frame holds at most this much.
const OLD_BLOCK: usize = 8 << 20;
/// How far back a block may refer.
const WINDOW: usize = 64 << 10;

/// Says whether a frame starts with these bytes.
pub(super) fn is_start(head: &[u8]) -> bool {
    head.starts_with(&FRAME) || head.starts_with(&OLD)
}

/// Unpacks one frame.
pub(super) struct Decoder<'a, 'f> {
    packed: &'a mut Feed<'f>,
    frame: Option<Frame>,
    /// The end of what was unpacked: what blocks refer to, and what was not read yet.
    out: Vec<u8>,
    /// Where in `out` the next byte to read is.
    at: usize,
    is_over: bool,
}

#[derive(Clone, Copy)]
struct Frame {
    is_old: bool,
    max_block: usize,
    has_block_checksum: bool,
    has_checksum: bool,
}

impl<'a, 'f> Decoder<'a, 'f> {
    pub(super) fn new(packed: &'a mut Feed<'f>) -> Self {
        Self {
            packed,
            frame: None,
            out: Vec::new(),
            at: 0,
            is_over: false,
        }
    }

    fn frame(&mut self) -> io::Result<Frame> {
        let mut magic = [0; 4];
        self.packed.read_exact(&mut magic)?;
        if magic == OLD {
            return Ok(Frame {
                is_old: true,
                max_block: OLD_BLOCK,
                has_block_checksum: false,
                has_checksum: false,
            });
        }
        let mut flags = [0; 2];
        self.packed.read_exact(&mut flags)?;
        let [flags, block] = flags;
        let has = |bit: u8| flags & bit != 0;
        // The size of the contents, the id of a dictionary, and the checksum of the header.
        let more = if has(0x08) { 8 } else { 0 } + if has(0x01) { 4 } else { 0 } + 1;
        self.packed.skip(more)?;
        Ok(Frame {
            is_old: false,
            max_block: 1 << (8 + 2 * u32::from((block >> 4 & 7).max(4))),
            has_block_checksum: has(0x10),
            has_checksum: has(0x04),
        })
    }

    /// Unpacks the next block; says that the frame is over where there is none.
    fn block(&mut self) -> io::Result<()> {
        let frame = match self.frame {
            Some(frame) => frame,
            None => self.frame()?,
        };
        self.frame = Some(frame);
        let head = self.packed.head(4)?;
        let Ok(head) = <[u8; 4]>::try_from(head) else {
            // An old frame ends with its file.
            self.is_over = true;
            return if frame.is_old && head.is_empty() {
                Ok(())
            } else {
                Err(io::ErrorKind::UnexpectedEof.into())
            };
        };
        let word = u32::from_le_bytes(head);
        let size = (word & 0x7fff_ffff) as usize;
        let is_last = if frame.is_old {
            // Linux pads with zeros, and another frame may follow.
            word == 0 || size > OLD_BLOCK + OLD_BLOCK / 255 + 16
        } else {
            word == 0
        };
        if is_last {
            self.is_over = true;
            if !frame.is_old {
                self.packed.skip(if frame.has_checksum { 8 } else { 4 })?;
            }
            return Ok(());
        }
        if size > frame.max_block + frame.max_block / 255 + 16 {
            return Err(invalid("a block of lz4 is too large"));
        }
        self.packed.skip(4)?;
        let mut block = vec![0; size];
        self.packed.read_exact(&mut block)?;
        if frame.has_block_checksum {
            self.packed.skip(4)?;
        }
        let window = self.out.len().saturating_sub(WINDOW);
        self.out.drain(..window);
        self.at = self.out.len();
        if !frame.is_old && word >> 31 != 0 {
            self.out.extend_from_slice(&block);
            return Ok(());
        }
        let limit = self.at + frame.max_block;
        unpack(&block, &mut self.out, limit).ok_or_else(|| invalid("a block of lz4 is damaged"))
    }
}

impl Read for Decoder<'_, '_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.out.len() && !self.is_over {
            self.block()?;
        }
        let rest = &self.out[self.at..];
        let len = rest.len().min(out.len());
        out[..len].copy_from_slice(&rest[..len]);
        self.at += len;
        Ok(len)
    }
}

/// Unpacks one block behind what `out` holds, up to `limit` bytes.
fn unpack(mut block: &[u8], out: &mut Vec<u8>, limit: usize) -> Option<()> {
    while let Some((token, rest)) = block.split_first() {
        block = rest;
        let literals = length(usize::from(token >> 4), &mut block)?;
        out.extend_from_slice(block.get(..literals)?);
        block = &block[literals..];
        // The last sequence has literals only.
        if block.is_empty() {
            break;
        }
        let offset = usize::from(u16::from_le_bytes([*block.first()?, *block.get(1)?]));
        block = &block[2..];
        let len = length(usize::from(token & 15), &mut block)?.checked_add(4)?;
        let from = out.len().checked_sub(offset).filter(|_| offset > 0)?;
        if out.len().checked_add(len)? > limit {
            return None;
        }
        for at in from..from + len {
            out.push(out[at]);
        }
    }
    (out.len() <= limit).then_some(())
}

/// Reads the rest of a length whose first 15 are in the token.
fn length(start: usize, block: &mut &[u8]) -> Option<usize> {
    let mut len = start;
    if start == 15 {
        loop {
            let (byte, rest) = block.split_first()?;
            *block = rest;
            len = len.checked_add(usize::from(*byte))?;
            if *byte < 255 {
                break;
            }
        }
    }
    Some(len)
}
