//! Three-way merge of the parts of a record: single values, sets and maps.

use std::collections::{BTreeMap, BTreeSet};

/// Two different changes of one value.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FieldConflict;

/// Merges one value; an absent part is `None` for the caller who has one.
pub(super) fn three<T: PartialEq>(pre: T, current: T, post: T) -> Result<T, FieldConflict> {
    if current == post || post == pre {
        Ok(current)
    } else if current == pre {
        Ok(post)
    } else {
        Err(FieldConflict)
    }
}

/// Merges sets: what either side removed goes, what either side added stays.
///
/// Keeps current's order, new members follow in post's. Sets never clash.
pub(super) fn set<'a>(pre: &[&'a [u8]], current: &[&'a [u8]], post: &[&'a [u8]]) -> Vec<&'a [u8]> {
    let [pre, after]: [BTreeSet<_>; 2] = [pre, post].map(|side| side.iter().copied().collect());
    let mut seen = BTreeSet::new();
    let kept = current
        .iter()
        .filter(|m| after.contains(*m) || !pre.contains(*m));
    let added = post.iter().filter(|m| !pre.contains(*m));
    kept.chain(added)
        .copied()
        .filter(|m| seen.insert(*m))
        .collect()
}

/// A key and its value.
pub(super) type Pair<'a> = (&'a [u8], &'a [u8]);

/// Merges maps key by key in the order of [`set`]; the clashing keys are the error.
pub(super) fn map<'a>(
    pre: &[Pair<'a>],
    current: &[Pair<'a>],
    post: &[Pair<'a>],
) -> Result<Vec<Pair<'a>>, Vec<&'a [u8]>> {
    let [was, now, then]: [BTreeMap<_, _>; 3] =
        [pre, current, post].map(|side| side.iter().copied().collect());
    let mut merged = Vec::new();
    let mut clashes = Vec::new();
    let fresh = post.iter().filter(|(key, _)| !now.contains_key(key));
    for (key, _) in current.iter().chain(fresh) {
        match three(was.get(key), now.get(key), then.get(key)) {
            Ok(value) => merged.extend(value.map(|value| (*key, *value))),
            Err(FieldConflict) => clashes.push(*key),
        }
    }
    if clashes.is_empty() {
        Ok(merged)
    } else {
        Err(clashes)
    }
}

/// Words the clash of a named value, quoting the two values unless they are secret.
pub(super) fn clash(
    name: &str,
    secret: bool,
    current: Option<&[u8]>,
    post: Option<&[u8]>,
) -> String {
    if secret {
        return format!("{name} was changed differently in current and post");
    }
    let quote = |value: Option<&[u8]>| match value {
        None => "absent".to_owned(),
        Some(value) => {
            let text = String::from_utf8_lossy(value);
            let text = text.trim();
            match text.char_indices().nth(60) {
                Some((cut, _)) => format!("'{}...'", &text[..cut]),
                None => format!("'{text}'"),
            }
        }
    };
    let (current, post) = (quote(current), quote(post));
    format!("{name} is {current} in current and {post} in post")
}

/// Splits a delimited list, leaving out blanks around and empty members.
pub(super) fn members(list: &[u8], delimiter: u8) -> Vec<&[u8]> {
    list.split(|&byte| byte == delimiter)
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
        .collect()
}

/// Reads a decimal number without sign or blanks.
pub(super) fn number<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let text = digits.then(|| std::str::from_utf8(text).ok())??;
    text.parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_value_follows_the_side_that_changed_it() {
        for (pre, current, post, expect) in [
            (1, 1, 1, Ok(1)),
            (1, 2, 1, Ok(2)),
            (1, 1, 2, Ok(2)),
            (1, 2, 2, Ok(2)),
            (1, 2, 3, Err(FieldConflict)),
        ] {
            assert_eq!(three(pre, current, post), expect);
        }
    }

    #[test]
    fn sets_take_additions_and_removals_of_both_sides() {
        let split = |text: &'static str| members(text.as_bytes(), b',');
        for (pre, current, post, expect) in [
            ("a,b", "b,c", "a,b,d", "b,c,d"),
            ("", "z,a", "a,y", "z,a,y"),
            ("a", "", "a,b", "b"),
            ("a,b", "a", "b", ""),
            ("a", "a,a", "a,b", "a,b"),
        ] {
            assert_eq!(
                set(&split(pre), &split(current), &split(post)),
                split(expect)
            );
        }
    }

    #[test]
    fn numbers_have_no_sign_and_no_overflow() {
        assert_eq!(number::<u32>(b"65534"), Some(65534));
        for bad in [&b""[..], b"+1", b"-1", b" 1", b"4294967296", b"0x1"] {
            assert_eq!(number::<u32>(bad), None, "{}", bad.escape_ascii());
        }
    }
}
