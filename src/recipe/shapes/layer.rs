//! `layers/<name>/layer.toml`.

use super::super::definition::{BootstrapVariant, Pocket};
use super::super::state::StateClass;
use super::words::*;
use super::{list_of, set_of};
use crate::shape::{Holds, Key, List, Map, Rule, Shape, words_of};

/// A layer definition.
pub static LAYER: Shape = Shape {
    doc: "What one layer is made of. It lies in a folder of the layer's name, beside the files and \
          scripts that it names. A base has [bootstrap] and stands on nothing. Every other layer \
          names what it is built on, and has any of [apt], [files] and [run]; they take place in \
          this order.",
    keys: &[
        Key::new(
            "name",
            Holds::Word(LAYER_NAME),
            "The layer's name. The folder's name says it already, and must be the same.",
        ),
        Key::new(
            "description",
            Holds::Text,
            "A sentence for people. It is no part of what decides about a rebuild.",
        ),
        Key::new(
            "version",
            Holds::Word(LINE),
            "The version that people see. Without it, it is the suite of a base, or the version \
             of the first package of [apt].",
        ),
        Key::new(
            "on",
            set_of!(Holds::Word(LAYER_NAME), 1),
            "The layers that it is built on. The recipe lists them before it.",
        ),
        Key::new(
            "bootstrap",
            Holds::Table(&BOOTSTRAP),
            "A base, made by mmdebstrap.",
        ),
        Key::new(
            "apt",
            Holds::Table(&APT),
            "Packages from the archives of the base, and from those that the layers below and this one \
             name.",
        ),
        Key::new(
            "files",
            Holds::Table(&FILES),
            "A folder beside layer.toml that is copied onto the root. An empty table copies \
             files/.",
        ),
        Key::new(
            "run",
            Holds::Table(&RUN),
            "Scripts that run as root of a sandbox, without network, after packages and files.",
        ),
        Key::new(
            "state",
            Holds::Map(&Map {
                key: STATE_PATTERN,
                value: Holds::Choice(&words_of(&StateClass::SETTABLE)),
                named: &[],
            }),
            "What becomes of files below /var, by pattern: they are part of the image and change \
             with it (image), are copied to the machine once, when they are missing there \
             (factory), or are not kept (drop). The most specific pattern wins.",
        ),
        Key::new(
            "secrets",
            Holds::Map(&Map {
                key: IMAGE_PATH,
                value: Holds::Table(&SECRET),
                named: &[Key::new(
                    "allow",
                    list_of!(Holds::Table(&ALLOWED_SECRET)),
                    "What looks like a secret and is none. No two name one pattern.",
                )],
            }),
            "Secrets that installation made and no image may hold, by path: each machine makes \
             its own at first boot.",
        ),
        Key::new(
            "health",
            Holds::Table(&HEALTH),
            "How to see that the layer works. It is recorded; nothing acts on it yet.",
        ),
        Key::new(
            "services",
            Holds::Table(&SERVICES),
            "What to do with services after a switch. It is recorded; nothing acts on it yet.",
        ),
        Key::new(
            "rebuild",
            Holds::Table(&REBUILD),
            "When a new layer below asks for a rebuild, beside what the checks find.",
        ),
    ],
    rules: &[
        Rule::AnyOf(&[
            &["bootstrap"],
            &["on", "apt"],
            &["on", "files"],
            &["on", "run"],
        ]),
        Rule::Excludes("bootstrap", &["on", "apt", "files", "run"]),
    ],
};

