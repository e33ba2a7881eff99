//! How a machine comes from what runs to another image: beneath its services, by starting all services
//! anew, or by starting the kernel anew.
//!
//! | class | what it takes | when |
//! |---|---|---|
//! | live | new trees beneath what runs | only `/usr`, `/opt` and `/etc` differ, and nothing forbids it |
//! | soft reboot | all services start anew in the new root | the kernel is the same |
//! | reboot | the machine starts anew | else |
//!
//! It is decided by the stored trees: no file is read but those that PID 1 loads.

use std::fmt;

use serde::Serialize;

use crate::deploy::ImageParts;
use crate::deploy::restart::Services;
use crate::id::ObjectId;
use crate::path::{RelPath, escape};
use crate::tree::{Inode, diff};

/// How a machine comes to another deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SwitchClass {
    /// New trees beneath what runs.
    Live,
    /// All services start anew in the new root; the kernel stays.
    SoftReboot,
    /// The machine starts anew.
    Reboot,
}

impl fmt::Display for SwitchClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Live => "live",
            Self::SoftReboot => "by soft reboot",
            Self::Reboot => "by reboot",
        })
    }
}

/// The class of a switch, and what makes it that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SwitchWay {
    /// The class.
    pub class: SwitchClass,
    /// Why it is not live: what stands in the way, by name.
    pub because: Option<String>,
}

impl SwitchWay {
    pub(super) fn new(class: SwitchClass, because: impl Into<String>) -> Self {
        Self {
            class,
            because: Some(because.into()),
        }
    }
}

impl fmt::Display for SwitchWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.because {
            Some(because) => write!(f, "{}: {because}", self.class),
            None => write!(f, "{}", self.class),
        }
    }
}

/// What a live switch exchanges.
const LIVE: [&[u8]; 3] = [b"usr", b"opt", b"etc"];
/// What a deployment shows of the machine instead of the image: no switch changes it.
const STATE: [&[u8]; 4] = [b"var", b"root", b"home", b"srv"];
/// What the kernel and its initrd come from.
const KERNEL: [&[u8]; 2] = [b"boot", b"usr/lib/modules"];
/// What cannot be started anew while anything else runs.
const UNSTOPPABLE: [(&str, &str); 3] = [
    ("PID 1", "usr/lib/systemd/systemd"),
    ("the message bus", "usr/bin/dbus-daemon"),
    ("the message bus", "usr/bin/dbus-broker"),
];
/// Without it, systemd knows no soft reboot.
const SOFT_REBOOT: &[u8] = b"usr/lib/systemd/system/soft-reboot.target";

/// Decides by two images; `read` reads contents of the one before.
pub(super) fn decide(
    before: &ImageParts,
    after: &ImageParts,
    read: &dyn Fn(&ObjectId) -> Option<Vec<u8>>,
) -> SwitchWay {
    let mut elsewhere = None;
    for (path, difference) in diff(&before.tree, &after.tree) {
        // Times make no difference.
        if let (Some(old), Some(new)) = (difference.before, difference.after)
            && old.same_content(new)
        {
            continue;
        }
        let bytes = path.as_bytes();
        if KERNEL.iter().any(|place| path.starts_with(place)) {
            return SwitchWay::new(SwitchClass::Reboot, changes(path));
        }
        let is_dir = |inode: Option<&Inode>| inode.is_some_and(Inode::is_dir);
        let stays_dir = is_dir(difference.before) && is_dir(difference.after);
        let is_of = |places: &[&[u8]]| {
            let mut places = places.iter();
            places.any(|place| path.starts_with(place) && (bytes != *place || stays_dir))
        };
        if elsewhere.is_none() && !is_of(&LIVE) && !is_of(&STATE) {
            elsewhere = Some(path);
        }
    }
    if before.tree.get(SOFT_REBOOT).is_none() {
        let because = "the systemd that runs knows no soft reboot";
        return match obstacle(before, after, elsewhere, read) {
            None => SwitchWay::live(),
            Some(_) => SwitchWay::new(SwitchClass::Reboot, because),
        };
    }
    match obstacle(before, after, elsewhere, read) {
        None => SwitchWay::live(),
        Some(because) => SwitchWay::new(SwitchClass::SoftReboot, because),
    }
}

impl SwitchWay {
    fn live() -> Self {
        Self {
            class: SwitchClass::Live,
            because: None,
        }
    }
}

fn changes(path: &RelPath) -> String {
    format!("'/{}' changes", escape(path.as_bytes()))
}

