use std::collections::BTreeSet;
use std::time::Duration;

use super::testing::Image;
use super::*;
use crate::id::ObjectId;
use crate::path::RelPath;
use crate::tree::Inode;
use crate::tree::testing::MemoryView;

#[test]
fn all_checks_run_and_their_problems_come_sorted_and_once() {
    let image = Image::new()
        .program("usr/bin/python3.13")
        .link("usr/bin/gone", "nowhere")
        .exec("usr/bin/script", b"#!/usr/bin/perl\n")
        .file(
            "usr/lib/systemd/system/a.service",
            b"[Service]\nExecStart=/usr/bin/gone\n",
        )
        .file(
            "usr/lib/python3/dist-packages/a.cpython-311-x86_64-linux-gnu.so",
            b"",
        )
        .file("usr/lib/php/20220829/a.so", b"");
    let problems = problems(&image.tree, &image.view).unwrap();
    let ids: Vec<&str> = problems.iter().map(|problem| problem.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "link:/usr/bin/gone",
            "php:/usr/lib/php/20220829/a.so:abi",
            "python:/usr/lib/python3/dist-packages/a:abi",
            "script:/usr/bin/script",
            "unit:/usr/lib/systemd/system/a.service:/usr/bin/gone",
        ]
    );
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
}

#[test]
fn an_empty_tree_has_no_problem() {
    assert_eq!(problems(&Tree::new(), &MemoryView::new()).unwrap(), []);
}

/// The time that this thread has spent on a processor: what else the machine does counts for
/// nothing.
fn spent() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    // proc_pid_stat(5): behind the name in brackets, `utime` is the twelfth field, in hundredths of
    // a second.
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let ticks = fields.split(' ').nth(11).unwrap();
    Duration::from_millis(10 * ticks.parse::<u64>().unwrap())
}

fn take_time(what: &str, tree: &Tree) {
    let start = spent();
    problems(tree, &MemoryView::new()).unwrap();
    // Seconds without optimisation; squares take hours.
    let time = spent() - start;
    assert!(time < Duration::from_secs(60), "{what}: {time:?}");
}

/// Up to two hundred thousand entries of the names that the checks look for.
#[test]
fn the_time_grows_with_a_directory_and_not_with_its_square() {
    let names = [
        ".cpython-311-x86_64-linux-gnu.so",
        ".conf",
        ".service",
        "@.service",
        ".wants",
    ];
    for (dir, count) in [
        ("usr/lib/systemd/system", 200_000),
        ("usr/lib/python3.11/dist-packages", 50_000),
    ] {
        let mut tree = Image::new()
            .dir(dir)
            .link("usr/bin/python3", "python3.13")
            .tree;
        for n in 0..count {
            let end = names[n % names.len()];
            let inode = match n % 3 {
                // Units that are files would need contents.
                _ if end.ends_with("service") => Inode::symlink(&format!("entry-{}{end}", n + 5)),
                0 => Inode::symlink("entry-0.conf"),
                _ => Inode::file(ObjectId::of(b""), 0, 0o644),
            };
            let path = RelPath::from_text(&format!("{dir}/entry-{n}{end}")).unwrap();
            tree.insert(path, inode);
        }
        take_time(dir, &tree);
    }
}

#[test]
fn many_versions_beside_many_programs_cost_no_square() {
    let mut image = Image::new();
    for n in 0..10_000 {
        image = image
            .program(&format!("usr/bin/perl5.{n}"))
            .file(&format!("usr/lib/x/perl5/6.{n}/a.so"), b"")
            .file(&format!("usr/lib/php/{}/a.so", 30_000_000 + n), b"")
            .file(&format!("opt/x/lib/python3.{n}/site-packages/a.py"), b"")
            .program(&format!("opt/x/bin/python3.{}", n + 10_000));
    }
    take_time("versions", &image.tree);
}
