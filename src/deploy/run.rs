//! The use case: an image is brought onto a target, from the first refusal to the last clean-up.
//!
//! ```text
//! refuse a bad image → stop if it is already current
//!     → stage, or find what is the same → switch → subscribe → remember → prune
//! ```
//!
//! The switch is the commit point. A command that dies before it leaves the old deployment current;
//! one that dies after it leaves the new one. The same command, run again, does the rest either
//! way. So a release is subscribed to and remembered even if its image is already current: an
//! earlier command may have died in between.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::change::Change;
use super::changes::changes;
use super::{
    BadPolicy, DeployError, DeploymentKind, EtcReport, Exchange, HistoryAction, ImageChanges,
    ImageParts, Note, RecordedVerdict, ServiceRestart, StageOptions, StagedDeployment,
    Subscription, SwitchClass, SwitchReport, SwitchWay, Target, TargetLocation, VarReport, moving,
};
use crate::causes::chain;
use crate::id::ImageId;
use crate::store::Repository;
use crate::trust::AcceptedRelease;

/// How far to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeployMode {
    /// Says what would be done to `/etc`, and changes nothing.
    Plan,
    /// The deployment is made beside the current one.
    Stage,
    /// The deployment is made current.
    #[default]
    Switch,
}

/// When a machine comes to what it was switched to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SwitchPace {
    /// By its next start, whenever somebody asks for that.
    #[default]
    NextStart,
    /// At once, where that needs no start.
    Live,
}

/// The release that the image comes from: what is recorded once the image is current.
#[derive(Debug, Clone)]
pub struct SourceRelease {
    /// The channel that the target follows from then on.
    pub subscription: Subscription,
    /// What the machine remembers of the channel; none where the release is not the channel's
    /// newest.
    pub accepted: Option<AcceptedRelease>,
}

/// How to bring an image onto a target.
#[derive(Clone)]
pub struct DeployOptions<'a> {
    /// What the history calls it.
    pub action: HistoryAction,
    /// How to stage.
    pub stage: StageOptions,
    /// How far to go.
    pub mode: DeployMode,
    /// When a machine comes to it.
    pub pace: SwitchPace,
    /// How many deployments to keep, pinned ones aside; what the image says when not given.
    pub keep: Option<u32>,
    /// Who asked for it, why, and what the checks said.
    pub note: Note,
    /// The release that the image comes from, if any.
    pub release: Option<SourceRelease>,
    /// Whether a channel's release is taken that a rollback left.
    pub again: bool,
    /// Ends the work between stage and switch.
    pub cancel: &'a AtomicBool,
    /// Told what is being done.
    pub doing: &'a dyn Fn(&str),
}

/// What became of it.
#[derive(Debug, Clone, PartialEq)]
pub enum DeployReport {
    /// Nothing was changed, as asked.
    Planned {
        /// The image.
        image: ImageId,
        /// Whether it is current already.
        is_current: bool,
        /// What would be done to `/etc`.
        etc: EtcReport,
        /// What would become of factory content that the machine has already.
        var: VarReport,
        /// What else changes.
        changes: ImageChanges,
        /// How a machine would come to it.
        way: Option<SwitchWay>,
    },
    /// The image was current already.
    Unchanged {
        /// The image.
        image: ImageId,
        /// The current deployment.
        generation: Option<u64>,
    },
    /// There is a new deployment.
    Deployed(NewDeployment),
}

/// A deployment that was made.
#[derive(Debug, Clone, PartialEq)]
pub struct NewDeployment {
    /// Its number.
    pub generation: u64,
    /// Whether it was there already: the same image with the same `/etc`.
    pub reused: bool,
    /// The image.
    pub image: ImageId,
    /// How its tree is on disk.
    pub kind: DeploymentKind,
    /// What became of `/etc`.
    pub etc: EtcReport,
    /// What became of factory content that the machine has already.
    pub var: VarReport,
    /// The switch, unless it was only staged.
    pub switched: Option<SwitchReport>,
    /// How a machine comes to it.
    pub way: Option<SwitchWay>,
    /// The exchange of the trees, where the switch was live.
    pub exchange: Option<Exchange>,
    /// Why it was not live though it could have been.
    pub not_live: Option<String>,
    /// The services that run something else than before, where that is known.
    pub services: Vec<ServiceRestart>,
    /// How long staging took, with waiting for the target.
    pub stage_seconds: f64,
    /// How long the switch took.
    pub switch_seconds: f64,
    /// The deployments that were removed, oldest first.
    pub pruned: Vec<u64>,
}

