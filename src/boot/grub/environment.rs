//! The environment block of GRUB, by which it and the machine tell each other what to start: the
//! format of `grub-editenv`, in GRUB's `grub-core/lib/envblk.c`.

/// The size of the file, in bytes. GRUB writes it in place, block by block, and cannot make it
/// longer.
const SIZE: usize = 1024;
const SIGNATURE: &str = "# GRUB Environment Block\n";

/// A file that is no environment of GRUB's, or values that do not fit into one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvironmentError {
    /// The file is damaged.
    #[error("the environment of GRUB is damaged: {0}")]
    Damaged(&'static str),
    /// It is full.
    #[error("the environment of GRUB is full: {bytes} bytes do not fit into {SIZE}")]
    Full {
        /// What it would take.
        bytes: usize,
    },
}

/// Which deployment starts on BIOS; the menu describes the fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// The deployment that came up last, and was found healthy.
    pub good: u64,
    /// A deployment that has to prove itself.
    pub trying: Option<u64>,
    /// How often it may still try, at most 3.
    pub tries: u8,
}

impl Environment {
    /// Returns the bytes of the file.
    pub fn to_bytes(&self) -> Result<Vec<u8>, EnvironmentError> {
        let trying = self
            .trying
            .map_or(String::new(), |number| number.to_string());
        let text = format!(
            "{SIGNATURE}good={}\ntry={trying}\ntries={}\n",
            self.good, self.tries
        );
        if text.len() > SIZE {
            return Err(EnvironmentError::Full { bytes: text.len() });
        }
        let mut bytes = text.into_bytes();
        bytes.resize(SIZE, b'#');
        Ok(bytes)
    }

    /// Reads the file; names that it does not know are GRUB's business.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EnvironmentError> {
        let damaged = EnvironmentError::Damaged;
        if bytes.len() != SIZE {
            return Err(damaged("it does not have 1024 bytes"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| damaged("it is no text"))?;
        let lines = text
            .strip_prefix(SIGNATURE)
            .ok_or(damaged("it does not begin like one"))?;
        let mut found = Self::default();
        let mut has_good = false;
        let number = |value: &str| value.parse().map_err(|_| damaged("a value is no number"));
        for line in lines.lines().take_while(|line| !line.starts_with('#')) {
            match line.split_once('=') {
                Some(("good", value)) => {
                    found.good = number(value)?;
                    has_good = true;
                }
                Some(("try", "")) => found.trying = None,
                Some(("try", value)) => found.trying = Some(number(value)?),
                Some(("tries", value)) => {
                    found.tries = value.parse().map_err(|_| damaged("a value is no number"))?;
                }
                _ => {}
            }
        }
        if has_good {
            Ok(found)
        } else {
            Err(damaged("it names no good deployment"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_has_grubs_form() {
        let written = Environment {
            good: 3,
            trying: Some(4),
            tries: 3,
        };
        let bytes = written.to_bytes().unwrap();
        assert_eq!(bytes.len(), 1024);
        let start = b"# GRUB Environment Block\ngood=3\ntry=4\ntries=3\n######";
        assert!(bytes.starts_with(start) && bytes.ends_with(b"#"));
        assert_eq!(Environment::from_bytes(&bytes).unwrap(), written);
        let quiet = Environment {
            trying: None,
            ..written
        };
        let bytes = quiet.to_bytes().unwrap();
        assert_eq!(Environment::from_bytes(&bytes).unwrap(), quiet);
    }

    #[test]
    fn a_damaged_environment_is_refused() {
        let good = Environment::default().to_bytes().unwrap();
        for damage in [
            good[..1023].to_vec(),
            vec![b'#'; 1024],
            vec![0xff; 1024],
            String::from_utf8(good.clone())
                .unwrap()
                .replace("good=0", "good=x")
                .into_bytes(),
            String::from_utf8(good)
                .unwrap()
                .replace("good=0", "bad==0")
                .into_bytes(),
        ] {
            assert!(Environment::from_bytes(&damage).is_err());
        }
    }
}
