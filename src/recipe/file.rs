//! Recipes as values: `recipes/<name>.toml`, the ordered list of layers that make one image.

use std::collections::BTreeSet;
use std::ops::Range;

use super::disk::{self, DiskSection};
use super::error::{RecipeError, SourceFile, suggest};
use super::fields::{named, optional, spans};
use super::reader::{Document, Table, Value};
use super::shapes::{POLICY, RECIPE, WAIVER};
use super::together::{Together as _, all};
use super::words;
use crate::format::Waiver;

/// How many earlier deployments a target keeps when the recipe does not say.
pub const DEFAULT_KEEP: u32 = 3;

/// One recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// The recipe's name: its file's stem.
    pub name: String,
    /// A sentence for people.
    pub description: Option<String>,
    /// The Debian architecture of the image.
    pub architecture: String,
    /// The layers in order of composition, the base first; never empty, none twice.
    pub layers: Vec<String>,
    /// What targets do with deployments of this image.
    pub policy: RecipePolicy,
    /// `[[waivers]]`: findings that somebody accepts, each for a reason and a time; none twice.
    pub waivers: Vec<Waiver>,
    /// `[disk]`: the disk that the image becomes, where the recipe describes one. It is no part of
    /// any layer or image.
    pub disk: Option<DiskSection>,
}

/// `[policy]`: what targets do with deployments of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipePolicy {
    /// How many deployments are kept beside current and pinned ones.
    pub keep: u32,
}

impl Recipe {
    /// Parses the text of the recipe `<stem>.toml`. `host_architecture` is used where it names
    /// none.
    pub fn parse(
        source: &SourceFile,
        stem: &str,
        host_architecture: &str,
    ) -> Result<Self, RecipeError> {
        parse(source, stem, host_architecture).map(|(recipe, _)| recipe)
    }
}

/// Parses a recipe, and returns where each of its layers is named.
pub(super) fn parse(
    source: &SourceFile,
    stem: &str,
    host_architecture: &str,
) -> Result<(Recipe, Vec<Range<usize>>), RecipeError> {
    let document = Document::parse(source)?;
    let (root, keys) = document.open(&RECIPE);
    let architecture = architecture(&root, host_architecture);
    // What a disk may be depends on the architecture: a wrong one says nothing about the disk.
    let disk = match (root.get("disk"), &architecture) {
        (Some(disk), Ok(architecture)) => disk::parse(&disk, architecture).map(Some),
        _ => Ok(None),
    };
    let waivers = root.get("waivers");
    let read = (
        keys,
        named(&root, stem, "the file's name"),
        optional(&root, "description", |_| None),
        architecture,
        layers(&root),
        keep(&root),
        waivers.map_or(Ok(Vec::new()), |list| parse_waivers(&list)),
        disk,
    );
    let (_, name, description, architecture, (layers, places), keep, waivers, disk) =
        read.together()?;
    let recipe = Recipe {
        name: name.to_owned(),
        description,
        architecture,
        layers,
        policy: RecipePolicy { keep },
        waivers,
        disk,
    };
    Ok((recipe, places))
}

fn architecture(root: &Table<'_>, host: &str) -> Result<String, RecipeError> {
    let Some(value) = root.get("architecture") else {
        return Ok(host.to_owned());
    };
    let text = value.string()?;
    if words::ARCHITECTURES.contains(&text) {
        return Ok(text.to_owned());
    }
    let known = match text {
        "x86_64" | "x86-64" | "x64" => Some("did you mean 'amd64'?".to_owned()),
        "aarch64" => Some("did you mean 'arm64'?".to_owned()),
        _ => suggest(text, words::ARCHITECTURES),
    };
    Err(value.fault_with(
        format!("unknown architecture '{}'", text.escape_debug()),
        known,
    ))
}

/// Reads the names of the layers, and where each stands.
fn layers(root: &Table<'_>) -> Result<(Vec<String>, Vec<Range<usize>>), RecipeError> {
    let list = root.need("layers")?;
    let layers = list.strings(words::layer_name)?;
    if layers.is_empty() {
        return Err(list.fault_with(
            "'layers' is empty",
            Some("a recipe starts with a base, e.g. layers = [\"debian\"]".into()),
        ));
    }
    Ok((layers, spans(&list)?))
}

fn keep(root: &Table<'_>) -> Result<u32, RecipeError> {
    let Some(policy) = root.get("policy") else {
        return Ok(DEFAULT_KEEP);
    };
    let table = policy.table(&POLICY)?;
    table
        .get("keep")
        .map_or(Ok(DEFAULT_KEEP), |value| value.integer())
}

fn parse_waivers(list: &Value<'_>) -> Result<Vec<Waiver>, RecipeError> {
    let mut seen = BTreeSet::new();
    all(list.list()?.iter().map(|item| {
        let waiver = waiver(item)?;
        if !seen.insert(waiver.finding.clone()) {
            let place = item.any_table()?.need("finding")?;
            return Err(place.fault(format!("'{}' is waived twice", waiver.finding)));
        }
        Ok(waiver)
    }))
}

