//! CRC-32 as GPT and LVM use it: reflected, polynomial 0xEDB88320.

const TABLE: [u32; 256] = table_of(0xEDB8_8320);

/// Returns what each byte makes of a checksum that is zero, for a reflected polynomial.
pub(super) const fn table_of(polynomial: u32) -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ polynomial
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

/// Continues the remainder `crc` over `bytes`, without inverting it before or after.
pub(super) fn raw(crc: u32, bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| TABLE[usize::from(crc as u8 ^ byte)] ^ crc >> 8;
    bytes.iter().fold(crc, step)
}

/// Returns the checksum of zlib, POSIX `gzip` and GPT.
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    !raw(!0, bytes)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_check_value_of_the_standard_comes_out() {
        assert_eq!(super::crc32(b"123456789"), 0xcbf4_3926);
    }
}
