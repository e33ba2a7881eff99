//! Types of partitions: one meaning, and how each table says it.

use super::model::TableKind;
use super::uuid::Uuid;

/// What a partition is for, as tables say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionKind {
    /// The type in a GPT; `None` where only an MBR knows it.
    pub guid: Option<Uuid>,
    /// The type in an MBR; `None` where only a GPT knows it.
    pub mbr: Option<u8>,
}

const fn kind(guid: u128, mbr: Option<u8>) -> PartitionKind {
    PartitionKind {
        guid: Some(Uuid(guid.to_be_bytes())),
        mbr,
    }
}

/// A word of ours or none, sgdisk's code, and the type: from `sgdisk --list-types` (gdisk 1.0.9),
/// systemd's Discoverable Partitions Specification and the UEFI specification.
type Row = (&'static str, u16, PartitionKind);

#[rustfmt::skip]
const ROWS: [Row; 24] = [
    ("linux", 0x8300, PartitionKind::LINUX),
    ("esp", 0xef00, PartitionKind::ESP),
    ("bios", 0xef02, PartitionKind::BIOS),
    ("swap", 0x8200, PartitionKind::SWAP),
    ("lvm", 0x8e00, PartitionKind::LVM),
    ("home", 0x8302, kind(0x933AC7E1_2EB4_4F13_B844_0E14E2AEF915, Some(0x83))),
    ("srv", 0x8306, kind(0x3B8F8425_20E0_4F3B_907F_1A25A76F98E8, Some(0x83))),
    ("var", 0x8310, kind(0x4D21B016_B534_45C2_A9FB_5C16E091FD2D, Some(0x83))),
    ("tmp", 0x8311, kind(0x7EC6F557_3BC5_4ACA_B293_16EF5DF639D1, Some(0x83))),
    ("xbootldr", 0xea00, kind(0xBC13C2FF_59E6_4262_A352_B275FD6F7172, Some(0xea))),
    ("data", 0x0700, kind(0xEBD0A0A2_B9E5_4433_87C0_68B6B72699C7, Some(0x07))),
    ("raid", 0xfd00, kind(0xA19D880F_05FC_4D3B_A006_743F0F84911E, Some(0xfd))),
    ("prep", 0x4100, kind(0x9E1A2D38_C612_4316_AA26_8B49521E5A8B, Some(0x41))),
    ("", 0x8301, kind(0x8DA63339_0007_60C0_C436_083AC8230908, None)),
    ("", 0x8303, kind(0x44479540_F297_41B2_9AF7_D131D5F0458A, Some(0x83))),
    ("", 0x8304, ROOT_AMD64),
    ("", 0x8305, ROOT_ARM64),
    ("", 0x8307, kind(0x69DAD710_2CE4_4E3C_B16C_21A1D49ABED3, Some(0x83))),
    ("", 0x8308, kind(0x7FFEC5C9_2D00_49B7_8941_3EA10A5586B7, None)),
    ("", 0x8309, kind(0xCA7D7CCB_63ED_4C53_861C_1742536059CC, Some(0xe8))),
    ("", 0x8312, kind(0x773F91EF_66D4_49B5_BD83_D683BF40AD16, None)),
    ("", 0x8314, kind(0x8484680C_9521_48C6_9C11_B0720656F69E, None)),
    ("", 0x8315, kind(0x7D0359A3_02B3_4F0A_865C_654403E70625, None)),
    ("", 0xef01, kind(0x024DEE41_33E7_11D3_9D69_0008C781F39F, None)),
];

const ROOT_AMD64: PartitionKind = kind(0x4F68BCE3_E8CD_4DB1_96E7_FBCAF984B709, Some(0x83));
const ROOT_ARM64: PartitionKind = kind(0xB921B045_1DF0_41C3_AF44_4C6F280D3FAE, Some(0x83));

/// The words that [`PartitionKind::parse`] takes, `root` included.
pub const KIND_WORDS: [&str; 14] = [
    "linux", "root", "esp", "bios", "swap", "lvm", "home", "srv", "var", "tmp", "xbootldr", "data",
    "raid", "prep",
];

/// Why a text is no type of a partition.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[allow(missing_docs)] // The fields are what the message says.
pub enum KindError {
    /// The text is no word, code or GUID.
    #[error("unknown type of partition '{text}'")]
    Unknown { text: String },
    /// The text has the form of a GUID, and is none.
    #[error("'{text}' is not a GUID: it has 32 hexadecimal digits, as 8-4-4-4-12")]
    BadGuid { text: String },
    /// A table of the other kind knows this type.
    #[error("'{text}' is no type of a {table} table")]
    OtherTable { text: String, table: TableKind },
}

impl PartitionKind {
    /// A Linux filesystem.
    pub const LINUX: Self = kind(0x0FC63DAF_8483_4772_8E79_3D69D8477DE4, Some(0x83));
    /// An EFI system partition.
    pub const ESP: Self = kind(0xC12A7328_F81F_11D2_BA4B_00A0C93EC93B, Some(0xef));
    /// Where GRUB's core image lies on a GPT that a BIOS boots.
    pub const BIOS: Self = kind(0x21686148_6449_6E6F_744E_656564454649, None);
    /// Swap.
    pub const SWAP: Self = kind(0x0657FD6D_A4AB_43C4_84E5_0933C84B4F4F, Some(0x82));
    /// A physical volume of LVM.
    pub const LVM: Self = kind(0xE6D6D379_F507_44C2_A23C_238F2A3DF928, Some(0x8e));

    /// Returns the type of a root filesystem of a Debian architecture, which systemd finds and
    /// grows.
    pub fn root(architecture: &str) -> Self {
        match architecture {
            "amd64" => ROOT_AMD64,
            "arm64" => ROOT_ARM64,
            "i386" => kind(0x44479540_F297_41B2_9AF7_D131D5F0458A, Some(0x83)),
            "armhf" | "armel" => kind(0x69DAD710_2CE4_4E3C_B16C_21A1D49ABED3, Some(0x83)),
            "riscv64" => kind(0x72EC70A6_CF74_40E6_BD49_4BDA08E8F224, Some(0x83)),
            "ppc64el" => kind(0xC31C45E6_3F39_412E_80FB_4809C4980599, Some(0x83)),
            "s390x" => kind(0x5EEAD9A9_FE09_4A1E_A1D7_520D00531306, Some(0x83)),
            "loong64" => kind(0x77055800_792C_4F94_B39A_98C91B762BB6, Some(0x83)),
            _ => Self::LINUX,
        }
    }

    /// Parses a word such as `esp`, an MBR's type such as `0x83` or `83`, sgdisk's code such as
    /// `8300`, or a GUID, for a partition of `table`.
    pub fn parse(text: &str, table: TableKind, architecture: &str) -> Result<Self, KindError> {
        let found = match text {
            "root" => Self::root(architecture),
            text => Self::look_up(text)?,
        };
        if found.is_known_to(table) {
            return Ok(found);
        }
        Err(KindError::OtherTable {
            text: text.to_owned(),
            table,
        })
    }

    fn look_up(text: &str) -> Result<Self, KindError> {
        let row = |fits: &dyn Fn(&Row) -> bool| ROWS.iter().find(|row| fits(row)).map(|row| row.2);
        if !text.is_empty()
            && let Some(found) = row(&|row| row.0 == text)
        {
            return Ok(found);
        }
        if text.contains('-') {
            let guid = Uuid::parse(text).ok_or_else(|| KindError::BadGuid {
                text: text.to_owned(),
            })?;
            let unknown = Self {
                guid: Some(guid),
                mbr: None,
            };
            return Ok(row(&|row| row.2.guid == Some(guid)).unwrap_or(unknown));
        }
        let digits = text.trim_start_matches("0x").trim_start_matches("0X");
        let unknown = || KindError::Unknown {
            text: text.to_owned(),
        };
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(unknown());
        }
        let code = u16::from_str_radix(digits, 16).map_err(|_| unknown())?;
        match digits.len() {
            1 | 2 if code != 0 => Ok(Self::of_mbr(code as u8)),
            4 => row(&|row| row.1 == code).ok_or_else(unknown),
            _ => Err(unknown()),
        }
    }

    /// Returns the type of an MBR's code, with none of a GPT unless it means a boot, swap or LVM
    /// partition.
    fn of_mbr(code: u8) -> Self {
        let meanings = [Self::ESP, Self::SWAP, Self::LVM];
        let known = meanings.iter().find(|kind| kind.mbr == Some(code));
        let guid = known.and_then(|kind| kind.guid);
        Self {
            guid,
            mbr: Some(code),
        }
    }

    fn is_known_to(self, table: TableKind) -> bool {
        match table {
            TableKind::Gpt => self.guid.is_some(),
            TableKind::Mbr => self.mbr.is_some(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parse(text: &str, table: TableKind) -> Result<PartitionKind, String> {
        PartitionKind::parse(text, table, "amd64").map_err(|error| error.to_string())
    }

    #[test]
    fn a_type_is_the_same_however_it_is_written() {
        for text in [
            "esp",
            "ef00",
            "0xEF00",
            "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
        ] {
            assert_eq!(
                parse(text, TableKind::Gpt),
                Ok(PartitionKind::ESP),
                "{text}"
            );
        }
        for text in ["esp", "ef", "0xEF"] {
            assert_eq!(
                parse(text, TableKind::Mbr),
                Ok(PartitionKind::ESP),
                "{text}"
            );
        }
        assert_eq!(parse("root", TableKind::Gpt), Ok(ROOT_AMD64));
        assert_eq!(parse("0x42", TableKind::Mbr).unwrap().mbr, Some(0x42));
        assert!(
            KIND_WORDS
                .iter()
                .all(|word| parse(word, TableKind::Gpt).is_ok())
        );
    }

    #[test]
    fn what_is_no_type_says_so() {
        for (text, table, why) in [
            ("bios", TableKind::Mbr, "'bios' is no type of a mbr table"),
            ("0x83", TableKind::Gpt, "'0x83' is no type of a gpt table"),
            ("", TableKind::Gpt, "unknown type of partition ''"),
            ("0x00", TableKind::Mbr, "unknown type of partition '0x00'"),
            ("12345", TableKind::Gpt, "unknown type of partition '12345'"),
            ("zz", TableKind::Mbr, "unknown type of partition 'zz'"),
        ] {
            assert_eq!(parse(text, table), Err(why.into()), "{text}");
        }
        let bad = parse("c12a7328-f81f", TableKind::Gpt).unwrap_err();
        assert!(bad.starts_with("'c12a7328-f81f' is not a GUID"), "{bad}");
    }
}
