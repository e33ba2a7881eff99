//! Entries, images of them, and the tools that read images.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use layerset::disk::FileMedium;
use layerset::disk::ext4::{
    Content, Contents, Entry, EntryKind, Ext4Error, FsOptions, Kind, minimum_size, plan,
};
use layerset::id::ObjectId;
use layerset::path::RelPath;
use layerset::time::Timestamp;

use crate::support::{is_root, skip};

pub(super) const KINDS: [Kind; 3] = [Kind::Ext2, Kind::Ext3, Kind::Ext4];
pub(super) const MIB: u64 = 1 << 20;

pub(super) fn options(kind: Kind, size: u64) -> FsOptions {
    FsOptions {
        label: "disk".to_owned(),
        uuid: *b"0123456789abcdef",
        hash_seed: *b"fedcba9876543210",
        epoch: 1_700_000_000,
        ..FsOptions::new(kind, size)
    }
}

pub(super) fn path(text: &str) -> RelPath {
    RelPath::new(text.as_bytes()).unwrap()
}

pub(super) fn entry(at: &str, mode: u16, kind: EntryKind) -> Entry {
    Entry {
        path: path(at),
        mode,
        uid: 1000,
        gid: 100_000,
        mtime: Timestamp {
            sec: 1_600_000_000,
            nsec: 123_456_789,
        },
        xattrs: BTreeMap::new(),
        kind,
    }
}

pub(super) fn directory(at: &str) -> Entry {
    entry(at, 0o755, EntryKind::Directory)
}

pub(super) fn file(at: &str, bytes: &[u8]) -> Entry {
    let kind = EntryKind::File {
        content: Content::Bytes(bytes.into()),
        size: bytes.len() as u64,
    };
    entry(at, 0o644, kind)
}

pub(super) fn symlink(at: &str, target: &str) -> Entry {
    entry(at, 0o777, EntryKind::Symlink(target.as_bytes().into()))
}

pub(super) fn link(at: &str, target: &str) -> Entry {
    entry(at, 0, EntryKind::HardLink(path(target)))
}

pub(super) fn with_xattr(mut entry: Entry, name: &str, value: &[u8]) -> Entry {
    let (name, value) = (name.as_bytes().to_vec(), value.to_vec());
    entry.xattrs.insert(name, value);
    entry
}

/// Bytes that no other number gives, none of them zero.
pub(super) fn bytes(number: u64, length: usize) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8 | 1
        })
        .collect()
}

/// The same content for every object: zeros, with data at some places.
pub(super) struct Islands {
    pub(super) size: u64,
    /// Where 4,096 bytes of ones lie.
    pub(super) at: Vec<u64>,
}

impl Contents for Islands {
    fn open(&self, _: &ObjectId) -> io::Result<Box<dyn Read + '_>> {
        let mut parts: Box<dyn Read> = Box::new(io::empty());
        let mut done = 0;
        for at in &self.at {
            parts = Box::new(parts.chain(io::repeat(0).take(at - done)));
            parts = Box::new(parts.chain(io::repeat(1).take(4096)));
            done = at + 4096;
        }
        Ok(Box::new(parts.chain(io::repeat(0).take(self.size - done))))
    }
}

pub(super) const NO_OBJECTS: Islands = Islands {
    size: 0,
    at: Vec::new(),
};

pub(super) fn object() -> ObjectId {
    ObjectId::of(b"islands")
}

/// A filesystem in a file of its own.
pub(super) struct Image {
    pub(super) folder: tempfile::TempDir,
}

impl Image {
    pub(super) fn new(entries: Vec<Entry>, options: &FsOptions) -> Self {
        Self::with(entries, options, &NO_OBJECTS).unwrap()
    }

    pub(super) fn with(
        entries: Vec<Entry>,
        options: &FsOptions,
        contents: &dyn Contents,
    ) -> Result<Self, Ext4Error> {
        let plan = plan(entries, options)?;
        let image = Self {
            folder: tempfile::tempdir()?,
        };
        let file = std::fs::File::create_new(image.path())?;
        let mut medium = FileMedium::new(file, options.size)?;
        plan.write(&mut medium, contents, &mut |_| ControlFlow::Continue(()))?;
        Ok(image)
    }

