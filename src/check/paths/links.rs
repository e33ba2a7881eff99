//! Symlinks that lead nowhere in a composed tree, or in circles.

use super::lookup::{self, Lookup, comes_from_factory, is_of_machine, is_volatile, passes, within};
use super::unit_names::UnitNames;
use crate::check::{FindingKind, Problem, Subject, Weight};
use crate::path::{RelPath, escape};
use crate::tree::{Node, Tree};

/// What people read and tools for building use: nothing that runs fails without it.
const PAPER: [&[u8]; 16] = [
    b"usr/include",
    b"usr/lib/.build-id",
    b"usr/lib/debug",
    b"usr/share/bug",
    b"usr/share/doc",
    b"usr/share/doc-base",
    b"usr/share/gdb",
    b"usr/share/gtk-doc",
    b"usr/share/help",
    b"usr/share/icons",
    b"usr/share/info",
    b"usr/share/lintian",
    b"usr/share/locale",
    b"usr/share/man",
    b"usr/src",
    b"usr/local/man",
];

/// The same, as components anywhere in a path.
const PAPER_NAMES: [&[u8]; 8] = [
    b"demo",
    b"demos",
    b"doc",
    b"docs",
    b"examples",
    b"man",
    b"src.zip",
    b"licenses",
];

/// Settings that Debian's packages link to before anybody has made them: none of their programs
/// needs them.
const SETTINGS: [&[u8]; 3] = [b"etc/default/keyboard", b"etc/locale.conf", b"etc/modules"];

/// Finds the symlinks that dangle: `link:PATH`.
///
/// A target that only a running system has is not missing, nor is content that is copied to `/var`
/// at the first switch. Other targets that a machine or its users may make, and links between
/// manual pages and the like, are [`Minor`](Weight::Minor).
pub fn links(tree: &Tree) -> Vec<Problem> {
    let units = UnitNames::of(tree);
    let has_systemd = matches!(
        lookup::walk(tree, b"", b"usr/lib/systemd/systemd"),
        Lookup::Found(..)
    );
    let mut problems = Vec::new();
    for (path, inode) in tree.iter() {
        let Node::Symlink { target } = &inode.node else {
            continue;
        };
        let bytes = path.as_bytes();
        if is_volatile(bytes) {
            continue;
        }
        // The walk starts at the link itself, which counts as one of the links followed.
        let (end, circles) = match lookup::walk(tree, b"", bytes) {
            Lookup::Found(..) => continue,
            Lookup::Lost(end) => (end, false),
            Lookup::Loop(end) => (end, true),
        };
        if !circles && (is_volatile(&end) || comes_from_factory(tree, &end)) {
            continue;
        }
        let harmless = is_paper(bytes)
            || is_paper(&end)
            || (!circles && is_of_machine(&end))
            || SETTINGS.contains(&end.as_slice())
            || is_kernel_side(bytes)
            || (has_systemd && is_runlevel_link(bytes))
            || units.is_served_elsewhere(bytes);
        problems.push(problem(path, target, &end, circles, harmless));
    }
    problems
}

fn problem(path: &RelPath, target: &[u8], end: &[u8], circles: bool, harmless: bool) -> Problem {
    let (target, end) = (escape(target), escape(end));
    let reason = if circles {
        format!("the link '{path}' leads to '{target}', and from there in a circle")
    } else if target.trim_start_matches('/') == end {
        format!("the link '{path}' leads to '{target}', which does not exist")
    } else {
        format!("the link '{path}' leads to '{target}', and '/{end}' does not exist")
    };
    Problem {
        id: FindingKind::Link.at(path),
        subject: Subject::Path(path.clone()),
        package: None,
        other: None,
        weight: if harmless {
            Weight::Minor
        } else {
            Weight::Grave
        },
        reason,
        hint:
            "rebuild the layer of the link on today's lower layers, or add the package of its target"
                .to_owned(),
    }
}

fn is_paper(path: &[u8]) -> bool {
    PAPER.iter().any(|dir| within(path, dir)) || passes(path, &PAPER_NAMES)
}

/// Says whether a link is about kernels that may not be installed: their sources, and names for the
/// newest one's initrd.
fn is_kernel_side(path: &[u8]) -> bool {
    let name = lookup::name(path);
    let in_modules =
        path.starts_with(b"usr/lib/modules/") && [&b"build"[..], b"source"].contains(&name);
    let at_root = matches!(lookup::parent(path), b"" | b"boot");
    in_modules || at_root && (name.starts_with(b"initrd.img") || name.ends_with(b".old"))
}

