//! CRC-32C (Castagnoli), as ext4 seeds it: without inversion at the end.

use crate::disk::crc32::table_of;

const TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    tables[0] = table_of(0x82f6_3b78);
    let mut table = 1;
    while table < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[table - 1][byte];
            tables[table][byte] = before >> 8 ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        table += 1;
    }
    tables
}

/// Continues the checksum `crc` with `bytes`; the first one starts with all ones.
pub(super) fn crc32c(mut crc: u32, bytes: &[u8]) -> u32 {
    let mut eights = bytes.chunks_exact(8);
    for eight in &mut eights {
        let low = u32::from_le_bytes([eight[0], eight[1], eight[2], eight[3]]) ^ crc;
        let [a, b, c, d] = low.to_le_bytes().map(usize::from);
        let [e, f, g, h] = [eight[4], eight[5], eight[6], eight[7]].map(usize::from);
        crc = TABLES[7][a]
            ^ TABLES[6][b]
            ^ TABLES[5][c]
            ^ TABLES[4][d]
            ^ TABLES[3][e]
            ^ TABLES[2][f]
            ^ TABLES[1][g]
            ^ TABLES[0][h];
    }
    for byte in eights.remainder() {
        crc = crc >> 8 ^ TABLES[0][usize::from(crc as u8 ^ byte)];
    }
    crc
}

/// Whether metadata have checksums, and what they start with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sums(Option<u32>);

impl Sums {
    /// Makes the checksums of a filesystem, or none.
    pub(super) fn new(uuid: &[u8; 16], wanted: bool) -> Self {
        Self(wanted.then(|| crc32c(!0, uuid)))
    }

    /// Says whether there are checksums.
    pub(super) fn exist(self) -> bool {
        self.0.is_some()
    }

    /// Returns the checksum of `bytes`; `None` where there are none.
    pub(super) fn of(self, bytes: &[u8]) -> Option<u32> {
        self.0.map(|seed| crc32c(seed, bytes))
    }

    /// Returns the checksums of what belongs to one inode, of generation 0.
    pub(super) fn of_inode(self, number: u32) -> Self {
        let seed = self.of(&number.to_le_bytes());
        Self(seed.map(|seed| crc32c(seed, &[0; 4])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_the_catalogue_comes_out() {
        // "CRC-32/ISCSI" in the RevEng catalogue inverts at the end.
        assert_eq!(!crc32c(!0, b"123456789"), 0xe306_9283);
        let long = [7u8; 100];
        assert_eq!(
            crc32c(crc32c(!0, &long[..33]), &long[33..]),
            crc32c(!0, &long)
        );
    }

    #[test]
    fn without_checksums_nothing_has_one() {
        assert_eq!(Sums::new(&[1; 16], false).of_inode(2).of(b"x"), None);
        assert!(Sums::new(&[1; 16], true).of_inode(2).of(b"x").is_some());
    }
}
