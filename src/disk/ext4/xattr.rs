//! Extended attributes as bytes: in the inode where they fit, else in a block.

use super::checksum::Sums;
use super::checksum::crc32c;
use super::error::Ext4Error;
use super::geometry::BLOCK;
use super::inode::{IN_INODE, put16, put32};
use super::model::Entry;
use crate::path::escape;

const MAGIC: u32 = 0xea02_0000;
const BLOCK_HEADER: usize = 32;
const ENTRY_HEADER: usize = 16;

/// Prefixes that the format writes as a number, in the order in which they are tried.
const PREFIXES: [(&[u8], u8); 6] = [
    (b"user.", 1),
    (b"system.posix_acl_access", 2),
    (b"system.posix_acl_default", 3),
    (b"trusted.", 4),
    (b"security.", 6),
    (b"system.", 7),
];

/// The attributes of one inode.
#[derive(Debug, Default)]
pub(super) struct Xattrs {
    /// What stands in the inode; empty where nothing does.
    pub(super) in_inode: Vec<u8>,
    /// The block with the others, without its checksum.
    pub(super) block: Option<Vec<u8>>,
}

struct Attribute {
    index: u8,
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Attribute {
    fn bytes(&self) -> usize {
        self.header_bytes() + self.value.len().next_multiple_of(4)
    }

    fn header_bytes(&self) -> usize {
        ENTRY_HEADER + self.name.len().next_multiple_of(4)
    }

    fn hash(&self) -> u32 {
        let named = self
            .name
            .iter()
            .fold(0u32, |hash, byte| hash.rotate_left(5) ^ u32::from(*byte));
        self.value.chunks(4).fold(named, |hash, word| {
            let mut bytes = [0; 4];
            bytes[..word.len()].copy_from_slice(word);
            hash.rotate_left(16) ^ u32::from_le_bytes(bytes)
        })
    }
}

/// Encodes the attributes of an entry.
pub(super) fn encode(entry: &Entry) -> Result<Xattrs, Ext4Error> {
    if entry.xattrs.is_empty() {
        return Ok(Xattrs::default());
    }
    let mut all = Vec::with_capacity(entry.xattrs.len());
    for (name, value) in &entry.xattrs {
        all.push(
            attribute(name, value).map_err(|reason| Ext4Error::BadXattr {
                path: entry.path.clone(),
                name: escape(name),
                reason,
            })?,
        );
    }
    // The kernel looks for a name in this order.
    all.sort_by(|a, b| {
        let key = |attribute: &Attribute| (attribute.index, attribute.name.len());
        key(a).cmp(&key(b)).then_with(|| a.name.cmp(&b.name))
    });
    let mut room = IN_INODE - 4 - 4;
    let (inner, outer): (Vec<_>, Vec<_>) = all.into_iter().partition(|attribute| {
        let fits = attribute.bytes() <= room;
        room -= if fits { attribute.bytes() } else { 0 };
        fits
    });
    let needed: usize = outer.iter().map(Attribute::bytes).sum();
    if BLOCK_HEADER + needed + 4 > BLOCK {
        return Err(Ext4Error::XattrsTooLarge {
            path: entry.path.clone(),
        });
    }
    Ok(Xattrs {
        in_inode: in_inode(&inner),
        block: (!outer.is_empty()).then(|| in_block(&outer)),
    })
}

fn attribute(name: &[u8], value: &[u8]) -> Result<Attribute, &'static str> {
    let (prefix, index) = PREFIXES
        .into_iter()
        .find(|(prefix, _)| name.starts_with(prefix))
        .ok_or("its namespace is none of user, system, trusted and security")?;
    let rest = &name[prefix.len()..];
    let is_acl = matches!(index, 2 | 3);
    if rest.len() > 255 {
        return Err("its name is longer than 255 bytes");
    }
    if is_acl != rest.is_empty() {
        return Err("no attribute has this name");
    }
    let value = if is_acl { acl(value)? } else { value.to_vec() };
    Ok(Attribute {
        index,
        name: rest.to_vec(),
        value,
    })
}

/// Makes the ACL of the disk out of the one of the system call: users and groups alone have an id.
fn acl(value: &[u8]) -> Result<Vec<u8>, &'static str> {
    const FOREIGN: &str = "its value is not an access control list of version 2";
    let entries = value.strip_prefix(&[2, 0, 0, 0]).ok_or(FOREIGN)?;
    let mut out = vec![1, 0, 0, 0];
    let mut eights = entries.chunks_exact(8);
    for entry in &mut eights {
        match u16::from_le_bytes([entry[0], entry[1]]) {
            0x02 | 0x08 => out.extend_from_slice(entry),
            0x01 | 0x04 | 0x10 | 0x20 => out.extend_from_slice(&entry[..4]),
            _ => return Err(FOREIGN),
        }
    }
    if !eights.remainder().is_empty() {
        return Err(FOREIGN);
    }
    Ok(out)
}

