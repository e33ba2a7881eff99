//! Laws that every driver keeps, checked against a naive model on random records.

#![allow(clippy::unwrap_used)]

use super::{Driver, driver_for};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Records by number, each in one of a few variants that clash with one another.
type Model = BTreeMap<u32, u8>;

/// A format, as the model sees it.
struct Family {
    path: &'static str,
    record: fn(u32, u8) -> String,
    head: &'static str,
    tail: &'static str,
    /// Lines per record, or 0 where a blank line ends it.
    lines: usize,
    /// Whether the program sorts the file, so that results are compared byte by byte.
    sorted: bool,
    /// Whether a file without records cannot be.
    vanishes: bool,
}

const LINE: Family = Family {
    path: "",
    record: |_, _| String::new(),
    head: "",
    tail: "",
    lines: 1,
    sorted: false,
    vanishes: false,
};

const STANZA: Family = Family {
    lines: 0,
    sorted: true,
    ..LINE
};

const FAMILIES: &[Family] = &[
    Family {
        path: "etc/passwd",
        record: |n, v| format!("u{n}:x:{n}:{n}:gecos:/home/u{n}:/bin/sh{v}\n"),
        ..LINE
    },
    Family {
        path: "etc/group",
        record: |n, v| format!("g{n}:x{v}:{n}:a,b\n"),
        ..LINE
    },
    Family {
        path: "etc/shadow",
        record: |n, v| format!("u{n}:!{v}:20593::::::\n"),
        ..LINE
    },
    Family {
        path: "etc/gshadow",
        record: |n, v| format!("g{n}:!{v}::a\n"),
        ..LINE
    },
    Family {
        path: "etc/subuid",
        record: |n, v| format!("u{n}:{}:{}\n", n * 100, v + 1),
        ..LINE
    },
    Family {
        path: "etc/shells",
        record: |n, _| format!("/bin/sh{n}\n"),
        ..LINE
    },
    Family {
        path: "var/lib/xml-core/catalog",
        record: |n, _| format!("<uri name=\"{n:03}\"><catalog=\"file:///etc/xml/{n}.xml\">\n"),
        sorted: true,
        ..LINE
    },
    Family {
        path: "etc/xml/catalog",
        record: |n, _| format!("<uri name=\"{n:03}\" uri=\"file:///etc/xml/{n}.xml\"/>\n"),
        head: "<?xml version=\"1.0\"?>\n<catalog xmlns=\"urn:x\">\n",
        tail: "</catalog>\n",
        sorted: true,
        ..LINE
    },
    Family {
        path: "etc/ca-certificates.conf",
        record: |n, v| format!("{}m/{n}.crt\n", if v % 2 == 0 { "" } else { "!" }),
        ..LINE
    },
    Family {
        path: "var/lib/dpkg/triggers/File",
        record: |n, v| {
            format!(
                "/usr/{n} p{n}{}\n",
                if v % 2 == 0 { "" } else { "/noawait" }
            )
        },
        ..LINE
    },
    Family {
        path: "var/lib/dpkg/statoverride",
        record: |n, v| format!("root root 75{v} /srv/{n}\n"),
        ..LINE
    },
    Family {
        path: "var/lib/dpkg/diversions",
        record: |n, v| format!("/bin/{n}\n/bin/{n}.d{v}\npkg\n"),
        lines: 3,
        ..LINE
    },
    Family {
        path: "var/lib/ucf/hashfile",
        record: |n, v| format!("fbc910d4bc9889530c92c7e8b101689{v}  /etc/{n}.conf\n"),
        ..LINE
    },
    Family {
        path: "var/lib/ucf/registry",
        record: |n, v| format!("p{v} \t /etc/{n}.conf\n"),
        ..LINE
    },
    Family {
        path: "var/lib/dpkg/alternatives/x",
        record: |n, v| format!("/bin/x{n:03}\n{v}\n/man/x{n}\n"),
        head: "auto\n/bin/x\nx.1\n/man/x\n\n",
        tail: "\n",
        lines: 3,
        sorted: true,
        vanishes: true,
    },
    Family {
        path: "var/lib/dpkg/status",
        record: |n, v| {
            format!(
                "Package: p{n:03}\nStatus: install ok installed\nArchitecture: all\nVersion: {v}\n\
                 Description: x\n .\n y\n\n"
            )
        },
        ..STANZA
    },
    Family {
        path: "var/lib/apt/extended_states",
        record: |n, v| format!("Package: p{n}\nArchitecture: all\nAuto-Installed: {v}\n\n"),
        sorted: false,
        ..STANZA
    },
    Family {
        path: "var/cache/debconf/config.dat",
        record: |n, v| format!("Name: q/{n:03}\nTemplate: t\nValue: {v}\nOwners: o\n\n"),
        ..STANZA
    },
];