fn waiver(item: &Value<'_>) -> Result<Waiver, RecipeError> {
    let (table, keys) = item.open(&WAIVER)?;
    let finding = table.need("finding").and_then(|place| {
        place.checked(|text| match text {
            "" => Some("is empty"),
            text if text.contains(['*', ' ', '\t', '\n']) => Some(
                "is no id of a finding: a waiver accepts exactly one, as `layerset check` names it",
            ),
            _ => None,
        })
    });
    let reason = table.need("reason").and_then(|reason| {
        reason.checked(|text| {
            let blank = text.trim().is_empty().then_some("says nothing");
            blank.or_else(|| words::line(text))
        })
    });
    let expires = table.need("expires").and_then(|day| day.date());
    let (_, finding, reason, expires) = (keys, finding, reason, expires).together()?;
    Ok(Waiver {
        finding: finding.to_owned(),
        reason: reason.to_owned(),
        expires,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        let source = SourceFile::new("recipes/web.toml", text);
        Recipe::parse(&source, "web", "amd64")
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn a_recipe_takes_its_name_and_architecture_from_its_surroundings() {
        let source = SourceFile::new("recipes/web.toml", "layers = ['debian', 'nginx']");
        let recipe = Recipe::parse(&source, "web", "arm64").unwrap();
        assert_eq!((&*recipe.name, &*recipe.architecture), ("web", "arm64"));
        assert_eq!(recipe.layers, ["debian", "nginx"]);
        assert_eq!(recipe.policy.keep, DEFAULT_KEEP);
    }

    #[test]
    fn faults_point_at_the_place_and_say_what_to_write() {
        for (text, expected) in [
            (
                "name = 'shop'\nlayers = ['debian']",
                "recipes/web.toml:1:8: the name 'shop' differs from the file's name, 'web' (rename one of them, or leave 'name' out)",
            ),
            (
                "layrs = ['debian']",
                "recipes/web.toml:1:1: unknown key 'layrs' (did you mean 'layers'?)",
            ),
            (
                "layers = ['debian']\noutputs = []",
                "recipes/web.toml:2:1: unknown key 'outputs' (known: architecture, description, disk, name, policy, waivers)",
            ),
            (
                "layers = ['debian']\n[policy]\nkep = 3",
                "recipes/web.toml:3:1: unknown key 'kep' (did you mean 'keep'?)",
            ),
            (
                "layers = ['debian']\npolicy.keep = -1",
                "recipes/web.toml:2:15: 'policy.keep' is out of range: -1",
            ),
            (
                "layers = 'debian'",
                "recipes/web.toml:1:10: 'layers' must be a list, not a string",
            ),
            (
                "layers = [\n  'debian',\n  7,\n]",
                "recipes/web.toml:3:3: 'layers' must be a string, not an integer",
            ),
            (
                "layers = ['debian', 'nginx', 'nginx']",
                "recipes/web.toml:1:30: 'nginx' is listed twice",
            ),
            (
                "layers = []",
                "recipes/web.toml:1:10: 'layers' is empty (a recipe starts with a base, e.g. layers = [\"debian\"])",
            ),
            (
                "architecture = 'x86_64'\nlayers = ['debian']",
                "recipes/web.toml:1:16: unknown architecture 'x86_64' (did you mean 'amd64'?)",
            ),
            ("", "recipes/web.toml:1:1: missing key 'layers'"),
            (
                "layers = ['a']\n[[waivers]]\nfinding = 'elf:*'\nreason = 'x'\nexpires = 2027-01-01",
                "recipes/web.toml:3:11: 'elf:*' is no id of a finding: a waiver accepts exactly one, as `layerset check` names it",
            ),
            (
                "layers = ['a']\n[[waivers]]\nfinding = 'a:b'\nreason = ' '\nexpires = 2027-01-01",
                "recipes/web.toml:4:10: ' ' says nothing",
            ),
            (
                "layers = ['a']\n[[waivers]]\nfinding = 'a:b'\nreason = 'x'",
                "recipes/web.toml:2:1: missing key 'waivers.expires'",
            ),
            (
                "layers = ['a']\n[[waivers]]\nfinding = 'a:b'\nreason = 'x'\nexpires = 2027-01-01T00:00:00Z",
                "recipes/web.toml:5:11: 'waivers.expires' must be a day, e.g. 2027-01-31",
            ),
            (
                "layers = ['debian'\n",
                "recipes/web.toml:1:19: unclosed array, expected `]`",
            ),
            (
                "layers = ['a']\nlayers = ['b']",
                "recipes/web.toml:2:1: duplicate key",
            ),
        ] {
            assert_eq!(error(text), expected, "{text}");
        }
    }
}
