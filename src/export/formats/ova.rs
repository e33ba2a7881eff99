//! An appliance: a ustar archive of its description, a manifest and a disk, in this order (OVF
//! Specification, DSP0243, section 5.2).
//!
//! It is written in one pass. The disk is the last member and comes first, behind room for the two
//! others: the description is filled up with line ends, so that its size is known before.

use std::io::{Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;

use sha2::Digest as _;

use super::error::{Share, explain_write};
use super::ovf::{ManifestDigest, describe};
use super::tar::{BLOCK, trailer, ustar};
use super::vmdk::write_stream;
use super::{FormatError, FormatOptions, Output, Source};

pub(super) fn write(
    source: &Source<'_>,
    output: &mut Output<'_>,
    options: &FormatOptions<'_>,
) -> Result<u64, FormatError> {
    let appliance = options.appliance;
    appliance.require_name()?;
    let size = source.size();
    let names = Names::new(&appliance.name);
    // No disk file is larger, in digits.
    let room = describe(appliance, size, u64::MAX, &names.disk).len() as u64;
    let room = room.next_multiple_of(BLOCK);
    let manifest_at = BLOCK + room;
    let manifest_length = names.manifest_text(appliance.manifest, &[], &[]).len() as u64;
    let disk_at = manifest_at + BLOCK + manifest_length.next_multiple_of(BLOCK);
    let fail = |error| FormatError::write(output.path, error);
    output
        .file
        .seek(SeekFrom::Start(disk_at + BLOCK))
        .map_err(fail)?;
    let mut hasher = Hasher::new(appliance.manifest);
    let disk_size = write_stream(source, output, options, |bytes| hasher.update(bytes))?;

    let mut description = describe(appliance, size, disk_size, &names.disk).into_bytes();
    description.resize(room as usize, b'\n');
    let mut of_description = Hasher::new(appliance.manifest);
    of_description.update(&description);
    let manifest = names.manifest_text(
        appliance.manifest,
        &of_description.finish(),
        &hasher.finish(),
    );
    let epoch = options.epoch;
    let end = disk_at + BLOCK + disk_size;
    let pieces = [
        (0, ustar(&names.description, room, epoch)),
        (BLOCK, description),
        (manifest_at, ustar(&names.manifest, manifest_length, epoch)),
        (manifest_at + BLOCK, manifest.into_bytes()),
        (disk_at, ustar(&names.disk, disk_size, epoch)),
        (end, vec![0; trailer(end) as usize]),
    ];
    for (at, bytes) in pieces {
        let place = (&*output.file, output.path);
        let put = place.0.write_all_at(&bytes, at);
        put.map_err(|error| explain_write(place, end, Share::ALL, error))?;
    }
    Ok(end + trailer(end))
}

/// What the members are called.
struct Names {
    description: String,
    manifest: String,
    disk: String,
}

impl Names {
    fn new(name: &str) -> Self {
        Self {
            description: format!("{name}.ovf"),
            manifest: format!("{name}.mf"),
            disk: format!("{name}-disk1.vmdk"),
        }
    }

    /// Returns the manifest; its length does not depend on the digests.
    fn manifest_text(&self, digest: ManifestDigest, description: &[u8], disk: &[u8]) -> String {
        let line = |name: &str, sum: &[u8]| {
            let (algorithm, bytes) = match digest {
                ManifestDigest::Sha1 => ("SHA1", 20),
                ManifestDigest::Sha256 => ("SHA256", 32),
            };
            let mut sum = sum.to_vec();
            sum.resize(bytes, 0);
            format!("{algorithm}({name})= {}\n", crate::id::hex(&sum))
        };
        line(&self.description, description) + &line(&self.disk, disk)
    }
}

enum Hasher {
    Sha1(sha1::Sha1),
    Sha256(sha2::Sha256),
}

impl Hasher {
    fn new(digest: ManifestDigest) -> Self {
        match digest {
            ManifestDigest::Sha1 => Self::Sha1(sha1::Sha1::new()),
            ManifestDigest::Sha256 => Self::Sha256(sha2::Sha256::new()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha1(hasher) => hasher.update(bytes),
            Self::Sha256(hasher) => hasher.update(bytes),
        }
    }

    fn finish(self) -> Vec<u8> {
        match self {
            Self::Sha1(hasher) => hasher.finalize().to_vec(),
            Self::Sha256(hasher) => hasher.finalize().to_vec(),
        }
    }
}
