//! What `trust.toml` may say, as a [`Shape`].

use crate::shape::{Holds, Key, List, Shape, Word};

const NAME: Word = Word {
    name: "a name",
    pattern: "^[a-z0-9][a-z0-9._+-]{0,99}$",
};

const LOCATION: Word = Word {
    name: "a location",
    pattern: "\\S",
};

const PATH: Word = Word {
    name: "a path",
    pattern: "^[\\s\\S]",
};

const CHANNELS: Word = Word {
    name: "a pattern of channels",
    pattern: "^(?:images|layers|\\*|\\*\\*)\
        (?:/(?:\\*\\*(?=/|$)|(?!\\.{1,2}(?:/|$))(?![^/]*\\*\\*)[^/\\x00?\\[\\]{}\\\\]+)){0,2}$",
};

/// A machine's trust policy.
pub static TRUST: Shape = Shape {
    doc: "Which remotes a machine trusts, by which root, and which channels it may follow.",
    keys: &[Key::new(
        "remote",
        Holds::List(&List {
            of: Holds::Table(&REMOTE),
            least: 0,
            is_set: false,
        }),
        "The remotes that the machine trusts. No two have one name.",
    )],
    rules: &[],
};

pub(super) static REMOTE: Shape = Shape {
    doc: "One remote that the machine trusts.",
    keys: &[
        Key::needed("name", Holds::Word(NAME), "What the machine calls it."),
        Key::needed(
            "location",
            Holds::Word(LOCATION),
            "Where it is: a directory, http(s)://HOST/PATH, s3://BUCKET/PREFIX or \
             oci://HOST/REPOSITORY.",
        ),
        Key::new(
            "mirrors",
            Holds::List(&List {
                of: Holds::Word(LOCATION),
                least: 0,
                is_set: false,
            }),
            "Where it is tried then, in order.",
        ),
        Key::needed(
            "root",
            Holds::Word(PATH),
            "The root.json that `layerset trust init` made. A relative path starts where this \
             file lies.",
        ),
        Key::new(
            "channels",
            Holds::List(&List {
                of: Holds::Word(CHANNELS),
                least: 0,
                is_set: false,
            }),
            "The channels that may be followed, such as images/web/stable, where * may stand for a \
             part. Without it: all.",
        ),
        Key::new(
            "recompose",
            Holds::Boolean,
            "Whether images are composed again from their layers, and compared with what was \
             published. Without it: true.",
        ),
    ],
    rules: &[],
};
