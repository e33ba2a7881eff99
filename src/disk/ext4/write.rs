//! Writes a planned filesystem.

use std::io::Read;
use std::ops::ControlFlow;

use super::error::Ext4Error;
use super::geometry::BLOCK;
use super::group::{self, Usage};
use super::htree::Index;
use super::inode::{INDEX, Inode, encode_device};
use super::mapping;
use super::model::{Content, Contents, Entry, EntryKind};
use super::plan::{Plan, SHORT_SYMLINK, wrong_length};
use super::stream::{Run, Runs, Stream};
use super::superblock::{self, Summary};
use super::table::InodeTable;
use super::tree::{LOST_FOUND, LOST_FOUND_BLOCKS, type_bits};
use super::{directory, special, xattr};
use crate::disk::Medium;

/// Is told how many bytes of content are written since the last time, and may stop the writing.
type Progress<'a> = &'a mut dyn FnMut(u64) -> ControlFlow<()>;

impl Plan {
    /// Writes the filesystem to a medium that is all zeros; the superblock comes last.
    ///
    /// Contents are read once, in the order of the entries. `progress` is told how many bytes of
    /// them were written since the last time; it can stop the writing.
    pub fn write(
        &self,
        medium: &mut dyn Medium,
        contents: &dyn Contents,
        progress: Progress<'_>,
    ) -> Result<(), Ext4Error> {
        let mut writer = Writer::new(self, medium, contents, progress);
        for index in 0..self.tree.entries.len() {
            writer.entry(index)?;
        }
        writer.finish()
    }
}

struct Writer<'a> {
    plan: &'a Plan,
    medium: &'a mut dyn Medium,
    contents: &'a dyn Contents,
    progress: Progress<'a>,
    table: InodeTable<'a>,
    directories: Stream<'a>,
    files: Stream<'a>,
    /// Directories among the inodes of each group.
    directory_counts: Vec<u32>,
}

impl<'a> Writer<'a> {
    fn new(
        plan: &'a Plan,
        medium: &'a mut dyn Medium,
        contents: &'a dyn Contents,
        progress: Progress<'a>,
    ) -> Self {
        let geometry = &plan.geometry;
        Self {
            plan,
            medium,
            contents,
            progress,
            table: InodeTable::new(geometry),
            directories: Stream::new(geometry, geometry.data_start()),
            files: Stream::new(geometry, plan.files_start()),
            directory_counts: vec![0; geometry.groups as usize],
        }
    }

    fn entry(&mut self, index: usize) -> Result<(), Ext4Error> {
        let entry = &self.plan.tree.entries[index];
        let number = self.plan.tree.inode(index);
        let mut inode = Inode::new(type_bits(&entry.kind) | entry.mode & 0o7777, entry.mtime);
        inode.uid = entry.uid;
        inode.gid = entry.gid;
        inode.links = self.plan.tree.links(index);
        match &entry.kind {
            EntryKind::HardLink(_) => return Ok(()),
            EntryKind::Directory => self.directory(index, &mut inode)?,
            EntryKind::File { content, size } => {
                self.file(entry, number, content, *size, &mut inode)?;
            }
            EntryKind::Symlink(target) => self.symlink(number, target, &mut inode)?,
            EntryKind::CharDevice(device) | EntryKind::BlockDevice(device) => {
                inode.map = encode_device(*device).unwrap_or([0; 60]);
            }
            EntryKind::Fifo | EntryKind::Socket => {}
        }
        self.xattrs(entry, &mut inode)?;
        self.put(number, &inode)
    }

    fn put(&mut self, number: u32, inode: &Inode) -> Result<(), Ext4Error> {
        let bytes = inode.encode(number, self.plan.sums);
        Ok(self.table.put(self.medium, number, &bytes)?)
    }

