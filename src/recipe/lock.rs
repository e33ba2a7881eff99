//! The lock, `recipes/<name>.lock`: exactly which package files each layer is built from.
//!
//! Layerset writes it, one package a line so that diffs read well. People commit and merge it, so
//! it is read as strictly as a file that they write. Writing sorts packages by name and
//! architecture: equal locks are equal bytes.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::error::{RecipeError, SourceFile};
use super::reader::{Document, Value};
use super::toml_text::quote;
use super::words;
use crate::sha256::Sha256;

/// The version of the lock's format that this program reads and writes.
pub const LOCK_VERSION: u32 = 1;

const HEADER: &str = "# Written by `layerset lock`; commit it.\n";

/// What a recipe is built from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipeLock {
    /// The format, always [`LOCK_VERSION`].
    pub version: u32,
    /// The recipe's name.
    pub recipe: String,
    /// The Debian architecture it was resolved for.
    pub architecture: String,
    /// The layers in the recipe's order.
    pub layers: Vec<LayerLock>,
}

/// The packages of one layer.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct LayerLock {
    /// The layer's name.
    pub name: String,
    /// The source-date-epoch, in seconds since 1970: no file of the layer is newer. It follows from
    /// the layer's own packages, so that moving one layer leaves the build keys of the others
    /// alone.
    pub epoch: i64,
    /// What the definition asked for when the layer was locked.
    pub requested: Vec<String>,
    /// Its packages, each name and architecture once; none for a layer without packages.
    pub packages: Vec<LockedPackage>,
}

/// One package file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct LockedPackage {
    /// The package's name.
    pub name: String,
    /// Its Debian version.
    pub version: String,
    /// Its architecture, `all` included.
    pub architecture: String,
    /// The digest of the file.
    pub sha256: Sha256,
    /// The size of the file in bytes.
    pub size: u64,
    /// The file's path below the archive's root.
    pub pool_path: String,
    /// What the archive that it was found in calls itself, e.g. `debian-security`. The file is known
    /// by its digest: any archive that has it will do.
    pub archive: String,
    /// Whether the definition names it, rather than another package.
    pub manual: bool,
}

impl LockedPackage {
    /// Returns `name version`, as messages show it.
    pub fn label(&self) -> String {
        format!("{} {}", self.name, self.version)
    }
}

impl LayerLock {
    /// Returns the package called `name`, which may carry `:<architecture>`.
    pub fn package(&self, name: &str) -> Option<&LockedPackage> {
        let (name, architecture) = match name.split_once(':') {
            Some((name, architecture)) => (name, Some(architecture)),
            None => (name, None),
        };
        self.packages.iter().find(|package| {
            package.name == name && architecture.is_none_or(|wanted| package.architecture == wanted)
        })
    }
}

impl RecipeLock {
    /// Returns the packages of `layer`.
    pub fn layer(&self, layer: &str) -> Option<&LayerLock> {
        self.layers.iter().find(|entry| entry.name == layer)
    }

    /// Returns the file's text.
    pub fn to_toml(&self) -> String {
        let mut text = HEADER.to_owned();
        let _ = write!(
            text,
            "version = {}\nrecipe = {}\narchitecture = {}\n",
            self.version,
            quote(&self.recipe),
            quote(&self.architecture),
        );
        for layer in &self.layers {
            let requested: Vec<String> = layer.requested.iter().map(|name| quote(name)).collect();
            let _ = write!(
                text,
                "\n[[layer]]\nname = {}\nepoch = {}\nrequested = [{}]\n",
                quote(&layer.name),
                layer.epoch,
                requested.join(", ")
            );
            let mut packages: Vec<_> = layer.packages.iter().collect();
            packages.sort_by_key(|package| (&package.name, &package.architecture));
            if packages.is_empty() {
                text.push_str("packages = []\n");
                continue;
            }
            text.push_str("packages = [\n");
            for package in packages {
                let LockedPackage {
                    name,
                    version,
                    architecture,
                    sha256,
                    size,
                    pool_path,
                    archive,
                    manual,
                } = package;
                let _ = writeln!(
                    text,
                    "  {{ name = {}, version = {}, architecture = {}, manual = {manual}, archive = {}, size = {size}, \
                     pool_path = {}, sha256 = {} }},",
                    quote(name),
                    quote(version),
                    quote(architecture),
                    quote(archive),
                    quote(pool_path),
                    quote(&sha256.to_string()),
                );
            }
            text.push_str("]\n");
        }
        text
    }

