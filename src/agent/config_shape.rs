//! What `agent.toml` may say, as a [`Shape`].

use crate::recipe::shapes::words::{ABSOLUTE_PATH, DURATION, REACHABLE};
use crate::shape::{Holds, Key, List, Shape, Word};

/// The days of the week, as `from` and `to` of a window go with them.
pub(super) const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// When a machine is switched.
pub(super) const SWITCH: [&str; 2] = ["window", "never"];

const CLOCK: Word = Word {
    name: "a time of day",
    pattern: "^(?:[01][0-9]|2[0-3]):[0-5][0-9]$",
};

const ZONE: Word = Word {
    name: "a time zone",
    pattern: "^[A-Za-z][A-Za-z0-9_+/-]*$",
};

const WEB: Word = Word {
    name: "an address that starts with http:// or https://",
    pattern: "^https?://[^/\\x00-\\x20\\x7f-\\x9f][^\\x00-\\x20\\x7f-\\x9f]*$",
};

/// What the agent does on one machine.
pub static AGENT: Shape = Shape {
    doc: "What `layerset agent` does on this machine: when it switches, what keeps it from working, \
          what it looks at afterwards, and whom it tells. Without the file it follows the channel of \
          the machine and switches at once.",
    keys: &[
        Key::new(
            "target",
            Holds::Word(ABSOLUTE_PATH),
            "The target. Without it: the machine that runs, on a machine made of layers.",
        ),
        Key::new(
            "switch",
            Holds::Choice(&SWITCH),
            "When to switch: in a window, or never, so that somebody does it by hand. Either way \
             releases are fetched, checked and staged as soon as they are there. Without it: window.",
        ),
        Key::new(
            "window",
            Holds::List(&List {
                of: Holds::Table(&WINDOW),
                least: 0,
                is_set: false,
            }),
            "When the machine may be switched. Without one: always.",
        ),
        Key::new(
            "inhibit",
            Holds::Table(&INHIBIT),
            "What keeps the agent from fetching and switching.",
        ),
        Key::new(
            "health",
            Holds::Table(&HEALTH),
            "What is looked at after a switch, beside the health checks of the layers.",
        ),
        Key::new("report", Holds::Table(&REPORT), "Whom the agent tells."),
    ],
    rules: &[],
};

pub(super) static WINDOW: Shape = Shape {
    doc: "A time in which the machine may be switched.",
    keys: &[
        Key::new(
            "days",
            Holds::List(&List {
                of: Holds::Choice(&DAYS),
                least: 1,
                is_set: true,
            }),
            "The days on which it opens. Without it: all.",
        ),
        Key::needed("from", Holds::Word(CLOCK), "When it opens, such as 02:00."),
        Key::needed(
            "to",
            Holds::Word(CLOCK),
            "When it closes: on the next day where that is not after `from`.",
        ),
        Key::new(
            "timezone",
            Holds::Word(ZONE),
            "Whose time it is, such as Europe/Berlin. Without it: the machine's.",
        ),
    ],
    rules: &[],
};

pub(super) static INHIBIT: Shape = Shape {
    doc: "What keeps the agent from fetching and switching.",
    keys: &[
        Key::new(
            "battery",
            Holds::Boolean,
            "Wait while the machine runs from a battery. Without it: true.",
        ),
        Key::new(
            "metered",
            Holds::Boolean,
            "Wait while NetworkManager calls the connection metered. Without it: true.",
        ),
    ],
    rules: &[],
};

pub(super) static HEALTH: Shape = Shape {
    doc: "What is looked at after a switch, beside the health checks of the layers.",
    keys: &[
        Key::new(
            "reachable",
            Holds::List(&List {
                of: Holds::Word(REACHABLE),
                least: 0,
                is_set: true,
            }),
            "Other machines that have to answer: HOST:PORT, be it with a refusal, or gateway for the \
             router of the default route. A machine that lost its network with an update goes back.",
        ),
        Key::new(
            "timeout",
            Holds::Word(DURATION),
            "How long to wait for them. Without it: 60s.",
        ),
    ],
    rules: &[],
};

pub(super) static REPORT: Shape = Shape {
    doc: "Whom the agent tells. The journal is always told.",
    keys: &[
        Key::new(
            "textfile",
            Holds::Word(ABSOLUTE_PATH),
            "A file for the textfile collector of Prometheus' node exporter; its name ends with \
             .prom.",
        ),
        Key::new(
            "hooks",
            Holds::Word(ABSOLUTE_PATH),
            "The directory of programs that are told of each event: its kind as an argument, and all \
             of it as JSON on standard input. Without it: /etc/layerset/hooks.d.",
        ),
        Key::new(
            "webhook",
            Holds::Word(WEB),
            "An address that each event is posted to, as JSON.",
        ),
    ],
    rules: &[],
};
