//! The pages of section 5: the files that people write, from the shapes that their readers check.
//!
//! They are called `layerset-layer.toml(5)` and so on: `recipe(5)` or `layer.toml(5)` would take a
//! common word from whoever else has such a file.

use super::FILES;
use super::page::Page;
use crate::agent::AGENT;
use crate::recipe::{LAYER, RECIPE};
use crate::shape::{Holds, Key, Rule, Shape};
use crate::trust::TRUST;

/// One file, its page and what shows how it looks.
struct Format {
    name: &'static str,
    about: &'static str,
    shape: &'static Shape,
    files: &'static [(&'static str, &'static str)],
    examples: &'static [(&'static str, &'static str)],
    related: &'static [&'static str],
}

const FORMATS: [Format; 4] = [
    Format {
        name: "layerset-layer.toml",
        about: "what a layer of layerset is made of",
        shape: &LAYER,
        files: &[
            FILES[2],
            ("layers/NAME/files", "What [files] copies onto the root."),
        ],
        examples: &[
            ("A base:", include_str!("../../../layers/debian/layer.toml")),
            (
                "Packages, files, a script and a secret:",
                include_str!("../../../layers/postgresql/layer.toml"),
            ),
        ],
        related: &[
            "layerset-build(1)",
            "layerset-new-layer(1)",
            "layerset-recipe.toml(5)",
        ],
    },
    Format {
        name: "layerset-recipe.toml",
        about: "which layers make an image of layerset",
        shape: &RECIPE,
        files: &[FILES[3], FILES[4]],
        examples: &[
            ("An image:", include_str!("../../../recipes/web.toml")),
            ("A disk with a partition for a database:", DISK),
            ("A finding that is accepted:", WAIVER),
        ],
        related: &[
            "layerset-lock(1)",
            "layerset-export-disk(1)",
            "layerset-layer.toml(5)",
        ],
    },
    Format {
        name: "layerset-trust.toml",
        about: "which remotes a machine trusts",
        shape: &TRUST,
        files: &[FILES[1]],
        examples: &[("One remote with a mirror:", REMOTE)],
        related: &[
            "layerset-deploy(1)",
            "layerset-trust(1)",
            "layerset-update(1)",
        ],
    },
    Format {
        name: "layerset-agent.toml",
        about: "what the agent of layerset does on a machine",
        shape: &AGENT,
        files: &[
            FILES[1],
            (
                "TARGET/layerset/agent.json",
                "What the agent remembers, for its reports alone.",
            ),
        ],
        examples: &[("At night, with reports:", NIGHTS)],
        related: &[
            "layerset-agent(1)",
            "layerset-health(1)",
            "layerset-history(1)",
        ],
    },
];

