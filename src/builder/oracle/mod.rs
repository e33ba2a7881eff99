//! The oracle: does composing layers give what one installation gives?
//!
//! The packages of all upper layers are installed in one go on the base as built, then each layer's
//! files, owners and scripts follow in the recipe's order; what that leaves is settled and derived
//! as layers are, and compared with the composed tree ([`compare`]). Every difference is explained
//! by the allow-list ([`allow`]), or it is a defect. Nothing is committed: no ref moves, no number
//! enters the ids table, and what was stored is garbage.

mod allow;
mod compare;
mod installation;

use allow::AllowList;
pub use allow::{AllowError, AllowRule};
pub(super) use compare::compare;
pub use compare::{DifferenceKind, InodeFacts, OracleDifference};

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use serde::Serialize;

use super::below::LayersBelow;
use super::composed::built_members;
use super::inputs::LayerInputs;
use super::session::BuildSession;
use super::{BuildError, BuildOptions, Composer};
use crate::check::FindingKind;
use crate::compose::Member;
use crate::layout::dpkg;
use crate::packages::package_of_list;
use crate::path::RelPath;
use crate::recipe::Workspace;
use crate::store::{Repository, Untouched};

/// What the oracle found.
#[derive(Debug, Clone, Serialize)]
pub struct OracleReport {
    /// The recipe's name.
    pub recipe: String,
    /// How many paths were compared.
    pub paths: usize,
    /// Differences that the allow-list explains.
    pub explained: Vec<ExplainedDifference>,
    /// Differences that nothing explains.
    pub unexplained: Vec<OracleDifference>,
    /// Seconds in all.
    pub seconds: f64,
}

/// A difference that an entry of the allow-list explains.
#[derive(Debug, Clone, Serialize)]
pub struct ExplainedDifference {
    /// What differs.
    #[serde(flatten)]
    pub difference: OracleDifference,
    /// The rule that held.
    pub rule: AllowRule,
    /// Why such a difference is no defect.
    pub reason: String,
}

/// Installs what the recipe's layers lock in one go, and compares it with what they compose to.
pub fn oracle(
    workspace: &Workspace,
    repository: &Repository,
    options: &BuildOptions<'_>,
) -> Result<OracleReport, BuildError> {
    let started = Instant::now();
    if !rustix::process::geteuid().is_root() {
        return Err(BuildError::OracleNeedsRoot);
    }
    let recipe = &workspace.recipe().name;
    let title = format!("layerset compose --oracle of {recipe}");
    let _alone = repository.work_lock(&format!("build-{recipe}"), &title, options.waiting)?;
    let lock = workspace.require_lock()?;
    let inputs: Vec<LayerInputs> = workspace
        .layers()
        .iter()
        .map(|layer| LayerInputs::read(layer, &lock))
        .collect::<Result<_, _>>()?;
    let members = built_members(workspace, repository)?;
    let composer = Composer::new(repository, options.cancel, options.progress);
    for (input, member) in inputs.iter().zip(&members) {
        if member.layer.build.key != input.key {
            return Err(BuildError::NotBuilt {
                layer: input.name.clone(),
                recipe: workspace.recipe_path().to_owned(),
                what: "from its present definition and lock",
            });
        }
    }
    let ids = workspace.read_ids()?;
    let build = BuildSession {
        workspace,
        repository,
        options,
        known_ids: &ids,
        ids: ids.clone(),
        forced: &BTreeMap::new(),
        composer: &composer,
        untouched: &Untouched::default(),
        built: members
            .iter()
            .filter_map(|member| Some((member.layer.name.clone(), member.id?)))
            .collect(),
    };
    options
        .progress
        .step(recipe, "composing the layers as built", None);
    let composed = LayersBelow::compose(&composer, recipe, &members)?.lower;
    let installed = installation::install(&build, &inputs, &members)?;
    options.progress.step(recipe, "comparing", None);
    let read = |object: &_| repository.read_object(object);
    let allowed = AllowList::built_in().map_err(|source| BuildError::Allow { source })?;
    let (mut explained, mut unexplained) = (Vec::new(), Vec::new());
    for difference in compare(&composed, &installed, &read)? {
        match allowed.explain(&difference, &read)? {
            Some(entry) => explained.push(ExplainedDifference {
                difference,
                rule: entry.rule,
                reason: entry.reason.clone(),
            }),
            None => unexplained.push(difference),
        }
    }
    if !unexplained.is_empty() {
        let asked = asked_beside(&composer, recipe, &members)?;
        for difference in &mut unexplained {
            let is_asked = asked.contains(&difference.path);
            difference.kind = difference
                .kind
                .or(is_asked.then_some(DifferenceKind::AskedBeside));
        }
    }
    Ok(OracleReport {
        recipe: recipe.clone(),
        paths: composed.len(),
        explained,
        unexplained,
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// Returns the files of the packages whose scripts asked for a program that a layer beside theirs
/// brings.
fn asked_beside(
    composer: &Composer<'_>,
    recipe: &str,
    members: &[Member],
) -> Result<BTreeSet<RelPath>, BuildError> {
    let transaction = composer.repository().begin()?;
    let composition = composer.compose(recipe, members, &transaction)?;
    let found = composer.examine(&composition, members, &transaction)?;
    let asked = found
        .iter()
        .filter(|found| found.problem.id.kind() == FindingKind::Probe);
    let packages: BTreeSet<&str> = asked
        .filter_map(|found| found.problem.package.as_deref())
        .collect();
    let tree = &composition.tree;
    let mut paths = BTreeSet::new();
    for (path, inode) in tree.below(dpkg::INFO.as_bytes()) {
        let package = package_of_list(path.name()).and_then(|name| std::str::from_utf8(name).ok());
        let is_asked = package.is_some_and(|package| packages.contains(package));
        if let (true, Some(object)) = (is_asked, inode.object()) {
            let list = transaction.read_object(&object)?;
            let lines = list.split(|byte| *byte == b'\n');
            paths.extend(lines.filter_map(|line| tree.resolve(line)));
        }
    }
    Ok(paths)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
