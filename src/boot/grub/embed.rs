//! Where GRUB's boot image and core image go on a disk, so that a BIOS starts them: what
//! `grub-bios-setup` does on a device, as plain writes (GRUB's `util/setup.c`,
//! `include/grub/i386/pc/boot.h`, `grub-core/boot/i386/pc/diskboot.S`).

/// Where an image has GRUB's first 512 bytes; the layer `machine` makes both files.
pub const BOOT_IMAGE: &str = "usr/lib/layerset/boot/i386-pc/boot.img";
/// Where an image has the rest of GRUB.
pub const CORE_IMAGE: &str = "usr/lib/layerset/boot/i386-pc/core.img";

/// BIOS knows sectors of this size only.
const SECTOR: usize = 512;
/// What of the first sector is code; a partition table follows.
const CODE: usize = 440;
/// In the boot image: the sector of the core image, 64 bits.
const KERNEL_SECTOR: usize = 0x5c;
/// In the boot image: a jump that is left out on hard disks, whose BIOS tells the truth about the
/// drive.
const DRIVE_CHECK: usize = 0x66;
const NOP: u8 = 0x90;
/// In the first sector of the core image: its list of blocks, of which the first one says where the
/// rest is: start (64 bits), length in sectors (16 bits), segment in memory (16 bits).
const BLOCK_LIST: usize = 500;

/// Why GRUB cannot be put on a disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EmbedError {
    /// A file is not what it should be.
    #[error("'{0}' is not a boot image of GRUB for BIOS")]
    Image(&'static str),
    /// There is too little room.
    #[error("GRUB needs {needed} sectors before or in a partition, but there are {available}")]
    Room {
        /// Sectors of 512 bytes.
        needed: u64,
        /// Sectors of 512 bytes.
        available: u64,
    },
}

/// Where the core image goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A BIOS boot partition of a GPT.
    Partition {
        /// Its first sector.
        first: u64,
        /// Its length in sectors.
        sectors: u64,
    },
    /// Between an MBR and the first partition.
    Gap {
        /// The first sector of the first partition.
        end: u64,
    },
}

/// Bytes to be written to a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// From the disk's start, in bytes.
    pub offset: u64,
    /// What is written there.
    pub bytes: Vec<u8>,
}

/// Returns what to write so that a BIOS starts GRUB: the code of the first sector, whose partition
/// table stays, and the core image.
pub fn embed(boot: &[u8], core: &[u8], place: Place) -> Result<[Write; 2], EmbedError> {
    if boot.len() != SECTOR || !boot.ends_with(&[0x55, 0xaa]) {
        return Err(EmbedError::Image(BOOT_IMAGE));
    }
    let (first, available) = match place {
        Place::Partition { first, sectors } => (first, sectors),
        Place::Gap { end } => (1, end.saturating_sub(1)),
    };
    let mut core = core.to_vec();
    core.resize(core.len().next_multiple_of(SECTOR), 0);
    let needed = (core.len() / SECTOR) as u64;
    // The list ends the first sector; grub-mkimage writes the length for one block.
    let is_core = needed > 1
        && u64::from(u16::from_le_bytes([
            core[BLOCK_LIST + 8],
            core[BLOCK_LIST + 9],
        ])) == needed - 1;
    if !is_core {
        return Err(EmbedError::Image(CORE_IMAGE));
    }
    if needed > available {
        return Err(EmbedError::Room { needed, available });
    }
    core[BLOCK_LIST..BLOCK_LIST + 8].copy_from_slice(&(first + 1).to_le_bytes());
    let mut boot = boot[..CODE].to_vec();
    boot[KERNEL_SECTOR..KERNEL_SECTOR + 8].copy_from_slice(&first.to_le_bytes());
    boot[DRIVE_CHECK..DRIVE_CHECK + 2].fill(NOP);
    let core_offset = first * SECTOR as u64;
    Ok([
        Write {
            offset: 0,
            bytes: boot,
        },
        Write {
            offset: core_offset,
            bytes: core,
        },
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images() -> (Vec<u8>, Vec<u8>) {
        let mut boot = vec![7; SECTOR];
        boot[510..].copy_from_slice(&[0x55, 0xaa]);
        let mut core = vec![9; 3 * SECTOR - 100];
        core[BLOCK_LIST..BLOCK_LIST + 12].copy_from_slice(&[2, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0x20, 8]);
        (boot, core)
    }

    #[test]
    fn both_images_are_told_where_the_core_image_lies() {
        let (boot, core) = images();
        let check = |place, first: u64| {
            let [head, body] = embed(&boot, &core, place).unwrap();
            assert_eq!((head.offset, head.bytes.len()), (0, 440));
            assert_eq!(head.bytes[0x5c..0x64], first.to_le_bytes());
            assert_eq!(head.bytes[0x64..0x69], [7, 7, 0x90, 0x90, 7]);
            assert_eq!((body.offset, body.bytes.len()), (first * 512, 3 * 512));
            assert_eq!(body.bytes[500..508], (first + 1).to_le_bytes());
            assert_eq!(body.bytes[508..512], [2, 0, 0x20, 8]);
            assert_eq!(body.bytes[3 * 512 - 101..3 * 512 - 98], [9, 0, 0]);
        };
        let partition = Place::Partition {
            first: 2048,
            sectors: 3,
        };
        check(partition, 2048);
        check(Place::Gap { end: 4 }, 1);
    }

    #[test]
    fn what_does_not_fit_or_is_no_image_is_refused() {
        let (boot, core) = images();
        let error = embed(&boot, &core, Place::Gap { end: 3 }).unwrap_err();
        assert_eq!(
            error.to_string(),
            "GRUB needs 3 sectors before or in a partition, but there are 2"
        );
        let place = Place::Gap { end: 2048 };
        for (boot, core) in [
            (&boot[..511], &core[..]),
            (&[0; 512][..], &core[..]),
            (&boot[..], &core[..512]),
            (&boot[..], &core[..1024]),
            (&boot[..], &[][..]),
        ] {
            assert!(matches!(
                embed(boot, core, place),
                Err(EmbedError::Image(_))
            ));
        }
    }
}
