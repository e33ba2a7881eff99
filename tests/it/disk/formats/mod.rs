//! Disk images, read back by QEMU's tools, GNU tar, `file` and, where they are installed, other
//! readers.
//!
//! Every format is held against the raw disk: all its bytes, and that a second run on other threads,
//! with or without the cache, gives the same file.

mod archives;
mod conduct;
mod qemu;

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;

use layerset::disk::Seed;
use layerset::export::formats::{
    Appliance, ClusterCache, Codec, DiskFormat, FormatOptions, Hypervisor, Output, Source, write,
};

use crate::support::skip;

const MIB: u64 = 1 << 20;

/// How one image is written, as far as tests vary it.
struct Run<'a> {
    format: DiskFormat,
    codec: Option<Codec>,
    threads: usize,
    cache: Option<&'a ClusterCache>,
    appliance: Appliance,
}

impl<'a> Run<'a> {
    fn new(format: DiskFormat) -> Self {
        Self {
            format,
            codec: Some(Codec::Zstd(3)),
            threads: 2,
            cache: None,
            appliance: Appliance::new("web", Hypervisor::VSphere),
        }
    }

    fn codec(self, codec: Option<Codec>) -> Self {
        Self { codec, ..self }
    }

    fn threads(self, threads: usize) -> Self {
        Self { threads, ..self }
    }

    fn cache(self, cache: &'a ClusterCache) -> Self {
        Self {
            cache: Some(cache),
            ..self
        }
    }

    fn options<'b>(
        &'b self,
        cancel: &'b AtomicBool,
        progress: &'b dyn Fn(u64, u64),
    ) -> FormatOptions<'b> {
        FormatOptions {
            seed: Seed::new(b"test"),
            epoch: 1_700_000_000,
            qcow2: self.codec,
            appliance: &self.appliance,
            threads: self.threads,
            cache: self.cache,
            progress,
            cancel,
        }
    }

    fn write(&self, disk: &Disk, to: &Path) -> u64 {
        let never = AtomicBool::new(false);
        let mut file = open_new(to);
        let mut output = Output {
            file: &mut file,
            path: to,
        };
        let source = Source::new(&disk.file, disk.size);
        let size = write(
            self.format,
            &source,
            &mut output,
            &self.options(&never, &|_, _| ()),
        );
        let size = size.unwrap();
        assert_eq!(size, file.metadata().unwrap().len());
        size
    }
}

fn open_new(path: &Path) -> File {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(true);
    options.open(path).unwrap()
}

fn open_existing(path: &Path) -> File {
    File::options().write(true).open(path).unwrap()
}

/// A raw disk in a folder of its own.
struct Disk {
    dir: tempfile::TempDir,
    file: File,
    size: u64,
}

impl Disk {
    fn new(size: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = open_new(&dir.path().join("disk.raw"));
        file.set_len(size).unwrap();
        Self { dir, file, size }
    }

    fn raw(&self) -> PathBuf {
        self.at("disk.raw")
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn put(&self, offset: u64, bytes: &[u8]) {
        self.file.write_all_at(bytes, offset).unwrap();
    }
}

/// Bytes that no compression makes smaller.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

/// Text that gets smaller, and differs everywhere.
fn text(seed: u64, length: usize) -> Vec<u8> {
    let lines =
        (seed..).flat_map(|n| format!("line {n} of a file that says little\n").into_bytes());
    lines.take(length).collect()
}

/// A disk with everything that a writer must tell apart: holes, stored zeros, text, noise, runs that
/// cross clusters and blocks, a last cluster that is cut.
fn awkward(size: u64) -> Disk {
    let disk = Disk::new(size);
    disk.put(0, &text(0, 100_000));
    disk.put(3 * MIB - 7, &noise(1, 200_000));
    disk.put(5 * MIB, &vec![0; 2 * MIB as usize]);
    for step in 0..40 {
        let at = 8 * MIB + step * 65536;
        match step % 3 {
            0 => disk.put(at, &noise(step, 65536)),
            1 => disk.put(at, &text(step * 10_000, 65536)),
            _ => disk.put(at, &[7; 65536]),
        }
    }
    disk.put(size - 300, &text(9, 300));
    disk
}

/// Runs a program; `None` if it is not installed.
fn run(program: &str, arguments: &[&str]) -> Option<String> {
    let output = match Command::new(program).args(arguments).output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        output => output.unwrap(),
    };
    let say = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (say(&output.stdout), say(&output.stderr));
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {out}{err}"
    );
    Some(out)
}

/// Says whether a program is there; records the test as skipped when not.
fn has(program: &str, test: &str) -> bool {
    let is_there = run(program, &["--version"]).is_some();
    if !is_there {
        skip(test, &format!("needs {program}"));
    }
    is_there
}

/// Fails unless QEMU finds the bytes of the disk in `image`, and nothing wrong with it.
fn assert_same_for_qemu(disk: &Disk, image: &Path, format: &str) {
    let (raw, image) = (disk.raw(), image.to_str().unwrap().to_owned());
    let raw = raw.to_str().unwrap();
    run(
        "qemu-img",
        &["compare", "-f", "raw", "-F", format, raw, &image],
    );
    if ["qcow2", "vdi", "vhdx"].contains(&format) {
        run("qemu-img", &["check", "-f", format, &image]);
    }
    let info = run("qemu-img", &["info", "--output=json", "-f", format, &image]).unwrap();
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    // A VMDK has whole grains; what is added is zero, or they would not compare equal.
    let unit = if format == "vmdk" { 65536 } else { 512 };
    assert_eq!(
        info["virtual-size"],
        disk.size.next_multiple_of(unit),
        "{info}"
    );
}

fn digest(path: &Path) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path).unwrap()).unwrap();
    hasher.finalize().to_string()
}

/// What QEMU calls the formats that it reads.
const QEMU: &[(DiskFormat, &str)] = &[
    (DiskFormat::Raw, "raw"),
    (DiskFormat::Qcow2, "qcow2"),
    (DiskFormat::Vmdk, "vmdk"),
    (DiskFormat::Vhd, "vpc"),
    (DiskFormat::Vhdx, "vhdx"),
    (DiskFormat::Vdi, "vdi"),
];
