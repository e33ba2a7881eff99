//! zstd frames: level and mode are tried, with the library's own version of the compressor.
//!
//! The `zstd` program always runs its multi-threaded mode (unless `--single-thread`), whose result
//! does not depend on the number of threads. Format: RFC 8878.

use std::io::{self, BufRead, Read, Write};

use zstd::stream::write::Encoder;

use super::{Coding, prove};

/// How a zstd frame was made.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ZstdCoding {
    /// Compression level, 1 to 19.
    pub level: u8,
    /// The multi-threaded mode.
    pub workers: bool,
    /// A checksum at the end.
    pub checksum: bool,
    /// The size of the contents was known at the start.
    pub sized: bool,
}

impl ZstdCoding {
    /// Returns about how many bytes the encoder takes at most (measured); none for what it cannot
    /// do.
    pub(super) fn memory(&self) -> Option<u64> {
        match self.level {
            1..=4 => Some(24 << 20),
            5..=10 => Some(48 << 20),
            11..=19 => Some(192 << 20),
            _ => None,
        }
    }

    pub(super) fn encoder<W: Write>(&self, size: u64, out: W) -> io::Result<Encoder<'static, W>> {
        if self.memory().is_none() {
            let message = "impossible zstd parameters";
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let mut encoder = Encoder::new(out, i32::from(self.level))?;
        encoder.include_checksum(self.checksum)?;
        encoder.include_contentsize(self.sized)?;
        if self.sized {
            encoder.set_pledged_src_size(Some(size))?;
        }
        if self.workers {
            encoder.multithread(1)?;
        }
        Ok(encoder)
    }
}

pub(super) fn reader<'a>(packed: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?.single_frame();
    decoder.window_log_max(super::DECODER_MEMORY.ilog2())?;
    Ok(Box::new(decoder))
}

pub(super) fn find(
    packed: &[u8],
    contents: &[u8],
    memory: u64,
    memo: &mut Vec<ZstdCoding>,
) -> Option<ZstdCoding> {
    let descriptor = *packed.get(4)?;
    if descriptor & 3 != 0 {
        // A dictionary.
        return None;
    }
    let checksum = descriptor & 4 != 0;
    let sized = descriptor & 0xe0 != 0;
    let fits = |coding: &ZstdCoding| coding.checksum == checksum && coding.sized == sized;
    let worked: Vec<ZstdCoding> = memo.iter().filter(|c| fits(c)).cloned().collect();
    let levels = [
        (9, true),
        (3, true),
        (19, true),
        (1, true),
        (6, true),
        (12, true),
        (3, false),
        (19, false),
    ];
    let others = levels.map(|(level, workers)| ZstdCoding {
        level,
        workers,
        checksum,
        sized,
    });
    prove(
        (worked, others),
        Coding::Zstd,
        (packed, contents),
        memory,
        memo,
    )
}