    /// Parses the file's text.
    pub fn parse(source: &SourceFile) -> Result<Self, RecipeError> {
        let document = Document::parse(source)?;
        // The version comes first: another format has other keys.
        let version = document.any_table().need("version")?;
        if version.integer::<i64>()? != i64::from(LOCK_VERSION) {
            return Err(version.fault_with(
                format!(
                    "the lock has format {}, this program reads {LOCK_VERSION}",
                    version.integer::<i64>()?
                ),
                Some("run `layerset lock` with this program, or use the one that wrote it".into()),
            ));
        }
        let root = document.written_table(&["version", "recipe", "architecture", "layer"])?;
        let mut layers: Vec<LayerLock> = Vec::new();
        if let Some(list) = root.get("layer") {
            for item in list.list()? {
                let table = item.written_table(&["name", "epoch", "requested", "packages"])?;
                let name = table.need("name")?;
                let layer = LayerLock {
                    name: name.checked(words::layer_name)?.to_owned(),
                    epoch: table.need("epoch")?.integer()?,
                    requested: parse_requested(&table.need("requested")?)?,
                    packages: parse_packages(&table.need("packages")?)?,
                };
                if layers.iter().any(|other| other.name == layer.name) {
                    return Err(name.fault(format!("layer '{}' is locked twice", layer.name)));
                }
                layers.push(layer);
            }
        }
        Ok(Self {
            version: LOCK_VERSION,
            recipe: root.need("recipe")?.checked(words::layer_name)?.to_owned(),
            architecture: root
                .need("architecture")?
                .checked(words::architecture)?
                .to_owned(),
            layers,
        })
    }
}

fn parse_requested(list: &Value<'_>) -> Result<Vec<String>, RecipeError> {
    list.list()?
        .iter()
        .map(|item| Ok(item.checked(words::package)?.to_owned()))
        .collect()
}

fn parse_packages(list: &Value<'_>) -> Result<Vec<LockedPackage>, RecipeError> {
    let mut seen = BTreeSet::new();
    let mut packages = Vec::new();
    for item in list.list()? {
        let table = item.written_table(&[
            "name",
            "version",
            "architecture",
            "sha256",
            "size",
            "pool_path",
            "archive",
            "manual",
        ])?;
        let package = LockedPackage {
            name: table
                .need("name")?
                .checked(words::plain_package)?
                .to_owned(),
            version: table.need("version")?.checked(words::version)?.to_owned(),
            architecture: table
                .need("architecture")?
                .checked(words::architecture)?
                .to_owned(),
            sha256: digest(&table.need("sha256")?)?,
            size: table.need("size")?.integer()?,
            pool_path: table
                .need("pool_path")?
                .checked(pool_path_problem)?
                .to_owned(),
            archive: archive(table.need("archive")?.checked(words::archive)?),
            manual: table.need("manual")?.boolean()?,
        };
        if !seen.insert((package.name.clone(), package.architecture.clone())) {
            return Err(item.fault(format!(
                "package '{}:{}' is locked twice",
                package.name, package.architecture
            )));
        }
        packages.push(package);
    }
    Ok(packages)
}

/// Returns an archive's name. Early versions wrote down apt's unset `$(LABEL)` where an archive calls
/// itself nothing.
fn archive(text: &str) -> String {
    match text {
        "--label-" => "archive",
        text => text,
    }
    .to_owned()
}

fn digest(value: &Value<'_>) -> Result<Sha256, RecipeError> {
    let text = value.checked(words::sha256)?;
    text.parse()
        .map_err(|_| value.fault(format!("'{text}' is not a SHA-256 digest")))
}

/// Says what keeps a text from being the path of a file in an archive. It is part of an address, so
/// it may hold empty names.
pub fn pool_path_problem(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        return Some("is no path");
    }
    if text.starts_with('/') {
        return Some("is absolute: it must lie in the archive");
    }
    if text.split('/').any(|name| name == "..") {
        return Some("leaves the archive");
    }
    (text.len() > 4095 || text.contains(char::is_control)).then_some("is not a path in an archive")
}
