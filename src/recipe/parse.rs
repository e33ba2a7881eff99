//! From the text of `layer.toml` to a [`Definition`]: the only place that knows its keys.

use std::ops::Range;

use super::definition::{Definition, LayerContent, UpperLayer};
use super::error::{RecipeError, SourceFile};
use super::fields::{FileSpans, named, optional, spans};
use super::reader::{Document, Table, Value};
use super::sections;
use super::shapes::LAYER;
use super::together::{Together as _, all};
use super::words;

/// A definition, and where it names things that only the recipe or the folder can confirm.
pub(super) struct ParsedLayer {
    /// The definition.
    pub(super) definition: Definition,
    /// Where it says what.
    pub(super) places: LayerSpans,
}

/// Where a definition names things outside of it.
#[derive(Debug, Clone, Default)]
pub(super) struct LayerSpans {
    /// Each element of `on`.
    pub(super) on: Vec<Range<usize>>,
    /// The suite of `[bootstrap]`.
    pub(super) suite: Option<Range<usize>>,
    /// Each component of `[bootstrap]`.
    pub(super) components: Vec<Range<usize>>,
    /// Each package of `[bootstrap]` or `[apt]`.
    pub(super) packages: Vec<Range<usize>>,
    /// Each script.
    pub(super) scripts: Vec<Range<usize>>,
    /// What `[files]` names, if it is there.
    pub(super) files: Option<FileSpans>,
    /// Each archive of `[bootstrap]` or `[apt]`, and its `signed_by`.
    pub(super) sources: Vec<SourceSpans>,
}

/// Where a definition names an archive.
#[derive(Debug, Clone)]
pub(super) struct SourceSpans {
    /// The whole table.
    pub(super) table: Range<usize>,
    /// The key, or the table where none is named.
    pub(super) signed_by: Range<usize>,
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
    let (root, keys) = document.open(&LAYER);
    let mut places = LayerSpans::default();
    let content = match root.get("bootstrap") {
        Some(bootstrap) => base(&root, &bootstrap, &mut places),
        None => upper(source, &root, folder, &mut places),
    };
    let head = (
        keys,
        named(&root, folder, "the folder's name"),
        optional(&root, "description", |_| None),
        optional(&root, "version", words::line),
    );
    let sections = (
        section(&root, "state", sections::state),
        section(&root, "secrets", sections::secrets),
        section(&root, "secrets", sections::allowed_secrets),
        section(&root, "health", sections::health),
        section(&root, "services", sections::services),
        section(&root, "rebuild", sections::rebuild),
    );
    let ((_, name, description, version), content, sections) =
        (head.together(), content, sections.together()).together()?;
    let (state, secrets, allowed_secrets, health, services, rebuild_when) = sections;
    let definition = Definition {
        name: name.to_owned(),
        description,
        version,
        content,
        state,
        secrets,
        allowed_secrets,
        health,
        restart: services.restart,
        forbids_live: services.forbids_live,
        rebuild_when,
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
    let others = ["apt", "files", "run"].iter().filter_map(|key| {
        let help = "packages of a base go into 'bootstrap.packages', the rest into a layer on it";
        let message = format!("a base cannot have '[{key}]'");
        let fault = |value: Value<'_>| value.key_fault(message, Some(help.into()));
        root.get(key).map(fault)
    });
    let others = all(others.map(Err::<(), _>));
    let (_, content) = (others, sections::bootstrap(bootstrap)).together()?;
    let table = bootstrap.any_table()?;
    places.suite = table.get("suite").map(|suite| suite.span());
    places.components = match table.get("components") {
        Some(list) => spans(&list)?,
        None => Vec::new(),
    };
    places.packages = packages(bootstrap)?;
    places.sources = sources(bootstrap)?;
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
        return Err(source.consequence(0..0, "the layer has no content", Some(help.into())));
    }
    let on = stands_on(source, root, name);
    let apt = optional_section(root, "apt", |apt| {
        Ok((sections::apt(apt)?, (packages(apt)?, sources(apt)?)))
    });
    let files = optional_section(root, "files", sections::files);
    let run = optional_section(root, "run", sections::run);
    let (on, apt, files, run) = (on, apt, files, run).together()?;
    let (on, on_places) = on;
    places.on = on_places;
    let (apt, apt_places) = apt.unzip();
    (places.packages, places.sources) = apt_places.unwrap_or_default();
    let (files, file_places) = files.unzip();
    places.files = file_places;
    let (run, scripts) = run.unzip();
    places.scripts = scripts.unwrap_or_default();
    Ok(LayerContent::Upper(UpperLayer {
        on,
        apt,
        files,
        run,
    }))
}

/// Reads what the layer is built on, and where that stands.
fn stands_on(
    source: &SourceFile,
    root: &Table<'_>,
    name: &str,
) -> Result<(Vec<String>, Vec<Range<usize>>), RecipeError> {
    let Some(list) = root.get("on") else {
        let help = "name the layers it is built on, e.g. on = [\"debian\"]";
        return Err(match root.is_misspelt("on") {
            true => source.consequence(0..0, "missing key 'on'", Some(help.into())),
            false => source.fault_with(0..0, "missing key 'on'", Some(help.into())),
        });
    };
    let on = list.strings(words::layer_name)?;
    let places = spans(&list)?;
    if on.is_empty() {
        return Err(list.fault("'on' names no layer"));
    }
    if let Some((_, place)) = on.iter().zip(&places).find(|(other, _)| *other == name) {
        return Err(source.fault(place.clone(), "the layer cannot be built on itself"));
    }
    Ok((on, places))
}

/// Reads a table that a layer may do without.
fn optional_section<T>(
    root: &Table<'_>,
    key: &str,
    read: impl Fn(&Value<'_>) -> Result<T, RecipeError>,
) -> Result<Option<T>, RecipeError> {
    root.get(key).map(|value| read(&value)).transpose()
}

fn sources(table: &Value<'_>) -> Result<Vec<SourceSpans>, RecipeError> {
    let Some(list) = table.any_table()?.get("sources") else {
        return Ok(Vec::new());
    };
    let items = list.list()?;
    let spans = items.iter().map(|item| {
        let key = item.any_table()?.get("signed_by");
        Ok(SourceSpans {
            table: item.span(),
            signed_by: key.map_or_else(|| item.span(), |key| key.span()),
        })
    });
    spans.collect()
}

fn packages(table: &Value<'_>) -> Result<Vec<Range<usize>>, RecipeError> {
    let list = table.any_table()?.get("packages");
    list.map_or(Ok(Vec::new()), |list| spans(&list))
}
