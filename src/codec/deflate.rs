//! Deflate as GNU gzip does it, bit for bit.
//!
//! gzip's compressor is the ancestor of zlib's: the same lazy matching and the same trees, but
//! blocks end at other places, so no zlib reproduces its files. This is the algorithm of its manual
//! and of RFC 1951 (section 4 describes the lazy matching), with its constants. Levels 4 to 9; 1 to
//! 3 match otherwise and are not needed for packages.

use std::io::{self, Write};

use super::huffman::{BitWriter, Block};

const WINDOW: usize = 1 << 15;
const HASH_BITS: u32 = 15;
const HASH_SHIFT: u32 = 5;
const MIN_MATCH: usize = 3;
const MAX_MATCH: usize = 258;
const MIN_LOOKAHEAD: usize = MAX_MATCH + MIN_MATCH + 1;
const MAX_DISTANCE: usize = WINDOW - MIN_LOOKAHEAD;
/// A match of three bytes that is farther away than this costs more than its literals.
const TOO_FAR: usize = 4096;
/// Symbols in a block, one more.
const BLOCK_SYMBOLS: usize = 1 << 15;

/// `good`, `lazy`, `nice`, `chain` by level: when to search less, when not to look for a better
/// match, when to be content, and how many places to try.
const TUNING: [[usize; 4]; 6] = [
    [4, 4, 16, 16],
    [8, 16, 32, 32],
    [8, 16, 128, 128],
    [8, 32, 128, 256],
    [32, 128, 258, 1024],
    [32, 258, 258, 4096],
];

/// Compresses what is written to it into `out`.
pub(super) struct Deflater<W: Write> {
    out: BitWriter<W>,
    tuning: [usize; 4],
    /// Input from position `start` on; positions count from the start of the input.
    buffer: Vec<u8>,
    start: usize,
    /// Where gzip's own window of 64 KiB starts: a block that began before it cannot be stored.
    window: usize,
    /// The last position of each hash, and for each position the one before with the same hash; 0
    /// is none.
    head: Vec<usize>,
    previous: Vec<usize>,
    hash: usize,
    at: usize,
    block_start: usize,
    match_length: usize,
    match_start: usize,
    literal_waits: bool,
    block: Block,
}

impl<W: Write> Deflater<W> {
    pub(super) fn new(level: u8, out: W) -> Self {
        Self {
            out: BitWriter::new(out),
            tuning: TUNING[usize::from(level.clamp(4, 9)) - 4],
            buffer: Vec::new(),
            start: 0,
            window: 0,
            head: vec![0; 1 << HASH_BITS],
            previous: vec![0; WINDOW],
            hash: 0,
            at: 0,
            block_start: 0,
            match_length: MIN_MATCH - 1,
            match_start: 0,
            literal_waits: false,
            block: Block::new(),
        }
    }

    pub(super) fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            // One byte more than gzip's window holds tells that the input goes on behind it.
            let wanted = self.window + 2 * WINDOW + 1 - (self.start + self.buffer.len());
            let (now, rest) = bytes.split_at(wanted.min(bytes.len()));
            self.buffer.extend_from_slice(now);
            bytes = rest;
            if now.len() == wanted {
                self.run(false)?;
                let unneeded = self.window - self.start;
                self.buffer.drain(..unneeded);
                self.start = self.window;
            }
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> io::Result<W> {
        self.run(true)?;
        if self.literal_waits {
            let byte = self.byte(self.at - 1);
            self.block.literal(byte);
        }
        self.flush(true)?;
        self.out.finish()
    }

    /// The byte at a position; gzip sees zeros behind the end.
    fn byte(&self, position: usize) -> u8 {
        let byte = self.buffer.get(position - self.start);
        byte.copied().unwrap_or(0)
    }

    /// Goes on until gzip would read more, or to the end if this is all.
    fn run(&mut self, is_all: bool) -> io::Result<()> {
        let end = self.start + self.buffer.len();
        if self.at == 0 {
            self.hash = usize::from(self.byte(0)) << HASH_SHIFT ^ usize::from(self.byte(1));
        }
        let mut at_end = false;
        while self.at < end {
            let visible = end.min(self.window + 2 * WINDOW);
            if visible - self.at < MIN_LOOKAHEAD && !at_end {
                if self.at - self.window >= WINDOW + MAX_DISTANCE {
                    self.window += WINDOW;
                }
                if !is_all {
                    return Ok(());
                }
                at_end = true;
            }
            self.step(end)?;
        }
        Ok(())
    }

