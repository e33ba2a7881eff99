//! From the text of `layer.toml` to a [`Definition`]: the only place that knows its keys.

use std::ops::Range;

use super::definition::{Definition, LayerContent, UpperLayer};
use super::error::{RecipeError, SourceFile};
use super::fields::{FileSpans, named, optional, spans};
use super::reader::{Document, Table, Value};
use super::sections;
use super::shapes::LAYER;
use super::words;

/// A definition, and where it names things that only the recipe or the folder can confirm.
pub(super) struct ParsedLayer {
    /// The definition.
    pub(super) definition: Definition,
    /// Where it says what.
    pub(super) places: LayerSpans,
}

/// Where a definition names things outside of it.
#[derive(Default)]
pub(super) struct LayerSpans {
    /// Each element of `on`.
    pub(super) on: Vec<Range<usize>>,
    /// Each package of `[bootstrap]` or `[apt]`.
    pub(super) packages: Vec<Range<usize>>,
    /// Each script.
    pub(super) scripts: Vec<Range<usize>>,
    /// What `[files]` names, if it is there.
    pub(super) files: Option<FileSpans>,
}

impl Definition {
    /// Parses the text of a `layer.toml` that lies in a folder called `folder`.
    pub fn parse(source: &SourceFile, folder: &str) -> Result<Self, RecipeError> {
        parse(source, folder).map(|parsed| parsed.definition)
    }
}

/// Parses a definition and notes the places.
pub(super) fn parse(source: &SourceFile, folder: &str) -> Result<ParsedLayer, RecipeError> {
    let document = Document::parse(source)?;
    let root = document.table(&LAYER)?;
    let name = named(&root, folder, "the folder's name")?;
    let mut places = LayerSpans::default();
    let content = match root.get("bootstrap") {
        Some(bootstrap) => base(&root, &bootstrap, &mut places)?,
        None => upper(source, &root, name, &mut places)?,
    };
    let definition = Definition {
        name: name.to_owned(),
        description: optional(&root, "description", |_| None)?,
        version: optional(&root, "version", words::line)?,
        content,
        state: section(&root, "state", sections::state)?,
        secrets: section(&root, "secrets", sections::secrets)?,
        allowed_secrets: section(&root, "secrets", sections::allowed_secrets)?,
        health: section(&root, "health", sections::health)?,
        restart: section(&root, "services", sections::services)?,
        rebuild_when: section(&root, "rebuild", sections::rebuild)?,
    };
    Ok(ParsedLayer { definition, places })
}

/// Reads a table that may be missing.
fn section<T: Default>(
    root: &Table<'_>,
    key: &str,
    read: fn(&Value<'_>) -> Result<T, RecipeError>,
) -> Result<T, RecipeError> {
    root.get(key).map_or(Ok(T::default()), |value| read(&value))
}

fn base(
    root: &Table<'_>,
    bootstrap: &Value<'_>,
    places: &mut LayerSpans,
) -> Result<LayerContent, RecipeError> {
    if let Some(on) = root.get("on") {
        let help = "a base stands on nothing: remove 'on' or '[bootstrap]'";
        return Err(on.key_fault("a base cannot have 'on'", Some(help.into())));
    }
    for key in ["apt", "files", "run"] {
        if let Some(value) = root.get(key) {
            let help =
                "packages of a base go into 'bootstrap.packages', the rest into a layer on it";
            return Err(value.key_fault(format!("a base cannot have '[{key}]'"), Some(help.into())));
        }
    }
    let content = sections::bootstrap(bootstrap)?;
    places.packages = packages(bootstrap)?;
    Ok(LayerContent::Base(content))
}

fn upper(
    source: &SourceFile,
    root: &Table<'_>,
    name: &str,
    places: &mut LayerSpans,
) -> Result<LayerContent, RecipeError> {
    if ["apt", "files", "run"]
        .iter()
        .all(|key| root.get(key).is_none())
    {
        let help = "add '[bootstrap]' for a base, or any of '[apt]', '[files]' and '[run]'";
        return Err(source.fault_with(0..0, "the layer has no content", Some(help.into())));
    }
    let Some(list) = root.get("on") else {
        let help = "name the layers it is built on, e.g. on = [\"debian\"]";
        return Err(source.fault_with(0..0, "missing key 'on'", Some(help.into())));
    };
    let on = list.strings(words::layer_name)?;
    places.on = spans(&list)?;
    if on.is_empty() {
        return Err(list.fault("'on' names no layer"));
    }
    if let Some((_, place)) = on.iter().zip(&places.on).find(|(other, _)| *other == name) {
        return Err(source.fault(place.clone(), "the layer cannot be built on itself"));
    }
    let mut content = UpperLayer {
        on,
        apt: None,
        files: None,
        run: None,
    };
    if let Some(apt) = root.get("apt") {
        content.apt = Some(sections::apt(&apt)?);
        places.packages = packages(&apt)?;
    }
    if let Some(files) = root.get("files") {
        let (files, file_places) = sections::files(&files)?;
        content.files = Some(files);
        places.files = Some(file_places);
    }
    if let Some(run) = root.get("run") {
        let (run, scripts) = sections::run(&run)?;
        content.run = Some(run);
        places.scripts = scripts;
    }
    Ok(LayerContent::Upper(content))
}

fn packages(table: &Value<'_>) -> Result<Vec<Range<usize>>, RecipeError> {
    let list = table.any_table()?.get("packages");
    list.map_or(Ok(Vec::new()), |list| spans(&list))
}
