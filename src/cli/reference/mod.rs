//! `layerset schema`, `completions` and `man`: made from the definitions that parse the command line
//! and that read the files, so that none of them drifts.

mod commands;
mod concepts;
mod environment;
mod formats;
mod page;
mod status;

use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory as _, ValueEnum};
use clap_complete::Shell;

use self::page::Page;
use super::{Cli, CliError, Context};
use crate::agent::AGENT;
use crate::recipe::{LAYER, RECIPE};
use crate::shape::{Shape, json_schema};
use crate::trust::TRUST;

/// Prints a schema.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset schema layer > layer.schema.json
  layerset schema recipe > recipe.schema.json

The schemas are JSON Schema 2020-12. Editors that read Even Better TOML or taplo check and complete a
file whose first line names the schema: `#:schema ../../layer.schema.json`. A schema cannot say
everything: what depends on other files, the reader alone refuses.")]
pub(super) struct Schema {
    /// The file
    file: FileKind,
}

/// A file that people write.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum FileKind {
    /// layers/NAME/layer.toml
    Layer,
    /// recipes/NAME.toml
    Recipe,
    /// trust.toml of a machine
    Trust,
    /// agent.toml of a machine
    Agent,
}

impl FileKind {
    fn shape(self) -> (&'static str, &'static Shape) {
        match self {
            Self::Layer => ("layer.toml of layerset", &LAYER),
            Self::Recipe => ("A recipe of layerset", &RECIPE),
            Self::Trust => ("trust.toml of layerset", &TRUST),
            Self::Agent => ("agent.toml of layerset", &AGENT),
        }
    }
}

impl Schema {
    pub(super) fn run(&self, context: &Context) -> Result<(), CliError> {
        let (title, shape) = self.file.shape();
        let schema = json_schema(title, shape);
        let text = serde_json::to_string_pretty(&schema)
            .map_err(|error| CliError::bug(format!("a schema is no JSON: {error}")))?;
        context.ui.print_bytes((text + "\n").as_bytes());
        Ok(())
    }
}

/// Prints shell completions.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  layerset completions bash > /etc/bash_completion.d/layerset")]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self, context: &Context) -> Result<(), CliError> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "layerset", &mut text);
        context.ui.print_bytes(&text);
        Ok(())
    }
}

/// Writes the manual pages.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  layerset man /usr/local/share/man

The pages of each section go into a directory of its own: man1, man5, man7.")]
pub(super) struct Man {
    /// The directory of the manual; it is made when absent
    dir: PathBuf,
}

impl Man {
    pub(super) fn run(&self, context: &Context) -> Result<(), CliError> {
        for page in pages()? {
            page.write_below(&self.dir).map_err(|error| {
                CliError::io(
                    format!("cannot write manual pages to '{}'", self.dir.display()),
                    error,
                )
            })?;
        }
        context
            .ui
            .remark(&format!("manual pages are in {}", self.dir.display()));
        Ok(())
    }
}

/// Returns every page of the manual.
fn pages() -> Result<Vec<Page>, CliError> {
    let mut pages = commands::pages(Cli::command())?;
    pages.extend(formats::pages());
    pages.push(environment::page());
    pages.push(concepts::page());
    Ok(pages)
}

/// The files that commands read and write, with what each is.
const FILES: [(&str, &str); 7] = [
    (
        "/var/lib/layerset",
        "The repository of root. Others have $XDG_DATA_HOME/layerset, which is ~/.local/share/layerset where that is not set.",
    ),
    (
        "/etc/layerset",
        "What root trusts: trust.toml and the roots that it names, and keys/ of those who publish; what the agent does: agent.toml and hooks.d/. Others have $XDG_CONFIG_HOME/layerset, or ~/.config/layerset.",
    ),
    (
        "layers/NAME/layer.toml",
        "What a layer is made of; see layerset-layer.toml(5).",
    ),
    (
        "recipes/NAME.toml",
        "Which layers make an image; see layerset-recipe.toml(5).",
    ),
    (
        "recipes/NAME.lock",
        "The exact packages, as `layerset lock` writes it.",
    ),
    (
        "layers/ids.toml",
        "The numbers of users and groups, as `layerset build` writes it.",
    ),
    (
        "TARGET/layerset",
        "The deployments of a target. `current` points at one of them.",
    ),
];

fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    std::fs::write(path, bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::machine::with_own_target;

    #[test]
    fn every_example_of_the_manual_is_one_that_the_command_line_takes() {
        let pages = pages().unwrap();
        let examples: Vec<&String> = pages.iter().flat_map(|page| &page.examples).collect();
        assert!(examples.len() > 80, "only {} examples", examples.len());
        for line in examples {
            // A comment, a redirection and the rest of a pipe are the shell's.
            let command = line.split(" #").next().unwrap();
            let command = command.split(['>', '|']).next().unwrap().trim();
            let Some(rest) = command.strip_prefix("layerset ") else {
                continue;
            };
            let words = std::iter::once("layerset".to_owned()).chain(words_of_shell(rest));
            // There, nothing but the machine can be meant.
            let own = line.contains("# of the machine that runs");
            let parsed = match own {
                true => with_own_target(Cli::command())
                    .try_get_matches_from(words)
                    .map(drop),
                false => Cli::try_parse_from(words).map(drop),
            };
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        }
    }

    /// Splits at spaces outside quotes, as a shell does.
    fn words_of_shell(line: &str) -> Vec<String> {
        let mut words = vec![String::new()];
        let mut quote = None;
        for c in line.chars() {
            match (c, quote) {
                (c, Some(open)) if c == open => quote = None,
                ('\'' | '"', None) => quote = Some(c),
                (' ', None) => words.push(String::new()),
                (c, _) => words.last_mut().unwrap().push(c),
            }
        }
        words.retain(|word| !word.is_empty());
        words
    }

    #[test]
    fn every_page_has_what_a_reader_looks_for() {
        for page in pages().unwrap() {
            let text = std::str::from_utf8(page.source()).unwrap();
            let mut wanted = vec!["NAME", "DESCRIPTION", "SEE ALSO"];
            if page.section == 1 {
                wanted.extend([
                    "SYNOPSIS",
                    "OPTIONS",
                    "EXIT STATUS",
                    "ENVIRONMENT",
                    "FILES",
                    "EXAMPLES",
                ]);
            }
            if page.section == 5 {
                wanted.extend(["FILES", "EXAMPLES"]);
            }
            for section in wanted {
                let heading = [format!(".SH {section}\n"), format!(".SH \"{section}\"\n")];
                let is_there = heading.iter().any(|heading| text.contains(heading));
                assert!(is_there, "{} lacks {section}", page.name);
            }
        }
    }

    #[test]
    fn a_page_names_only_pages_that_are_there() {
        let pages = pages().unwrap();
        let names: Vec<String> = pages
            .iter()
            .map(|page| format!("{}({})", page.name, page.section))
            .collect();
        for page in &pages {
            for other in &page.related {
                let is_ours = other.starts_with("layerset");
                assert!(
                    !is_ours || names.contains(other),
                    "{} names {other}",
                    page.name
                );
            }
        }
    }
}
