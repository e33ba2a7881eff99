//! What helps with damage that a repair could not mend, in terms of the command line, on this kind of
//! machine: one with the recipe, one with a remote, or one with neither.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::agent::RepairReport;
use crate::store::{RefName, Repository};

/// The commands.
#[derive(Debug, Default)]
pub(in crate::cli) struct RepairHints {
    /// Recipes whose layers or image are harmed.
    recipes: BTreeSet<String>,
    /// Channels, by remote, whose release is harmed.
    channels: BTreeSet<(String, String)>,
    /// Generations of targets that are harmed; the target's path, where it is known.
    deployments: BTreeMap<Option<String>, BTreeSet<String>>,
    is_damaged: bool,
    repository: String,
}

impl RepairHints {
    /// Finds what helps with what is left.
    pub(in crate::cli) fn of(repository: &Repository, report: &RepairReport, root: &Path) -> Self {
        let mut hints = Self {
            is_damaged: !report.left.damaged.is_empty(),
            repository: root.display().to_string(),
            ..Self::default()
        };
        for thing in &report.left.damaged {
            if let ("ref", Ok(name)) = (thing.what, RefName::new(&thing.name)) {
                hints.add(repository, &name);
            }
        }
        let harmed = &report.harmed;
        for (name, id) in repository.refs().unwrap_or_default() {
            let is_harmed = if name.is_layer() {
                id.parse().is_ok_and(|id| harmed.layers.contains(&id))
            } else {
                id.parse().is_ok_and(|id| {
                    harmed.images.contains(&id)
                        || repository.read_image(&id).is_ok_and(|image| {
                            let mut layers = image.layers.iter();
                            layers.any(|layer| harmed.layers.contains(&layer.id))
                        })
                })
            };
            if is_harmed {
                hints.add(repository, &name);
            }
        }
        hints
    }

    fn add(&mut self, repository: &Repository, name: &RefName) {
        let parts: Vec<&str> = name.as_str().split('/').collect();
        match parts.as_slice() {
            ["images" | "layers", recipe, ..] => {
                self.recipes.insert((*recipe).to_owned());
            }
            ["remotes", remote, channel @ ..] => {
                let channel = channel.join("/");
                let short = channel.strip_prefix("images/").unwrap_or(&channel);
                self.channels
                    .insert(((*remote).to_owned(), short.to_owned()));
            }
            ["deployments", target, generation] => {
                let root = repository.target_root(target);
                let root = root.map(|root| root.display().to_string());
                let of_target = self.deployments.entry(root).or_default();
                of_target.insert((*generation).to_owned());
            }
            _ => {}
        }
    }

    /// Returns what to do, the best first.
    pub(in crate::cli) fn texts(&self) -> Vec<String> {
        let mut texts = Vec::new();
        for recipe in &self.recipes {
            let file = format!("recipes/{recipe}.toml");
            texts.push(match Path::new(&file).exists() {
                true => format!("`layerset build {file}` builds it again from the lock"),
                false => format!(
                    "`layerset build {file}`, where the recipe is, builds it again from the lock"
                ),
            });
        }
        for (remote, channel) in &self.channels {
            texts.push(format!(
                "`layerset pull {channel} --remote {remote}` takes the newest release in its place"
            ));
        }
        for (root, generations) in &self.deployments {
            let numbers: Vec<&str> = generations.iter().map(String::as_str).collect();
            let root = root.as_deref().unwrap_or("DIR");
            texts.push(format!(
                "generation {} of '{root}' is harmed: `layerset update --target {root}` leaves it for a newer one",
                numbers.join(", ")
            ));
        }
        if self.is_damaged {
            texts.push(format!(
                "another machine that has it helps too: bring its repository here, and run `layerset fsck --repair --repo {} --from DIR`",
                self.repository
            ));
        }
        texts
    }
}
