//! Names and entries of folders in FAT: short ones of 8 and 3 capitals, long ones in UTF-16.

use std::collections::BTreeSet;

use super::super::bytes::Record;
use super::FatError;

/// How many UTF-16 units a long name may have, and how many one entry holds.
const LONGEST: usize = 255;
const PER_ENTRY: usize = 13;

/// Bytes of an entry.
pub(super) const ENTRY: usize = 32;

/// Refuses what cannot be a name of a file.
pub(super) fn check(path: &str, name: &str) -> Result<(), FatError> {
    let reason = if name.is_empty() || name == "." || name == ".." {
        "a part of it is empty, '.' or '..'"
    } else if name.encode_utf16().count() > LONGEST {
        "it is longer than 255 characters"
    } else if name
        .chars()
        .any(|c| c.is_control() || "\"*:<>?\\|".contains(c))
    {
        "it holds a control character or one of \"*:<>?\\|"
    } else if name.ends_with(['.', ' ']) {
        "it ends in a dot or a space"
    } else {
        return Ok(());
    };
    Err(FatError::Name {
        path: path.to_owned(),
        reason,
    })
}

/// Says whether a name is a short one as it is, and needs no long one.
fn is_short(name: &str) -> bool {
    let (stem, extension) = name.split_once('.').unwrap_or((name, ""));
    let fits = |part: &str, most: usize| part.len() <= most && part.bytes().all(is_short_byte);
    !stem.is_empty()
        && fits(stem, 8)
        && fits(extension, 3)
        && name.contains('.') != extension.is_empty()
}

fn is_short_byte(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"!#$%&'()-@^_`{}~".contains(&byte)
}

fn pack(stem: &str, extension: &str) -> [u8; 11] {
    let mut packed = [b' '; 11];
    packed[..stem.len()].copy_from_slice(stem.as_bytes());
    packed[8..8 + extension.len()].copy_from_slice(extension.as_bytes());
    packed
}

/// Returns `name` as a short name, where it is one as it is.
pub(super) fn as_short(name: &str) -> Option<[u8; 11]> {
    let (stem, extension) = name.split_once('.').unwrap_or((name, ""));
    is_short(name).then(|| pack(stem, extension))
}

/// Makes a short name with a number for a long one, in a folder that has the names `taken`: all that
/// are short as they are must be there already.
pub(super) fn numbered(name: &str, taken: &mut BTreeSet<[u8; 11]>) -> [u8; 11] {
    let trimmed = name.trim_start_matches('.');
    let (stem, extension) = trimmed.rsplit_once('.').unwrap_or((trimmed, ""));
    let plain = |text: &str, most: usize| -> String {
        let letters = text.chars().filter(|c| !matches!(c, '.' | ' '));
        let plain = letters.map(|c| {
            let capital = c.to_ascii_uppercase();
            let fits = u8::try_from(capital).is_ok_and(is_short_byte);
            if fits { capital } else { '_' }
        });
        plain.take(most).collect()
    };
    let (stem, extension) = (plain(stem, 8), plain(extension, 3));
    let mut number = 1;
    loop {
        let tail = format!("~{number}");
        let room = stem.len().min(8 - tail.len());
        let packed = pack(&format!("{}{tail}", &stem[..room]), &extension);
        if taken.insert(packed) {
            return packed;
        }
        number += 1;
    }
}

/// Returns how many entries a name takes, the short one included.
pub(super) fn entries(name: &str) -> u64 {
    if is_short(name) {
        return 1;
    }
    1 + name.encode_utf16().count().div_ceil(PER_ENTRY) as u64
}

/// Makes the entries of a long name, which stand before that of its short one.
pub(super) fn long_entries(name: &str, short: &[u8; 11]) -> Vec<u8> {
    if entries(name) == 1 {
        return Vec::new();
    }
    let checksum = short
        .iter()
        .fold(0u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
    let mut units: Vec<u16> = name.encode_utf16().collect();
    if !units.len().is_multiple_of(PER_ENTRY) {
        units.push(0);
    }
    let count = units.len().div_ceil(PER_ENTRY);
    units.resize(count * PER_ENTRY, 0xffff);
    let mut bytes = Vec::new();
    for (index, part) in units.chunks(PER_ENTRY).enumerate().rev() {
        let last = if index + 1 == count { 0x40 } else { 0 };
        let mut entry = Record::new(ENTRY);
        entry
            .u8(0, (index + 1) as u8 | last)
            .u8(11, 0x0f)
            .u8(13, checksum);
        let places = (1..11)
            .step_by(2)
            .chain((14..26).step_by(2))
            .chain([28, 30]);
        for (place, unit) in places.zip(part) {
            entry.u16(place, *unit);
        }
        bytes.extend(entry.bytes());
    }
    bytes
}

/// A date and a time of day as FAT has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DosTime {
    date: u16,
    time: u16,
}

/// Converts seconds since 1970, in UTC; what lies before 1980 or after 2107 is moved there.
pub(super) fn dos_time(seconds: i64) -> DosTime {
    const FIRST: i64 = 315_532_800;
    const LAST: i64 = 4_354_819_198;
    let seconds = seconds.clamp(FIRST, LAST);
    let (days, of_day) = (seconds.div_euclid(86400), seconds.rem_euclid(86400));
    let (year, month, day) = civil(days);
    DosTime {
        date: ((year - 1980) << 9 | month << 5 | day) as u16,
        time: ((of_day / 3600) << 11 | (of_day / 60 % 60) << 5 | (of_day % 60 / 2)) as u16,
    }
}

/// Converts days since 1970 into a date (Howard Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms"), for days after 1970.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// Makes the entry of a short name.
pub(super) fn entry(
    name: &[u8; 11],
    attributes: u8,
    time: DosTime,
    first: u32,
    size: u32,
) -> Vec<u8> {
    let mut entry = Record::new(ENTRY);
    entry.put(0, name).u8(11, attributes);
    entry
        .u16(14, time.time)
        .u16(16, time.date)
        .u16(18, time.date);
    entry
        .u16(20, (first >> 16) as u16)
        .u16(22, time.time)
        .u16(24, time.date);
    entry.u16(26, first as u16).u32(28, size);
    entry.bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_numbered_and_never_twice() {
        let mut taken = BTreeSet::new();
        let mut short = |name: &str| as_short(name).unwrap_or_else(|| numbered(name, &mut taken));
        for (name, expected) in [
            ("EFI", b"EFI        "),
            ("BOOTX64.EFI", b"BOOTX64 EFI"),
            ("bootx64.efi", b"BOOTX6~1EFI"),
            ("layerset-1+3.conf", b"LAYERS~1CON"),
            ("layerset-2+3.conf", b"LAYERS~2CON"),
            (".hidden", b"HIDDEN~1   "),
            ("ünï.a.b", b"_N_A~1  B  "),
            ("a b", b"AB~1       "),
            ("EFI.", b"EFI~1      "),
        ] {
            let short = short(name);
            assert_eq!(
                short,
                *expected,
                "{name}: {}",
                String::from_utf8_lossy(&short)
            );
        }
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, year, month, day) in [
            (0, 1980, 1, 1),
            (951_782_400, 2000, 2, 29),
            (1_795_826_844, 2026, 11, 28),
            (i64::MAX, 2107, 12, 31),
        ] {
            let date = dos_time(seconds).date;
            let expected = ((year - 1980) << 9 | month << 5 | day) as u16;
            assert_eq!(date, expected, "{seconds}");
        }
        assert_eq!(dos_time(1_795_826_844).time, 47 << 5 | 12);
    }
}
