//! `[disk]` of a recipe.

use super::words::*;
use super::{list_of, set_of};
use crate::disk::{FilesystemKind, KIND_WORDS, Layout, TableKind};
use crate::shape::{Holds, Key, List, Rule, Shape, words_of};

pub(in crate::recipe) static DISK: Shape = Shape {
    doc: "The disk that an image becomes.",
    keys: &[
        Key::new(
            "layout",
            Holds::Choice(&words_of(&Layout::ALL)),
            "What it is laid out for: a machine that takes updates (updatable, the default), or \
             an ordinary, writable root (plain).",
        ),
        Key::new(
            "table",
            Holds::Choice(&words_of(&TableKind::ALL)),
            "The partition table. Without it: gpt. An updatable disk has a gpt.",
        ),
        Key::new(
            "size",
            Holds::Either(&[Holds::Choice(&["auto"]), Holds::Word(SIZE)]),
            "The size of the disk: auto (the default) is what its content needs and the margin, \
             else such as 10GiB.",
        ),
        Key::new(
            "margin",
            Holds::Either(&[Holds::Word(SIZE), Holds::Word(SHARE)]),
            "Free room beside the content, such as 512MiB or 20%. It goes with size = \"auto\".",
        ),
        Key::new(
            "sector",
            Holds::Number(&[512, 4096]),
            "The size of a sector in bytes. Without it: 512.",
        ),
        Key::new(
            "align",
            Holds::Word(SIZE),
            "What partitions are aligned to: a power of two from 4KiB to 1GiB. Without it: 1MiB.",
        ),
        Key::new(
            "profile",
            set_of!(Holds::Word(LAYER_NAME), 0),
            "The clouds whose rules are set and checked. `layerset export disk --help` names them.",
        ),
        Key::new(
            "kernel_arguments",
            set_of!(Holds::Word(KERNEL_ARGUMENT), 0),
            "What the kernel is told beside what the layout needs.",
        ),
        Key::new(
            "console",
            set_of!(Holds::Word(CONSOLE), 0),
            "Where the kernel and the login are, as console= of the kernel has it. The last one is \
             /dev/console. Without it: tty0 and ttyS0,115200.",
        ),
        Key::new(
            "partitions",
            list_of!(Holds::Table(&PARTITION)),
            "The partitions in their order. For an updatable disk: those beside its own. One that \
             has the name of one of its own (bios, esp, data) replaces what it says.",
        ),
        Key::new(
            "physical_volumes",
            list_of!(Holds::Table(&PHYSICAL_VOLUME)),
            "Physical volumes of LVM. A partition that a group names becomes one by itself.",
        ),
        Key::new(
            "volume_groups",
            list_of!(Holds::Table(&VOLUME_GROUP)),
            "Volume groups of LVM.",
        ),
        Key::new(
            "volumes",
            list_of!(Holds::Table(&VOLUME)),
            "Logical volumes of LVM.",
        ),
    ],
    rules: &[],
};

pub(in crate::recipe) static PARTITION: Shape = Shape {
    doc: "One partition.",
    keys: &[
        Key::needed(
            "name",
            Holds::Word(DEVICE),
            "What the description calls it.",
        ),
        Key::new(
            "size",
            Holds::Either(&[
                Holds::Choice(&["rest"]),
                Holds::Word(SIZE),
                Holds::Word(SHARE),
            ]),
            "Its size: such as 20GiB, 40% of what is still free, or the rest. Only one of an \
             updatable disk's own may leave it out.",
        ),
        Key::new(
            "type",
            Holds::Either(&[Holds::Choice(&KIND_WORDS), Holds::Word(PARTITION_CODE)]),
            "What it is for: a word, an MBR type, the code of sgdisk or a GUID. Without it, what \
             it holds decides.",
        ),
        Key::new(
            "flags",
            set_of!(Holds::Choice(&["boot", "primary"]), 0),
            "Flags of an MBR.",
        ),
        Key::new(
            "logical",
            Holds::Boolean,
            "Whether it is a logical partition of an MBR.",
        ),
        Key::new(
            "label",
            Holds::Word(LABEL),
            "The label in the table. Without it: the name.",
        ),
        Key::new("filesystem", FILESYSTEM_OR_WORD, "The filesystem in it."),
        Key::new("mount", Holds::Word(MOUNT), "Where it is mounted."),
        Key::new(
            "fstab",
            FSTAB_OR_NOT,
            "Its line in /etc/fstab, or false for none.",
        ),
    ],
    rules: &[],
};

