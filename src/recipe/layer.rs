//! Reads a layer's folder, and checks the definition against the recipe and the folder's content.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::definition::{Definition, LayerContent};
use super::error::{RecipeError, SourceFile, suggest};
use super::file::Recipe;
use super::parse::{self, LayerSpans, ParsedLayer};
use super::together::{Together as _, all};

/// A layer definition and its folder.
#[derive(Debug, Clone)]
pub struct RecipeLayer {
    /// The definition.
    pub definition: Definition,
    /// The folder that holds `layer.toml`, the files and the scripts.
    pub dir: PathBuf,
    /// Where the recipe names the layer.
    pub(super) named_at: Range<usize>,
    /// The definition's text.
    pub(super) source: SourceFile,
    /// Where the definition names what only others can confirm.
    pub(super) places: LayerSpans,
}

/// Finds the folder of the layers. Where there is none, returns where it should be, for the error
/// message.
pub(super) fn find_layers(recipe_path: &Path) -> PathBuf {
    let folder = recipe_path.parent().unwrap_or(Path::new(""));
    let beside = folder.join("layers");
    if beside.is_dir() {
        return beside;
    }
    match (folder.parent(), folder.file_name()) {
        // Not for `..`, whose parent in text is not its parent on disk.
        (Some(above), Some(_)) => above.join("layers"),
        _ => folder.join("../layers"),
    }
}

pub(super) fn read_layer(
    layers_dir: &Path,
    name: &str,
    recipe_source: &SourceFile,
    named_at: Range<usize>,
    recipe: &Recipe,
) -> Result<RecipeLayer, RecipeError> {
    let dir = layers_dir.join(name);
    let source = match SourceFile::read(dir.join("layer.toml")) {
        Err(RecipeError::Read { source, .. }) if is_absent(&source) => {
            let known = layer_names(layers_dir);
            let help = match known.is_empty() {
                true => Some("give the folder of the layers with '--layers'".to_owned()),
                false => suggest(name, known.iter().map(String::as_str)),
            };
            let message = format!("there is no layer '{name}' in '{}'", layers_dir.display());
            return Err(recipe_source.fault_with(named_at, message, help));
        }
        other => other?,
    };
    let parsed = parse::parse(&source, name)?;
    let at = recipe.layers.iter().position(|other| other == name);
    let at = at.unwrap_or_default();
    match (&parsed.definition.content, at) {
        (LayerContent::Base(_), 0) => {}
        (LayerContent::Base(_), _) => {
            // Where the first layer is none, that is the mistake.
            return Err(recipe_source.consequence(
                named_at,
                format!("'{name}' is a second base, after '{}'", recipe.layers[0]),
                Some("a recipe has one base, its first layer".into()),
            ));
        }
        (LayerContent::Upper(upper), 0) => {
            return Err(recipe_source.fault_with(
                named_at,
                format!("the first layer, '{name}', is not a base"),
                Some(format!(
                    "put what it is built on before it: {}",
                    upper.on.join(", ")
                )),
            ));
        }
        (LayerContent::Upper(upper), _) => {
            let below = upper.on.iter().zip(&parsed.places.on);
            let below = all(below.map(|(below, place)| {
                check_below(&source, place, name, below, recipe, recipe_source.path())
            }));
            (below, check_folder(&source, &dir, &parsed)).together()?;
        }
    }
    Ok(RecipeLayer {
        definition: parsed.definition,
        dir,
        named_at,
        source,
        places: parsed.places,
    })
}

fn check_below(
    source: &SourceFile,
    place: &Range<usize>,
    name: &str,
    below: &str,
    recipe: &Recipe,
    recipe_path: &Path,
) -> Result<(), RecipeError> {
    let position = |wanted: &str| recipe.layers.iter().position(|layer| layer == wanted);
    let file = recipe_path.display();
    match (position(below), position(name)) {
        (Some(lower), Some(upper)) if lower < upper => Ok(()),
        (Some(_), _) => Err(source.fault_with(
            place.clone(),
            format!("layer '{name}' is built on '{below}', which stands after it in '{file}'"),
            Some(format!("move '{below}' before '{name}' there")),
        )),
        (None, _) => {
            let others = recipe.layers.iter().map(String::as_str);
            let meant = suggest(below, others.filter(|other| *other != name))
                .filter(|help| help.starts_with("did you mean"));
            let add = format!("add '{below}' before '{name}' there");
            Err(source.fault_with(
                place.clone(),
                format!("layer '{name}' is built on '{below}', which '{file}' does not list"),
                Some(meant.unwrap_or(add)),
            ))
        }
    }
}

/// Checks that the folder holds what the definition names.
fn check_folder(source: &SourceFile, dir: &Path, parsed: &ParsedLayer) -> Result<(), RecipeError> {
    let missing = |place: &Range<usize>, path: &Path, what: &str| {
        source.fault(place.clone(), format!("'{}' is not {what}", path.display()))
    };
    let scripts = parsed.definition.run().map_or(&[][..], |run| &run.scripts);
    let scripts = scripts.iter().zip(&parsed.places.scripts);
    let scripts = all(scripts.map(|(script, place)| {
        let path = dir.join(script.as_path());
        match std::fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_file()) {
            true => Ok(()),
            false => Err(missing(place, &path, "a file")),
        }
    }));
    let files = check_files(source, dir, parsed, &missing);
    (scripts, files).together().map(|_| ())
}

fn check_files(
    source: &SourceFile,
    dir: &Path,
    parsed: &ParsedLayer,
    missing: &dyn Fn(&Range<usize>, &Path, &str) -> RecipeError,
) -> Result<(), RecipeError> {
    if let (Some(files), Some(places)) = (parsed.definition.files(), &parsed.places.files) {
        let root = dir.join(files.source.as_path());
        if !std::fs::symlink_metadata(&root).is_ok_and(|meta| meta.is_dir()) {
            return Err(missing(&places.source, &root, "a folder"));
        }
        all(places.paths.iter().map(|(path, place)| {
            match std::fs::symlink_metadata(root.join(path.as_path())) {
                Ok(_) => Ok(()),
                Err(_) => {
                    let message = format!("'{path}' is not in '{}'", root.display());
                    Err(source.fault(place.clone(), message))
                }
            }
        }))?;
    } else if dir.join("files").is_dir() {
        let help = "add '[files]' to copy it onto the root, or rename the folder";
        return Err(source.fault_with(
            0..0,
            "there is a folder 'files', but no '[files]'",
            Some(help.into()),
        ));
    }
    Ok(())
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Returns the names of the layers in a folder. They are for hints only, so a folder that cannot be
/// read counts as empty.
fn layer_names(layers_dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(layers_dir) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.path().join("layer.toml").is_file())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_lie_beside_the_recipes_folder_in_the_words_of_the_given_path() {
        for (recipe, layers) in [
            ("nowhere/recipes/web.toml", "nowhere/layers"),
            ("nowhere/web.toml", "layers"),
            ("nowhere/../web.toml", "nowhere/../../layers"),
            ("/nowhere/recipes/web.toml", "/nowhere/layers"),
        ] {
            assert_eq!(find_layers(Path::new(recipe)), Path::new(layers));
        }
    }
}
