//! Compressed files in deltas: made again where that pays, fetched where it does not.

use std::io::Write as _;

use std::sync::atomic::{AtomicBool, Ordering};

use layerset::transfer::{Delivery, PullOptions, TransferProgress};
use layerset::tree::Tree;

use super::is_clean;
use super::world::{
    Files, MemoryRemote, app_files, build, image, layer, noise, open, publish_image, pull_options,
    pull_stable,
};

/// One member of an archive as `cpio -H newc` makes it.
fn member(name: &str, bytes: &[u8]) -> Vec<u8> {
    let (size, name_size) = (bytes.len(), name.len() + 1);
    let mut out = b"070701".to_vec();
    for field in [1, 0o100_644, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0] {
        out.extend(format!("{field:08X}").bytes());
    }
    out.extend(name.bytes());
    out.push(0);
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend(bytes);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 2);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Compressed modules, an archive that holds them, and a file that is none of both.
fn kernel(version: u32) -> Files {
    let mut files = Files::new();
    let mut initrd = Vec::new();
    for n in 0..4 {
        let mut module = noise(&format!("module {n}"), 60_000);
        module[30_000..30_004].copy_from_slice(&version.to_le_bytes());
        let module = xz(&module);
        initrd.extend(member(&format!("lib/{n}.ko.xz"), &module));
        files.insert(format!("usr/lib/modules/{n}.ko.xz"), module);
    }
    initrd.extend(member("TRAILER!!!", b""));
    files.insert(format!("boot/initrd.img-{version}"), initrd);
    let mut image = noise("image", 700_000);
    image[1000..1004].copy_from_slice(&version.to_le_bytes());
    files.insert(format!("boot/vmlinux-{version}"), image);
    files
}

/// Interrupts when deltas are applied.
struct Impatient(AtomicBool);

impl TransferProgress for Impatient {
    fn phase(&self, what: &str, _: Option<u64>) {
        if what == "applying deltas" {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    fn advance(&self, _: u64) {}
    fn remark(&self, text: &str) {
        panic!("{text}");
    }
}

#[test]
fn an_interrupt_while_a_delta_is_applied_keeps_the_delta() {
    let dir = tempfile::tempdir().unwrap();
    let publisher = open(&dir.path().join("publisher"));
    let machine = open(&dir.path().join("machine"));
    let remote = MemoryRemote::default();
    for version in [1, 2] {
        publish_image(&publisher, &remote, build(&publisher, version));
        if version == 1 {
            pull_stable(&machine, &remote, &pull_options()).unwrap();
        }
    }
    remote.log.lock().unwrap().clear();
    let impatient = Impatient(AtomicBool::new(false));
    let options = PullOptions {
        cancel: &impatient.0,
        progress: &impatient,
        ..pull_options()
    };
    let error = pull_stable(&machine, &remote, &options).unwrap_err();
    assert_eq!(error.to_string(), "interrupted");
    is_clean(&machine);
    pull_stable(&machine, &remote, &pull_options()).unwrap();
    remote.asked_once();
}

#[test]
fn what_is_long_to_compress_again_is_fetched_over_a_fast_line() {
    let dir = tempfile::tempdir().unwrap();
    let publisher = open(&dir.path().join("publisher"));
    let remote = MemoryRemote::default();
    let build = |version| {
        let (base, tree) = layer(&publisher, "kernel", &Tree::new(), &kernel(version));
        let (app, _) = layer(&publisher, "app", &tree, &app_files(1));
        image(&publisher, &[base, app])
    };
    let first = build(1);
    publish_image(&publisher, &remote, first);
    let machines = ["slow", "fast"].map(|name| open(&dir.path().join(name)));
    for machine in &machines {
        pull_stable(machine, &remote, &pull_options()).unwrap();
    }
    let second = build(2);
    publish_image(&publisher, &remote, second);
    let reports = machines.each_ref().map(|machine| {
        let recompress = std::ptr::eq(machine, &machines[0]);
        let options = PullOptions {
            recompress: Some(recompress),
            ..pull_options()
        };
        remote.log.lock().unwrap().clear();
        let report = pull_stable(machine, &remote, &options).unwrap();
        // What was fetched beside the work is not fetched again.
        remote.asked_once();
        assert_eq!(report.fallback_bytes, 0);
        assert!(machine.read_image(&second).is_ok());
        is_clean(machine);
        report
    });
    let kernel = |report: &layerset::transfer::PullReport| {
        let part = report.parts.iter().find(|part| part.name == "kernel");
        let part = part.unwrap().clone();
        assert_eq!(
            (part.how, part.fallback_objects),
            (Delivery::Delta, 0),
            "{part:?}"
        );
        part
    };
    let [slow, fast] = reports;
    assert_eq!(kernel(&slow).quicker_objects, 0);
    assert_eq!(kernel(&fast).quicker_objects, 4);
    // The modules travel once; the archive is made of them, not fetched.
    let more = fast.bytes_fetched - slow.bytes_fetched;
    assert!((230_000..300_000).contains(&more), "{more} bytes");
    assert!(slow.bytes_fetched < 60_000, "{} bytes", slow.bytes_fetched);
}
