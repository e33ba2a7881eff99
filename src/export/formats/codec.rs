//! Compression of one cluster at a time.

use flate2::{Compress, Compression, FlushCompress, Status};

/// How clusters are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// zstd at a level of 1 to 19: smaller and faster to read; QEMU 5.1 and newer.
    Zstd(i32),
    /// deflate at a level of 1 to 9: every reader of qcow2 knows it.
    Deflate(u32),
}

/// The form of the compressed bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A zstd frame.
    Zstd,
    /// Bare deflate with a window of 4 KiB, as qcow2 has it.
    Deflate12,
    /// zlib (RFC 1950) with the largest window, as VMDK has it.
    Zlib,
}

/// A form at a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Method {
    pub(super) form: Form,
    pub(super) level: i32,
}

impl From<Codec> for Method {
    fn from(codec: Codec) -> Self {
        match codec {
            Codec::Zstd(level) => Self {
                form: Form::Zstd,
                level: level.clamp(1, 19),
            },
            Codec::Deflate(level) => Self {
                form: Form::Deflate12,
                level: level.clamp(1, 9) as i32,
            },
        }
    }
}

impl Method {
    /// Names what decides about the bytes: a cache must not mix what differs in it.
    pub(super) fn name(self) -> String {
        let version = match self.form {
            Form::Zstd => zstd::zstd_safe::version_number().to_string(),
            // Raised with the version of zlib-rs in Cargo.lock, when its bytes change.
            Form::Deflate12 | Form::Zlib => "zlib-rs 0.6".to_owned(),
        };
        format!("layerset clusters {:?} {} {version}", self.form, self.level)
    }

    pub(super) fn encoder(self) -> Encoder {
        match self.form {
            Form::Zstd => Encoder::Zstd(self.level, None),
            Form::Deflate12 => Encoder::Deflate(deflate(self.level, false, 12)),
            Form::Zlib => Encoder::Deflate(deflate(self.level, true, 15)),
        }
    }
}

fn deflate(level: i32, zlib_header: bool, window_bits: u8) -> Compress {
    let level = Compression::new(level as u32);
    Compress::new_with_window_bits(level, zlib_header, window_bits)
}

/// What one thread compresses with.
pub(super) enum Encoder {
    /// A level, and the library's state once it is needed.
    Zstd(i32, Option<zstd::bulk::Compressor<'static>>),
    Deflate(Compress),
}

impl Encoder {
    /// Compresses into less than `limit` bytes; `None` when it does not come out smaller.
    pub(super) fn compress(&mut self, bytes: &[u8], limit: usize) -> Option<Vec<u8>> {
        let mut packed = Vec::with_capacity(limit);
        match self {
            Self::Zstd(level, state) => {
                let compressor = match state {
                    Some(compressor) => compressor,
                    None => state.insert(zstd::bulk::Compressor::new(*level).ok()?),
                };
                compressor.compress_to_buffer(bytes, &mut packed).ok()?;
            }
            Self::Deflate(compress) => {
                compress.reset();
                let status = compress.compress_vec(bytes, &mut packed, FlushCompress::Finish);
                if !matches!(status, Ok(Status::StreamEnd)) {
                    return None;
                }
            }
        }
        (packed.len() < limit).then_some(packed)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use flate2::{Decompress, FlushDecompress};

    /// Noise, and the same again 8 KiB later: a larger window would refer to it.
    fn far_repeats() -> Vec<u8> {
        let mut noise = vec![0; 8192];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        noise.repeat(8)
    }

    #[test]
    fn deflate_keeps_to_the_window_that_readers_of_qcow2_have() {
        let bytes = far_repeats();
        let pack = |form| {
            let mut encoder = Method { form, level: 6 }.encoder();
            encoder.compress(&bytes, 1 << 17).unwrap()
        };
        // Nothing repeats within 4 KiB; a larger window makes it an eighth. Readers do not notice
        // as long as they unpack a cluster at once, so its size must tell.
        assert!(pack(Form::Zlib).len() < 10_000);
        let packed = pack(Form::Deflate12);
        assert!(packed.len() > bytes.len());
        let mut unpacked = Vec::with_capacity(1 << 17);
        let mut inflate = Decompress::new_with_window_bits(false, 12);
        let status = inflate.decompress_vec(&packed, &mut unpacked, FlushDecompress::Finish);
        assert_eq!(status.unwrap(), Status::StreamEnd);
        assert_eq!(unpacked, bytes);
    }

    #[test]
    fn what_does_not_get_smaller_stays_plain() {
        for form in [Form::Zstd, Form::Deflate12, Form::Zlib] {
            let mut encoder = Method { form, level: 3 }.encoder();
            assert!(encoder.compress(&far_repeats()[..8192], 8000).is_none());
            // And the next one is not spoilt by it.
            assert!(encoder.compress(&[7; 65536], 60_000).unwrap().len() < 400);
        }
    }
}
