//! How writing goes: the same bytes, clusters that are not compressed again, interrupts, room.

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use layerset::export::formats::{
    ClusterCache, Codec, DiskFormat, FormatError, Output, Source, write,
};

use super::*;
use crate::support::is_root;

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
