//! `layerset new`: a layer or a recipe to start from, with every common key in a comment.

mod layer;
mod recipe;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::{CliError, Context};
use crate::recipe::{Definition, SourceFile, name_problem};

/// Writes a layer or a recipe to start from.
#[derive(Debug, Args)]
pub(super) struct New {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Write layers/NAME with a commented layer.toml and a first file
    Layer(layer::NewLayer),
    /// Write a commented recipes/NAME.toml
    Recipe(recipe::NewRecipe),
}

impl New {
    pub(super) fn run(&self, context: &Context) -> Result<(), CliError> {
        let written = match &self.what {
            What::Layer(layer) => layer.write()?,
            What::Recipe(recipe) => recipe.write()?,
        };
        context
            .ui
            .print_json(&serde_json::json!({ "files": written }))?;
        let lines = written.iter().map(|path| format!("{}\n", path.display()));
        context.ui.print(&lines.collect::<String>());
        Ok(())
    }
}

/// Refuses what cannot be the name of a layer or a recipe.
fn check_name(name: &str) -> Result<(), CliError> {
    match name_problem(name) {
        None => Ok(()),
        Some(problem) => Err(CliError::usage(format!(
            "'{}' {problem}",
            name.escape_debug()
        ))),
    }
}

/// Writes a file that is not there yet.
fn create(path: &Path, text: &str) -> Result<PathBuf, CliError> {
    let fail = |error: std::io::Error| {
        let what = format!("cannot write '{}'", path.display());
        match error.kind() {
            std::io::ErrorKind::AlreadyExists => CliError::io(what, error)
                .with_hint("choose another name, or remove it: nothing is overwritten"),
            _ => CliError::io(what, error),
        }
    };
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(fail)?;
    }
    let mut file = std::fs::File::create_new(path).map_err(fail)?;
    file.write_all(text.as_bytes()).map_err(fail)?;
    Ok(path.to_owned())
}

/// Returns the names of the bases in a folder of layers. What cannot be read is none.
fn bases(layers: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(layers).into_iter().flatten().flatten();
    let mut found: Vec<String> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let source = SourceFile::read(entry.path().join("layer.toml")).ok()?;
            let definition = Definition::parse(&source, &name).ok()?;
            definition.bootstrap().is_some().then_some(name)
        })
        .collect();
    found.sort();
    found
}

/// Returns the base in a folder of layers, where there is exactly one to choose.
fn only_base(layers: &Path) -> Result<String, CliError> {
    let known = bases(layers);
    match known.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(
            CliError::usage(format!("there is no base in '{}'", layers.display())).with_hint(
                "make one first: `layerset new layer debian --base trixie`; or give --dir",
            ),
        ),
        many => Err(
            CliError::usage(format!("there are {} bases to choose from", many.len()))
                .with_hint(format!("name one of {}", many.join(", "))),
        ),
    }
}

/// Writes a list of words as TOML.
fn list(words: &[String]) -> String {
    let words: Vec<String> = words
        .iter()
        .map(|word| crate::recipe::quote(word))
        .collect();
    format!("[{}]", words.join(", "))
}

/// Takes `#` away from lines that are keys or tables in a comment; prose has a space after it.
#[cfg(test)]
fn uncommented(text: &str) -> String {
    let line = |line: &str| match line.strip_prefix('#') {
        Some(key) if !key.starts_with([' ', ':']) => key.to_owned(),
        _ => line.to_owned(),
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}
