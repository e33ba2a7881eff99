//! Estimates how alike contents are, without comparing them.
//!
//! A sketch is the lowest hashes of all strings of eight bytes; the share that two have in common
//! is near that of the strings themselves (A. Broder, "On the resemblance and containment of
//! documents", 1997). It is a thousand times quicker than trying.

/// How many hashes a sketch has at most.
const KEPT: usize = 128;
/// Bytes that are hashed together: code that moved has few longer strings without an address.
const STRING: usize = 8;

/// The lowest hashes of some contents, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sketch(Vec<u64>);

impl Sketch {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut lowest = Vec::with_capacity(KEPT * 4);
        let mut below = u64::MAX;
        let mut last = 0;
        for window in bytes.windows(STRING) {
            let mut string = [0; STRING];
            string.copy_from_slice(window);
            let hash = u64::from_le_bytes(string).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            // The best bits of a product are the high ones, and all of them count.
            let hash = hash ^ hash >> 32;
            let hash = hash.wrapping_mul(0xd6e8_feb8_6659_fd93);
            if hash >= below || hash == last {
                continue;
            }
            last = hash;
            lowest.push(hash);
            if lowest.len() == KEPT * 4 {
                lowest.sort_unstable();
                lowest.dedup();
                lowest.truncate(KEPT);
                below = lowest.get(KEPT - 1).copied().unwrap_or(u64::MAX);
            }
        }
        lowest.sort_unstable();
        lowest.dedup();
        lowest.truncate(KEPT);
        Self(lowest)
    }

    /// Returns what share of both is in each, in thousandths.
    pub(super) fn likeness(&self, other: &Self) -> u32 {
        let (mut a, mut b) = (self.0.as_slice(), other.0.as_slice());
        let (mut all, mut common) = (0, 0);
        while all < KEPT as u32 {
            let order = match (a.first(), b.first()) {
                (Some(x), Some(y)) => x.cmp(y),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (None, None) => break,
            };
            all += 1;
            common += u32::from(order.is_eq());
            a = &a[usize::from(order.is_le())..];
            b = &b[usize::from(order.is_ge())..];
        }
        common * 1000 / all.max(1)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::tests::noise;
    use super::*;

    #[test]
    fn likeness_is_near_the_share_that_is_equal() {
        let (one, two) = (noise(1, 100_000), noise(2, 100_000));
        let like = |a: &[u8], b: &[u8]| Sketch::of(a).likeness(&Sketch::of(b));
        assert_eq!(like(&one, &one), 1000);
        assert_eq!(like(&one, &two), 0);
        // Half of each is common: a third of both.
        let half = [&one[..50_000], &two[..50_000]].concat();
        let found = like(&one, &half);
        assert!((230..440).contains(&found), "{found}");
    }

    #[test]
    fn what_is_empty_or_short_is_like_nothing() {
        for bytes in [&b""[..], b"seven b", &[0; 100]] {
            let sketch = Sketch::of(bytes);
            assert_eq!(sketch.likeness(&Sketch::of(b"")), 0);
            assert_eq!(sketch.likeness(&Sketch::of(&noise(3, 5000))), 0);
        }
        assert_eq!(Sketch::of(&[0; 100]), Sketch::of(&[0; 9000]));
    }
}