/// Returns what stands in the way of a live switch.
fn obstacle(
    before: &ImageParts,
    after: &ImageParts,
    elsewhere: Option<&RelPath>,
    read: &dyn Fn(&ObjectId) -> Option<Vec<u8>>,
) -> Option<String> {
    if let Some(path) = elsewhere {
        return Some(changes(path));
    }
    // What a layer says counts when it changes, comes or goes.
    let moved = |one: &ImageParts, other: &ImageParts| {
        let mut layers = one.layers.iter();
        let found = layers.find(|layer| layer.forbids_live && !other.layers.contains(layer));
        found.map(|layer| layer.name.clone())
    };
    if let Some(layer) = moved(after, before).or_else(|| moved(before, after)) {
        return Some(format!(
            "layer '{layer}' changes, and does not allow it beneath running services"
        ));
    }
    let changed = |path: &[u8]| match (before.tree.get(path), after.tree.get(path)) {
        (Some(old), Some(new)) => !old.same_content(new),
        _ => true,
    };
    let services = Services {
        before: &before.tree,
        changes: &changed,
        etc: &Default::default(),
        read,
        also: &[],
    };
    UNSTOPPABLE.iter().find_map(|(who, program)| {
        let path = services.program_changes(program)?;
        Some(format!(
            "{who} runs '/{}', which changes",
            escape(path.as_bytes())
        ))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::format::Layer;
    use crate::tree::Tree;

    const BASE: [(&str, &str); 11] = [
        ("boot/vmlinuz-6", "kernel"),
        ("usr/lib/modules/6/erofs.ko", "module"),
        ("usr/lib/systemd/systemd", "#!/usr/lib/libc.so\n"),
        ("usr/lib/libc.so", "libc"),
        ("usr/lib/systemd/system/soft-reboot.target", "x"),
        ("usr/app", "1"),
        ("etc/app", "1"),
        ("opt/app", "1"),
        ("mnt/x", "1"),
        ("var/x", "1"),
        ("srv/y", "1"),
    ];

    fn image(changes: &[(&str, Option<&str>)], layers: &[Layer]) -> ImageParts {
        let mut tree = Tree::new();
        let path = |text: &str| RelPath::from_text(text).unwrap();
        let base = BASE.iter().map(|(at, text)| (*at, Some(*text)));
        for (at, text) in base.chain(changes.iter().copied()) {
            let Some(text) = text else {
                tree.remove(at.as_bytes());
                continue;
            };
            for dir in std::iter::successors(path(at).parent(), RelPath::parent) {
                tree.insert(dir, Inode::directory(0o755));
            }
            let id = ObjectId::of(text.as_bytes());
            tree.insert(path(at), Inode::file(id, text.len() as u64, 0o755));
        }
        ImageParts {
            tree,
            layers: layers.to_vec(),
        }
    }

    fn read(id: &ObjectId) -> Option<Vec<u8>> {
        let mut known = BASE.iter().map(|(_, text)| text.as_bytes());
        known
            .find(|text| ObjectId::of(text) == *id)
            .map(<[u8]>::to_vec)
    }

    fn check(changes: &[(&str, Option<&str>)], expected: &str) {
        let way = decide(&image(&[], &[]), &image(changes, &[]), &read);
        assert_eq!(way.to_string(), expected, "{changes:?}");
    }

    #[test]
    fn the_class_follows_from_what_differs_and_names_it() {
        check(&[], "live");
        check(
            &[
                ("usr/app", Some("2")),
                ("usr/new/deep", Some("x")),
                ("etc/app", None),
                ("opt/app", Some("2")),
                ("var/lib/x", Some("the machine has its own")),
                ("srv/x", Some("and here")),
            ],
            "live",
        );
        check(&[("mnt/x", Some("2"))], "by soft reboot: '/mnt/x' changes");
        // A directory of the machine's own that comes or goes is one of the root.
        check(&[("home/x", Some("2"))], "by soft reboot: '/home' changes");
        check(&[("new", Some("2"))], "by soft reboot: '/new' changes");
        check(
            &[("usr/lib/libc.so", Some("2"))],
            "by soft reboot: PID 1 runs '/usr/lib/libc.so', which changes",
        );
        check(
            &[("mnt/x", None), ("usr/lib/modules/6/erofs.ko", Some("2"))],
            "by reboot: '/usr/lib/modules/6/erofs.ko' changes",
        );
        check(
            &[("boot/vmlinuz-7", Some("2"))],
            "by reboot: '/boot/vmlinuz-7' changes",
        );
    }

    #[test]
    fn a_systemd_without_soft_reboots_takes_a_reboot() {
        let old = image(&[("usr/lib/systemd/system/soft-reboot.target", None)], &[]);
        assert_eq!(
            decide(&old, &image(&[("mnt/x", None)], &[]), &read).to_string(),
            "by reboot: the systemd that runs knows no soft reboot"
        );
        assert_eq!(
            decide(&old, &image(&[], &[]), &read).class,
            SwitchClass::Live
        );
    }

    #[test]
    fn a_layer_that_changes_may_forbid_it() {
        let layer = |version: &str, forbids_live| Layer {
            version: version.to_owned(),
            forbids_live,
            ..Layer::bare("shop", [])
        };
        let way = |before: &Layer, after: &Layer| {
            let images = [before, after].map(|layer| image(&[], std::slice::from_ref(layer)));
            decide(&images[0], &images[1], &read).to_string()
        };
        let still =
            "by soft reboot: layer 'shop' changes, and does not allow it beneath running services";
        assert_eq!(way(&layer("1", true), &layer("1", true)), "live");
        assert_eq!(way(&layer("1", false), &layer("2", false)), "live");
        assert_eq!(way(&layer("1", false), &layer("2", true)), still);
        assert_eq!(way(&layer("2", true), &layer("1", false)), still);
    }
}