    fn directory(&mut self, index: usize, inode: &mut Inode) -> Result<(), Ext4Error> {
        let tree = &self.plan.tree;
        let (own, parent) = (tree.inode(index), tree.parent_inode(index));
        let sums = self.plan.sums.of_inode(own);
        let group = (own - 1) / self.plan.geometry.inodes_per_group;
        self.directory_counts[group as usize] += 1;
        let mut runs = Runs::default();
        let mut logical = 0;
        let mut append = |block: &[u8]| {
            let physical = self.directories.append(self.medium, block)?;
            runs.add(Run {
                logical,
                physical,
                length: 1,
            });
            logical += 1;
            Ok(())
        };
        let names = tree.names(index);
        if directory::fits_one_block(names.clone(), sums) {
            let names: Vec<_> = names.collect();
            let empty = if own == LOST_FOUND {
                LOST_FOUND_BLOCKS - 1
            } else {
                0
            };
            directory::flat(own, parent, &names, empty, sums, &mut append)?;
        } else if let Some(tree) = Index::new(names, &self.plan.options.hash_seed, sums) {
            tree.write(own, parent, &mut append)?;
            inode.flags |= INDEX;
        }
        inode.size = logical * BLOCK as u64;
        let kind = self.plan.options.kind;
        let map = mapping::map(kind, &runs, sums, &mut self.directories, self.medium)?;
        put_map(inode, map);
        Ok(())
    }

    fn file(
        &mut self,
        entry: &Entry,
        number: u32,
        content: &Content,
        size: u64,
        inode: &mut Inode,
    ) -> Result<(), Ext4Error> {
        let runs = match content {
            Content::Bytes(bytes) => self.copy(entry, size, &mut &bytes[..])?,
            Content::Object(object) | Content::Sparse(object, _) => {
                let opened = self.contents.open(object);
                let mut reader = opened.map_err(|source| read_error(entry, source))?;
                self.copy(entry, size, &mut *reader)?
            }
        };
        inode.size = size;
        self.map(number, &runs, inode)
    }

    /// Copies a content into blocks. A read always asks for more than is left, to see the end.
    fn copy(&mut self, entry: &Entry, size: u64, reader: &mut dyn Read) -> Result<Runs, Ext4Error> {
        let mut runs = Runs::default();
        let mut done = 0u64;
        loop {
            let room = self.files.room(self.medium)?;
            let filled = fill(reader, room).map_err(|source| read_error(entry, source))?;
            let ended = filled < room.len();
            if done + filled as u64 > size {
                return Err(wrong_length(entry, size, true));
            }
            self.files.take(filled, done / BLOCK as u64, &mut runs)?;
            done += filled as u64;
            if (self.progress)(filled as u64).is_break() {
                return Err(Ext4Error::Cancelled);
            }
            if ended {
                break;
            }
        }
        if done < size {
            return Err(wrong_length(entry, size, false));
        }
        Ok(runs)
    }

    fn symlink(&mut self, number: u32, target: &[u8], inode: &mut Inode) -> Result<(), Ext4Error> {
        inode.size = target.len() as u64;
        if target.len() <= SHORT_SYMLINK {
            inode.map[..target.len()].copy_from_slice(target);
            return Ok(());
        }
        let mut block = vec![0; BLOCK];
        block[..target.len()].copy_from_slice(target);
        let mut runs = Runs::default();
        runs.add(Run {
            logical: 0,
            physical: self.files.append(self.medium, &block)?,
            length: 1,
        });
        self.map(number, &runs, inode)
    }

    fn map(&mut self, number: u32, runs: &Runs, inode: &mut Inode) -> Result<(), Ext4Error> {
        let sums = self.plan.sums.of_inode(number);
        let kind = self.plan.options.kind;
        let map = mapping::map(kind, runs, sums, &mut self.files, self.medium)?;
        put_map(inode, map);
        Ok(())
    }

