//! Blocks of deflate: counting symbols, building their trees, and writing them (RFC 1951, section
//! 3.2).

use std::io::{self, Write};

use super::code_lengths::{CodeLengths, build, codes};

const LITERALS: usize = 286;
const DISTANCES: usize = 30;
const LENGTH_CODES: usize = 19;
const END: usize = 256;
/// The order in which the lengths of the code-length codes are written.
const ORDER: [usize; LENGTH_CODES] = [
    16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
];

/// The longest codes of literals and distances, and those of the lengths of these codes, in bits.
const CODE_BITS: usize = 15;
const LENGTH_CODE_BITS: usize = 7;
/// Codes of literals that the fixed tree has; the last two are never used.
const FIXED_LITERALS: usize = 288;
/// The length of each code of a distance in the fixed tree, in bits.
const FIXED_DISTANCE: u8 = 5;
/// The kinds of blocks, above the bit that tells the last block.
const STORED: u32 = 0;
const FIXED: u32 = 1 << 1;
const DYNAMIC: u32 = 2 << 1;
/// Bytes that say how long a stored block is.
const STORED_LENGTH_BYTES: i64 = 4;

/// Writes bits, lowest first.
pub(super) struct BitWriter<W: Write> {
    out: W,
    buffer: Vec<u8>,
    bits: u64,
    count: u32,
}

impl<W: Write> BitWriter<W> {
    pub(super) fn new(out: W) -> Self {
        Self {
            out,
            buffer: Vec::new(),
            bits: 0,
            count: 0,
        }
    }

    fn put(&mut self, value: u32, count: u32) {
        self.bits |= u64::from(value) << self.count;
        self.count += count;
        while self.count >= 8 {
            self.buffer.push(self.bits as u8);
            self.bits >>= 8;
            self.count -= 8;
        }
    }

    fn align(&mut self) {
        if self.count > 0 {
            self.put(0, 8 - self.count);
        }
    }

    fn pass_on(&mut self) -> io::Result<()> {
        self.out.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    pub(super) fn finish(mut self) -> io::Result<W> {
        self.align();
        self.pass_on()?;
        Ok(self.out)
    }
}

/// Returns code, number of extra bits and their value of a match length, 3 to 258.
fn length_code(length: usize) -> (usize, u32, u32) {
    if length == 258 {
        return (285, 0, 0);
    }
    let offset = length - 3;
    if offset < 8 {
        return (257 + offset, 0, 0);
    }
    let extra = offset.ilog2() - 2;
    let code = 257 + 4 * extra as usize + (offset >> extra);
    (code, extra, (offset & ((1 << extra) - 1)) as u32)
}

/// Returns code, number of extra bits and their value of a distance, 1 to 32768.
fn distance_code(distance: usize) -> (usize, u32, u32) {
    let offset = distance - 1;
    if offset < 4 {
        return (offset, 0, 0);
    }
    let extra = offset.ilog2() - 1;
    let code = 2 * extra as usize + (offset >> extra);
    (code, extra, (offset & ((1 << extra) - 1)) as u32)
}

fn length_extra(code: usize) -> u64 {
    match code {
        265..=284 => (code as u64 - 261) / 4,
        _ => 0,
    }
}

fn distance_extra(code: usize) -> u64 {
    (code as u64 / 2).saturating_sub(1)
}

fn fixed_literal(code: usize) -> u8 {
    match code {
        0..=143 => 8,
        144..=255 => 9,
        256..=279 => 7,
        _ => 8,
    }
}

/// The trees of a block, and how they are written: as runs of code lengths, in a tree of their own.
struct Trees {
    literals: CodeLengths,
    distances: CodeLengths,
    /// Code, value and number of bits of that value.
    runs: Vec<(usize, u32, u32)>,
    lengths: CodeLengths,
    /// How many codes of lengths are written.
    used: usize,
}

impl Trees {
    /// The least number of codes of lengths that is written.
    const LEAST_USED: usize = 4;

    fn new(literals: &[u32], distances: &[u32]) -> Self {
        let literals = build(literals, CODE_BITS, length_extra, fixed_literal);
        let distances = build(distances, CODE_BITS, distance_extra, |_| FIXED_DISTANCE);
        let runs = runs(&literals, &distances);
        let mut frequencies = [0u32; LENGTH_CODES];
        for (code, _, _) in &runs {
            frequencies[*code] += 1;
        }
        let lengths = build(&frequencies, LENGTH_CODE_BITS, run_extra, |_| 0);
        let used = ORDER.iter().rposition(|code| lengths.lengths[*code] != 0);
        Self {
            used: used.map_or(0, |last| last + 1).max(Self::LEAST_USED),
            literals,
            distances,
            runs,
            lengths,
        }
    }

    /// Returns what writing the trees takes, in bits: the three numbers, the lengths of the codes
    /// of lengths, and the runs.
    fn bits(&self) -> i64 {
        5 + 5 + 4 + 3 * self.used as i64 + self.lengths.own
    }

