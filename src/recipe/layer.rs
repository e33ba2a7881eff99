//! Reads a layer's folder, and checks the definition against the recipe and the folder's content.

use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Range;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::definition::{Definition, LayerContent};
use super::error::{RecipeError, SourceFile, suggest};
use super::file::Recipe;
use super::parse::{self, LayerSpans, ParsedLayer, SourceSpans};
use super::script::{SCRIPT_START, ScriptStart, script_start};
use super::sources::{ArchiveSection, PackageArchive, SignedBy, key_problem};
use super::together::{Together as _, all};

/// More than any keyring of archives has.
const MOST_KEY_BYTES: u64 = 1 << 24;

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
    /// How each script is started, in their order.
    pub starts: Vec<ScriptStart>,
}

impl RecipeLayer {
    /// Returns the archives that the definition names, with their keys.
    pub fn archives(&self) -> Result<Vec<PackageArchive>, RecipeError> {
        let sections = self.definition.sources().iter().zip(&self.places.sources);
        all(sections.map(|(section, spans)| {
            Ok(PackageArchive {
                section: section.clone(),
                key: read_key(&self.source, &self.dir, section, spans)?,
                place: self.source.place(&spans.table),
            })
        }))
    }
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
    let folder = check_folder(&source, &dir, &parsed);
    let at = recipe.layers.iter().position(|other| other == name);
    let at = at.unwrap_or_default();
    let starts = match (&parsed.definition.content, at) {
        (LayerContent::Base(_), 0) => folder?,
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
            let (_, starts) = (below, folder).together()?;
            starts
        }
    };
    Ok(RecipeLayer {
        definition: parsed.definition,
        dir,
        named_at,
        source,
        places: parsed.places,
        starts,
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

/// Reads the key of an archive, and checks that it is one.
fn read_key(
    source: &SourceFile,
    dir: &Path,
    section: &ArchiveSection,
    spans: &SourceSpans,
) -> Result<Option<Vec<u8>>, RecipeError> {
    let path = match &section.signed_by {
        None => return Ok(None),
        Some(SignedBy::Block(text)) => return Ok(Some(text.clone().into_bytes())),
        Some(SignedBy::File(path)) => path,
    };
    let shown = dir.join(path.as_path());
    let shown = shown.display();
    let fault = |message, help: Option<&str>| {
        let place = spans.signed_by.clone();
        source.fault_with(place, message, help.map(str::to_owned))
    };
    let key = read_beneath(dir, path.as_path()).map_err(|error| match error {
        Errno::XDEV | Errno::LOOP => fault(
            format!("the key '{shown}' is a link that leads out of the layer's folder"),
            Some("put the key itself there: others have nothing but the folder"),
        ),
        error => fault(
            format!("cannot read the key '{shown}': {}", io::Error::from(error)),
            Some("put the public key of the archive there"),
        ),
    })?;
    match key {
        None => Err(fault(format!("the key '{shown}' is not a file"), None)),
        Some(key) => match key_problem(&key) {
            Some(problem) => Err(fault(format!("'{shown}' {problem}"), None)),
            None => Ok(Some(key)),
        },
    }
}

/// Reads the start of a file to which links may lead, but not out of `dir`; `None` for what is no
/// file.
fn read_beneath(dir: &Path, path: &Path) -> Result<Option<Vec<u8>>, Errno> {
    // A pipe must not be waited for.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let top_flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = rustix::fs::open(dir, top_flags, Mode::empty())?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let file = File::from(rustix::fs::openat2(
        &top,
        path,
        flags,
        Mode::empty(),
        resolve,
    )?);
    let failed = |error: io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    if !file.metadata().map_err(failed)?.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let mut start = file.take(MOST_KEY_BYTES);
    start.read_to_end(&mut bytes).map_err(failed)?;
    Ok(Some(bytes))
}

/// Reads the start of a script, and says how the script is started.
fn read_start(path: &Path, name: &str) -> io::Result<Result<ScriptStart, (String, String)>> {
    let file = File::open(path)?;
    let is_executable = file.metadata()?.permissions().mode() & 0o111 != 0;
    let mut start = Vec::new();
    file.take(SCRIPT_START as u64).read_to_end(&mut start)?;
    Ok(script_start(name, &start, is_executable))
}

/// Checks that the folder holds what the definition names; says how its scripts are started.
fn check_folder(
    source: &SourceFile,
    dir: &Path,
    parsed: &ParsedLayer,
) -> Result<Vec<ScriptStart>, RecipeError> {
    let missing = |place: &Range<usize>, path: &Path, what: &str| {
        source.fault(place.clone(), format!("'{}' is not {what}", path.display()))
    };
    let keys = parsed.definition.sources().iter();
    let keys = all(keys
        .zip(&parsed.places.sources)
        .map(|(section, spans)| read_key(source, dir, section, spans)));
    let scripts = parsed.definition.run().map_or(&[][..], |run| &run.scripts);
    let scripts = scripts.iter().zip(&parsed.places.scripts);
    let starts = all(scripts.map(|(script, place)| {
        let path = dir.join(script.as_path());
        match std::fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_file() => {}
            Ok(meta) if meta.is_symlink() => {
                let message = format!("'{}' is a symbolic link", path.display());
                let help = "put the script itself there: what is run lies in the layer's folder";
                return Err(source.fault_with(place.clone(), message, Some(help.into())));
            }
            _ => return Err(missing(place, &path, "a file")),
        }
        match read_start(&path, &path.display().to_string()) {
            Ok(start) => start
                .map_err(|(message, help)| source.fault_with(place.clone(), message, Some(help))),
            Err(source) => Err(RecipeError::Read { path, source }),
        }
    }));
    let files = check_files(source, dir, parsed, &missing);
    let (_, starts, ()) = (keys, starts, files).together()?;
    Ok(starts)
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