    fn step(&mut self, end: usize) -> io::Result<()> {
        let candidate = self.insert(self.at);
        let (previous_length, previous_start) = (self.match_length, self.match_start);
        self.match_length = MIN_MATCH - 1;
        let [_, lazy, ..] = self.tuning;
        if candidate != 0 && previous_length < lazy && self.at - candidate <= MAX_DISTANCE {
            let length = self.longest_match(candidate, previous_length);
            self.match_length = length.min(end - self.at);
            if self.match_length == MIN_MATCH && self.at - self.match_start > TOO_FAR {
                self.match_length -= 1;
            }
        }
        if previous_length >= MIN_MATCH && self.match_length <= previous_length {
            let distance = self.at - 1 - previous_start;
            self.block.pair(previous_length, distance);
            let is_full = self.is_block_full();
            for _ in 0..previous_length - 2 {
                self.at += 1;
                self.insert(self.at);
            }
            self.literal_waits = false;
            self.match_length = MIN_MATCH - 1;
            self.at += 1;
            if is_full {
                self.flush(false)?;
            }
        } else if self.literal_waits {
            let byte = self.byte(self.at - 1);
            self.block.literal(byte);
            if self.is_block_full() {
                self.flush(false)?;
            }
            self.at += 1;
        } else {
            self.literal_waits = true;
            self.at += 1;
        }
        Ok(())
    }

    /// Enters the three bytes at a position, and returns where they stood last.
    fn insert(&mut self, position: usize) -> usize {
        let next = usize::from(self.byte(position + MIN_MATCH - 1));
        self.hash = (self.hash << HASH_SHIFT ^ next) & ((1 << HASH_BITS) - 1);
        let last = std::mem::replace(&mut self.head[self.hash], position);
        self.previous[position % WINDOW] = last;
        last
    }

    /// Finds the longest match that is longer than `best`; the nearest of those, and the first that
    /// is long enough.
    fn longest_match(&mut self, mut candidate: usize, mut best: usize) -> usize {
        let [good, _, nice, mut chain] = self.tuning;
        if best >= good {
            chain >>= 2;
        }
        let limit = self.at.saturating_sub(MAX_DISTANCE);
        loop {
            let length = self.common(candidate, best);
            if length > best {
                self.match_start = candidate;
                best = length;
                if length >= nice {
                    break;
                }
            }
            candidate = self.previous[candidate % WINDOW];
            chain -= 1;
            if candidate <= limit || chain == 0 {
                break;
            }
        }
        best
    }

    /// Returns how many bytes from `candidate` on are those from the current position on; 0 if not
    /// more than `best`.
    fn common(&self, candidate: usize, best: usize) -> usize {
        let there = &self.buffer[candidate - self.start..];
        let here = &self.buffer[self.at - self.start..];
        if here.len() > MAX_MATCH {
            if there[best] != here[best] {
                return 0;
            }
            let pairs = there.iter().zip(&here[..MAX_MATCH]);
            return pairs.take_while(|(a, b)| a == b).count();
        }
        let equal = |n: &usize| self.byte(candidate + n) == self.byte(self.at + n);
        (0..MAX_MATCH).take_while(equal).count()
    }

    fn is_block_full(&self) -> bool {
        let symbols = self.block.symbols();
        if symbols & 0xfff == 0 && self.block.is_worth_ending(self.at - self.block_start) {
            return true;
        }
        symbols == BLOCK_SYMBOLS - 1
    }

    fn flush(&mut self, is_last: bool) -> io::Result<()> {
        let stored = (self.block_start >= self.window)
            .then(|| &self.buffer[self.block_start - self.start..self.at - self.start]);
        let length = self.at - self.block_start;
        self.block.write(&mut self.out, stored, length, is_last)?;
        self.block_start = self.at;
        Ok(())
    }
}