    fn write<W: Write>(&self, out: &mut BitWriter<W>) {
        out.put((self.literals.last - END) as u32, 5);
        out.put(self.distances.last as u32, 5);
        out.put((self.used - Self::LEAST_USED) as u32, 4);
        for code in &ORDER[..self.used] {
            out.put(u32::from(self.lengths.lengths[*code]), 3);
        }
        let of = codes(&self.lengths.lengths);
        for (code, value, bits) in &self.runs {
            out.put(of[*code].0, of[*code].1);
            out.put(*value, *bits);
        }
    }
}

/// Returns how many bits follow the code of a run: how often it repeats.
fn run_extra(code: usize) -> u64 {
    match code {
        16 => 2,
        17 => 3,
        18 => 7,
        _ => 0,
    }
}

/// The symbols of one block.
pub(super) struct Block {
    /// Length or literal, and distance; 0 for a literal.
    symbols: Vec<(u16, u16)>,
    pairs: usize,
    literals: [u32; LITERALS],
    distances: [u32; DISTANCES],
}

impl Block {
    pub(super) fn new() -> Self {
        let mut literals = [0; LITERALS];
        literals[END] = 1;
        Self {
            symbols: Vec::new(),
            pairs: 0,
            literals,
            distances: [0; DISTANCES],
        }
    }

    pub(super) fn symbols(&self) -> usize {
        self.symbols.len()
    }

    pub(super) fn literal(&mut self, byte: u8) {
        self.symbols.push((u16::from(byte), 0));
        self.literals[usize::from(byte)] += 1;
    }

    pub(super) fn pair(&mut self, length: usize, distance: usize) {
        self.symbols.push((length as u16, distance as u16));
        self.pairs += 1;
        self.literals[length_code(length).0] += 1;
        self.distances[distance_code(distance).0] += 1;
    }

    /// Guesses, as gzip does, whether the block should end here: few matches, and less than half
    /// its input in size.
    pub(super) fn is_worth_ending(&self, input: usize) -> bool {
        let symbols = self.symbols.len() as u64;
        let of_code = |(code, times): (usize, &u32)| u64::from(*times) * (5 + distance_extra(code));
        let bits: u64 = self.distances.iter().enumerate().map(of_code).sum();
        let bytes = (symbols * 8 + bits) >> 3;
        self.pairs < self.symbols.len() / 2 && bytes < input as u64 / 2
    }

    /// Writes the block in the shortest of the three ways, and starts a new one.
    pub(super) fn write<W: Write>(
        &mut self,
        out: &mut BitWriter<W>,
        stored: Option<&[u8]>,
        input: usize,
        is_last: bool,
    ) -> io::Result<()> {
        let trees = Trees::new(&self.literals, &self.distances);
        // The kind of a block takes three bits, and the last byte is filled up, as gzip reckons it.
        let bytes = |bits: i64| (bits + 3 + 7) >> 3;
        let fixed = bytes(trees.literals.fixed + trees.distances.fixed);
        let best = bytes(trees.literals.own + trees.distances.own + trees.bits()).min(fixed);
        let last = u32::from(is_last);
        match stored {
            Some(stored) if input as i64 + STORED_LENGTH_BYTES <= best => {
                out.put(STORED + last, 3);
                out.align();
                let length = stored.len() as u16;
                out.buffer.extend_from_slice(&length.to_le_bytes());
                out.buffer.extend_from_slice(&(!length).to_le_bytes());
                out.buffer.extend_from_slice(stored);
            }
            // At equal sizes the fixed trees.
            _ if fixed == best => {
                out.put(FIXED + last, 3);
                let fixed: Vec<u8> = (0..FIXED_LITERALS).map(fixed_literal).collect();
                self.put(out, &codes(&fixed), &codes(&[FIXED_DISTANCE; DISTANCES]));
            }
            _ => {
                out.put(DYNAMIC + last, 3);
                trees.write(out);
                let distances = codes(&trees.distances.lengths);
                self.put(out, &codes(&trees.literals.lengths), &distances);
            }
        }
        *self = Self {
            symbols: std::mem::take(&mut self.symbols),
            ..Self::new()
        };
        self.symbols.clear();
        out.pass_on()
    }

    fn put<W: Write>(
        &self,
        out: &mut BitWriter<W>,
        literals: &[(u32, u32)],
        distances: &[(u32, u32)],
    ) {
        for (symbol, distance) in &self.symbols {
            let (symbol, distance) = (usize::from(*symbol), usize::from(*distance));
            if distance == 0 {
                out.put(literals[symbol].0, literals[symbol].1);
                continue;
            }
            let (code, extra, value) = length_code(symbol);
            out.put(literals[code].0, literals[code].1);
            out.put(value, extra);
            let (code, extra, value) = distance_code(distance);
            out.put(distances[code].0, distances[code].1);
            out.put(value, extra);
        }
        out.put(literals[END].0, literals[END].1);
    }
}

/// Run-length codes of the two trees: code, value and number of its extra bits.
fn runs(literals: &CodeLengths, distances: &CodeLengths) -> Vec<(usize, u32, u32)> {
    let mut runs = Vec::new();
    for tree in [literals, distances] {
        // A run does not go on from one tree to the other.
        let lengths = &tree.lengths[..=tree.last];
        let mut before = None;
        let mut at = 0;
        while at < lengths.len() {
            let length = lengths[at];
            let (most, least) = match (length, before == Some(length)) {
                (0, _) => (138, 3),
                (_, true) => (6, 3),
                (_, false) => (7, 4),
            };
            let rest = lengths[at..].iter().take(most);
            let count = rest.take_while(|other| **other == length).count();
            at += count;
            let mut left = count as u32;
            if count < least {
                runs.extend((0..count).map(|_| (usize::from(length), 0, 0)));
            } else if length != 0 {
                if before != Some(length) {
                    runs.push((usize::from(length), 0, 0));
                    left -= 1;
                }
                runs.push((16, left - 3, 2));
            } else if left <= 10 {
                runs.push((17, left - 3, 3));
            } else {
                runs.push((18, left - 11, 7));
            }
            before = Some(length);
        }
    }
    runs
}
