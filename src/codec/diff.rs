//! Differences between similar bytes, in the manner of bsdiff (C. Percival, "Naive differences of
//! executable code", 2003).
//!
//! Executables and tables that moved a little are full of numbers that changed by the same amount.
//! Where new bytes stand against alike old ones, the difference byte by byte is kept, which is
//! mostly zeros and repetitions; zstd does the rest. Old bytes are found by a hash of what stands
//! there, not by a suffix array: a fraction of the time and memory for nearly the same.

/// New bytes that stand against old ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AlignedRun {
    /// The first of the new bytes.
    pub(super) at: usize,
    /// The first of the old ones.
    pub(super) from: usize,
    /// How many.
    pub(super) len: usize,
}

/// Every so many old bytes are places to be looked at: enough for equal bytes that are a little
/// longer, in half the memory.
const STEP: usize = 2;
/// Bytes that must be equal for a place to be looked at.
const SEED: usize = 8;
/// How much better another place must be than going on, in equal bytes.
const BETTER: usize = 8;
/// The most places that are looked at for one position.
const CHAIN: usize = 8;
/// Longer equal bytes are not compared with other places.
const LONG: usize = 256;
/// As many equal bytes where the open run goes on are good enough: no other place is looked for.
const GOOD: usize = LONG / 8;
/// Bits of the hash: a table that is as large as the old bytes are many, from 4 KiB to 16 MiB.
const LEAST_BITS: u32 = 10;
const MOST_BITS: u32 = 22;
/// 2^64 divided by the golden ratio: multiplying by it spreads what differs in few bits over the
/// upper ones (Knuth, TAOCP 3, 6.4).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

struct Index<'a> {
    old: &'a [u8],
    head: Vec<u32>,
    previous: Vec<u32>,
    shift: u32,
}

impl<'a> Index<'a> {
    fn new(old: &'a [u8]) -> Self {
        let bits = (old.len().max(2).ilog2() + 1).clamp(LEAST_BITS, MOST_BITS);
        let mut index = Self {
            old,
            head: vec![u32::MAX; 1 << bits],
            previous: vec![u32::MAX; old.len().div_ceil(STEP)],
            shift: u64::BITS - bits,
        };
        for at in (0..old.len().saturating_sub(SEED - 1)).step_by(STEP) {
            let hash = index.hash(&old[at..]);
            // One entry for a run of equal bytes is enough.
            if at > 0 && old[at - 1..at + SEED - 1] == old[at..at + SEED] {
                continue;
            }
            index.previous[at / STEP] = index.head[hash];
            index.head[hash] = at as u32;
        }
        index
    }

    fn hash(&self, bytes: &[u8]) -> usize {
        let mut seed = [0; SEED];
        seed.copy_from_slice(&bytes[..SEED]);
        (u64::from_le_bytes(seed).wrapping_mul(SPREAD) >> self.shift) as usize
    }

    /// Finds the longest equal bytes for a position: where, and how many.
    fn longest(&self, new: &[u8], near: usize) -> (usize, usize) {
        let mut best = (0, 0);
        if new.len() < SEED {
            return best;
        }
        let mut at = self.head[self.hash(new)];
        for _ in 0..CHAIN {
            if at == u32::MAX {
                break;
            }
            let place = at as usize;
            let len = common(new, &self.old[place..]);
            let is_nearer = place.abs_diff(near) < best.0.abs_diff(near);
            if len > best.1 || (len == best.1 && is_nearer) {
                best = (place, len);
            }
            if len >= LONG {
                break;
            }
            at = self.previous[place / STEP];
        }
        best
    }
}

/// Returns how many bytes are equal.
pub(super) fn common(a: &[u8], b: &[u8]) -> usize {
    let mut len = 0;
    let (mut a, mut b) = (a, b);
    while let (Some((x, rest_a)), Some((y, rest_b))) =
        (a.split_first_chunk::<8>(), b.split_first_chunk::<8>())
    {
        let differ = u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y);
        if differ != 0 {
            return len + differ.trailing_zeros() as usize / 8;
        }
        len += 8;
        (a, b) = (rest_a, rest_b);
    }
    len + a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Finds what of `new` stands against what of `old`; in order, without overlap in `new`.
