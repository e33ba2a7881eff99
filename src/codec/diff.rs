//! Differences between similar bytes, in the manner of bsdiff (C. Percival, "Naive differences of executable code", 2003).
//!
//! Executables and tables that moved a little are full of numbers that changed by the same amount. Where new bytes stand against
//! alike old ones, the difference byte by byte is kept, which is mostly zeros and repetitions; zstd does the rest. Old bytes
//! are found by a hash of what stands there, not by a suffix array: a fraction of the time and memory for nearly the same.

/// New bytes that stand against old ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// The first of the new bytes.
    pub(super) at: usize,
    /// The first of the old ones.
    pub(super) from: usize,
    /// How many.
    pub(super) len: usize,
}

/// Every so many old bytes are places to be looked at: enough for equal bytes that are a little longer, in half the memory.
const STEP: usize = 2;
/// Bytes that must be equal for a place to be looked at.
const SEED: usize = 8;
/// How much better another place must be than going on, in equal bytes.
const BETTER: usize = 8;
/// The most places that are looked at for one position.
const CHAIN: usize = 8;
/// Longer equal bytes are not compared with other places.
const LONG: usize = 256;

struct Index<'a> {
    old: &'a [u8],
    head: Vec<u32>,
    previous: Vec<u32>,
    shift: u32,
}

impl<'a> Index<'a> {
    fn new(old: &'a [u8]) -> Self {
        let bits = (old.len().max(2).ilog2() + 1).clamp(10, 22);
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
        (u64::from_le_bytes(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize
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
pub(super) fn runs(new: &[u8], old: &[u8]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    if old.len() < SEED || new.len() < SEED || old.len() >= u32::MAX as usize {
        return runs;
    }
    let index = Index::new(old);
    // The run that is open: where it started, and the new and old position of its last certain place.
    let (mut last_scan, mut last_pos) = (0usize, 0usize);
    let mut open = common(new, old) >= SEED;
    let mut scan = 0;
    loop {
        // Look for a place that is better than going on.
        let mut found = None;
        let mut at = scan;
        while at + SEED <= new.len() {
            let going_on = (last_pos + (at - last_scan)).min(old.len());
            let along = if open {
                common(&new[at..], &old[going_on..])
            } else {
                0
            };
            if along >= LONG / 8 {
                at += along;
                continue;
            }
            let (place, len) = index.longest(&new[at..], going_on);
            if len >= SEED && len > along {
                let rest = &old[going_on..];
                let same = if open {
                    new[at..at + len]
                        .iter()
                        .zip(rest)
                        .filter(|(a, b)| a == b)
                        .count()
                } else {
                    0
                };
                if len > same + BETTER || (!open && len >= SEED + BETTER / 2) {
                    found = Some((at, place, len));
                    break;
                }
                if len == same && len > 1 {
                    at += len;
                    continue;
                }
            }
            at += 1 + along / 2;
        }
        let end = found.map_or(new.len(), |(at, _, _)| at);
        // How far the open run goes on, and how far back the next one reaches.
        let mut forward = 0;
        if open {
            let (mut score, mut best) = (0i64, 0i64);
            let most = (end - last_scan).min(old.len() - last_pos);
            for n in 0..most {
                score += if new[last_scan + n] == old[last_pos + n] {
                    1
                } else {
                    -1
                };
                if score > best {
                    (best, forward) = (score, n + 1);
                }
            }
        }
        let mut back = 0;
        if let Some((at, place, _)) = found {
            let (mut score, mut best) = (0i64, 0i64);
            let most = (at - last_scan).min(place);
            for n in 1..=most {
                score += if new[at - n] == old[place - n] { 1 } else { -1 };
                if score > best {
                    (best, back) = (score, n);
                }
            }
            // Where both reach, the border is where they share the equal bytes best.
            if last_scan + forward > at - back {
                let overlap = last_scan + forward - (at - back);
                let (mut score, mut best, mut cut) = (0i64, 0i64, 0);
                for n in 0..overlap {
                    let new_at = last_scan + forward - overlap + n;
                    if new[new_at] == old[last_pos + forward - overlap + n] {
                        score += 1;
                    }
                    if new[new_at] == old[place - back + n] {
                        score -= 1;
                    }
                    if score > best {
                        (best, cut) = (score, n + 1);
                    }
                }
                forward = forward + cut - overlap;
                back -= cut;
            }
        }
        if forward > 0 {
            runs.push(Run {
                at: last_scan,
                from: last_pos,
                len: forward,
            });
        }
        let Some((at, place, len)) = found else {
            return runs;
        };
        last_scan = at - back;
        last_pos = place - back;
        open = true;
        scan = at + len;
    }
}
