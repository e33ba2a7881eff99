//! The order of the cache, which the loader's binary search relies on.

use std::cmp::Ordering;

use super::CacheEntry;

/// Compares names as the loader does: byte by byte, but runs of digits by their value, and after
/// everything else.
///
/// The loader's arithmetic is kept where it shows: bytes are signed, and numbers wrap at 32 bits.
/// Two long numbers that wrap are compared by value, not by their difference, so that this is an
/// order in all cases.
pub(super) fn compare_names(left: &[u8], right: &[u8]) -> Ordering {
    let (mut left, mut right) = (left, right);
    loop {
        let ordering = match (digits(left), digits(right)) {
            (0, 0) => match (left.split_first(), right.split_first()) {
                (None, None) => return Ordering::Equal,
                (a, b) => {
                    // The end of a name is a NUL byte to the loader.
                    let byte = |split: Option<(&u8, _)>| split.map_or(0, |(byte, _)| *byte as i8);
                    let ordering = byte(a).cmp(&byte(b));
                    left = &left[1.min(left.len())..];
                    right = &right[1.min(right.len())..];
                    ordering
                }
            },
            (0, _) => Ordering::Less,
            (_, 0) => Ordering::Greater,
            (a, b) => {
                let ordering = value(&left[..a]).cmp(&value(&right[..b]));
                left = &left[a..];
                right = &right[b..];
                ordering
            }
        };
        if ordering.is_ne() {
            return ordering;
        }
    }
}

fn digits(name: &[u8]) -> usize {
    name.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

fn value(digits: &[u8]) -> i32 {
    digits.iter().fold(0, |value: i32, digit| {
        value.wrapping_mul(10).wrapping_add(i32::from(digit - b'0'))
    })
}

/// Compares entries: names and flags descending, of equal ones those with hwcaps first, by the name
/// of their directory.
pub(super) fn compare_entries(left: &CacheEntry, right: &CacheEntry) -> Ordering {
    compare_names(&right.soname, &left.soname)
        .then_with(|| right.flags.cmp(&left.flags))
        .then_with(|| right.hwcaps.is_some().cmp(&left.hwcaps.is_some()))
        .then_with(|| left.hwcaps.cmp(&right.hwcaps))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_count_by_value_and_sort_after_letters() {
        let ascending: &[&[u8]] = &[
            b"libc\xc3.so",
            b"libc.so",
            b"libc.so.6",
            b"libc.so.10",
            b"libc.so.10.",
            b"libc.so.10.2",
            b"libca.so",
            b"libc4.so",
            b"libc10.so",
        ];
        for (i, left) in ascending.iter().enumerate() {
            for (j, right) in ascending.iter().enumerate() {
                assert_eq!(compare_names(left, right), i.cmp(&j), "{left:?} {right:?}");
            }
        }
        assert_eq!(compare_names(b"lib01.so", b"lib1.so"), Ordering::Equal);
    }

    #[test]
    fn a_number_beyond_32_bits_wraps_as_in_the_loader() {
        // 4294967297 is 1 to the loader, and 2147483648 is the most negative number.
        assert_eq!(compare_names(b"lib4294967297", b"lib1"), Ordering::Equal);
        assert_eq!(compare_names(b"lib2147483648", b"lib0"), Ordering::Less);
    }
}