fn in_inode(attributes: &[Attribute]) -> Vec<u8> {
    if attributes.is_empty() {
        return Vec::new();
    }
    let mut out = vec![0; IN_INODE];
    put32(&mut out, 0, MAGIC);
    // Offsets of values count from the first entry.
    fill(&mut out, 4, 4, attributes);
    out
}

fn in_block(attributes: &[Attribute]) -> Vec<u8> {
    let mut out = vec![0; BLOCK];
    put32(&mut out, 0, MAGIC);
    put32(&mut out, 4, 1); // inodes that use it
    put32(&mut out, 8, 1); // blocks
    let hash = attributes.iter().fold(0u32, |hash, attribute| {
        hash.rotate_left(16) ^ attribute.hash()
    });
    put32(&mut out, 12, hash);
    fill(&mut out, BLOCK_HEADER, 0, attributes);
    out
}

/// Writes entries from `at` on and their values from the end back.
fn fill(out: &mut [u8], mut at: usize, base: usize, attributes: &[Attribute]) {
    let mut end = out.len();
    for attribute in attributes {
        let header = &mut out[at..];
        header[0] = attribute.name.len() as u8;
        header[1] = attribute.index;
        if !attribute.value.is_empty() {
            end -= attribute.value.len().next_multiple_of(4);
            put16(header, 2, (end - base) as u16);
        }
        put32(header, 8, attribute.value.len() as u32);
        put32(header, 12, attribute.hash());
        header[ENTRY_HEADER..][..attribute.name.len()].copy_from_slice(&attribute.name);
        out[end..][..attribute.value.len()].copy_from_slice(&attribute.value);
        at += attribute.header_bytes();
    }
}

/// Writes the checksum into a block of attributes that lies at block `number`.
pub(super) fn seal(block: &mut [u8], number: u64, sums: Sums) {
    if let Some(start) = sums.of(&number.to_le_bytes()) {
        let sum = crc32c(start, block);
        put32(block, 16, sum);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::disk::ext4::testing::directory;

    fn encoded(xattrs: &[(&str, Vec<u8>)]) -> Result<Xattrs, Ext4Error> {
        let mut entry = directory("d");
        for (name, value) in xattrs {
            entry.xattrs.insert(name.as_bytes().to_vec(), value.clone());
        }
        encode(&entry)
    }

    #[test]
    fn what_fits_stays_in_the_inode_and_the_rest_goes_to_a_block() {
        let both = encoded(&[("user.a", vec![1; 8]), ("user.b", vec![2; 100])]).unwrap();
        assert_eq!(both.in_inode.len(), IN_INODE);
        assert!(both.block.is_some());
        // 16 bytes of header, 4 of name, and 68 of value are all that fits.
        assert!(encoded(&[("user.a", vec![1; 68])]).unwrap().block.is_none());
        assert!(
            encoded(&[("user.a", vec![1; 69])])
                .unwrap()
                .in_inode
                .is_empty()
        );
    }

    #[test]
    fn a_block_holds_what_it_holds_and_no_byte_more() {
        let room = BLOCK - BLOCK_HEADER - 4 - ENTRY_HEADER - 4;
        assert!(encoded(&[("user.a", vec![1; room])]).is_ok());
        let error = encoded(&[("user.a", vec![1; room + 1])]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the extended attributes of '/d' do not fit: one block of 4096 bytes holds them all"
        );
    }

    #[test]
    fn an_access_control_list_has_ids_only_for_users_and_groups() {
        let mut value = vec![2, 0, 0, 0];
        for (tag, id) in [(1u16, u32::MAX), (2, 1000), (4, u32::MAX), (0x20, u32::MAX)] {
            value.extend_from_slice(&tag.to_le_bytes());
            value.extend_from_slice(&7u16.to_le_bytes());
            value.extend_from_slice(&id.to_le_bytes());
        }
        let stored = acl(&value).unwrap();
        assert_eq!(stored.len(), 4 + 4 + 8 + 4 + 4);
        assert_eq!(stored[8..16], [2, 0, 7, 0, 0xe8, 3, 0, 0]);
        assert!(acl(&value[..13]).is_err());
        assert!(acl(b"\x01\0\0\0").is_err());
    }

    #[test]
    fn names_outside_the_namespaces_are_refused() {
        for name in [
            "plain",
            "system.posix_acl_access2",
            "user.",
            "btrfs.compression",
        ] {
            assert!(encoded(&[(name, vec![1])]).is_err(), "{name}");
        }
    }
}
