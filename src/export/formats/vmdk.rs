//! VMware's format, streamOptimized ("Virtual Disk Format 5.0", VMware 2011): what ESX, AWS and
//! appliances take.
//!
//! It is written in one pass, as its name says. The header says that the directory is at the end.
//! Then follow the grains that are not zero, of 64 KiB each, compressed by zlib; a table behind the
//! grains that it lists; the directory; the header once more, with the place of the directory; and
//! an end marker. Numbers are little-endian; places and sizes count sectors of 512 bytes.

use std::io::{BufWriter, Seek as _, SeekFrom, Write};

use super::cluster::{Cluster, ClusterWorker};
use super::codec::{Form, Method};
use super::error::{Share, explain_write};
use super::pipeline::for_each_unit;
use super::{FormatError, FormatOptions, Output, Source};

const SECTOR: u64 = 512;

/// A grain in bytes.
const GRAIN: u64 = 65536;
const GRAIN_SECTORS: u64 = GRAIN / SECTOR;

/// Entries of a grain table: 4 bytes each.
const TABLE_ENTRIES: u64 = 512;

/// Sectors of the descriptor, and of all that stands before the first grain.
const DESCRIPTOR_SECTORS: u64 = 20;
const OVERHEAD_SECTORS: u64 = 128;

/// Where the directory is, as long as that is not known.
const AT_END: u64 = u64::MAX;

/// A grain in zlib's form is never so large, whatever it holds.
const MOST_PACKED: usize = GRAIN as usize + 1024;

/// The level of compression: qemu-img and VMware have the default too.
const LEVEL: i32 = 6;

const MARK_TABLE: u32 = 1;
const MARK_DIRECTORY: u32 = 2;
const MARK_FOOTER: u32 = 3;

/// What an extent is called in a descriptor inside the extent: nobody looks it up.
const EXTENT_NAME: &str = "disk.vmdk";

pub(super) fn write(
    source: &Source<'_>,
    output: &mut Output<'_>,
    options: &FormatOptions<'_>,
) -> Result<u64, FormatError> {
    let fail = |error| FormatError::write(output.path, error);
    output.file.seek(SeekFrom::Start(0)).map_err(fail)?;
    write_stream(source, output, options, |_| ())
}

/// Writes at the position of the output, and shows all bytes to `watch`; returns their number.
pub(super) fn write_stream(
    source: &Source<'_>,
    output: &Output<'_>,
    options: &FormatOptions<'_>,
    mut watch: impl FnMut(&[u8]),
) -> Result<u64, FormatError> {
    let place = (&*output.file, output.path);
    let mut stream = Stream {
        out: BufWriter::with_capacity(1 << 20, &*output.file),
        watch: &mut watch,
        at: 0,
    };
    let size = source.size();
    let mut grains = Grains::new(size, options.seed.number("vmdk content id"));
    grains
        .start(&mut stream)
        .map_err(|error| explain_write(place, stream.bytes(), Share::ALL, error))?;
    let method = Method {
        form: Form::Zlib,
        level: LEVEL,
    };
    let cache = options.cache;
    let make = || {
        let mut worker = ClusterWorker::new(method, cache, MOST_PACKED);
        move |bytes: &[u8]| Ok(worker.pack(bytes))
    };
    for_each_unit(source, options, GRAIN, make, |unit, share| {
        let added = grains.add(&mut stream, unit.index, &unit.made);
        added.map_err(|error| explain_write(place, stream.bytes(), share, error))
    })?;
    grains
        .finish(&mut stream)
        .map_err(|error| explain_write(place, stream.bytes(), Share::ALL, error))?;
    Ok(stream.bytes())
}

/// The file as it grows, sector by sector.
struct Stream<'a, W: Write> {
    out: W,
    watch: &'a mut dyn FnMut(&[u8]),
    /// How many sectors are written.
    at: u64,
}

impl<W: Write> Stream<'_, W> {
    fn bytes(&self) -> u64 {
        self.at * SECTOR
    }

    /// Writes bytes, and zeros up to the next sector; returns the sector where they start.
    fn put(&mut self, bytes: &[u8]) -> std::io::Result<u64> {
        let at = self.at;
        let padding = bytes.len().next_multiple_of(SECTOR as usize) - bytes.len();
        let zeros = [0; SECTOR as usize];
        for part in [bytes, &zeros[..padding]] {
            self.out.write_all(part)?;
            (self.watch)(part);
        }
        self.at += (bytes.len() + padding) as u64 / SECTOR;
        Ok(at)
    }

    /// Writes what says that metadata of so many bytes follows, and then the metadata.
    fn put_marked(&mut self, mark: u32, bytes: &[u8]) -> std::io::Result<u64> {
        let sectors = (bytes.len() as u64).div_ceil(SECTOR);
        let mut marker = sectors.to_le_bytes().to_vec();
        // No size: this is no grain.
        marker.extend(0u32.to_le_bytes());
        marker.extend(mark.to_le_bytes());
        self.put(&marker)?;
        self.put(bytes)
    }
}

/// The tables as they grow.
struct Grains {
    size: u64,
    content_id: u32,
    directory: Vec<u32>,
    /// The table that is being filled, and its number.
    table: Option<(u64, Vec<u32>)>,
}