    /// Makes the smallest image that holds the entries.
    pub(super) fn smallest(entries: Vec<Entry>, kind: Kind) -> Self {
        let mut options = options(kind, 0);
        options.size = minimum_size(entries.clone(), &options).unwrap();
        Self::new(entries, &options)
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.path()).unwrap()
    }

    /// Has e2fsck read everything: it must find nothing to say.
    #[track_caller]
    pub(super) fn is_clean(&self) {
        let check = || run("e2fsck", &["-fn"], &self.path());
        let mut output = check();
        // Whoever made a mount namespace while it was mounted holds it for a moment longer.
        for _ in 0..100 {
            let said = String::from_utf8_lossy(&output.stderr).into_owned()
                + &String::from_utf8_lossy(&output.stdout);
            if !said.contains("skipping journal recovery") {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(200));
            output = check();
        }
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let passes_only = said
            .lines()
            .all(|line| line.starts_with("Pass ") || line.starts_with("disk: "));
        assert!(output.status.success() && passes_only, "{said}");
    }

    /// Runs a command of debugfs, and returns what it prints.
    pub(super) fn debugfs(&self, command: &str) -> String {
        let output = run("debugfs", &["-R", command], &self.path());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Returns the blocks of a path's content, in the order of the file.
    pub(super) fn blocks(&self, at: &str) -> Vec<u64> {
        let said = self.debugfs(&format!("blocks \"/{at}\""));
        said.split_whitespace()
            .map(|word| word.parse().unwrap())
            .collect()
    }

    /// Copies the whole tree out, without a mount.
    pub(super) fn dump(&self) -> PathBuf {
        let folder = self.folder.path().join("dump");
        std::fs::create_dir(&folder).unwrap();
        self.debugfs(&format!("rdump / {}", folder.display()));
        folder
    }

    /// Mounts the image; `None`, and counted as skipped, where that is not possible.
    pub(super) fn mount(&self, test: &str, how: &str) -> Option<Mount> {
        if !is_root(test) {
            return None;
        }
        let point = self.folder.path().join("mount");
        std::fs::create_dir_all(&point).unwrap();
        // Loop devices are taken by other tests at the same time.
        let mut said = String::new();
        for _ in 0..20 {
            let mut mount = Command::new("mount");
            mount.args(["-o", how]).arg(self.path()).arg(&point);
            let output = mount.output().unwrap();
            if output.status.success() {
                return Some(Mount { point });
            }
            said = String::from_utf8_lossy(&output.stderr).into_owned();
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        skip(test, &format!("no loop mount: {said}"));
        None
    }
}

/// A mounted image, until it is dropped.
pub(super) struct Mount {
    pub(super) point: PathBuf,
}

impl Drop for Mount {
    fn drop(&mut self) {
        let status = Command::new("umount").arg(&self.point).status();
        assert!(status.unwrap().success() || std::thread::panicking());
    }
}

/// Runs a tool of e2fsprogs, which may lie where ordinary users do not look.
pub(super) fn run(tool: &str, arguments: &[&str], image: &Path) -> Output {
    let mut command = Command::new(find(tool).unwrap());
    command.args(arguments).arg(image).env("LC_ALL", "C");
    command.output().unwrap()
}

fn find(tool: &str) -> Option<PathBuf> {
    ["/usr/sbin", "/sbin"]
        .into_iter()
        .map(|folder| Path::new(folder).join(tool))
        .find(|path| path.exists())
}

/// Says whether e2fsprogs is installed; records the test as skipped when not.
pub(super) fn has_tools(test: &str) -> bool {
    let missing = ["e2fsck", "debugfs", "dumpe2fs", "resize2fs"]
        .into_iter()
        .find(|tool| find(tool).is_none());
    if let Some(tool) = missing {
        skip(test, &format!("'{tool}' of e2fsprogs is not installed"));
    }
    missing.is_none()
}