impl Serialize for DeployReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value = match self {
            Self::Planned {
                image,
                is_current,
                etc,
                var,
                changes,
                way,
            } => {
                let mut value = json!({
                    "dry_run": true, "image": image, "current": is_current, "etc": etc, "var": var,
                    "packages": changes.packages, "services": changes.services,
                });
                add_way(&mut value, way.as_ref());
                value
            }
            Self::Unchanged { image, generation } => {
                json!({ "image": image, "generation": generation, "switched": false })
            }
            Self::Deployed(deployed) => {
                let mut value = json!({
                "image": deployed.image,
                "generation": deployed.generation,
                "reused": deployed.reused,
                "kind": deployed.kind,
                "switched": deployed.switched.is_some(),
                "at_restart": deployed.switched.is_some_and(|switched| switched.at_restart),
                "from": deployed.switched.and_then(|switched| switched.from),
                "stage_seconds": deployed.stage_seconds,
                "switch_seconds": deployed.switch_seconds,
                "pruned": deployed.pruned,
                "etc": deployed.etc,
                "var": deployed.var,
                "services": deployed.services,
                });
                add_way(&mut value, deployed.way.as_ref());
                if let (Some(exchange), Value::Object(fields)) = (&deployed.exchange, &mut value) {
                    fields.insert("exchange".to_owned(), json!(exchange));
                }
                value
            }
        };
        value.serialize(serializer)
    }
}

/// Adds how a machine comes to an image.
fn add_way(value: &mut Value, way: Option<&SwitchWay>) {
    if let (Some(way), Value::Object(fields)) = (way, value) {
        fields.insert("way".to_owned(), json!(way));
    }
}

/// Brings an image onto the target at `location`, which is made when absent.
///
/// Commit points, in order: those of [`Change::stage`], [`Change::switch`], [`Change::subscribe`],
/// [`AcceptedRelease::remember`] and [`Change::prune`].
pub fn deploy(
    location: &TargetLocation,
    repository: &Repository,
    image: &ImageId,
    options: &DeployOptions<'_>,
) -> Result<DeployReport, DeployError> {
    if options.mode == DeployMode::Plan {
        return plan(location, repository, image, options);
    }
    let started = Instant::now();
    let target = location.open_or_init(repository.root())?;
    let change = target.change("layerset deploy")?;
    refuse_bad_image(&target, image)?;
    if target.runs(image)? && !takes_anything(&target, repository, image, options)? {
        if options.mode == DeployMode::Switch {
            settle(&change, options)?;
        }
        return Ok(DeployReport::Unchanged {
            image: *image,
            generation: target.current()?,
        });
    }
    let before = target.current_parts(repository).ok().flatten();
    let mut attempt = 1;
    let (staged, reused, mut switched, (stage_seconds, switching)) = loop {
        (options.doing)("staging the deployment");
        let (staged, reused) = find_or_stage(&change, repository, image, options)?;
        if options.cancel.load(Ordering::Relaxed) {
            return Err(DeployError::Interrupted);
        }
        let times = (started.elapsed().as_secs_f64(), Instant::now());
        if options.mode != DeployMode::Switch {
            break (staged, reused, None, times);
        }
        let (to, action) = (staged.generation, options.action);
        match change.switch(to, action, BadPolicy::Refuse, &options.note) {
            // Somebody edited it after it was merged, and before the switch.
            Err(DeployError::EtcEdited { .. }) if !reused && attempt < moving::ATTEMPTS => {
                change.remove_deployment(repository, to)?;
                attempt += 1;
            }
            result => break (staged, reused, Some(result?), times),
        }
    };
    if switched.is_none() && !reused {
        change.record_one(HistoryAction::Stage, staged.generation, &options.note)?;
    }
    let way = way_to(&target, repository, staged.generation)?;
    let is_live = way
        .as_ref()
        .is_some_and(|way| way.class == SwitchClass::Live);
    let (mut exchange, mut not_live) = (None, None);
    if let (true, SwitchPace::Live, Some(switched)) = (is_live, options.pace, &mut switched)
        && switched.at_restart
    {
        (options.doing)("putting the new trees beneath what runs");
        // What cannot be put there starts next all the same.
        match change.go_live(repository, switched.to) {
            Ok(done) => {
                exchange = Some(done);
                switched.at_restart = false;
            }
            Err(error) => {
                target.disk.require_unharmed()?;
                not_live = Some(chain(&error));
            }
        }
    }
    let switch_seconds = switching.elapsed().as_secs_f64();
    if let Some(switched) = &switched {
        settle(&change, options)?;
        if options.action == HistoryAction::Rollback {
            change.hold_what_was_left(switched)?;
        }
    }
    Ok(DeployReport::Deployed(NewDeployment {
        generation: staged.generation,
        reused,
        image: *image,
        kind: staged.kind,
        etc: staged.etc,
        var: staged.var,
        services: match (&switched, &before) {
            (Some(_), Some(before)) => services_of(repository, before, image),
            _ => Vec::new(),
        },
        switched,
        way,
        exchange,
        not_live,
        stage_seconds,
        switch_seconds,
        pruned: prune(&change, repository, image, options)?,
    }))
}

/// Says how the machine comes to a deployment, where one runs from the target.
fn way_to(
    target: &Target,
    repository: &Repository,
    to: u64,
) -> Result<Option<SwitchWay>, DeployError> {
    match target.current()? {
        Some(current) if current != to => target.way_to_generation(repository, to),
        _ => Ok(None),
    }
}

