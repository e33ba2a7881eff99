//! The formats by name and by extension.

use std::fmt;
use std::path::Path;

use super::FormatError;

/// A format of disk images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DiskFormat {
    /// The bytes of the disk.
    Raw,
    /// QEMU's format, version 3, with compressed clusters.
    Qcow2,
    /// VMware's format, streamOptimized.
    Vmdk,
    /// Microsoft's old format, fixed: the one that Azure takes.
    Vhd,
    /// Hyper-V's format, dynamic.
    Vhdx,
    /// VirtualBox's format, dynamic.
    Vdi,
    /// An appliance: a VMDK, its description and a manifest.
    Ova,
    /// What Google Compute Engine imports: `disk.raw` in a compressed archive.
    Gcp,
    /// The bytes of the disk, compressed by gzip.
    RawGzip,
}

/// Names and extensions of all formats, the usual one first.
const FORMATS: &[(DiskFormat, &str, &[&str])] = &[
    (DiskFormat::Raw, "raw", &[".raw", ".img"]),
    (DiskFormat::Qcow2, "qcow2", &[".qcow2"]),
    (DiskFormat::Vmdk, "vmdk", &[".vmdk"]),
    (DiskFormat::Vhd, "vhd", &[".vhd"]),
    (DiskFormat::Vhdx, "vhdx", &[".vhdx"]),
    (DiskFormat::Vdi, "vdi", &[".vdi"]),
    (DiskFormat::Ova, "ova", &[".ova"]),
    (DiskFormat::Gcp, "gcp", &[".tar.gz"]),
    (DiskFormat::RawGzip, "raw.gz", &[".raw.gz", ".img.gz"]),
];

/// Nothing known has this name or extension.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownFormat {
    /// A name.
    #[error("there is no disk format '{0}': the formats are {list}", list = names())]
    Name(String),
    /// A file's name.
    #[error("'{0}' does not say which disk format it is: end it in one of {list}, or name the format", list = extensions())]
    Extension(String),
}

fn names() -> String {
    let names: Vec<_> = DiskFormat::all().map(DiskFormat::name).collect();
    names.join(", ")
}

fn extensions() -> String {
    let all = FORMATS.iter().flat_map(|(_, _, extensions)| *extensions);
    let all: Vec<_> = all.copied().collect();
    all.join(" ")
}

impl DiskFormat {
    /// Returns every format.
    pub fn all() -> impl Iterator<Item = Self> {
        FORMATS.iter().map(|(format, _, _)| *format)
    }

    fn row(self) -> (&'static str, &'static [&'static str]) {
        let row = FORMATS.iter().find(|(format, _, _)| *format == self);
        row.map_or(("raw", &[".raw"]), |(_, name, extensions)| {
            (name, extensions)
        })
    }

    /// Returns the name, such as `qcow2`.
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// Returns the usual extension with its dot, such as `.qcow2`.
    pub fn extension(self) -> &'static str {
        self.row().1.first().copied().unwrap_or(".raw")
    }

    /// Finds a format by its name.
    pub fn from_name(name: &str) -> Result<Self, UnknownFormat> {
        let found = Self::all().find(|format| format.name() == name);
        found.ok_or_else(|| UnknownFormat::Name(name.to_owned()))
    }

    /// Finds a format by the extension of a file's name, in any case; the longest one counts.
    pub fn from_path(path: &Path) -> Result<Self, UnknownFormat> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let lower = name.to_ascii_lowercase();
        let matching = FORMATS.iter().flat_map(|(format, _, extensions)| {
            let ends = extensions.iter().filter(|end| lower.ends_with(**end));
            ends.map(|end| (end.len(), *format))
        });
        let longest = matching.max_by_key(|(length, _)| *length);
        longest
            .map(|(_, format)| format)
            .ok_or_else(|| UnknownFormat::Extension(path.display().to_string()))
    }

    /// Returns what the virtual size is a multiple of, in bytes.
    pub fn size_unit(self) -> u64 {
        match self {
            Self::Gcp => 1 << 30,
            _ => 1 << 20,
        }
    }

    /// Says whether a disk of this format can have sectors of so many bytes. Raw and qcow2 disks get theirs from the
    /// machine; the others are read by sectors of 512 bytes, so that nobody would find another table of partitions.
    pub fn has_sectors_of(self, bytes: u64) -> bool {
        match self {
            Self::Raw | Self::RawGzip | Self::Qcow2 => true,
            Self::Vmdk | Self::Vhd | Self::Vhdx | Self::Vdi | Self::Ova | Self::Gcp => bytes == 512,
        }
    }

    /// Refuses a virtual size that the format cannot have.
    pub fn require_size(self, size: u64) -> Result<(), FormatError> {
        let rule = match self {
            _ if size == 0 || !size.is_multiple_of(512) => "it must be whole sectors of 512 bytes",
            Self::Gcp if !size.is_multiple_of(1 << 30) => "it must be whole GiB",
            // The largest that the geometry of a footer describes; Virtual PC has no more.
            Self::Vhd if size > 2040 << 30 => "2040 GiB is the most",
            Self::Vmdk | Self::Ova if size > 2 << 40 => "2 TiB is the most",
            Self::Vdi if size > 4 << 50 => "4 PiB is the most",
            Self::Vhdx if size > 64 << 40 => "64 TiB is the most",
            _ => return Ok(()),
        };
        Err(FormatError::Size {
            format: self,
            size,
            rule,
        })
    }
}

impl fmt::Display for DiskFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_known_by_name_and_by_the_longest_extension() {
        for format in DiskFormat::all() {
            assert_eq!(DiskFormat::from_name(format.name()), Ok(format));
            let file = format!("a.b{}", format.extension().to_uppercase());
            assert_eq!(DiskFormat::from_path(Path::new(&file)), Ok(format));
        }
        let of = |name: &str| DiskFormat::from_path(Path::new(name));
        assert_eq!(of("disk.img"), Ok(DiskFormat::Raw));
        assert_eq!(of("disk.raw.gz"), Ok(DiskFormat::RawGzip));
        assert_eq!(of("x/disk.tar.gz"), Ok(DiskFormat::Gcp));
    }

    #[test]
    fn an_unknown_format_lists_what_there_is() {
        let error = DiskFormat::from_name("qcow3").unwrap_err().to_string();
        assert_eq!(
            error,
            "there is no disk format 'qcow3': the formats are raw, qcow2, vmdk, vhd, vhdx, vdi, ova, gcp, raw.gz"
        );
        let error = DiskFormat::from_path(Path::new("out/web.iso")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "'out/web.iso' does not say which disk format it is: end it in one of .raw .img .qcow2 .vmdk .vhd .vhdx .vdi .ova .tar.gz .raw.gz .img.gz, or name the format"
        );
    }

    #[test]
    fn sizes_that_a_format_lacks_are_refused() {
        assert!(DiskFormat::Raw.require_size(513).is_err());
        assert!(DiskFormat::Raw.require_size(0).is_err());
        assert!(DiskFormat::Gcp.require_size((1 << 30) + 512).is_err());
        assert!(DiskFormat::Gcp.require_size(2 << 30).is_ok());
        assert!(DiskFormat::Vhd.require_size(2041 << 30).is_err());
        let error = DiskFormat::Vmdk.require_size(3 << 40).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a disk of 3298534883328 bytes cannot be a vmdk: 2 TiB is the most"
        );
    }
}