pub(in crate::recipe) static BOOTSTRAP: Shape = Shape {
    doc: "A base, made by mmdebstrap.",
    keys: &[
        Key::needed("suite", Holds::Word(SUITE), "The release, such as trixie."),
        Key::new(
            "components",
            set_of!(Holds::Word(SUITE), 1),
            "The components of the archive. Without it: main.",
        ),
        Key::new(
            "pockets",
            set_of!(Holds::Choice(&words_of(&Pocket::ALL)), 0),
            "The suites beside the release. Without it: both.",
        ),
        Key::new(
            "variant",
            Holds::Choice(&words_of(&BootstrapVariant::ALL)),
            "What is installed before packages: essential ones and those of priority required \
             (minbase, which is the default), essential ones and apt (apt), or essential ones \
             (essential).",
        ),
        Key::new(
            "packages",
            set_of!(Holds::Word(PACKAGE), 0),
            "Packages to install beyond those of the variant.",
        ),
        Key::new(
            "sources",
            list_of!(Holds::Table(&SOURCE)),
            "The archives, instead of those that mmdebstrap knows for the suite. Between them they \
             have the suite and its pockets, unless one is flat.",
        ),
        Key::new(
            "snapshots",
            set_of!(Holds::Word(ARCHIVE_URI), 0),
            "Addresses at which package files are looked for that have left their archives, by \
             the path that they had there, as a snapshot of an archive has them, or by their digest, \
             as cache/debs of a repository has them. What is found must have the locked digest.",
        ),
    ],
    rules: &[],
};

pub(in crate::recipe) static APT: Shape = Shape {
    doc: "Packages from the archives of the base, and from those that the layers below and this one \
             name.",
    keys: &[
        Key::needed(
            "packages",
            set_of!(Holds::Word(PACKAGE), 1),
            "The packages asked for; what they depend on comes with them. A version follows after \
             =, a suite after /, an architecture after a colon.",
        ),
        Key::new(
            "recommends",
            Holds::Boolean,
            "Whether recommended packages come too. Without it: false.",
        ),
        Key::new(
            "sources",
            list_of!(Holds::Table(&SOURCE)),
            "Further archives, for this layer and for those that stand on it.",
        ),
        Key::new(
            "snapshots",
            set_of!(Holds::Word(ARCHIVE_URI), 0),
            "Addresses at which package files are looked for that have left their archives, by \
             the path that they had there, as a snapshot of an archive has them, or by their digest, \
             as cache/debs of a repository has them. What is found must have the locked digest.",
        ),
    ],
    rules: &[],
};

pub(in crate::recipe) static SOURCE: Shape = Shape {
    doc: "An archive of packages, in the words of sources.list(5). Credentials have no place here: \
          apt takes them from apt_auth.conf(5) of the machine.",
    keys: &[
        Key::needed(
            "uris",
            set_of!(Holds::Word(ARCHIVE_URI), 1),
            "The root of the archive; several are mirrors of it.",
        ),
        Key::needed(
            "suites",
            set_of!(Holds::Word(SOURCE_SUITE), 1),
            "The suites. What ends in / is the path of a flat archive, such as ./",
        ),
        Key::new(
            "components",
            set_of!(Holds::Word(SUITE), 0),
            "The components. A flat archive has none, every other archive at least one.",
        ),
        Key::new(
            "architectures",
            set_of!(Holds::Word(ARCHITECTURE), 0),
            "The architectures that it is asked for. Without it: that of the image.",
        ),
        Key::new(
            "signed_by",
            Holds::Either(&[Holds::Word(BESIDE), Holds::Word(KEY_BLOCK)]),
            "Whose signature is taken: a file in the layer's folder that holds the public key, \
             armoured or not, or the armoured key itself. Without it: the keys of the \
             distribution.",
        ),
        Key::new(
            "trusted",
            Holds::Boolean,
            "Whether it is taken without a signature, which every lock says again. Without it: \
             false.",
        ),
        Key::new(
            "check_valid_until",
            Holds::Boolean,
            "Whether an archive is refused whose date of expiry has passed. Without it: true.",
        ),
    ],
    rules: &[],
};

pub(in crate::recipe) static FILES: Shape = Shape {
    doc: "A folder that is copied onto the root.",
    keys: &[
        Key::new(
            "source",
            Holds::Word(BESIDE),
            "The folder, relative to that of the layer. Without it: files.",
        ),
        Key::new(
            "mode",
            Holds::Map(&Map {
                key: IMAGE_PATH,
                value: Holds::Word(MODE),
                named: &[],
            }),
            "Permission bits by path. Elsewhere the x bit of the source decides between 0755 and \
             0644.",
        ),
        Key::new(
            "owner",
            Holds::Map(&Map {
                key: IMAGE_PATH,
                value: Holds::Word(OWNER),
                named: &[],
            }),
            "User and group by path, each a name, or # and a number. Elsewhere root:root.",
        ),
    ],
    rules: &[],
};

