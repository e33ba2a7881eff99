//! Where clusters go in a qcow2, and who refers to them.

use std::fs::File;
use std::io;

use super::{CLUSTER, COMPRESSED, COPIED, COUNTS, Cluster, SECTORS_SHIFT, big_endian, write_at};

/// As much of a run is gathered before it is written, in bytes.
const GATHERED: usize = 1 << 20;

/// Gives each cluster its place in the file.
///
/// Compressed clusters form runs. A run goes on in the next cluster of the file while that is free;
/// a plain cluster may take it meanwhile, and then the run ends where it does not fit any more.
pub(super) struct Packer<'a> {
    file: &'a File,
    /// The number of the first cluster of the file that is free.
    free: u64,
    /// Where what is gathered of the run goes.
    run_at: u64,
    run: Vec<u8>,
    /// Where the clusters end that the run has.
    run_end: u64,
    /// How often each cluster of the file is referred to.
    counts: Vec<u16>,
}

/// Where the reference counts are.
pub(super) struct Counts {
    pub(super) table_at: u64,
    pub(super) table_clusters: u32,
}

impl<'a> Packer<'a> {
    /// Starts behind the header.
    pub(super) fn new(file: &'a File) -> Self {
        Self {
            file,
            free: 1,
            run_at: CLUSTER,
            run: Vec::new(),
            run_end: CLUSTER,
            counts: vec![1],
        }
    }

    /// Returns where the file ends by now.
    pub(super) fn end(&self) -> u64 {
        self.free * CLUSTER
    }

    /// Adds a cluster, and returns its entry for the level 2 table.
    pub(super) fn add(&mut self, cluster: Cluster) -> io::Result<u64> {
        match cluster {
            Cluster::Plain(bytes) => {
                let at = self.allocate(1);
                write_at(self.file, at, &bytes)?;
                Ok(at | COPIED)
            }
            Cluster::Packed(bytes) => self.add_packed(&bytes),
        }
    }

    fn add_packed(&mut self, bytes: &[u8]) -> io::Result<u64> {
        let mut at = self.run_at + self.run.len() as u64;
        if at + bytes.len() as u64 > self.run_end {
            if self.run_end != self.end() {
                self.flush()?;
                self.run_at = self.end();
                at = self.run_at;
            }
            self.free += 1;
            self.counts.push(0);
            self.run_end = self.end();
        }
        let last = at + bytes.len() as u64 - 1;
        for cluster in at / CLUSTER..=last / CLUSTER {
            // 65,536 clusters never fit one: each has 12 bytes at least.
            self.counts[cluster as usize] += 1;
        }
        self.run.extend_from_slice(bytes);
        if self.run.len() >= GATHERED {
            self.flush()?;
        }
        // The number of further sectors that it touches.
        let sectors = last / 512 - at / 512;
        Ok(at | sectors << SECTORS_SHIFT | COMPRESSED)
    }

    fn flush(&mut self) -> io::Result<()> {
        write_at(self.file, self.run_at, &self.run)?;
        self.run_at += self.run.len() as u64;
        self.run.clear();
        Ok(())
    }

    /// Takes whole clusters with one user; returns where they are.
    fn allocate(&mut self, clusters: u64) -> u64 {
        let at = self.end();
        self.free += clusters;
        self.counts.resize(self.free as usize, 1);
        at
    }

    /// Adds a table, and returns where it is.
    pub(super) fn add_metadata(&mut self, bytes: &[u8]) -> io::Result<u64> {
        let at = self.allocate((bytes.len() as u64).div_ceil(CLUSTER));
        write_at(self.file, at, bytes)?;
        Ok(at)
    }

    /// Adds the reference counts, which count their own clusters too.
    pub(super) fn add_counts(&mut self) -> io::Result<Counts> {
        let (mut blocks, mut tables) = (1, 1);
        loop {
            let needed = (self.free + blocks + tables).div_ceil(COUNTS);
            let table = (needed * 8).div_ceil(CLUSTER);
            if (needed, table) == (blocks, tables) {
                break;
            }
            (blocks, tables) = (needed, table);
        }
        let table_at = self.allocate(tables);
        let blocks_at = self.allocate(blocks);
        let places: Vec<u64> = (0..blocks).map(|n| blocks_at + n * CLUSTER).collect();
        write_at(self.file, table_at, &big_endian(&places))?;
        let counts: Vec<u8> = self.counts.iter().flat_map(|n| n.to_be_bytes()).collect();
        write_at(self.file, blocks_at, &counts)?;
        Ok(Counts {
            table_at,
            table_clusters: tables as u32,
        })
    }

    /// Writes what is gathered and the header; returns the size of the file, in whole clusters.
    pub(super) fn finish(mut self, header: &[u8]) -> io::Result<u64> {
        self.flush()?;
        write_at(self.file, 0, header)?;
        self.file.set_len(self.end())?;
        Ok(self.end())
    }
}
