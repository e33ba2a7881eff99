//! Archives that Linux unpacks into its initramfs: cpio's format `newc`, as the kernel's
//! `Documentation/driver-api/early-userspace/buffer-format.rst` has it.

/// The unit in which several archives may follow each other, in bytes; a boot loader that pads to
/// less makes the kernel say "invalid magic at start of compressed archive".
pub const ALIGNMENT: usize = 512;

/// The name that ends an archive.
const TRAILER: &str = "TRAILER!!!";

const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_644;

/// A file that an archive cannot hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{name}' does not fit into an initramfs archive: it has {bytes} bytes, but {} is the most",
    u32::MAX
)]
pub struct TooLarge {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

/// An archive that is being written. It holds root's files, dated 1970: the same files in the same
/// order make the same bytes.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// Starts an empty archive.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a directory. It has to come before what lies in it: the kernel makes no parents.
    pub fn directory(&mut self, name: &str) {
        self.entry(name, DIRECTORY, 0, &[]);
    }

    /// Adds a regular file, readable by all.
    pub fn file(&mut self, name: &str, content: &[u8]) -> Result<(), TooLarge> {
        let size = u32::try_from(content.len()).map_err(|_| TooLarge {
            name: name.to_owned(),
            bytes: content.len() as u64,
        })?;
        self.entry(name, FILE, size, content);
        Ok(())
    }

    /// Ends the archive and returns its bytes, padded to [`ALIGNMENT`].
    pub fn finish(mut self) -> Vec<u8> {
        self.entry(TRAILER, 0, 0, &[]);
        pad(&mut self.bytes, ALIGNMENT);
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, size: u32, content: &[u8]) {
        self.entries += 1;
        let links = if mode == DIRECTORY { 2 } else { 1 };
        let name_size = name.len() as u32 + 1;
        // inode, mode, uid, gid, links, mtime, size, device (2), special device (2), name, checksum
        let fields = [
            self.entries,
            mode,
            0,
            0,
            links,
            0,
            size,
            0,
            0,
            0,
            0,
            name_size,
            0,
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes
                .extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        pad(&mut self.bytes, 4);
        self.bytes.extend_from_slice(content);
        pad(&mut self.bytes, 4);
    }
}

/// Adds zeros up to a multiple of `unit` bytes.
pub fn pad(bytes: &mut Vec<u8>, unit: usize) {
    bytes.resize(bytes.len().next_multiple_of(unit), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut archive = Archive::new();
        archive.directory("scripts");
        archive.file("scripts/layerset", b"body\n").unwrap();
        archive.finish()
    }

    #[test]
    fn an_archive_has_the_bytes_of_the_kernels_document() {
        let bytes = sample();
        let header = "070701\
                      0000000200 0081A4 00000000 00000000 00000001 00000000 00000005\
                      00000000 00000000 00000000 00000000 00000011 00000000"
            .replace(' ', "");
        // 110 bytes of header and 8 of name, padded to 120, for the directory before.
        assert_eq!(&bytes[120..230], header.as_bytes());
        assert_eq!(&bytes[230..247], b"scripts/layerset\0");
        assert_eq!(&bytes[248..256], b"body\n\0\0\0");
        assert_eq!(bytes.len(), 512);
        assert_eq!(bytes, sample());
    }
}
