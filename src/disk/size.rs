//! Sizes as people and diskimage-builder write them: `10GiB`, `512 MB`, `40%`.

/// One mebibyte in bytes.
pub const MIB: u64 = 1 << 20;

/// The units in the order in which their ends must be looked for. `GB`, `G` and their kin are
/// decimal, as in diskimage-builder.
const UNITS: [(&str, u64); 13] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("T", 1_000_000_000_000),
    ("G", 1_000_000_000),
    ("M", 1_000_000),
    ("K", 1_000),
    ("B", 1),
];

/// Why a text is no size or share.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[allow(missing_docs)] // The fields are what the message says.
pub enum SizeError {
    /// The text does not start with a number.
    #[error("'{text}' is not a size")]
    NoNumber { text: String },
    /// The number is followed by something else than a unit.
    #[error("'{unit}' is not a unit of size")]
    Unit { unit: String },
    /// The size is 2^63 bytes or more.
    #[error("'{text}' is more than a disk can have")]
    TooLarge { text: String },
    /// A share is above 100%.
    #[error("'{text}' is more than all")]
    Share { text: String },
    /// The size or share is nothing.
    #[error("'{text}' is nothing")]
    Zero { text: String },
}

/// A part of something in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u32);

impl Share {
    /// All of it.
    pub const ALL: Self = Self(1_000_000);

    /// Parses a percentage above 0 and up to 100, such as `40%` or `12.5%`.
    pub fn parse(text: &str) -> Result<Self, SizeError> {
        let wrong = || SizeError::NoNumber {
            text: text.to_owned(),
        };
        let number = text.trim().strip_suffix('%').ok_or_else(wrong)?;
        let millionths = scaled(number.trim(), 10_000).ok_or_else(wrong)?;
        match u32::try_from(millionths) {
            Ok(0) => Err(SizeError::Zero {
                text: text.to_owned(),
            }),
            Ok(part) if part <= Self::ALL.0 => Ok(Self(part)),
            _ => Err(SizeError::Share {
                text: text.to_owned(),
            }),
        }
    }

    /// Returns this part of `whole`, rounded down.
    pub fn of(self, whole: u64) -> u64 {
        let part = u128::from(whole) * u128::from(self.0) / u128::from(Self::ALL.0);
        u64::try_from(part).unwrap_or(whole)
    }

    /// Returns the part in millionths.
    pub fn millionths(self) -> u32 {
        self.0
    }
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let fraction = format!("{:04}", self.0 % 10_000);
        match fraction.trim_end_matches('0') {
            "" => write!(f, "{}%", self.0 / 10_000),
            fraction => write!(f, "{}.{fraction}%", self.0 / 10_000),
        }
    }
}

/// Parses a size such as `10GiB`, `1.5 GB`, `4096B` or `4096` into bytes; what is left of a byte is
/// dropped.
pub fn parse_size(text: &str) -> Result<u64, SizeError> {
    let trimmed = text.trim();
    let end = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = trimmed.split_at(end.unwrap_or(trimmed.len()));
    if number.is_empty() {
        return Err(SizeError::NoNumber {
            text: text.to_owned(),
        });
    }
    let scale = match unit.trim() {
        "" => 1,
        unit => match UNITS.iter().find(|(known, _)| *known == unit) {
            Some((_, scale)) => *scale,
            None => {
                return Err(SizeError::Unit {
                    unit: unit.to_owned(),
                });
            }
        },
    };
    let bytes = scaled(number, scale).ok_or_else(|| SizeError::NoNumber {
        text: text.to_owned(),
    })?;
    match i64::try_from(bytes) {
        Ok(0) => Err(SizeError::Zero {
            text: text.to_owned(),
        }),
        Ok(bytes) => Ok(bytes.unsigned_abs()),
        Err(_) => Err(SizeError::TooLarge {
            text: text.to_owned(),
        }),
    }
}

/// Multiplies a decimal number by `scale` and drops what is left of one; `None` when it is no
/// number. A number beyond all disks is a large one.
fn scaled(number: &str, scale: u64) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || number.ends_with('.') {
        return None;
    }
    let Ok(whole) = whole.parse::<u64>() else {
        return Some(u128::MAX);
    };
    // Digits beyond the twelfth are less than a byte of any unit.
    let fraction = &fraction[..fraction.len().min(12)];
    let parts = fraction.parse::<u64>().unwrap_or(0);
    let scale = u128::from(scale);
    let power = 10u128.pow(fraction.len() as u32);
    Some(u128::from(whole) * scale + u128::from(parts) * scale / power)
}

/// Writes bytes for people, exactly: `10 GiB`, `257 MiB`, `1000 bytes`.
pub fn show_size(bytes: u64) -> String {
    for (unit, scale) in [("GiB", 1 << 30), ("MiB", MIB), ("KiB", 1 << 10)] {
        if bytes >= scale && bytes.is_multiple_of(scale) {
            return format!("{} {unit}", bytes / scale);
        }
    }
    format!("{bytes} bytes")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn binary_and_decimal_units_are_told_apart() {
        for (text, bytes) in [
            ("1TiB", 1 << 40),
            ("10GiB", 10 << 30),
            ("512 MiB", 512 << 20),
            ("4KiB", 4096),
            ("1TB", 1_000_000_000_000),
            ("1T", 1_000_000_000_000),
            ("2G", 2_000_000_000),
            ("2GB", 2_000_000_000),
            ("8MB", 8_000_000),
            ("8M", 8_000_000),
            ("9K", 9_000),
            ("9KB", 9_000),
            ("7B", 7),
            ("7", 7),
            ("1.5GiB", 3 << 29),
            ("0.1G", 100_000_000),
            ("1.00000000000000001KiB", 1024),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_says_why() {
        for (text, why) in [
            ("", "'' is not a size"),
            ("GiB", "'GiB' is not a size"),
            ("-1GiB", "'-1GiB' is not a size"),
            ("1.GiB", "'1.GiB' is not a size"),
            ("1.2.3G", "'1.2.3G' is not a size"),
            ("10gib", "'gib' is not a unit of size"),
            ("10 apples", "'apples' is not a unit of size"),
            ("0", "'0' is nothing"),
            ("0.1B", "'0.1B' is nothing"),
            ("9000000TiB", "'9000000TiB' is more than a disk can have"),
            (
                "99999999999999999999999999",
                "'99999999999999999999999999' is more than a disk can have",
            ),
        ] {
            assert_eq!(parse_size(text).unwrap_err().to_string(), why, "{text}");
        }
        for (text, why) in [
            ("101%", "'101%' is more than all"),
            ("0%", "'0%' is nothing"),
            ("x%", "'x%' is not a size"),
        ] {
            assert_eq!(Share::parse(text).unwrap_err().to_string(), why, "{text}");
        }
    }

    #[test]
    fn shares_round_down_and_print_as_they_were_written() {
        let share = Share::parse("12.5%").unwrap();
        assert_eq!((share.of(1000), share.to_string()), (125, "12.5%".into()));
        assert_eq!(Share::ALL.of(u64::MAX), u64::MAX);
        assert_eq!(Share::parse("33 %").unwrap().of(10), 3);
    }

    #[test]
    fn sizes_print_in_the_largest_unit_that_is_exact() {
        for (bytes, text) in [
            (10 << 30, "10 GiB"),
            (1536 << 20, "1536 MiB"),
            (1000, "1000 bytes"),
            (2048, "2 KiB"),
        ] {
            assert_eq!(show_size(bytes), text);
        }
    }
}