impl Family {
    fn driver(&self) -> &'static dyn Driver {
        driver_for(self.path.as_bytes()).unwrap()
    }

    fn render(&self, model: &Model) -> Option<Vec<u8>> {
        if model.is_empty() && self.vanishes {
            return None;
        }
        let body: String = model.iter().map(|(n, v)| (self.record)(*n, *v)).collect();
        Some(format!("{}{body}{}", self.head, self.tail).into_bytes())
    }

    /// Cuts a file into records without any knowledge of the driver's own parser.
    fn records(&self, file: &[u8]) -> BTreeSet<Vec<u8>> {
        let head = file.windows(2).position(|pair| pair == b"\n\n");
        // Elsewhere a blank line is damage, and what stands before it counts too.
        let text = match head.filter(|_| self.head.ends_with("\n\n")) {
            Some(end) => &file[end + 2..],
            None => file,
        };
        let lines: Vec<_> = text.split(|&byte| byte == b'\n').collect();
        let groups: Vec<Vec<u8>> = match self.lines {
            0 => lines
                .split(|line| line.is_empty())
                .map(|group| group.join(&b'\n'))
                .collect(),
            size => lines.chunks(size).map(|group| group.join(&b'\n')).collect(),
        };
        groups
            .into_iter()
            .filter(|group| !group.trim_ascii().is_empty())
            .collect()
    }
}

/// What a merge of models should give, or the records that clash.
fn expected(pre: &Model, current: &Model, post: &Model) -> Result<Model, usize> {
    let mut merged = Model::new();
    let mut clashes = 0;
    let all: BTreeSet<_> = [pre, current, post]
        .into_iter()
        .flat_map(Model::keys)
        .collect();
    for n in all {
        let (was, now, then) = (pre.get(n), current.get(n), post.get(n));
        if now == then || was == then {
            merged.extend(now.map(|v| (*n, *v)));
        } else if was == now {
            merged.extend(then.map(|v| (*n, *v)));
        } else {
            clashes += 1;
        }
    }
    if clashes == 0 {
        Ok(merged)
    } else {
        Err(clashes)
    }
}

fn model(numbers: std::ops::Range<u32>) -> impl Strategy<Value = Model> {
    prop::collection::btree_map(numbers, 0..2u8, 0..12)
}

/// Changes of one side: a variant to set, or `None` to remove.
fn edits() -> impl Strategy<Value = BTreeMap<u32, Option<u8>>> {
    prop::collection::btree_map(0..24u32, prop::option::weighted(0.7, 0..2u8), 0..5)
}

