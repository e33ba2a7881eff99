//! Options of `mke2fs` that change what is written, and the others.

use super::size::MIB;

/// What options of `mke2fs` ask of an ext2, ext3 or ext4.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExtTuning {
    /// `-m`: the percentage of blocks that only root may fill, at most 50.
    pub reserved_percent: Option<u8>,
    /// `-i`: one inode for so many bytes.
    pub bytes_per_inode: Option<u64>,
    /// `-J size=`: the size of the journal in bytes.
    pub journal: Option<u64>,
}

/// What `-E` may name, since it changes nothing of a filesystem that is written as a whole.
const HARMLESS: [&str; 6] = [
    "discard",
    "nodiscard",
    "lazy_itable_init",
    "lazy_itable_init=0",
    "lazy_journal_init",
    "lazy_journal_init=0",
];

impl ExtTuning {
    /// Reads options as a command line has them, such as `-m 0` or `-m`, `0`. An error is the option
    /// that nothing here follows.
    pub fn parse(options: &[String]) -> Result<Self, String> {
        let mut tuning = Self::default();
        let mut words = options.iter().flat_map(|text| text.split_whitespace());
        while let Some(word) = words.next() {
            if matches!(word, "-F" | "-q" | "-v") {
                continue;
            }
            let unknown = || word.to_owned();
            let (flag, joined) = word.split_at_checked(2).ok_or_else(unknown)?;
            if !["-m", "-i", "-J", "-E"].contains(&flag) {
                return Err(unknown());
            }
            let value = if joined.is_empty() {
                words.next().ok_or_else(unknown)?
            } else {
                joined
            };
            let said = || format!("{flag} {value}");
            tuning.set(flag, value).ok_or_else(said)?;
        }
        Ok(tuning)
    }

    fn set(&mut self, flag: &str, value: &str) -> Option<()> {
        match flag {
            "-m" => self.reserved_percent = Some(value.parse().ok().filter(|part| *part <= 50)?),
            "-i" => {
                let bytes = value.parse().ok();
                self.bytes_per_inode =
                    Some(bytes.filter(|bytes| (1024..=64 * MIB).contains(bytes))?);
            }
            "-J" => {
                let mib: u64 = value.strip_prefix("size=")?.parse().ok()?;
                // mke2fs: at least 1024 blocks of 4 KiB, at most 10,240,000.
                self.journal = Some(Some(mib).filter(|mib| (4..=40_000).contains(mib))? * MIB);
            }
            _ => value
                .split(',')
                .all(|word| HARMLESS.contains(&word))
                .then_some(())?,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &[&str]) -> Result<ExtTuning, String> {
        let options: Vec<String> = options.iter().map(|&text| text.to_owned()).collect();
        ExtTuning::parse(&options)
    }

    #[test]
    fn options_are_read_however_they_are_split() {
        let expected = ExtTuning {
            reserved_percent: Some(0),
            bytes_per_inode: Some(4096),
            journal: Some(64 * MIB),
        };
        for options in [
            &["-m 0 -i 4096 -J size=64"][..],
            &["-m", "0", "-i", "4096", "-J", "size=64"],
            &[
                "-m0",
                "-i4096",
                "-Jsize=64",
                "-F",
                "-E",
                "nodiscard,lazy_itable_init=0",
            ],
        ] {
            assert_eq!(parse(options), Ok(expected), "{options:?}");
        }
        assert_eq!(parse(&[]), Ok(ExtTuning::default()));
    }

    #[test]
    fn what_nothing_follows_is_named() {
        for (options, name) in [
            (&["-m", "60"][..], "-m 60"),
            (&["-m"], "-m"),
            (&["-i", "100"], "-i 100"),
            (&["-J", "device=/dev/sda"], "-J device=/dev/sda"),
            (&["-O", "^has_journal"], "-O"),
            (&["-E", "stride=4"], "-E stride=4"),
            (&["ü"], "ü"),
            (&["-ü"], "-ü"),
        ] {
            assert_eq!(parse(options), Err(name.to_owned()), "{options:?}");
        }
    }
}