const NIGHTS: &str = "\
[[window]]
days = [\"mon\", \"tue\", \"wed\", \"thu\"]
from = \"23:00\"
to = \"04:00\"
timezone = \"Europe/Berlin\"

[health]
reachable = [\"gateway\", \"db.example:5432\"]

[report]
textfile = \"/var/lib/prometheus/node-exporter/layerset.prom\"
webhook = \"https://chat.example/hooks/layerset\"
";

const DISK: &str = "\
layers = [\"debian\", \"kernel\", \"machine\", \"postgresql\"]

[disk]
layout = \"updatable\"
margin = \"20%\"

[[disk.partitions]]
name = \"db\"
size = \"20GiB\"
filesystem = { type = \"ext4\", label = \"db\" }
mount = \"/var/lib/postgresql\"
fstab = { options = \"noatime\", pass = 2 }
";

const WAIVER: &str = "\
layers = [\"debian\", \"foo\"]

[[waivers]]
finding = \"unit:/usr/lib/systemd/system/foo.service:/usr/sbin/food\"
reason = \"food is on the data disk\"
expires = 2027-01-31
";

const REMOTE: &str = "\
[[remote]]
name = \"main\"
location = \"https://images.example/prod\"
mirrors = [\"https://mirror.example/prod\"]
root = \"root.json\"
channels = [\"images/web/*\"]
";

pub(super) fn pages() -> Vec<Page> {
    FORMATS.iter().map(page).collect()
}

fn page(format: &Format) -> Page {
    let mut page = Page::new(format.name, 5, format.about);
    page.heading("DESCRIPTION");
    page.paragraph(format.shape.doc);
    page.paragraph(
        "The file is TOML. An unknown key is an error. `layerset schema` prints the same as JSON \
         Schema, for editors.",
    );
    add_keys(&mut page, format.shape);
    page.heading("TABLES");
    add_tables(&mut page, format.shape.keys, "");
    page.heading("FILES");
    for (path, words) in format.files {
        page.item(path, "", words);
    }
    page.heading("EXAMPLES");
    for (caption, text) in format.examples {
        page.paragraph(caption);
        page.verbatim(text);
    }
    let common = ["layerset(1)", "layerset-schema(1)", "layerset(7)"];
    let related = common.iter().chain(format.related);
    page.see_also(related.map(|page| (*page).to_owned()));
    page
}

fn add_keys(page: &mut Page, shape: &Shape) {
    for key in shape.keys {
        let needed = if key.is_needed { ", needed" } else { "" };
        page.item(key.name, &format!("{}{needed}", kind(&key.holds)), key.doc);
    }
    for rule in shape.rules {
        page.paragraph(&sentence(rule));
    }
}

/// Adds a subsection for each table below some keys, in their order.
fn add_tables(page: &mut Page, keys: &[Key], above: &str) {
    for Key { name, holds, .. } in keys {
        let dotted = format!("{above}{name}");
        if let Some((inner, head)) = table(holds, &dotted) {
            page.subheading(&head);
            page.paragraph(inner.doc);
            add_keys(page, inner);
            add_tables(page, inner.keys, &format!("{dotted}."));
        }
        if let Holds::Map(map) = holds {
            add_tables(page, map.named, &format!("{dotted}."));
        }
    }
}

/// Returns the table in a value, and how it is written.
fn table(holds: &Holds, dotted: &str) -> Option<(&'static Shape, String)> {
    match holds {
        Holds::Table(shape) => Some((shape, format!("[{dotted}]"))),
        Holds::List(list) => {
            let (shape, _) = table(&list.of, dotted)?;
            Some((shape, format!("[[{dotted}]]")))
        }
        Holds::Map(map) => {
            let (shape, _) = table(&map.value, dotted)?;
            Some((shape, format!("[{dotted}.\"{}\"]", map.key.name)))
        }
        Holds::Either(choices) => choices.iter().find_map(|choice| table(choice, dotted)),
        _ => None,
    }
}

/// Says in a few words what a value is.
fn kind(holds: &Holds) -> String {
    match holds {
        Holds::Text => "text".to_owned(),
        Holds::Word(word) => word.name.to_owned(),
        Holds::Choice(words) => alternatives(words.iter().map(|word| format!("\"{word}\""))),
        Holds::Boolean => "true or false".to_owned(),
        Holds::Integer(..) => "a number".to_owned(),
        Holds::Number(numbers) => alternatives(numbers.iter().map(ToString::to_string)),
        Holds::Day => "a day, such as 2027-01-31".to_owned(),
        Holds::List(list) => match &list.of {
            Holds::Table(_) => "a list of tables".to_owned(),
            of => format!("a list; each is {}", kind(of)),
        },
        Holds::Table(_) => "a table".to_owned(),
        Holds::Map(map) => match &map.value {
            Holds::Table(_) => format!("tables by {}", bare(map.key.name)),
            value => format!("{} by {}", kind(value), bare(map.key.name)),
        },
        Holds::Either(choices) => alternatives(choices.iter().map(kind)),
    }
}

/// Returns a name without its article.
fn bare(name: &str) -> &str {
    let articles = ["a ", "an ", "the "];
    let rest = articles
        .iter()
        .find_map(|article| name.strip_prefix(article));
    rest.unwrap_or(name)
}

fn alternatives(words: impl Iterator<Item = String>) -> String {
    joined(words.collect(), "or")
}

fn joined(mut words: Vec<String>, last: &str) -> String {
    match words.pop() {
        None => String::new(),
        Some(end) if words.is_empty() => end,
        Some(end) => format!("{} {last} {end}", words.join(", ")),
    }
}

fn sentence(rule: &Rule) -> String {
    let quoted = |keys: &[&str], last| {
        let keys = keys.iter().map(|key| format!("`{key}`")).collect();
        joined(keys, last)
    };
    match rule {
        Rule::OneOf(keys) => format!("There is exactly one of {}.", quoted(keys, "and")),
        Rule::AnyOf(groups) => {
            let groups = groups
                .iter()
                .map(|keys| quoted(keys, "and"))
                .collect::<Vec<_>>();
            format!("There is at least: {}.", groups.join("; or "))
        }
        Rule::Excludes(key, others) => {
            format!("With `{key}` there is none of {}.", quoted(others, "and"))
        }
        Rule::Needs(key, other) => format!("`{key}` goes with `{other}` only."),
        Rule::ValueNeeds(key, value, other) => {
            format!("`{key}` = \"{value}\" needs `{other}`.")
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::agent::AgentConfig;
    use crate::recipe::{Definition, Recipe, SourceFile};
    use crate::trust::Policy;

    #[test]
    fn the_examples_of_the_formats_are_files_that_are_read() {
        for (at, format) in FORMATS.iter().enumerate() {
            for (caption, text) in format.examples {
                let source = SourceFile::new("x.toml", *text);
                let read = match at {
                    0 => Definition::parse(&source, "x")
                        .map(|_| ())
                        .map_err(|e| e.to_string()),
                    1 => Recipe::parse(&source, "x", "amd64")
                        .map(|_| ())
                        .map_err(|e| e.to_string()),
                    2 => Policy::parse(Path::new("x.toml"), text)
                        .map(|_| ())
                        .map_err(|e| e.to_string()),
                    _ => AgentConfig::parse(&source)
                        .map(|_| ())
                        .map_err(|e| e.to_string()),
                };
                assert_eq!(read, Ok(()), "{caption}");
            }
        }
    }

    #[test]
    fn a_page_has_every_key_of_its_shape() {
        for (format, page) in FORMATS.iter().zip(pages()) {
            let text = std::str::from_utf8(page.source()).unwrap();
            let mut shapes = vec![format.shape];
            while let Some(shape) = shapes.pop() {
                for key in shape.keys {
                    assert!(text.contains(key.name), "{} lacks {}", page.name, key.name);
                    shapes.extend(table(&key.holds, "").map(|(inner, _)| inner));
                }
            }
        }
    }
}
