//! `layerset(7)`: what the words mean, and how things go together. The words are those of the README,
//! which is their only source.

use super::page::Page;

const README: &str = include_str!("../../../README.md");

const OVERVIEW: [&str; 5] = [
    "A layer is a commit to a filesystem. A recipe is an ordered list of layers; its lock fixes the \
     version and hash of every package. `layerset build` builds the layers whose inputs changed, and \
     composes the image by three-way merge: a record that two layers change in different places is \
     merged, one that they change in the same place is a conflict, which no image gets past.",
    "When a layer below changes, the layers above stay as they are where the checks prove that they \
     hold: `safe`. One that does not hold is built again: `rebuild-needed`. Where that cannot help, the \
     set is `refused`, and no image is made. Every finding has an id, a reason and what helps; a waiver \
     accepts one of them.",
    "`layerset deploy` puts an image on a target beside what is there, merges the machine's edits of \
     /etc, and then switches: `current` is renamed. `layerset rollback` renames it back. It copies \
     nothing, fetches nothing and needs no repository. Each deployment has a number, its generation.",
    "/usr and the rest of the image are read-only and change with it. /etc is the machine's, and is \
     merged. /var is the machine's, and is only added to: what a layer leaves there is part of the image, \
     copied once or dropped, as its [state] says.",
    "`layerset publish` sends an image to a remote, and points a channel at it. Machines that trust the \
     remote's root follow the channel with `layerset update`, and fetch the difference.",
];

pub(super) fn page() -> Page {
    let mut page = Page::new("layerset", 7, "the concepts of layerset");
    page.heading("DESCRIPTION");
    for paragraph in OVERVIEW {
        page.paragraph(paragraph);
    }
    page.heading("WORDS");
    for (word, meaning) in words() {
        page.item(word, "", meaning);
    }
    let pages = [
        "layerset(1)",
        "layerset-build(1)",
        "layerset-check(1)",
        "layerset-deploy(1)",
        "layerset-layer.toml(5)",
        "layerset-recipe.toml(5)",
        "layerset-trust.toml(5)",
        "layerset-agent.toml(5)",
        "layerset-environment(7)",
    ];
    page.see_also(pages.map(str::to_owned));
    page
}

/// Returns the rows of the README's table of words.
fn words() -> impl Iterator<Item = (&'static str, &'static str)> {
    let table = README.split("\n## Words\n").nth(1).unwrap_or_default();
    let table = table.split("\n## ").next().unwrap_or_default();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| "));
    let rows = rows.filter_map(|row| row.strip_suffix(" |")?.split_once(" | "));
    rows.filter(|(word, _)| *word != "word")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_words_that_one_needs_are_explained() {
        let words: Vec<&str> = words().map(|(word, _)| word).collect();
        for needed in [
            "layer",
            "recipe, lock",
            "image",
            "composition",
            "target",
            "deployment",
            "generation",
            "finding, verdict",
            "release, channel",
        ] {
            assert!(words.contains(&needed), "{needed}: {words:?}");
        }
    }
}
