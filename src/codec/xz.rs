//! xz: the parameters that the block header does not say are few, so they are tried.
//!
//! Format: the .xz file format specification, 1.2.1. Encoders: `xz -T1` leaves sizes out of the
//! block headers, the multi-threaded mode (the default since xz 5.6) writes them, whatever the
//! number of threads.

use std::io::{self, BufRead, Read, Write};

use liblzma::stream::{Check, Filters, LzmaOptions, MtStreamBuilder, Stream};
use liblzma::write::XzEncoder;

use super::{Coding, prove};

/// How an xz stream with the one filter LZMA2 was made.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct XzCoding {
    /// The integrity check, as the format numbers it: 0 none, 1 CRC32, 4 CRC64, 10 SHA-256.
    pub check: u8,
    /// The dictionary size as LZMA2's property byte, 0 to 40.
    pub dictionary: u8,
    /// The preset that the rest of the options come from, 0 to 9.
    pub preset: u8,
    /// `--extreme`.
    pub extreme: bool,
    /// The multi-threaded mode: sizes in the block headers, and blocks of three dictionaries, at
    /// least 1 MiB.
    pub sized: bool,
}

impl XzCoding {
    fn dictionary_bytes(&self) -> Option<u32> {
        match self.dictionary {
            bits @ 0..=39 => Some((2 | u32::from(bits & 1)) << (bits / 2 + 11)),
            _ => None,
        }
    }

    /// Returns about how many bytes the encoder takes; none for what it cannot do.
    pub(super) fn memory(&self) -> Option<u64> {
        let valid = self.preset <= 9 && matches!(self.check, 0 | 1 | 4 | 10);
        let dictionary = u64::from(self.dictionary_bytes().filter(|_| valid)?);
        let window = dictionary * 23 / 2 + (1 << 20);
        let blocks = (dictionary * 3).max(1 << 20) * 5 / 2;
        Some(window + if self.sized { blocks } else { 0 })
    }

    pub(super) fn encoder<W: Write>(&self, out: W) -> io::Result<XzEncoder<W>> {
        let impossible = || io::Error::new(io::ErrorKind::InvalidData, "impossible xz parameters");
        let dictionary = self.dictionary_bytes().ok_or_else(impossible)?;
        self.memory().ok_or_else(impossible)?;
        let extreme = if self.extreme { 1 << 31 } else { 0 };
        let mut options = LzmaOptions::new_preset(u32::from(self.preset) | extreme)?;
        options.dict_size(dictionary);
        let mut filters = Filters::new();
        filters.lzma2(&options);
        let check = match self.check {
            0 => Check::None,
            1 => Check::Crc32,
            4 => Check::Crc64,
            _ => Check::Sha256,
        };
        let stream = if self.sized {
            let mut builder = MtStreamBuilder::new();
            builder.threads(1).filters(filters).check(check);
            builder.encoder()?
        } else {
            Stream::new_stream_encoder(&filters, check)?
        };
        Ok(XzEncoder::new_stream(out, stream))
    }
}

pub(super) fn reader<'a>(packed: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let stream = Stream::new_stream_decoder(super::DECODER_MEMORY, 0)?;
    Ok(Box::new(liblzma::bufread::XzDecoder::new_stream(
        packed, stream,
    )))
}

pub(super) fn find(
    packed: &[u8],
    contents: &[u8],
    memory: u64,
    memo: &mut Vec<XzCoding>,
) -> Option<XzCoding> {
    let (check, dictionary, sized) = header(packed)?;
    let fits = |coding: &XzCoding| {
        coding.check == check && coding.dictionary == dictionary && coding.sized == sized
    };
    let worked: Vec<XzCoding> = memo.iter().filter(|c| fits(c)).cloned().collect();
    // 6 to 9 differ in the dictionary only.
    let presets = [
        (6, false),
        (6, true),
        (5, false),
        (4, false),
        (3, false),
        (2, false),
        (1, false),
        (0, false),
    ];
    let others = presets.map(|(preset, extreme)| XzCoding {
        check,
        dictionary,
        preset,
        extreme,
        sized,
    });
    prove(
        (worked, others),
        Coding::Xz,
        (packed, contents),
        memory,
        memo,
    )
}

/// Reads check, dictionary size and whether sizes are written from the first block header, if its
/// one filter is LZMA2.
fn header(packed: &[u8]) -> Option<(u8, u8, bool)> {
    let check = *packed.get(7)?;
    let flags = *packed.get(13)?;
    if flags & 0x3f != 0 {
        return None;
    }
    let mut at = 14;
    for bit in [0x40, 0x80] {
        // Each round reads on, and ends the loop or the function at the end of the bytes.
        #[allow(clippy::while_immutable_condition)]
        while flags & bit != 0 {
            at += 1;
            if packed.get(at - 1)? & 0x80 == 0 {
                break;
            }
        }
    }
    match packed.get(at..at + 3)? {
        [0x21, 1, dictionary] => Some((check, *dictionary, flags & 0xc0 == 0xc0)),
        _ => None,
    }
}