/// Finds a deployment that is as the new one would be, and says so, or stages a new one.
fn find_or_stage(
    change: &Change<'_>,
    repository: &Repository,
    image: &ImageId,
    options: &DeployOptions<'_>,
) -> Result<(StagedDeployment, bool), DeployError> {
    let reusable = change.find_reusable(repository, image, &options.stage)?;
    let Some(there) = reusable else {
        return Ok((change.stage(repository, image, &options.stage)?, false));
    };
    let staged = StagedDeployment {
        generation: there.generation,
        image: *image,
        kind: there.kind,
        etc: there.etc,
        var: there.var,
        new_state: Vec::new(),
    };
    Ok((staged, true))
}

/// Says whether content of `/var` is to be taken from the image: that is another deployment of it.
fn takes_anything(
    target: &Target,
    repository: &Repository,
    image: &ImageId,
    options: &DeployOptions<'_>,
) -> Result<bool, DeployError> {
    let decisions = &options.stage.decisions;
    if decisions.of_var().take.is_empty() {
        return Ok(false);
    }
    let tree = repository.read_tree(&repository.read_image(image)?.tree)?;
    let var = target.plan_var(repository, &tree, decisions)?;
    Ok(!var.taken.is_empty())
}

/// Names the services to restart after a switch; what cannot be read says nothing.
fn services_of(
    repository: &Repository,
    before: &ImageParts,
    image: &ImageId,
) -> Vec<ServiceRestart> {
    let after = ImageParts::read(repository, image).ok();
    after.map_or(Vec::new(), |after| {
        changes(before, &after, repository).services
    })
}

fn plan(
    location: &TargetLocation,
    repository: &Repository,
    image: &ImageId,
    options: &DeployOptions<'_>,
) -> Result<DeployReport, DeployError> {
    plan_parts(
        location,
        repository,
        image,
        &ImageParts::read(repository, image)?,
        options,
    )
}

/// Says what bringing an image onto a target would do, and changes nothing. Of the image, only its
/// parts and the contents that [`wanted`](super::wanted) names need to be here.
pub fn plan_parts(
    location: &TargetLocation,
    repository: &Repository,
    image: &ImageId,
    parts: &ImageParts,
    options: &DeployOptions<'_>,
) -> Result<DeployReport, DeployError> {
    let target = match location.open() {
        Ok(target) => target,
        // A new target takes the image's own.
        Err(DeployError::Missing { .. }) => {
            return Ok(DeployReport::Planned {
                image: *image,
                is_current: false,
                etc: EtcReport::default(),
                var: VarReport::default(),
                changes: ImageChanges::default(),
                way: None,
            });
        }
        Err(error) => return Err(error),
    };
    let before = target.current_parts(repository)?;
    let is_current = target.runs(image)?;
    Ok(DeployReport::Planned {
        image: *image,
        is_current,
        way: match is_current {
            true => None,
            false => target.way_to(repository, parts, None)?,
        },
        etc: target.plan_etc_of(repository, &parts.tree, &options.stage.decisions)?,
        var: target.plan_var(repository, &parts.tree, &options.stage.decisions)?,
        changes: match &before {
            Some(before) => changes(before, parts, repository),
            None => ImageChanges::default(),
        },
    })
}

/// Refuses an image that was marked bad on this target: it is never chosen automatically again.
fn refuse_bad_image(target: &Target, image: &ImageId) -> Result<(), DeployError> {
    match target.bad_image(image) {
        None => Ok(()),
        Some(reason) => Err(DeployError::BadImage {
            image: *image,
            reason,
            generation: target.find(image)?,
        }),
    }
}

/// Writes down that the release is taken, now that the target has it: which channel the target
/// follows, and below which serial the machine does not go again.
fn settle(change: &Change<'_>, options: &DeployOptions<'_>) -> Result<(), DeployError> {
    let Some(release) = &options.release else {
        return Ok(());
    };
    if change
        .target
        .subscription()
        .ok()
        .flatten()
        .is_none_or(|known| {
            known.channel != release.subscription.channel
                || known.serial < release.subscription.serial
        })
    {
        change.release_all()?;
    }
    change.subscribe(&release.subscription)?;
    match &release.accepted {
        Some(accepted) => Ok(accepted.remember()?),
        None => Ok(()),
    }
}

fn prune(
    change: &Change<'_>,
    repository: &Repository,
    image: &ImageId,
    options: &DeployOptions<'_>,
) -> Result<Vec<u64>, DeployError> {
    let keep = match options.keep {
        Some(keep) => keep,
        None => repository.read_image(image)?.keep,
    };
    let plan = change
        .target
        .plan_prune(usize::try_from(keep).unwrap_or(usize::MAX))?;
    if plan.remove.is_empty() {
        return Ok(Vec::new());
    }
    let note = Note {
        who: options.note.who.clone(),
        verdict: RecordedVerdict::Unchecked,
        reason: "beyond the number to keep".to_owned(),
        ..Note::default()
    };
    change.prune(repository, &plan, &note)
}
