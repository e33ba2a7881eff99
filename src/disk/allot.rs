//! Dividing a whole among parts that ask for amounts, shares and the rest.
//!
//! Partitions of a disk and volumes of a group divide alike. All numbers are units: the alignment of
//! a disk, the extents of a group.

use super::size::Share;

/// What one part asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    /// How much it gets.
    pub(super) ask: Ask,
    /// What lies before it and belongs to the table.
    pub(super) overhead: u64,
    /// How much its content needs; at least 1.
    pub(super) need: u64,
}

/// How much a part gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// So much.
    Fixed(u64),
    /// So much of what the parts before it leave free.
    OfFree(Share),
    /// So much of the whole.
    OfAll(Share),
    /// What all others leave free, wherever it stands among them.
    Rest,
}

/// The part that gets less than it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Short {
    /// Its index.
    pub(super) part: usize,
    /// What it would get.
    pub(super) has: u64,
}

/// Divides `whole`. Parts keep their order; what nobody asks for stays free at the end.
pub(super) fn allot(whole: u64, parts: &[Part]) -> Result<Vec<u64>, Short> {
    let mut sizes = vec![0; parts.len()];
    let mut free = whole;
    let is_rest = |part: &Part| part.ask == Ask::Rest;
    let in_order = parts.iter().enumerate().filter(|(_, part)| !is_rest(part));
    let rest = parts.iter().enumerate().filter(|(_, part)| is_rest(part));
    for (index, part) in in_order.chain(rest) {
        let short = |has| Short { part: index, has };
        let room = free.checked_sub(part.overhead).ok_or(short(0))?;
        let size = match part.ask {
            Ask::Fixed(size) => size,
            Ask::OfFree(share) => share.of(room),
            Ask::OfAll(share) => share.of(whole),
            Ask::Rest => room,
        };
        free = room.checked_sub(size).ok_or(short(room))?;
        if size < part.need {
            return Err(short(size));
        }
        sizes[index] = size;
    }
    Ok(sizes)
}

/// Returns the smallest whole that `parts` fit into.
///
/// More room never hurts: every size, and what stays free, grows with the whole. So the answer is
/// found by halving. An error is the part that lacks room however large the whole is.
pub(super) fn least(parts: &[Part]) -> Result<u64, Short> {
    const MOST: u64 = 1 << 50;
    let mut high = 1;
    while let Err(short) = allot(high, parts) {
        if high >= MOST {
            return Err(short);
        }
        high *= 2;
    }
    let mut low = 0;
    while low < high {
        let middle = low + (high - low) / 2;
        match allot(middle, parts) {
            Ok(_) => high = middle,
            Err(_) => low = middle + 1,
        }
    }
    Ok(high)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn part(ask: Ask, need: u64) -> Part {
        Part {
            ask,
            overhead: 0,
            need,
        }
    }

    #[test]
    fn shares_are_of_what_is_still_free_and_the_rest_comes_last() {
        let half = Ask::OfFree(Share::parse("50%").unwrap());
        let parts = [
            part(Ask::Rest, 1),
            part(Ask::Fixed(20), 1),
            part(half, 1),
            part(half, 1),
        ];
        assert_eq!(allot(100, &parts), Ok(vec![20, 20, 40, 20]));
        let short = Short { part: 1, has: 10 };
        assert_eq!(allot(10, &parts), Err(short));
    }

    #[test]
    fn the_least_whole_fits_and_one_less_does_not() {
        let share = |text| Ask::OfFree(Share::parse(text).unwrap());
        for parts in [
            vec![
                part(share("40%"), 7),
                part(Ask::Rest, 9),
                part(Ask::Fixed(3), 1),
            ],
            vec![part(share("1%"), 1), part(share("100%"), 12)],
            vec![
                part(Ask::OfAll(Share::parse("33%").unwrap()), 5),
                part(Ask::Fixed(1), 1),
            ],
            vec![part(Ask::Fixed(1), 1)],
        ] {
            let least = least(&parts).unwrap();
            assert!(allot(least, &parts).is_ok());
            assert!(allot(least - 1, &parts).is_err());
        }
    }

    #[test]
    fn what_never_fits_is_named() {
        let all = Ask::OfFree(Share::ALL);
        let parts = [part(all, 1), part(Ask::Fixed(1), 1)];
        assert_eq!(least(&parts).unwrap_err().part, 1);
    }
}