/// Says whether this is a link of a runlevel, which systemd ignores.
fn is_runlevel_link(path: &[u8]) -> bool {
    path.strip_prefix(b"etc/rc")
        .is_some_and(|rest| rest.get(1..4) == Some(b".d/"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::check::paths::testing::{Image, assert_ids};

    fn check(image: Image, expect: &[&str]) {
        assert_ids(&links(&image.tree), expect);
    }

    #[test]
    fn a_link_to_nothing_is_a_problem_that_weighs_by_what_needs_it() {
        let grave = [
            ("etc/alternatives/awk", "/usr/bin/mawk"),
            ("usr/bin/awk", "/etc/alternatives/awk"),
            ("usr/lib/x86_64-linux-gnu/libz.so.1", "libz.so.1.2.13"),
            (
                "etc/systemd/system/multi-user.target.wants/x.service",
                "/lib/systemd/system/x.service",
            ),
            ("usr/share/java/a.jar", "a-1.0.jar"),
            ("usr/lib/inside", "inside/file"),
            ("vmlinuz", "boot/vmlinuz-1"),
        ];
        let minor = [
            ("usr/share/man/man1/awk.1.gz", "/etc/alternatives/awk.1.gz"),
            ("etc/alternatives/awk.1.gz", "/usr/share/man/man1/mawk.1.gz"),
            ("usr/lib/jvm/a/man", "../docs"),
            ("usr/lib/app/data", "/var/lib/app/data"),
            ("usr/lib/modules/6.1/build", "/usr/src/linux-headers-6.1"),
            ("initrd.img.old", "boot/initrd.img-1"),
            ("etc/home", "/home/me"),
            ("etc/modules-load.d/modules.conf", "../modules"),
        ];
        let none = [
            ("etc/mtab", "../proc/self/mounts"),
            ("etc/resolv.conf", "/run/systemd/resolve/stub-resolv.conf"),
            ("etc/systemd/system/x.service", "/dev/null"),
            ("usr/lib/x", "../../var/cache/x"),
            ("dev/fd", "/proc/self/fd"),
            ("var/lib/dbus/machine-id", "/etc/machine-id"),
        ];
        for (weight, links) in [(Some("!"), &grave[..]), (Some(""), &minor), (None, &none)] {
            for (path, target) in links {
                let image = Image::new().link(path, target);
                match weight {
                    Some(mark) => check(image, &[&format!("{mark}link:/{path}")]),
                    None => check(image, &[]),
                }
            }
        }
    }

    #[test]
    fn the_way_may_lead_over_directories_that_are_links() {
        let image = Image::new()
            .link("var/run", "/run")
            .link("lib", "usr/lib")
            .file("usr/lib/a/real", b"")
            .link("etc/one", "/var/run/later")
            .link("etc/two", "/lib/a/real")
            .link("etc/three", "/lib/a/gone");
        check(image, &["!link:/etc/three"]);
    }

    #[test]
    fn content_that_is_copied_at_the_first_switch_is_there() {
        let image = Image::new()
            .file("usr/share/factory/var/lib/app/schema", b"")
            .file("usr/lib/sysimage/var/lib/app/code", b"")
            .link(
                "var/lib/app/code",
                "../../../usr/lib/sysimage/var/lib/app/code",
            )
            .link("etc/code", "/var/lib/app/code")
            .link("etc/schema", "/var/lib/app/schema")
            .link("etc/other", "/var/lib/app/other");
        check(image, &["link:/etc/other"]);
    }

    #[test]
    fn links_in_circles_dangle_and_the_search_ends() {
        let image = Image::new()
            .link("etc/a", "b")
            .link("etc/b", "/etc/a")
            .link("etc/self", "self/x/y")
            .link("var/up", "../var/up");
        check(
            image,
            &[
                "!link:/etc/a",
                "!link:/etc/b",
                "!link:/etc/self",
                "!link:/var/up",
            ],
        );
    }

    #[test]
    fn a_link_is_itself_one_of_the_forty_that_linux_follows() {
        let mut image = Image::new().file("opt/0", b"");
        for n in 1..=41 {
            image = image.link(&format!("opt/{n}"), &(n - 1).to_string());
        }
        check(image, &["!link:/opt/41"]);
    }

    #[test]
    fn systemd_takes_a_wanted_unit_by_name_wherever_it_lies() {
        let image = Image::new()
            .file("etc/systemd/system/moved.service", b"")
            .file("usr/lib/systemd/system/getty@.service", b"")
            .link(
                "etc/systemd/system/a.target.wants/moved.service",
                "/usr/lib/systemd/system/moved.service",
            )
            .link(
                "etc/systemd/system/a.target.wants/getty@tty1.service",
                "/opt/getty@.service",
            )
            .link(
                "etc/systemd/system/a.target.requires/gone.service",
                "/usr/lib/systemd/system/gone.service",
            );
        check(
            image,
            &[
                "!link:/etc/systemd/system/a.target.requires/gone.service",
                "link:/etc/systemd/system/a.target.wants/getty@tty1.service",
                "link:/etc/systemd/system/a.target.wants/moved.service",
            ],
        );
    }

    #[test]
    fn links_of_runlevels_matter_without_systemd_only() {
        let image = Image::new().link("etc/rc2.d/S01x", "../init.d/x");
        check(image.clone(), &["!link:/etc/rc2.d/S01x"]);
        check(
            image.file("usr/lib/systemd/systemd", b""),
            &["link:/etc/rc2.d/S01x"],
        );
    }
}
