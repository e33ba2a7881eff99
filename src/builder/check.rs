//! Checks a set of existing layers. Nothing is built or committed.

use serde::Serialize;

use super::baselines::recall;
use super::blame::blame;
use super::inputs::LayerInputs;
use super::lost::{Comparison, record};
use super::renumbered::renumbered_since;
use super::searched::{LayerPublicSecret, findings_of, public_secrets};
use super::{BuildError, Composer, keys};
use crate::check::{Finding, Severity, Verdict, verdict};
use crate::compose::{Composition, Judgement, Member, WaiverOutcome, judge, moved, waive};
use crate::format::{Baseline, ImageLayer, Waiver};
use crate::id::LayerId;
use crate::recipe::Workspace;
use crate::store::{RefName, Repository, Transaction, Untouched};
use crate::time::Date;
use crate::tree::Inode;

/// A set of layers to check.
#[derive(Debug, Clone)]
pub struct CheckedSet {
    /// The name of the image. Accounts are compared with the present image of that name.
    pub name: String,
    /// The layers, lowest first.
    pub layers: Vec<LayerId>,
    /// The findings that somebody accepts.
    pub waivers: Vec<Waiver>,
}

/// What the checks say about a set.
#[derive(Debug, Clone, Serialize)]
pub struct CheckReport {
    /// What the findings add up to.
    pub verdict: Verdict,
    /// The layers, lowest first.
    pub layers: Vec<ImageLayer>,
    /// New findings, by layer.
    pub findings: Vec<Finding>,
    /// Findings that the layers had already when they were built.
    pub known: Vec<Finding>,
    /// The keys and passwords that layers have with a reason.
    pub public_secrets: Vec<LayerPublicSecret>,
}

impl CheckedSet {
    /// Takes the layers that a build of a recipe would keep. A layer that it would build is an
    /// error.
    pub fn of_recipe(workspace: &Workspace, repository: &Repository) -> Result<Self, BuildError> {
        let lock = workspace.require_lock()?;
        let mut layers = Vec::new();
        let untouched = Untouched::default();
        for layer in workspace.layers() {
            let input = LayerInputs::read(layer, &lock)?;
            match keys::find(repository, &input, &untouched)? {
                Some(cached) => layers.push(cached.layer),
                None => {
                    return Err(BuildError::NotBuilt {
                        layer: input.name,
                        recipe: workspace.recipe_path().to_owned(),
                        what: "from its present definition and lock",
                    });
                }
            }
        }
        Ok(Self {
            name: workspace.recipe().name.clone(),
            layers,
            waivers: workspace.recipe().waivers.clone(),
        })
    }
}

/// A set, composed and checked.
pub(super) struct Examination {
    /// The composition, without its own findings.
    pub composition: Composition,
    /// New findings, sorted by layer and id, with waivers applied.
    pub waived: WaiverOutcome,
    /// Findings that the layers had already when they were built.
    pub known: Vec<Finding>,
    /// What an image of the set records.
    pub record: Baseline,
}

impl Examination {
    /// Composes `members`, the layers of `set`, and checks them on the day `today`. Unknown
    /// baselines are made again first.
    pub(super) fn at(
        set: &CheckedSet,
        members: &mut [Member],
        composer: &Composer<'_>,
        transaction: &Transaction<'_>,
        today: Date,
    ) -> Result<Self, BuildError> {
        let repository = composer.repository();
        recall(composer, members, transaction)?;
        let members = &*members;
        let mut composition = composer.compose(&set.name, members, transaction)?;
        let mut found = composer.examine(&composition, members, transaction)?;
        blame(
            &mut found,
            &mut composition,
            &set.name,
            members,
            composer,
            transaction,
        )?;
        let before = repository.read_ref(&RefName::image(&set.name)?)?;
        let Judgement { new, mut known } = judge(found.clone(), members);
        let mut findings = Vec::new();
        // What a rebuild may mend is asked for first: the next look is at what came of it.
        if new.iter().all(|f| f.severity != Severity::Rebuild) {
            let comparison = Comparison {
                name: &set.name,
                before: before.as_deref(),
                members,
                tree: &composition.tree,
                composer,
                transaction,
            };
            findings = comparison.lost(&found)?;
            known.retain(|known| findings.iter().all(|lost| lost.id != known.id));
        }
        let read = |path: &[u8]| {
            let object = composition.tree.get(path).and_then(Inode::object);
            let bytes = object.map(|id| transaction.read_object(&id)).transpose()?;
            Ok(bytes.unwrap_or_default())
        };
        findings.extend(renumbered_since(
            repository,
            before.as_deref(),
            members,
            &read,
        )?);
        for id in members.iter().filter_map(|member| member.id) {
            findings.extend(findings_of(repository, &id, transaction)?);
        }
        findings.append(&mut composition.findings);
        findings.extend(moved(&composition, members));
        findings.extend(new);
        findings.sort_by(|a, b| (&a.layer, &a.id).cmp(&(&b.layer, &b.id)));
        wait_for_rebuilds(&mut findings, members);
        let waived = waive(findings, &set.waivers, today);
        Ok(Self {
            composition,
            record: record(&found, &waived.in_force),
            waived,
            known,
        })
    }
}

/// Keeps layers of files from being refused while a layer below them is to be built again, which
/// may mend them.
fn wait_for_rebuilds(findings: &mut [Finding], members: &[Member]) {
    let is_asked = |finding: &Finding| finding.severity == Severity::Rebuild;
    if !findings.iter().any(is_asked) {
        return;
    }
    for finding in findings {
        let of = members.iter().find(|m| m.layer.name == finding.layer);
        let waits = of.is_some_and(|of| of.baseline.files_only && of.is_moved(members));
        if waits && finding.severity == Severity::Refuse {
            finding.severity = Severity::Rebuild;
        }
    }
}

/// Composes a set and checks it, on the day `today`. Nothing is committed.
pub fn check(
    composer: &Composer<'_>,
    set: &CheckedSet,
    today: Date,
) -> Result<CheckReport, BuildError> {
    let repository = composer.repository();
    let mut members = set
        .layers
        .iter()
        .map(|id| Member::read(repository, id))
        .collect::<Result<Vec<_>, _>>()?;
    let transaction = repository.begin()?;
    let looked = Examination::at(set, &mut members, composer, &transaction, today)?;
    Ok(CheckReport {
        verdict: verdict(&looked.waived.findings),
        layers: members.iter().filter_map(Member::named).collect(),
        findings: looked.waived.findings,
        known: looked.known,
        public_secrets: public_secrets(members.iter().map(|member| &member.layer)),
    })
}