pub(in crate::recipe) static RUN: Shape = Shape {
    doc: "Scripts that run in a sandbox, without network.",
    keys: &[
        Key::needed(
            "scripts",
            set_of!(Holds::Word(BESIDE), 1),
            "The scripts in their order, relative to the folder of the layer. One without the run \
             bit is run by what its first line (#!) names, and one that ends in .sh by a shell; \
             where nothing says what runs it, it is refused.",
        ),
        Key::new(
            "env",
            Holds::Map(&Map {
                key: VARIABLE,
                value: Holds::Text,
                named: &[],
            }),
            "Variables that the scripts see. Nothing of the caller's environment comes in.",
        ),
        Key::new(
            "timeout",
            Holds::Word(DURATION),
            "How long each script may run: 500ms, 10s, 2m or 1h, up to a day. Without it: one \
             hour.",
        ),
    ],
    rules: &[],
};

pub(in crate::recipe) static SECRET: Shape = Shape {
    doc: "How one secret is made at first boot.",
    keys: &[
        Key::needed(
            "run",
            Holds::Word(COMMAND),
            "The shell command that makes it.",
        ),
        Key::new(
            "also",
            set_of!(Holds::Word(IMAGE_PATH), 0),
            "Other files that the same command makes.",
        ),
    ],
    rules: &[],
};

pub(in crate::recipe) static ALLOWED_SECRET: Shape = Shape {
    doc: "Something that looks like a secret, and that everybody may have.",
    keys: &[
        Key::needed(
            "path",
            Holds::Word(SECRET_PATTERN),
            "The paths in the image.",
        ),
        Key::needed("reason", Holds::Word(LINE), "Why everybody may have it."),
    ],
    rules: &[],
};

pub(in crate::recipe) static HEALTH: Shape = Shape {
    doc: "How to see that the layer works.",
    keys: &[Key::new(
        "checks",
        list_of!(Holds::Table(&CHECK)),
        "The checks, in their order. No two have one name.",
    )],
    rules: &[],
};

pub(in crate::recipe) static CHECK: Shape = Shape {
    doc: "One check.",
    keys: &[
        Key::new(
            "name",
            Holds::Word(LINE),
            "What people read. Without it: what is run, asked for or fetched.",
        ),
        Key::new(
            "run",
            Holds::Word(COMMAND),
            "A command that ends with status 0.",
        ),
        Key::new("unit", Holds::Word(UNIT), "A unit that is active."),
        Key::new(
            "http",
            Holds::Word(HTTP_URL),
            "An address that answers with a status of success.",
        ),
        Key::new("expect", Holds::Word(COMMAND), "What the answer holds."),
        Key::new(
            "tcp",
            Holds::Word(ENDPOINT),
            "A place that takes connections, HOST:PORT.",
        ),
        Key::new("file", Holds::Word(ABSOLUTE_PATH), "A file that is there."),
        Key::new(
            "reachable",
            Holds::Word(REACHABLE),
            "Another machine that answers: HOST:PORT, be it with a refusal, or gateway for the \
             router of the default route. A machine that lost its network with an update goes back.",
        ),
        Key::new(
            "timeout",
            Holds::Word(DURATION),
            "How long to wait for it. Without it: 30s.",
        ),
    ],
    rules: &[
        Rule::OneOf(&["run", "unit", "http", "tcp", "file", "reachable"]),
        Rule::Needs("expect", "http"),
    ],
};

pub(in crate::recipe) static SERVICES: Shape = Shape {
    doc: "What to do with services after a switch.",
    keys: &[
        Key::new(
            "restart",
            set_of!(Holds::Word(UNIT), 0),
            "Units to restart, beyond those whose files changed.",
        ),
        Key::new(
            "live",
            Holds::Boolean,
            "Whether a machine that runs may take a change of this layer beneath its services. \
             Without it: true. Otherwise, all services start anew (soft reboot).",
        ),
    ],
    rules: &[],
};

pub(in crate::recipe) static REBUILD: Shape = Shape {
    doc: "When a new layer below asks for a rebuild.",
    keys: &[Key::new(
        "when",
        set_of!(Holds::Word(PATTERN), 0),
        "Paths of lower layers whose change means that this layer is rebuilt.",
    )],
    rules: &[],
};
