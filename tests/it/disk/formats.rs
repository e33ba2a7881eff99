//! Disk images, read back by QEMU's tools, GNU tar, `file` and, where they are installed, other
//! readers.
//!
//! Every format is held against the raw disk: all its bytes, and that a second run on other threads,
//! with or without the cache, gives the same file.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use layerset::disk::Seed;
use layerset::export::formats::{
    Appliance, ClusterCache, Codec, DiskFormat, FormatError, FormatOptions, Hypervisor,
    ManifestDigest, Output, Source, write,
};
use proptest::prelude::*;

use crate::support::{is_root, skip};

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

#[test]
fn qemu_reads_every_format_back() {
    if !has("qemu-img", "qemu_reads_every_format_back") {
        return;
    }
    // Whole MiB; a size that ends within a block and a grain; a second level 2 table.
    for size in [32 * MIB, 32 * MIB + 512 * 7, 600 * MIB] {
        let disk = awkward(size);
        for (format, name) in QEMU {
            let image = disk.at(name);
            Run::new(*format).write(&disk, &image);
            assert_same_for_qemu(&disk, &image, name);
            let back = disk.at("back");
            let paths = [image.to_str().unwrap(), back.to_str().unwrap()];
            run(
                "qemu-img",
                &["convert", "-f", name, "-O", "raw", paths[0], paths[1]],
            );
            let back = open_existing(&back);
            back.set_len(disk.size).unwrap();
            assert_eq!(digest(&disk.at("back")), digest(&disk.raw()), "{name}");
        }
    }
}

#[test]
fn qcow2_is_right_for_every_compression() {
    if !has("qemu-img", "qcow2_is_right_for_every_compression") {
        return;
    }
    let disk = awkward(40 * MIB);
    let mut sizes = Vec::new();
    for (codec, kind) in [
        (Some(Codec::Zstd(3)), "zstd"),
        (Some(Codec::Zstd(19)), "zstd"),
        (Some(Codec::Deflate(6)), "zlib"),
        (None, "zlib"),
    ] {
        let image = disk.at("a.qcow2");
        sizes.push(
            Run::new(DiskFormat::Qcow2)
                .codec(codec)
                .write(&disk, &image),
        );
        assert_same_for_qemu(&disk, &image, "qcow2");
        let image = image.to_str().unwrap();
        let info = run("qemu-img", &["info", "--output=json", image]).unwrap();
        let info: serde_json::Value = serde_json::from_str(&info).unwrap();
        assert_eq!(info["format-specific"]["data"]["compression-type"], kind);
    }
    assert!(sizes[1] <= sizes[0] && sizes[2] < sizes[3], "{sizes:?}");
    // The noise cannot shrink; the rest nearly vanishes.
    assert!(sizes[0] < 2 * MIB, "{sizes:?}");
}

#[test]
fn images_are_the_same_whatever_threads_and_caches_there_are() {
    for format in DiskFormat::all() {
        // GCP wants whole GiB.
        let size = if format == DiskFormat::Gcp { 1024 } else { 64 };
        let disk = awkward(size * MIB);
        let cache_dir = disk.at("cache");
        let mut digests = Vec::new();
        let write_with = |threads: usize, cache: Option<&ClusterCache>, disk: &Disk| {
            let image = disk.at("image");
            let mut run = Run::new(format).threads(threads);
            if let Some(cache) = cache {
                run = run.cache(cache);
            }
            run.write(disk, &image);
            digest(&image)
        };
        digests.push(write_with(1, None, &disk));
        digests.push(write_with(3, None, &disk));
        for _ in 0..2 {
            let cache = ClusterCache::open(&cache_dir, ClusterCache::DEFAULT_LIMIT);
            digests.push(write_with(2, Some(&cache), &disk));
            cache.save();
        }
        // The same bytes, stored without a hole: what the filesystem knows must not count.
        let full = Disk::new(disk.size);
        let mut bytes = vec![0; MIB as usize];
        for step in 0..16 {
            disk.file.read_exact_at(&mut bytes, step * MIB).unwrap();
            full.put(step * MIB, &bytes);
        }
        disk.file
            .read_exact_at(&mut bytes, disk.size - MIB)
            .unwrap();
        full.put(disk.size - MIB, &bytes);
        digests.push(write_with(2, None, &full));
        digests.dedup();
        assert_eq!(digests.len(), 1, "{format}");
    }
}

