//! Composes the layers of a recipe as they were last built. Nothing is committed.

use serde::Serialize;

use super::check::{CheckedSet, Examination};
use super::image::image_of;
use super::{BuildError, Composer};
use crate::check::{Finding, Verdict, verdict};
use crate::compose::Member;
use crate::format::ImageLayer;
use crate::id::{ImageId, LayerId};
use crate::recipe::Workspace;
use crate::store::{RefName, Repository};
use crate::time::Date;

/// What composing gives.
#[derive(Debug, Clone, Serialize)]
pub struct ComposeReport {
    /// The recipe's name.
    pub recipe: String,
    /// The image, if the layers make a sound one.
    pub image: Option<ImageId>,
    /// The layers, lowest first.
    pub layers: Vec<ImageLayer>,
    /// What the findings add up to.
    pub verdict: Verdict,
    /// What the checks found.
    pub findings: Vec<Finding>,
}

/// Composes the layers of a recipe as they are built, and checks them on the day `today`. Builds
/// nothing and commits nothing.
pub fn compose_built(
    workspace: &Workspace,
    composer: &Composer<'_>,
    today: Date,
) -> Result<ComposeReport, BuildError> {
    let repository = composer.repository();
    let mut members = built_members(workspace, repository)?;
    let recipe = workspace.recipe();
    let set = CheckedSet {
        name: recipe.name.clone(),
        layers: members.iter().filter_map(|member| member.id).collect(),
        waivers: recipe.waivers.clone(),
    };
    let transaction = repository.begin()?;
    let looked = Examination::at(&set, &mut members, composer, &transaction, today)?;
    let verdict = verdict(&looked.waived.findings);
    let image = if verdict == Verdict::Safe {
        let tree = &looked.composition.tree;
        let image = image_of(
            recipe,
            &members,
            tree,
            looked.waived.in_force,
            today,
            &transaction,
        )?;
        Some(transaction.put_image(&image)?)
    } else {
        None
    };
    Ok(ComposeReport {
        recipe: recipe.name.clone(),
        image,
        layers: members.iter().filter_map(Member::named).collect(),
        verdict,
        findings: looked.waived.findings,
    })
}

/// Returns the layers of a recipe as they were last built for it.
pub(super) fn built_members(
    workspace: &Workspace,
    repository: &Repository,
) -> Result<Vec<Member>, BuildError> {
    let recipe = workspace.recipe();
    let mut members = Vec::new();
    for name in &recipe.layers {
        let id = repository
            .read_ref(&RefName::layer(&recipe.name, name)?)?
            .and_then(|id| id.parse::<LayerId>().ok());
        let Some(id) = id else {
            return Err(BuildError::NotBuilt {
                layer: name.clone(),
                recipe: workspace.recipe_path().to_owned(),
                what: "for this recipe",
            });
        };
        members.push(Member::read(repository, &id)?);
    }
    Ok(members)
}