///
/// A run is followed until another place in `old` is clearly better than going on there. Then it is
/// known how far the run reaches and how far back the next one does, and the border between them is
/// drawn.
pub(super) fn runs(new: &[u8], old: &[u8]) -> Vec<AlignedRun> {
    let mut runs: Vec<AlignedRun> = Vec::new();
    // Places are kept in 32 bits.
    if old.len() < SEED || new.len() < SEED || old.len() >= u32::MAX as usize {
        return runs;
    }
    let index = Index::new(old);
    // Files that start alike mostly go on so; otherwise no run is open at first.
    let mut open = (common(new, old) >= SEED).then_some(Anchor::default());
    let mut scan = 0;
    loop {
        let found = index.better(new, open, scan);
        let end = found.map_or(new.len(), |(next, _)| next.new);
        let mut forward = open.map_or(0, |open| {
            reach(new[open.new..end].iter().zip(&old[open.old..]))
        });
        let start = open.unwrap_or_default();
        let mut back = 0;
        if let Some((next, _)) = found {
            let before = new[start.new..next.new].iter().rev();
            back = reach(before.zip(old[..next.old].iter().rev()));
            let overlap = (start.new + forward).saturating_sub(next.new - back);
            let kept = border(
                &new[next.new - back..][..overlap],
                &old[start.old + forward - overlap..],
                &old[next.old - back..],
            );
            forward -= overlap - kept;
            back -= kept;
        }
        if forward > 0 {
            runs.push(AlignedRun {
                at: start.new,
                from: start.old,
                len: forward,
            });
        }
        let Some((next, len)) = found else {
            return runs;
        };
        open = Some(Anchor {
            new: next.new - back,
            old: next.old - back,
        });
        scan = next.new + len;
    }
}

/// A new byte and an old one that stand against each other.
#[derive(Debug, Clone, Copy, Default)]
struct Anchor {
    new: usize,
    old: usize,
}

impl Index<'_> {
    /// Looks, from `scan` on, for a place that is clearly better than going on with the open run.
    /// Returns it with the number of bytes that are equal there.
    fn better(&self, new: &[u8], open: Option<Anchor>, scan: usize) -> Option<(Anchor, usize)> {
        let start = open.unwrap_or_default();
        let mut at = scan;
        while at + SEED <= new.len() {
            let going_on = (start.old + (at - start.new)).min(self.old.len());
            let rest = &self.old[going_on..];
            let along = open.map_or(0, |_| common(&new[at..], rest));
            if along >= GOOD {
                at += along;
                continue;
            }
            let (place, len) = self.longest(&new[at..], going_on);
            if len >= SEED && len > along {
                // The open run may have as many equal bytes there, only not in one piece.
                let same = open.map_or(0, |_| equal(&new[at..at + len], rest));
                if len > same + BETTER {
                    let found = Anchor {
                        new: at,
                        old: place,
                    };
                    return Some((found, len));
                }
                if len == same {
                    at += len;
                    continue;
                }
            }
            // What goes on well is looked at less closely: half of it is skipped.
            at += 1 + along / 2;
        }
        None
    }
}

/// Returns how many bytes are equal, of those that stand against each other.
fn equal(new: &[u8], old: &[u8]) -> usize {
    new.iter().zip(old).filter(|(new, old)| new == old).count()
}

/// Returns how far a run reaches: to where the equal bytes outnumber the others the most.
fn reach<'a>(pairs: impl Iterator<Item = (&'a u8, &'a u8)>) -> usize {
    let (mut score, mut best, mut reach) = (0i64, 0i64, 0);
    for (n, (new, old)) in pairs.enumerate() {
        score += if new == old { 1 } else { -1 };
        if score > best {
            (best, reach) = (score, n + 1);
        }
    }
    reach
}

/// Returns how many of the bytes that two runs both reach stay with the one that ends: so many that
/// both together have the most equal bytes.
fn border(shared: &[u8], ending: &[u8], beginning: &[u8]) -> usize {
    let (mut score, mut best, mut kept) = (0i64, 0i64, 0);
    let pairs = shared.iter().zip(ending).zip(beginning);
    for (n, ((byte, ending), beginning)) in pairs.enumerate() {
        score += i64::from(byte == ending) - i64::from(byte == beginning);
        if score > best {
            (best, kept) = (score, n + 1);
        }
    }
    kept
}