#[test]
fn only_changed_clusters_are_compressed_again() {
    let disk = awkward(32 * MIB);
    let dir = disk.at("cache");
    let export = || {
        let cache = ClusterCache::open(&dir, ClusterCache::DEFAULT_LIMIT);
        Run::new(DiskFormat::Qcow2)
            .cache(&cache)
            .write(&disk, &disk.at("a.qcow2"));
        cache.save()
    };
    let first = export();
    assert_eq!(first.found, 0);
    assert_eq!(export().missed, 0);
    disk.put(9 * MIB + 5, b"changed");
    let third = export();
    assert_eq!((third.missed, third.found), (1, first.missed - 1));
    let image = disk.at("a.qcow2");
    if has("qemu-img", "only_changed_clusters_are_compressed_again") {
        assert_same_for_qemu(&disk, &image, "qcow2");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn random_sparse_disks_survive(
        sectors in 1u64..6000,
        pieces in prop::collection::vec((0u64..6000, 1usize..150_000, 0u8..4), 0..12),
    ) {
        if !has("qemu-img", "random_sparse_disks_survive") {
            return Ok(());
        }
        let disk = Disk::new(sectors * 512);
        for (seed, (at, length, kind)) in (0..).zip(pieces) {
            let at = at * 512 % disk.size;
            let length = length.min((disk.size - at) as usize);
            disk.put(at, &match kind {
                0 => noise(seed, length),
                1 => vec![0; length],
                2 => text(seed, length),
                _ => vec![0xff; length],
            });
        }
        for (format, name) in QEMU {
            for codec in [Codec::Zstd(3), Codec::Deflate(6)] {
                let image = disk.at(name);
                Run::new(*format).codec(Some(codec)).write(&disk, &image);
                let (raw, image) = (disk.raw(), image.to_str().unwrap().to_owned());
                let raw = raw.to_str().unwrap();
                run("qemu-img", &["compare", "-f", "raw", "-F", name, raw, &image]);
                if *name == "qcow2" {
                    run("qemu-img", &["check", "-f", name, &image]);
                } else {
                    break;
                }
            }
        }
    }
}

#[test]
fn a_fixed_vhd_has_the_size_that_azure_asks_for() {
    let disk = awkward(33 * MIB);
    let image = disk.at("a.vhd");
    assert_eq!(
        Run::new(DiskFormat::Vhd).write(&disk, &image),
        33 * MIB + 512
    );
    let mut footer = [0; 512];
    let mut file = File::open(&image).unwrap();
    file.seek(SeekFrom::End(-512)).unwrap();
    file.read_exact(&mut footer).unwrap();
    assert_eq!(&footer[..8], b"conectix");
    assert_eq!(footer[40..48], (33 * MIB).to_be_bytes(), "original size");
    assert_eq!(footer[48..56], (33 * MIB).to_be_bytes(), "current size");
    assert_eq!(footer[60..64], 2u32.to_be_bytes(), "fixed");
    let date = u32::from_be_bytes(footer[24..28].try_into().unwrap());
    assert_eq!(i64::from(date), 1_700_000_000 - 946_684_800);
    let stored = u32::from_be_bytes(footer[64..68].try_into().unwrap());
    footer[64..68].fill(0);
    let sum: u32 = footer.iter().map(|byte| u32::from(*byte)).sum();
    assert_eq!(stored, !sum);
    // Holes stay holes.
    assert!(file.metadata().unwrap().blocks() * 512 < 8 * MIB);
}

#[test]
fn tar_unpacks_what_gcp_imports() {
    if !has("tar", "tar_unpacks_what_gcp_imports") {
        return;
    }
    for size in [1 << 30, 9 << 30] {
        let disk = awkward(size);
        // More ranges than the first header holds, and than one further header.
        for step in 0..60 {
            disk.put(100 * MIB + step * MIB, b"x");
        }
        let image = disk.at("a.tar.gz");
        let packed = Run::new(DiskFormat::Gcp).write(&disk, &image);
        assert!(packed < 12 * MIB, "{packed}");
        let image = image.to_str().unwrap();
        let list = run("tar", &["--numeric-owner", "-tzvf", image]).unwrap();
        assert_eq!(list.lines().count(), 1, "{list}");
        let fields: Vec<_> = list.split_whitespace().collect();
        assert_eq!(fields[..3], ["-rw-r--r--", "0/0", &size.to_string()]);
        assert_eq!(fields.last(), Some(&"disk.raw"));
        let to = disk.at("out");
        std::fs::create_dir(&to).unwrap();
        run("tar", &["-xzf", image, "-C", to.to_str().unwrap()]);
        let out = to.join("disk.raw");
        if has("qemu-img", "tar_unpacks_what_gcp_imports") {
            // It skips holes, as there are 9 GiB.
            assert_same_for_qemu(&disk, &out, "raw");
        }
        assert!(out.metadata().unwrap().blocks() * 512 < 20 * MIB);
    }
}

#[test]
fn gzip_unpacks_a_compressed_raw_disk() {
    if !has("gzip", "gzip_unpacks_a_compressed_raw_disk") {
        return;
    }
    let disk = awkward(33 * MIB + 512);
    let image = disk.at("back.gz");
    Run::new(DiskFormat::RawGzip).write(&disk, &image);
    assert_eq!(
        std::fs::read(&image).unwrap()[3..9],
        [0; 6],
        "no name, no date"
    );
    run("gzip", &["-d", image.to_str().unwrap()]);
    assert_eq!(digest(&disk.at("back")), digest(&disk.raw()));
}

#[test]
fn an_appliance_is_in_order_and_its_manifest_is_true() {
    if !has("tar", "an_appliance_is_in_order_and_its_manifest_is_true") {
        return;
    }
    let disk = awkward(64 * MIB);
    for (digest, program) in [
        (ManifestDigest::Sha1, "sha1sum"),
        (ManifestDigest::Sha256, "sha256sum"),
    ] {
        let mut how = Run::new(DiskFormat::Ova);
        how.appliance.manifest = digest;
        let image = disk.at("web.ova");
        how.write(&disk, &image);
        let image = image.to_str().unwrap();
        let list = run("tar", &["--numeric-owner", "-tvf", image]).unwrap();
        let names: Vec<_> = list
            .lines()
            .filter_map(|line| line.split(' ').next_back())
            .collect();
        assert_eq!(names, ["web.ovf", "web.mf", "web-disk1.vmdk"]);
        assert!(list.lines().all(|line| line.contains(" 0/0 ")), "{list}");
        let to = disk.at(program);
        std::fs::create_dir(&to).unwrap();
        run("tar", &["-xf", image, "-C", to.to_str().unwrap()]);
        let manifest = std::fs::read_to_string(to.join("web.mf")).unwrap();
        for name in ["web.ovf", "web-disk1.vmdk"] {
            let path = to.join(name);
            let sum = run(program, &[path.to_str().unwrap()]).unwrap();
            let sum = sum.split(' ').next().unwrap();
            assert!(
                manifest.contains(&format!("({name})= {sum}\n")),
                "{manifest}"
            );
        }
        let description = std::fs::read_to_string(to.join("web.ovf")).unwrap();
        let vmdk = to.join("web-disk1.vmdk");
        let size = vmdk.metadata().unwrap().len();
        assert!(description.contains(&format!("ovf:size=\"{size}\"")));
        assert!(description.contains(&format!("ovf:capacity=\"{}\"", disk.size)));
        if has(
            "qemu-img",
            "an_appliance_is_in_order_and_its_manifest_is_true",
        ) {
            assert_same_for_qemu(&disk, &vmdk, "vmdk");
        }
    }
}

/// What cloudkeeper, by which EGI's sites take images, accepts by the words of `file`.
#[test]
fn file_calls_the_formats_what_cloudkeeper_expects() {
    if !has("file", "file_calls_the_formats_what_cloudkeeper_expects") {
        return;
    }
    let disk = awkward(32 * MIB);
    for (format, words) in [
        (DiskFormat::Qcow2, "QEMU QCOW"),
        (DiskFormat::Vmdk, "VMware4 disk image"),
        (DiskFormat::Ova, "POSIX tar archive"),
        (DiskFormat::Vdi, "VirtualBox Disk Image"),
        (DiskFormat::Vhdx, "Microsoft Disk Image eXtended"),
    ] {
        let image = disk.at("image");
        Run::new(format).write(&disk, &image);
        let said = run("file", &["-b", image.to_str().unwrap()]).unwrap();
        assert!(said.contains(words), "{format}: {said}");
    }
}

/// Run by hand with the `cot` of PyPI (2.2.1) on PATH: nothing else here checks a description.
#[test]
#[ignore = "needs cot from PyPI"]
fn cot_finds_nothing_wrong_with_an_appliance() {
    let disk = awkward(64 * MIB);
    for hypervisor in [Hypervisor::VSphere, Hypervisor::VirtualBox] {
        let mut how = Run::new(DiskFormat::Ova);
        how.appliance.hypervisor = hypervisor;
        let image = disk.at("web.ova");
        how.write(&disk, &image);
        let output = Command::new("cot")
            .args(["info", "-v"])
            .arg(&image)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{said}");
        for word in ["WARNING", "ERROR", "not standard", "mismatch"] {
            assert!(!said.contains(word), "{said}");
        }
    }
}

#[test]
fn an_interrupt_ends_every_writer_within_a_mebibyte() {
    let disk = awkward(1024 * MIB);
    for format in DiskFormat::all() {
        let cancel = AtomicBool::new(false);
        let heard = std::cell::Cell::new(0);
        let progress = |_, _| {
            heard.set(heard.get() + 1);
            cancel.store(true, Ordering::Relaxed);
        };
        let how = Run::new(format);
        let image = disk.at("image");
        let mut file = open_new(&image);
        let mut output = Output {
            file: &mut file,
            path: &image,
        };
        let source = Source::new(&disk.file, disk.size);
        let result = write(
            format,
            &source,
            &mut output,
            &how.options(&cancel, &progress),
        );
        assert!(matches!(result, Err(FormatError::Interrupted)), "{format}");
        assert_eq!(heard.get(), 1, "{format}");
    }
}

#[test]
fn progress_ends_where_the_disk_ends() {
    let disk = awkward(1024 * MIB);
    for format in DiskFormat::all() {
        let never = AtomicBool::new(false);
        let last = std::cell::Cell::new((0, 1));
        let progress = |done, total| {
            assert!(done >= last.get().0 && done <= total, "{format}");
            last.set((done, total));
        };
        let how = Run::new(format);
        let image = disk.at("image");
        let mut file = open_new(&image);
        let mut output = Output {
            file: &mut file,
            path: &image,
        };
        let source = Source::new(&disk.file, disk.size);
        write(
            format,
            &source,
            &mut output,
            &how.options(&never, &progress),
        )
        .unwrap();
        assert_eq!(last.get().0, last.get().1, "{format}");
    }
}

/// A small filesystem, which goes when this does.
struct Small(PathBuf);

impl Small {
    fn new(at: &Path, bytes: u64) -> Self {
        std::fs::create_dir_all(at).unwrap();
        let options = std::ffi::CString::new(format!("size={bytes}")).unwrap();
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("tmpfs", at, "tmpfs", flags, Some(options.as_c_str())).unwrap();
        Self(at.to_owned())
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn too_little_room_is_refused_with_both_numbers() {
    if !is_root("too_little_room_is_refused_with_both_numbers") {
        return;
    }
    let disk = awkward(1024 * MIB);
    for step in 0..8 {
        disk.put((20 + step) * MIB, &noise(step, MIB as usize));
    }
    let small = Small::new(&disk.at("small"), 2 * MIB);
    for format in DiskFormat::all() {
        let image = small.0.join("image");
        let mut file = open_new(&image);
        let never = AtomicBool::new(false);
        let how = Run::new(format);
        let mut output = Output {
            file: &mut file,
            path: &image,
        };
        let source = Source::new(&disk.file, disk.size);
        let error = write(
            format,
            &source,
            &mut output,
            &how.options(&never, &|_, _| ()),
        );
        let error = error.unwrap_err();
        let FormatError::Full {
            needed, available, ..
        } = error
        else {
            panic!("{format}: {error}");
        };
        assert!(needed > available, "{format}: {error}");
        assert!((MIB..=2 * MIB).contains(&available), "{format}: {error}");
        assert!((2 * MIB..40 * MIB).contains(&needed), "{format}: {error}");
    }
}

/// Whoever changes a writer, or a library that compresses, sees it here. Then the name of the method
/// in `codec.rs` must change too, or caches mix what differs.
#[test]
fn images_keep_their_golden_digests() {
    let disk = awkward(1024 * MIB);
    let found = DiskFormat::all().map(|format| {
        let image = disk.at("image");
        Run::new(format).write(&disk, &image);
        format!("{format} {}", &digest(&image)[..16])
    });
    let mut found: Vec<String> = found.collect();
    let image = disk.at("image");
    Run::new(DiskFormat::Qcow2)
        .codec(Some(Codec::Deflate(6)))
        .write(&disk, &image);
    found.push(format!("deflate {}", &digest(&image)[..16]));
    assert_eq!(found, GOLDEN);
}

const GOLDEN: [&str; 10] = [
    "raw eaccbcd7fc60e077",
    "qcow2 42d0c2510c964c87",
    "vmdk c369136ec009f075",
    "vhd 83e567e872d8e166",
    "vhdx ecd66ab3077ec9db",
    "vdi 9ee157c1ac22a832",
    "ova 242464f8d2bda2dc",
    "gcp b262670a7dc2b007",
    "raw.gz 01df0138a7422331",
    "deflate 609804f8d2b53658",
];