const FILESYSTEM_OR_WORD: Holds = Holds::Either(&[
    Holds::Choice(&words_of(&FilesystemKind::ALL)),
    Holds::Table(&FILESYSTEM),
]);

const FSTAB_OR_NOT: Holds = Holds::Either(&[Holds::Boolean, Holds::Table(&FSTAB)]);

pub(in crate::recipe) static FILESYSTEM: Shape = Shape {
    doc: "A filesystem. A word alone is its type.",
    keys: &[
        Key::new(
            "type",
            Holds::Choice(&words_of(&FilesystemKind::ALL)),
            "Its type. It may be left out where the partition's type or the layout says it. XFS \
             and btrfs can be made empty only.",
        ),
        Key::new("label", Holds::Word(FILESYSTEM_LABEL), "Its label."),
        Key::new(
            "uuid",
            Holds::Word(FILESYSTEM_ID),
            "Its identifier; for vfat such as 1234-ABCD. Without it, one is made of the image's id.",
        ),
        Key::new(
            "options",
            list_of!(Holds::Word(LINE)),
            "What the program that makes such filesystems is told.",
        ),
    ],
    rules: &[],
};

pub(in crate::recipe) static FSTAB: Shape = Shape {
    doc: "A line in /etc/fstab.",
    keys: &[
        Key::new(
            "options",
            Holds::Word(MOUNT_OPTIONS),
            "Options of the mount, with commas between.",
        ),
        Key::new(
            "dump",
            Holds::Integer(0, u32::MAX as i64),
            "Whether dump backs it up.",
        ),
        Key::new(
            "pass",
            Holds::Integer(0, 2),
            "When fsck checks it: 0 never, 1 first, 2 after that.",
        ),
    ],
    rules: &[],
};

pub(in crate::recipe) static PHYSICAL_VOLUME: Shape = Shape {
    doc: "A physical volume of LVM.",
    keys: &[
        Key::needed(
            "name",
            Holds::Word(DEVICE),
            "What the description calls it.",
        ),
        Key::needed("on", Holds::Word(DEVICE), "The partition that it is on."),
        Key::new(
            "options",
            list_of!(Holds::Word(LINE)),
            "What pvcreate would be told.",
        ),
    ],
    rules: &[],
};

pub(in crate::recipe) static VOLUME_GROUP: Shape = Shape {
    doc: "A volume group of LVM.",
    keys: &[
        Key::needed("name", Holds::Word(DEVICE), "Its name."),
        Key::needed(
            "on",
            set_of!(Holds::Word(DEVICE), 1),
            "The physical volumes, or the partitions that become such.",
        ),
        Key::new(
            "extent",
            Holds::Word(SIZE),
            "The size of an extent. Without it: 4MiB.",
        ),
        Key::new(
            "options",
            list_of!(Holds::Word(LINE)),
            "What vgcreate would be told.",
        ),
    ],
    rules: &[],
};

pub(in crate::recipe) static VOLUME: Shape = Shape {
    doc: "A logical volume of LVM.",
    keys: &[
        Key::needed("name", Holds::Word(DEVICE), "Its name."),
        Key::needed("group", Holds::Word(DEVICE), "The group that it is in."),
        Key::new(
            "size",
            Holds::Either(&[
                Holds::Choice(&["rest"]),
                Holds::Word(SIZE),
                Holds::Word(SHARE),
            ]),
            "Its size: such as 20GiB, 40% of what is still free, or the rest.",
        ),
        Key::new(
            "extents",
            Holds::Either(&[Holds::Integer(1, i64::MAX), Holds::Word(EXTENTS)]),
            "Its size as lvcreate --extents has it: a number, 30%VG or 100%FREE.",
        ),
        Key::new(
            "type",
            Holds::Choice(&["linear", "thin", "thin-pool"]),
            "What kind of volume it is. Without it: linear.",
        ),
        Key::new("pool", Holds::Word(DEVICE), "The pool of a thin volume."),
        Key::new(
            "options",
            list_of!(Holds::Word(LINE)),
            "What lvcreate would be told.",
        ),
        Key::new("filesystem", FILESYSTEM_OR_WORD, "The filesystem in it."),
        Key::new("mount", Holds::Word(MOUNT), "Where it is mounted."),
        Key::new(
            "fstab",
            FSTAB_OR_NOT,
            "Its line in /etc/fstab, or false for none.",
        ),
    ],
    rules: &[
        Rule::OneOf(&["size", "extents"]),
        Rule::ValueNeeds("type", "thin", "pool"),
        Rule::Needs("pool", "type"),
    ],
};