fn apply(base: &Model, edits: &BTreeMap<u32, Option<u8>>) -> Model {
    let mut model = base.clone();
    for (n, v) in edits {
        match v {
            Some(v) => model.insert(*n, *v),
            None => model.remove(n),
        };
    }
    model
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_merge_gives_what_the_naive_model_gives(
        pre in model(0..24), mine in edits(), theirs in edits(),
    ) {
        for family in FAMILIES {
            // In a set of lines a record has no variants.
            let flat = |model: &Model| -> Model {
                let plain = (family.record)(1, 0) == (family.record)(1, 1);
                model.iter().map(|(n, v)| (*n, if plain { 0 } else { *v })).collect()
            };
            let pre = flat(&pre);
            let (current, post) = (flat(&apply(&pre, &mine)), flat(&apply(&pre, &theirs)));
            let sides = [&pre, &current, &post].map(|model| family.render(model));
            let [p, c, q] = sides.each_ref().map(Option::as_deref);
            let got = family.driver().merge(p, c, q);
            match (expected(&pre, &current, &post), got) {
                (Ok(model), Ok(file)) => {
                    let want = family.render(&model);
                    prop_assert_eq!(file.is_some(), want.is_some(), "{}", family.path);
                    let (file, want) = (file.unwrap_or_default(), want.unwrap_or_default());
                    prop_assert_eq!(family.records(&file), family.records(&want), "{}", family.path);
                    if family.sorted {
                        prop_assert_eq!(&file, &want, "{}", family.path);
                    }
                }
                (Err(clashes), Err(conflicts)) => prop_assert_eq!(conflicts.len(), clashes),
                (want, got) => prop_assert!(false, "{}: {want:?} {got:?}", family.path),
            }
        }
    }

    #[test]
    fn unrelated_changes_commute(pre in model(0..24), mine in edits(), theirs in edits()) {
        let theirs = theirs.into_iter().filter(|(n, _)| !mine.contains_key(n)).collect();
        let (current, post) = (apply(&pre, &mine), apply(&pre, &theirs));
        for family in FAMILIES {
            let sides = [&pre, &current, &post].map(|model| family.render(model));
            let [p, a, b] = sides.each_ref().map(Option::as_deref);
            let ab = family.driver().merge(p, a, b).unwrap();
            let ba = family.driver().merge(p, b, a).unwrap();
            let set = |file: &Option<Vec<u8>>| file.as_deref().map(|file| family.records(file));
            prop_assert_eq!(set(&ab), set(&ba), "{}", family.path);
            if family.sorted {
                prop_assert_eq!(ab, ba, "{}", family.path);
            }
        }
    }

    #[test]
    fn an_untouched_side_gives_the_other_byte_for_byte(
        a in prop::option::of(prop::collection::vec(any::<u8>(), 0..80)),
        b in prop::option::of("[a-z:\n/ ]{0,80}".prop_map(String::into_bytes)),
    ) {
        let (x, y) = (a.as_deref(), b.as_deref());
        for family in FAMILIES {
            let driver = family.driver();
            prop_assert_eq!(driver.merge(x, y, x), Ok(b.clone()));
            prop_assert_eq!(driver.merge(x, x, y), Ok(b.clone()));
            prop_assert_eq!(driver.merge(x, y, y), Ok(b.clone()));
        }
    }

    #[test]
    fn damage_never_panics_and_never_loses_a_record(
        pre in model(0..24).prop_filter("not empty", |m| !m.is_empty()),
        added in model(500..530),
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0..5u8, any::<u8>()), 1..4),
    ) {
        let whole: Model = pre.iter().chain(&added).map(|(n, v)| (*n, *v)).collect();
        for family in FAMILIES {
            let (Some(old), Some(new)) = (family.render(&pre), family.render(&whole)) else {
                continue;
            };
            // The head is left alone: another slave name there is a change of every choice.
            let head = family.head.len();
            let mut bad = old.clone();
            for (at, how, byte) in &damage {
                if bad.len() == head {
                    break;
                }
                let at = head + at.index(bad.len() - head);
                match how {
                    0 => bad.truncate(at),
                    1 => bad[at] = *byte,
                    2 => bad[at] = b'\n',
                    3 => bad.insert(at, b":\n/\0 "[usize::from(*byte) % 5]),
                    _ => drop(bad.remove(at)),
                }
            }
            let records = |file: &[u8]| family.records(file);
            for (current, post) in [(&bad, &new), (&new, &bad)] {
                let Ok(out) = family.driver().merge(Some(&old), Some(current), Some(post)) else {
                    continue;
                };
                let out = records(&out.unwrap_or_default());
                let (old, bad, new) = (records(&old), records(&bad), records(&new));
                let lost: Vec<_> = bad.union(&new)
                    .filter(|r| !old.contains(*r) || bad.contains(*r) && new.contains(*r))
                    .filter(|r| !out.contains(*r))
                    .map(|r| r.escape_ascii().to_string())
                    .collect();
                prop_assert!(lost.is_empty(), "{}: {lost:?}", family.path);
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        sides in prop::array::uniform3("[a1/:\n #!+\u{0}.-]{0,60}"),
    ) {
        let [pre, current, post] = sides.each_ref().map(|side| Some(side.as_bytes()));
        for family in FAMILIES {
            let _ = family.driver().merge(pre, current, post);
        }
    }
}
