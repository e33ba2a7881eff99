//! QEMU's format, version 3 (docs/interop/qcow2.rst in QEMU's sources).
//!
//! Clusters have 64 KiB, reference counts 16 bits. Clusters that are zero are absent. Compressed
//! clusters lie one after another without gaps, as `qemu-img convert -c` has them, and those that
//! do not get smaller are plain. The order in the file: header, data, level 2 tables, level 1
//! table, reference counts.

mod packer;

use std::os::unix::fs::FileExt as _;

use packer::Packer;

use super::cluster::{Cluster, ClusterWorker};
use super::codec::{Form, Method};
use super::error::{Share, explain_write};
use super::pipeline::for_each_unit;
use super::{FormatError, FormatOptions, Output, Source};

const CLUSTER_BITS: u32 = 16;
const CLUSTER: u64 = 1 << CLUSTER_BITS;

/// Entries of a level 2 table: 8 bytes each, one cluster.
const L2_ENTRIES: u64 = CLUSTER / 8;

/// Entries of a block of reference counts.
const COUNTS: u64 = CLUSTER / 2;

/// A cluster with one user, which may be written in place.
const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;

/// Where the number of sectors starts in the entry of a compressed cluster.
const SECTORS_SHIFT: u32 = 62 - (CLUSTER_BITS - 8);

/// A cluster is compressed where that saves a sixteenth: else it only costs readers time.
const WORTH_IT: usize = (CLUSTER - CLUSTER / 16) as usize;

pub(super) fn write(
    source: &Source<'_>,
    output: &mut Output<'_>,
    options: &FormatOptions<'_>,
) -> Result<u64, FormatError> {
    let mut image = Image::new(source.size());
    let mut packer = Packer::new(&*output.file);
    let method = options.qcow2.map(Method::from);
    let cache = options.cache;
    let path = output.path;
    let make = || {
        let mut worker = method.map(|method| ClusterWorker::new(method, cache, WORTH_IT));
        move |bytes: &[u8]| match &mut worker {
            None => Ok(Cluster::Plain(bytes.to_vec())),
            Some(worker) => Ok(worker.pack(bytes)),
        }
    };
    let file = &*output.file;
    for_each_unit(source, options, CLUSTER, make, |unit, share| {
        let added = packer.add(unit.made);
        let entry =
            added.map_err(|error| explain_write((file, path), packer.end(), share, error))?;
        image.set(unit.index, entry);
        Ok(())
    })?;
    let finish = image.finish(
        packer,
        method.is_some_and(|method| method.form == Form::Zstd),
    );
    finish.map_err(|error| explain_write((file, path), 0, Share::ALL, error))
}

/// The tables of an image whose data is being written.
struct Image {
    size: u64,
    /// For each entry of the level 1 table, the level 2 table, if anything is in it.
    tables: Vec<Option<Box<[u64]>>>,
}

impl Image {
    fn new(size: u64) -> Self {
        let tables = size.div_ceil(CLUSTER * L2_ENTRIES);
        Self {
            size,
            tables: (0..tables).map(|_| None).collect(),
        }
    }

    fn set(&mut self, cluster: u64, entry: u64) {
        let table = &mut self.tables[(cluster / L2_ENTRIES) as usize];
        let table = table.get_or_insert_with(|| vec![0; L2_ENTRIES as usize].into_boxed_slice());
        table[(cluster % L2_ENTRIES) as usize] = entry;
    }

    /// Writes the tables and, last, the header; returns the size of the file.
    fn finish(self, mut packer: Packer<'_>, is_zstd: bool) -> std::io::Result<u64> {
        let mut level1 = vec![0; self.tables.len().max(1)];
        for (entry, table) in level1.iter_mut().zip(&self.tables) {
            if let Some(table) = table {
                *entry = packer.add_metadata(&big_endian(table))? | COPIED;
            }
        }
        let level1_at = packer.add_metadata(&big_endian(&level1))?;
        let counts = packer.add_counts()?;
        let header = header(&Header {
            size: self.size,
            level1_entries: level1.len() as u32,
            level1_at,
            counts_at: counts.table_at,
            counts_clusters: counts.table_clusters,
            is_zstd,
        });
        packer.finish(&header)
    }
}

struct Header {
    size: u64,
    level1_entries: u32,
    level1_at: u64,
    counts_at: u64,
    counts_clusters: u32,
    is_zstd: bool,
}

fn header(of: &Header) -> Vec<u8> {
    let mut bytes = b"QFI\xfb".to_vec();
    let number = |bytes: &mut Vec<u8>, number: u32| bytes.extend(number.to_be_bytes());
    let long = |bytes: &mut Vec<u8>, number: u64| bytes.extend(number.to_be_bytes());
    number(&mut bytes, 3);
    // No backing file: its name's offset and length.
    long(&mut bytes, 0);
    number(&mut bytes, 0);
    number(&mut bytes, CLUSTER_BITS);
    long(&mut bytes, of.size);
    // Not encrypted.
    number(&mut bytes, 0);
    number(&mut bytes, of.level1_entries);
    long(&mut bytes, of.level1_at);
    long(&mut bytes, of.counts_at);
    number(&mut bytes, of.counts_clusters);
    // No snapshots: their number, and where they are.
    number(&mut bytes, 0);
    long(&mut bytes, 0);
    // Incompatible, compatible and autoclear features. The compression type is incompatible bit 3,
    // and set exactly when the type is not deflate.
    long(&mut bytes, if of.is_zstd { 1 << 3 } else { 0 });
    long(&mut bytes, 0);
    long(&mut bytes, 0);
    // 2^4 bits for each reference count, and the length of this header.
    number(&mut bytes, 4);
    number(&mut bytes, 112);
    // The compression type, and padding.
    bytes.extend([u8::from(of.is_zstd), 0, 0, 0, 0, 0, 0, 0]);
    // The end of the header's extensions.
    long(&mut bytes, 0);
    bytes
}

fn big_endian(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|n| n.to_be_bytes()).collect()
}

fn write_at(file: &std::fs::File, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
    file.write_all_at(bytes, offset)
}
