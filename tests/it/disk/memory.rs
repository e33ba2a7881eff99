//! Memory: an export takes little beside what it must know of each file.

use std::process::Command;

use layerset::tree::Inode;

use super::export::Bootable;
use crate::support::path;

/// An image with so many files of contents of their own.
fn image(files: usize) -> Bootable {
    Bootable::changed(|transaction, tree| {
        tree.insert(path(b"usr/share/many"), Inode::directory(0o755));
        for number in 0..files {
            let dir = format!("usr/share/many/of-a-package-{}", number / 100);
            if number.is_multiple_of(100) {
                tree.insert(path(dir.as_bytes()), Inode::directory(0o755));
            }
            let bytes = format!("content {number}");
            let object = transaction.put_object(bytes.as_bytes()).unwrap();
            let name = format!("{dir}/a-file-with-a-usual-name-{number}.py");
            let inode = Inode::file(object, bytes.len() as u64, 0o644);
            tree.insert(path(name.as_bytes()), inode);
        }
    })
}

/// Returns the most memory that an export had at once, in bytes.
fn peak(straw: &Bootable, options: &str) -> u64 {
    let line = format!("export disk web --force-overwrite x.raw -o x.raw {options}");
    let words: Vec<&str> = line.split_whitespace().collect();
    let ours = straw.session.command(&words);
    let mut timed = Command::new("time");
    timed.args(["-f", "%M", "-o"]).arg(straw.at("peak"));
    timed.arg(ours.get_program()).args(ours.get_args());
    timed.current_dir(straw.dir.path());
    for (name, value) in ours.get_envs() {
        match value {
            Some(value) => timed.env(name, value),
            None => timed.env_remove(name),
        };
    }
    let output = timed.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let text = std::fs::read_to_string(straw.at("peak")).unwrap();
    text.trim().parse::<u64>().unwrap() * 1024
}

/// Options, and the most bytes that one more file may take: its path and inode in the tree, its inode
/// and its name on the disk, and what the allocator makes of it. An updatable disk has two more trees:
/// that of the repository, and that of which the metadata image is made.
const LAYOUTS: [(&str, u64); 2] = [("--layout plain", 900), ("--layout updatable", 2_000)];

#[test]
fn memory_grows_by_little_for_each_file() {
    const FEW: usize = 1_000;
    const MANY: usize = 16_000;
    let (few, many) = (image(FEW), image(MANY));
    // Layers that no build made are searched for secrets once, before their first export.
    for straw in [&few, &many] {
        peak(straw, "--dry-run");
    }
    for (options, most) in LAYOUTS {
        let (small, large) = (peak(&few, options), peak(&many, options));
        let of_a_file = large.saturating_sub(small) / (MANY - FEW) as u64;
        assert!(
            of_a_file <= most,
            "{options}: {of_a_file} bytes a file, {small} for {FEW}, {large} for {MANY}"
        );
    }
}

#[test]
#[ignore = "a report by hand"]
fn report_of_the_memory_of_large_images() {
    for files in [200_000, 400_000] {
        let straw = image(files);
        for (options, _) in LAYOUTS {
            let started = std::time::Instant::now();
            let peak = peak(&straw, options) >> 20;
            eprintln!(
                "{files} files, {options}: {peak} MiB, {:?}",
                started.elapsed()
            );
        }
    }
}
