//! `recipes/<name>.toml`.

use super::super::words::ARCHITECTURES;
use super::disk::DISK;
use super::words::*;
use super::{list_of, set_of};
use crate::shape::{Holds, Key, List, Shape};

/// A recipe.
pub static RECIPE: Shape = Shape {
    doc: "Which layers make an image, in which order, and what targets do with it. The lock with \
          the exact packages lies beside it.",
    keys: &[
        Key::new(
            "name",
            Holds::Word(LAYER_NAME),
            "The recipe's name. The file's name says it already, and must be the same.",
        ),
        Key::new("description", Holds::Text, "A sentence for people."),
        Key::new(
            "architecture",
            Holds::Choice(&ARCHITECTURES),
            "The architecture of the image, in Debian's words. Without it: that of this machine.",
        ),
        Key::needed(
            "layers",
            set_of!(Holds::Word(LAYER_NAME), 1),
            "The layers, the base first. Each is a folder in layers/, which lies beside the \
             recipe's folder or in it.",
        ),
        Key::new(
            "policy",
            Holds::Table(&POLICY),
            "What targets do with deployments of this image.",
        ),
        Key::new(
            "waivers",
            list_of!(Holds::Table(&WAIVER)),
            "Findings of the checks that somebody accepts. They are recorded in the image. No two \
             name one finding.",
        ),
        Key::new(
            "disk",
            Holds::Table(&DISK),
            "The disk that `layerset export disk` makes of the image. Everything in it has a \
             default.",
        ),
    ],
    rules: &[],
};

pub(in crate::recipe) static POLICY: Shape = Shape {
    doc: "What targets do with deployments of the image.",
    keys: &[Key::new(
        "keep",
        Holds::Integer(0, u32::MAX as i64),
        "How many deployments are kept beside the current and the pinned ones. Without it: 3.",
    )],
    rules: &[],
};

pub(in crate::recipe) static WAIVER: Shape = Shape {
    doc: "One finding that somebody accepts.",
    keys: &[
        Key::needed(
            "finding",
            Holds::Word(FINDING),
            "The id of the finding, as `layerset check` names it.",
        ),
        Key::needed("reason", Holds::Word(LINE), "Why it is accepted."),
        Key::needed(
            "expires",
            Holds::Day,
            "The day from which on it counts again, written without quotes.",
        ),
    ],
    rules: &[],
};
