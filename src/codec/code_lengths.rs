//! Huffman codes as gzip and zlib choose them: a heap by frequency and depth, codes cut to the
//! greatest length, ties in one order (RFC 1951, section 3.2.2).

/// Lengths of codes, and what they cost with and without a tree of their own, in bits.
pub(super) struct CodeLengths {
    pub(super) lengths: Vec<u8>,
    /// The highest code in use.
    pub(super) last: usize,
    pub(super) own: i64,
    pub(super) fixed: i64,
}

/// Builds a tree for these frequencies; at least two codes are in use in the end, as some readers
/// want.
pub(super) fn build(
    frequencies: &[u32],
    limit: usize,
    extra: fn(usize) -> u64,
    fixed: fn(usize) -> u8,
) -> CodeLengths {
    let mut used: Vec<usize> = (0..frequencies.len())
        .filter(|code| frequencies[*code] > 0)
        .collect();
    let added = add_to_two(&mut used);
    let mut forest = Forest::new(frequencies);
    for code in &added {
        forest.frequency[*code] = 1;
    }
    let sorted = forest.join(used.clone());
    let length = forest.lengths(&sorted, limit);
    let (mut own, mut fixed_bits) = (0i64, 0i64);
    for code in &used {
        let (extra, times) = (extra(*code) as i64, i64::from(forest.frequency[*code]));
        own += times * (length[*code] as i64 + extra);
        fixed_bits += times * (i64::from(fixed(*code)) + extra);
    }
    // What was added is never written. gzip takes off one bit for each, however long its code is,
    // and by these sums it decides how to write a block.
    for code in &added {
        own -= 1;
        fixed_bits -= i64::from(fixed(*code));
    }
    CodeLengths {
        lengths: length[..frequencies.len()]
            .iter()
            .map(|bits| *bits as u8)
            .collect(),
        last: used.iter().copied().max().unwrap_or(0),
        own,
        fixed: fixed_bits,
    }
}

/// Adds codes until two are in use, and returns those: the lowest ones, as gzip does.
fn add_to_two(used: &mut Vec<usize>) -> Vec<usize> {
    let mut added = Vec::new();
    while used.len() < 2 {
        let code = match used.iter().max() {
            Some(last) if *last < 2 => last + 1,
            _ => 0,
        };
        used.push(code);
        added.push(code);
    }
    added
}

/// The nodes of a tree: the codes, and behind them those that join two others.
struct Forest {
    codes: usize,
    frequency: Vec<u32>,
    depth: Vec<u8>,
    parent: Vec<usize>,
}

impl Forest {
    fn new(frequencies: &[u32]) -> Self {
        let codes = frequencies.len();
        let most = 2 * codes + 1;
        let mut frequency = frequencies.to_vec();
        frequency.resize(most, 0);
        Self {
            codes,
            frequency,
            depth: vec![0; most],
            parent: vec![0; most],
        }
    }

    /// Joins the two rarest nodes, again and again, until one is left. Returns all of them from
    /// that one, the root, down.
    fn join(&mut self, mut heap: Vec<usize>) -> Vec<usize> {
        for at in (0..heap.len() / 2).rev() {
            sift(&mut heap, at, &self.frequency, &self.depth);
        }
        let mut sorted = Vec::with_capacity(2 * self.codes);
        let mut next = self.codes;
        while heap.len() >= 2 {
            let least = heap.swap_remove(0);
            sift(&mut heap, 0, &self.frequency, &self.depth);
            let second = heap[0];
            sorted.push(least);
            sorted.push(second);
            self.frequency[next] = self.frequency[least].saturating_add(self.frequency[second]);
            self.depth[next] = self.depth[least].max(self.depth[second]) + 1;
            self.parent[least] = next;
            self.parent[second] = next;
            heap[0] = next;
            next += 1;
            sift(&mut heap, 0, &self.frequency, &self.depth);
        }
        sorted.push(heap[0]);
        sorted.reverse();
        sorted
    }

    /// Returns the length of each node's code in bits, none above `limit`; `sorted` has the root
    /// first.
    fn lengths(&self, sorted: &[usize], limit: usize) -> Vec<usize> {
        let mut length = vec![0usize; self.frequency.len()];
        let mut of_length = vec![0i64; limit + 1];
        let mut overflow = 0i64;
        for node in &sorted[1..] {
            let mut bits = length[self.parent[*node]] + 1;
            if bits > limit {
                bits = limit;
                overflow += 1;
            }
            length[*node] = bits;
            if *node < self.codes {
                of_length[bits] += 1;
            }
        }
        if overflow > 0 {
            make_room(&mut of_length, limit, overflow);
            // The rarest get the longest codes.
            let mut leaves = sorted.iter().rev().filter(|node| **node < self.codes);
            for bits in (1..=limit).rev() {
                for node in leaves.by_ref().take(of_length[bits] as usize) {
                    length[*node] = bits;
                }
            }
        }
        length
    }
}

/// Makes the numbers of codes by length those of a tree again, after `overflow` nodes were cut to
/// the limit: a leaf above it moves down one level and takes one of those that were cut as its
/// brother, which makes room for two.
fn make_room(of_length: &mut [i64], limit: usize, mut overflow: i64) {
    while overflow > 0 {
        let mut bits = limit - 1;
        while of_length[bits] == 0 {
            bits -= 1;
        }
        of_length[bits] -= 1;
        of_length[bits + 1] += 2;
        of_length[limit] -= 1;
        overflow -= 2;
    }
}

/// Moves a node down the heap: the smaller frequency first, then the smaller depth; the left child
/// on a tie.
fn sift(heap: &mut [usize], mut at: usize, frequency: &[u32], depth: &[u8]) {
    let key = |node: usize| (frequency[node], depth[node]);
    let Some(node) = heap.get(at).copied() else {
        return;
    };
    let mut child = 2 * at + 1;
    while child < heap.len() {
        if child + 1 < heap.len() && key(heap[child + 1]) <= key(heap[child]) {
            child += 1;
        }
        if key(node) <= key(heap[child]) {
            break;
        }
        heap[at] = heap[child];
        at = child;
        child = 2 * at + 1;
    }
    heap[at] = node;
}

/// Returns the codes of these lengths, their bits reversed, as they are written.
pub(super) fn codes(lengths: &[u8]) -> Vec<(u32, u32)> {
    let mut count = [0u32; 17];
    for length in lengths.iter().filter(|length| **length > 0) {
        count[usize::from(*length)] += 1;
    }
    let mut next = [0u32; 17];
    for bits in 1..16 {
        next[bits + 1] = (next[bits] + count[bits]) << 1;
    }
    let mut of = |length: &u8| {
        let bits = u32::from(*length);
        if bits == 0 {
            return (0, 0);
        }
        let code = next[usize::from(*length)];
        next[usize::from(*length)] += 1;
        (code.reverse_bits() >> (32 - bits), bits)
    };
    lengths.iter().map(&mut of).collect()
}
