//! The build id: what stays the same when a program is stripped.

/// The header of a GNU note with a build id of 20 bytes, little-endian.
const NOTE: [u8; 16] = [4, 0, 0, 0, 20, 0, 0, 0, 3, 0, 0, 0, b'G', b'N', b'U', 0];

/// What GNU linkers name a build by: 20 bytes.
pub type BuildId = [u8; 20];

/// Finds the build id in the first bytes of an ELF file, where linkers put it.
pub fn build_id(head: &[u8]) -> Option<BuildId> {
    if !head.starts_with(b"\x7fELF") {
        return None;
    }
    let at = head.windows(NOTE.len()).position(|bytes| bytes == NOTE)?;
    head.get(at + NOTE.len()..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_build_id_of_an_elf_file_is_found_and_of_nothing_else() {
        let of = |magic: &[u8], len: usize| {
            let bytes = [magic, &[0; 600], &NOTE, &[0xab; 20]].concat();
            build_id(&bytes[..bytes.len() - len])
        };
        assert_eq!(of(b"\x7fELF", 0), Some([0xab; 20]));
        assert_eq!(of(b"\x7fELF", 1), None);
        assert_eq!(of(b"\x7fELG", 0), None);
    }
}