    fn xattrs(&mut self, entry: &Entry, inode: &mut Inode) -> Result<(), Ext4Error> {
        let xattrs = xattr::encode(entry)?;
        inode.xattrs = xattrs.in_inode;
        if let Some(mut block) = xattrs.block {
            let stream = match entry.kind {
                EntryKind::Directory => &mut self.directories,
                _ => &mut self.files,
            };
            let place = stream.place(self.medium)?;
            xattr::seal(&mut block, place, self.plan.sums);
            inode.xattr_block = stream.append(self.medium, &block)?;
            inode.blocks += 1;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(), Ext4Error> {
        let Plan {
            geometry,
            options,
            sums,
            tree,
            ..
        } = self.plan;
        let resize = special::resize(geometry, options.epoch, self.medium)?;
        self.put(special::RESIZE, &resize)?;
        let mut journal = None;
        if geometry.journal_blocks > 0 {
            let blocks = geometry.journal_blocks;
            let inode = special::journal(options, blocks, *sums, &mut self.files, self.medium)?;
            self.put(special::JOURNAL, &inode)?;
            journal = Some((inode.map, inode.size));
        }
        self.directories.flush(self.medium)?;
        self.files.flush(self.medium)?;
        let usage = Usage {
            blocks: [
                geometry.resize_block()..self.directories.next(),
                self.plan.files_start()..self.files.next(),
            ],
            last_inode: tree.last_inode,
            directories: self.directory_counts,
        };
        self.table.finish(self.medium)?;
        let descriptors = group::write(geometry, &usage, *sums, self.medium)?;
        let summary = Summary {
            descriptors: &descriptors,
            journal,
        };
        for group in geometry.backups().into_iter().rev() {
            let offset = geometry.first_block(group) * BLOCK as u64;
            let superblock = superblock::encode(options, geometry, &summary, group);
            self.medium.write_at(offset, &superblock)?;
            self.medium
                .write_at(offset + BLOCK as u64, &descriptors.bytes)?;
        }
        let superblock = superblock::encode(options, geometry, &summary, 0);
        self.medium.write_at(BLOCK as u64, &descriptors.bytes)?;
        Ok(self
            .medium
            .write_at(superblock::BYTES as u64, &superblock)?)
    }
}

fn put_map(inode: &mut Inode, map: mapping::Map) {
    inode.map = map.root;
    inode.flags |= map.flags;
    inode.blocks += map.blocks;
}

/// Reads until the buffer is full or the content ends.
fn fill(reader: &mut dyn Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn read_error(entry: &Entry, source: std::io::Error) -> Ext4Error {
    Ext4Error::Read {
        path: entry.path.clone(),
        source,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::disk::ext4::testing::{Memory, Nothing, directory, file, link};
    use crate::disk::ext4::{FsOptions, Kind, plan};
    use crate::id::ObjectId;

    fn image(kind: Kind) -> Vec<u8> {
        let mut options = FsOptions::new(kind, 12 << 20);
        options.label = "golden".to_owned();
        options.uuid = *b"0123456789abcdef";
        options.hash_seed = *b"fedcba9876543210";
        options.epoch = 1_700_000_000;
        let mut large = vec![7; 300_000];
        large[50_000..150_000].fill(0);
        let mut attributed = directory("d");
        let value = vec![b'v'; 500];
        attributed.xattrs.insert(b"user.note".to_vec(), value);
        let mut entries = vec![
            directory(""),
            attributed,
            file("d/large", &large),
            link("d/link", "d/large"),
        ];
        for number in 0..400 {
            entries.push(file(&format!("d/{number}"), format!("{number}").as_bytes()));
        }
        let plan = plan(entries, &options).unwrap();
        let mut medium = Memory(vec![0; 12 << 20]);
        let mut go_on = |_| ControlFlow::Continue(());
        plan.write(&mut medium, &Nothing, &mut go_on).unwrap();
        medium.0
    }

    /// Whoever changes these bytes changes every exported disk: that is a matter for the changelog.
    #[test]
    fn the_bytes_are_golden() {
        for (kind, digest) in [
            (Kind::Ext2, "a1321a87262d"),
            (Kind::Ext3, "90fd23cdf5da"),
            (Kind::Ext4, "dba44f5cd96d"),
        ] {
            assert_eq!(ObjectId::of(&image(kind)).short(), digest, "{kind:?}");
        }
    }

    #[test]
    fn an_object_that_cannot_be_read_is_named_by_its_path() {
        let mut entry = file("lost", b"1");
        let content = Content::Object(ObjectId::of(b"lost"));
        entry.kind = EntryKind::File { content, size: 1 };
        let options = FsOptions::new(Kind::Ext4, 12 << 20);
        let plan = plan(vec![directory(""), entry], &options).unwrap();
        let mut medium = Memory(vec![0; 12 << 20]);
        let result = plan.write(&mut medium, &Nothing, &mut |_| ControlFlow::Continue(()));
        let message = result.unwrap_err().to_string();
        assert_eq!(message, "cannot read the content of '/lost'");
        // The superblock comes last: there is none.
        assert!(medium.0[..4096].iter().all(|byte| *byte == 0));
    }
}
