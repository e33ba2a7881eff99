//! Where accounts are recorded, and the numbers that their databases give to names.

use std::collections::BTreeMap;

/// Users: passwd(5).
pub const PASSWD: &str = "etc/passwd";
/// Groups: group(5).
pub const GROUP: &str = "etc/group";
/// Passwords of users: shadow(5).
pub const SHADOW: &str = "etc/shadow";
/// Passwords of groups: gshadow(5).
pub const GSHADOW: &str = "etc/gshadow";

/// Returns the names of a `passwd` or `group` file with their numbers, in file order.
///
/// Other lines are skipped, as the C library does. Of two lines with one name, the first counts.
pub fn numbers(file: &[u8]) -> impl Iterator<Item = (&str, u32)> {
    file.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let (name, _, number) = (fields.next()?, fields.next()?, fields.next()?);
        let number = std::str::from_utf8(number).ok()?.parse().ok()?;
        Some((std::str::from_utf8(name).ok()?, number))
    })
}

/// The same by name; the first line of a name counts, as in the C library.
pub fn by_name(file: &[u8]) -> BTreeMap<&str, u32> {
    let mut found = BTreeMap::new();
    for (name, number) in numbers(file) {
        found.entry(name).or_insert(number);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_record_has_no_number() {
        let file =
            b"root:x:0:0:::\n+nis\n# x:y\nodd:x:many:\n\xff:x:7:\n:x:8:\nwww:x:33:\nwww:x:34:";
        let found: Vec<_> = numbers(file).collect();
        assert_eq!(found, [("root", 0), ("", 8), ("www", 33), ("www", 34)]);
        assert_eq!(by_name(file).get("www"), Some(&33));
    }
}
