//! gzip members as GNU gzip makes them; those of other compressors are left alone.
//!
//! Format: RFC 1952.

use std::io::{self, Write};

use super::deflate::Deflater;
use super::{Coding, reproduces};

/// How a gzip member was made.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GzipCoding {
    /// `-4` to `-9`.
    pub level: u8,
    /// Its time in seconds since 1970; 0 with `-n`.
    pub mtime: u32,
    /// What the header says of the level: 2 for the best, 4 for the fastest.
    pub extra_flags: u8,
    /// The system that the header names: 3 for Unix.
    pub system: u8,
    /// The name of the file, without NUL.
    pub name: Option<Vec<u8>>,
}

/// The most bytes that a name in a header has.
const MAX_NAME_BYTES: usize = 255;

impl GzipCoding {
    pub(super) fn is_valid(&self) -> bool {
        let is_name = |name: &Vec<u8>| name.len() <= MAX_NAME_BYTES && !name.contains(&0);
        (4..=9).contains(&self.level) && self.name.as_ref().is_none_or(is_name)
    }
}

/// Writes one member.
pub(super) struct Encoder<W: Write> {
    deflater: Deflater<W>,
    crc: flate2::Crc,
}

impl<W: Write> Encoder<W> {
    pub(super) fn new(coding: &GzipCoding, mut out: W) -> io::Result<Self> {
        if !coding.is_valid() {
            let message = "impossible gzip parameters";
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let flags = if coding.name.is_some() { 8 } else { 0 };
        out.write_all(&[0x1f, 0x8b, 8, flags])?;
        out.write_all(&coding.mtime.to_le_bytes())?;
        out.write_all(&[coding.extra_flags, coding.system])?;
        if let Some(name) = &coding.name {
            out.write_all(name)?;
            out.write_all(&[0])?;
        }
        Ok(Self {
            deflater: Deflater::new(coding.level, out),
            crc: flate2::Crc::new(),
        })
    }

    pub(super) fn finish(self) -> io::Result<W> {
        let mut out = self.deflater.finish()?;
        out.write_all(&self.crc.sum().to_le_bytes())?;
        out.write_all(&self.crc.amount().to_le_bytes())?;
        Ok(out)
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.crc.update(bytes);
        self.deflater.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) fn find(packed: &[u8], contents: &[u8], memo: &mut Vec<u8>) -> Option<GzipCoding> {
    let header = packed.get(..10)?;
    let name = match header[3] {
        0 => None,
        8 => {
            let name = packed[10..].iter().take(MAX_NAME_BYTES + 1);
            Some(name.copied().take_while(|byte| *byte != 0).collect())
        }
        _ => return None,
    };
    let levels: &[u8] = match header[8] {
        2 => &[9],
        0 => &[6, 5, 7, 8, 4],
        _ => return None,
    };
    let mut tried = memo.clone();
    tried.retain(|level| levels.contains(level));
    tried.extend(levels.iter().filter(|level| !memo.contains(level)));
    let found = tried.into_iter().find_map(|level| {
        let coding = GzipCoding {
            level,
            mtime: u32::from_le_bytes([header[4], header[5], header[6], header[7]]),
            extra_flags: header[8],
            system: header[9],
            name: name.clone(),
        };
        let coding = Coding::Gzip(coding);
        reproduces(&coding, packed, contents).then_some(coding)
    })?;
    let Coding::Gzip(found) = found else {
        return None;
    };
    super::remember(memo, found.level);
    Some(found)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    /// What the `gzip` of this system makes of some bytes.
    fn packed(contents: &[u8], level: u8) -> Vec<u8> {
        let mut gzip = Command::new("gzip")
            .args(["-n", "-c", &format!("-{level}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = gzip.stdin.take().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || stdin.write_all(contents).unwrap());
            gzip.wait_with_output().unwrap().stdout
        })
    }

    fn noise(count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    }

    /// Symbols as rare as Fibonacci's numbers: their best codes are longer than a tree may have.
    fn skewed() -> Vec<u8> {
        let (mut this, mut next, mut symbols) = (1usize, 1usize, Vec::new());
        for symbol in 0..22u8 {
            symbols.extend(std::iter::repeat_n(symbol, this));
            (this, next) = (next, this + next);
        }
        let order = noise(symbols.len() * 4);
        let mut keyed: Vec<_> = order.chunks(4).zip(symbols).collect();
        keyed.sort();
        keyed.into_iter().map(|(_, symbol)| symbol).collect()
    }

    #[test]
    fn every_level_makes_the_bytes_of_gzip_itself() {
        let source = include_bytes!("huffman.rs");
        let words: Vec<u8> = (0..40_000u32)
            .flat_map(|n| {
                format!("{} {}\n", n % 613, n.wrapping_mul(2_654_435_761) >> 20).into_bytes()
            })
            .collect();
        let mixed = [source.as_slice(), &noise(90_000), &words, source].concat();
        let samples: [&[u8]; 8] = [
            b"",
            b"x",
            b"a few words, a few words",
            source,
            &vec![0; 300_000],
            &noise(100_000),
            &skewed(),
            &mixed,
        ];
        for (number, contents) in samples.into_iter().enumerate() {
            for level in 4..=9 {
                let packed = packed(contents, level);
                let found = find(&packed, contents, &mut Vec::new());
                assert!(found.is_some(), "sample {number} at level {level}");
            }
        }
    }
}