impl Grains {
    fn new(size: u64, number: u32) -> Self {
        let tables = size.div_ceil(GRAIN * TABLE_ENTRIES);
        Self {
            size,
            // The two largest mean that there is no parent, and that nothing was written yet.
            content_id: number.min(u32::MAX - 2),
            directory: vec![0; tables as usize],
            table: None,
        }
    }

    fn start<W: Write>(&self, stream: &mut Stream<'_, W>) -> std::io::Result<()> {
        stream.put(&self.header(AT_END))?;
        let mut descriptor = descriptor(self.size, self.content_id).into_bytes();
        descriptor.resize(((OVERHEAD_SECTORS - 1) * SECTOR) as usize, 0);
        stream.put(&descriptor)?;
        Ok(())
    }

    fn add<W: Write>(
        &mut self,
        stream: &mut Stream<'_, W>,
        grain: u64,
        packed: &Cluster,
    ) -> std::io::Result<()> {
        let Cluster::Packed(packed) = packed else {
            return Err(std::io::Error::other("a grain did not fit its buffer"));
        };
        let number = grain / TABLE_ENTRIES;
        if self
            .table
            .as_ref()
            .is_some_and(|(table, _)| *table != number)
        {
            self.put_table(stream)?;
        }
        let mut marked = Vec::with_capacity(packed.len() + 12);
        marked.extend((grain * GRAIN_SECTORS).to_le_bytes());
        marked.extend((packed.len() as u32).to_le_bytes());
        marked.extend_from_slice(packed);
        let at = stream.put(&marked)?;
        let empty = || (number, vec![0; TABLE_ENTRIES as usize]);
        let (_, table) = self.table.get_or_insert_with(empty);
        table[(grain % TABLE_ENTRIES) as usize] = sector(at)?;
        Ok(())
    }

    fn put_table<W: Write>(&mut self, stream: &mut Stream<'_, W>) -> std::io::Result<()> {
        if let Some((number, table)) = self.table.take() {
            let at = stream.put_marked(MARK_TABLE, &little_endian(&table))?;
            self.directory[number as usize] = sector(at)?;
        }
        Ok(())
    }

    fn finish<W: Write>(&mut self, stream: &mut Stream<'_, W>) -> std::io::Result<()> {
        self.put_table(stream)?;
        let directory = little_endian(&self.directory);
        let at = stream.put_marked(MARK_DIRECTORY, &directory)?;
        stream.put_marked(MARK_FOOTER, &self.header(at))?;
        // The end: a marker of nothing.
        stream.put(&[0; SECTOR as usize])?;
        stream.out.flush()
    }

    fn header(&self, directory: u64) -> Vec<u8> {
        let mut bytes = b"KDMV".to_vec();
        let number = |bytes: &mut Vec<u8>, number: u32| bytes.extend(number.to_le_bytes());
        let long = |bytes: &mut Vec<u8>, number: u64| bytes.extend(number.to_le_bytes());
        number(&mut bytes, 3);
        // The test of line ends below is valid; grains are compressed; there are markers.
        number(&mut bytes, 1 | 1 << 16 | 1 << 17);
        long(&mut bytes, self.size.next_multiple_of(GRAIN) / SECTOR);
        long(&mut bytes, GRAIN_SECTORS);
        long(&mut bytes, 1);
        long(&mut bytes, DESCRIPTOR_SECTORS);
        number(&mut bytes, TABLE_ENTRIES as u32);
        // No redundant directory.
        long(&mut bytes, 0);
        long(&mut bytes, directory);
        long(&mut bytes, OVERHEAD_SECTORS);
        // Cleanly closed; line ends, which a transfer as text would spoil; deflate.
        bytes.extend(b"\0\n \r\n");
        bytes.extend(1u16.to_le_bytes());
        bytes.resize(SECTOR as usize, 0);
        bytes
    }
}

fn sector(at: u64) -> std::io::Result<u32> {
    u32::try_from(at).map_err(|_| std::io::Error::other("a VMDK has 2 TiB at most"))
}

fn little_endian(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|n| n.to_le_bytes()).collect()
}

/// Describes the disk as one behind a SCSI adapter for hardware of version 6, which everything
/// since ESX 3 takes.
fn descriptor(size: u64, content_id: u32) -> String {
    let sectors = size / SECTOR;
    let cylinders = sectors / (255 * 63);
    format!(
        "# Disk DescriptorFile\n\
         version=1\n\
         CID={content_id:08x}\n\
         parentCID=ffffffff\n\
         createType=\"streamOptimized\"\n\
         \n\
         # Extent description\n\
         RW {sectors} SPARSE \"{EXTENT_NAME}\"\n\
         \n\
         # The Disk Data Base\n\
         #DDB\n\
         \n\
         ddb.virtualHWVersion = \"6\"\n\
         ddb.geometry.cylinders = \"{cylinders}\"\n\
         ddb.geometry.heads = \"255\"\n\
         ddb.geometry.sectors = \"63\"\n\
         ddb.adapterType = \"lsilogic\"\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_descriptor_is_as_long_whatever_the_content_id() {
        assert_eq!(
            descriptor(1 << 30, 1).len(),
            descriptor(1 << 30, 0xffff_0000).len()
        );
        assert!(descriptor(2 << 40, 1).len() < (DESCRIPTOR_SECTORS * SECTOR) as usize);
        assert_eq!(Grains::new(1, u32::MAX).content_id, 0xffff_fffd);
    }
}
