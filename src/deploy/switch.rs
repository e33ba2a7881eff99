//! Switching: one rename makes another deployment current; a rollback is the same switch to an earlier one.

use std::path::Path;

use super::change::Change;
use super::history::{Action, History, LayerChange};
use super::record::Place;
use super::{DeployError, Target, stamp};
use crate::durable::replace_symlink;
use crate::format::ImageLayer;

/// What the history keeps about a change besides the change itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Note {
    /// Who asked for it.
    pub who: String,
    /// The verdict of the checks, and of health where it was asked.
    pub verdict: String,
    /// Why.
    pub reason: String,
}

/// What to do about a deployment that is marked bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BadPolicy {
    /// It is refused.
    #[default]
    Refuse,
    /// It was asked for by its number.
    Allow,
}

/// What a switch did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switched {
    /// The current deployment before.
    pub from: Option<u64>,
    /// The current deployment now; the same when there was nothing to do.
    pub to: u64,
}

impl Target {
    /// Returns the deployment that a rollback would choose.
    pub fn previous(&self) -> Result<Option<u64>, DeployError> {
        let Some(current) = self.current()? else {
            return Ok(None);
        };
        let history = History::load_unverified(&self.history_path())?;
        let mut earlier = history.earlier(current).into_iter();
        Ok(earlier.find(|generation| {
            self.place(*generation)
                .is_ok_and(|place| place.bad().is_none())
        }))
    }
}

impl Change<'_> {
    /// Makes a deployment current. The commit point is the rename of `current`.
    pub fn switch(
        &self,
        to: u64,
        action: Action,
        bad: BadPolicy,
        note: &Note,
    ) -> Result<Switched, DeployError> {
        let target = self.target;
        let from = target.current()?;
        let place = target.place(to)?;
        if let (BadPolicy::Refuse, Some(reason)) = (bad, place.bad()) {
            return Err(DeployError::Bad {
                generation: to,
                reason,
            });
        }
        if from != Some(to) {
            self.refuse_edited_etc(&place, from)?;
        }
        target.mount(&place)?;
        self.settle_var(&place)?;
        if from == Some(to) {
            return Ok(Switched { from, to });
        }
        let link = Path::new("deployments").join(to.to_string());
        replace_symlink(target.disk.as_ref(), &target.current_path(), &link)?;
        match self.record(action, from, Some(to), note) {
            Ok(()) => Ok(Switched { from, to }),
            Err(DeployError::Durable(source)) => Err(DeployError::Unrecorded {
                generation: to,
                source,
            }),
            Err(error) => Err(error),
        }
    }

    /// Goes back to the previous deployment, or to the one that is named.
    pub fn rollback(&self, to: Option<u64>, note: &Note) -> Result<Switched, DeployError> {
        let (to, bad) = match to {
            Some(to) => (to, BadPolicy::Allow),
            None => {
                let previous = self.target.previous()?;
                (previous.ok_or(DeployError::NoPrevious)?, BadPolicy::Refuse)
            }
        };
        self.switch(to, Action::Rollback, bad, note)
    }

    /// Refuses a deployment that was never current when the `/etc` it was made of has been edited since.
    fn refuse_edited_etc(&self, place: &Place, from: Option<u64>) -> Result<(), DeployError> {
        let Some(origin) = &place.facts.etc_origin else {
            return Ok(());
        };
        let to = place.facts.generation;
        let history = History::load_unverified(&self.target.history_path())?;
        if history.ever_current().contains(&to) {
            return Ok(());
        }
        // Switching to what was made of another deployment would lose sight of the current one's edits.
        if from != Some(origin.generation) {
            return Err(DeployError::EtcElsewhere {
                generation: to,
                from: origin.generation,
            });
        }
        let dir = self.target.place_dir(origin.generation).join("etc");
        if stamp::stamp(&dir)? == origin.stamp {
            return Ok(());
        }
        Err(DeployError::EtcEdited {
            generation: to,
            from: origin.generation,
        })
    }
}

/// Compares the layers of two deployments; what cannot be read has none.
pub(super) fn layer_changes(old: Option<&Place>, new: Option<&Place>) -> Vec<LayerChange> {
    let layers = |place: Option<&Place>| -> Vec<ImageLayer> {
        place
            .and_then(|place| place.image().ok())
            .map(|image| image.layers)
            .unwrap_or_default()
    };
    let (old, new) = (layers(old), layers(new));
    let same_name = |layers: &[ImageLayer], name: &str| -> Option<ImageLayer> {
        layers.iter().find(|layer| layer.name == name).cloned()
    };
    let mut changes: Vec<LayerChange> = new
        .iter()
        .filter_map(|layer| {
            let before = same_name(&old, &layer.name);
            let is_same = before.as_ref().is_some_and(|before| before.id == layer.id);
            (!is_same).then(|| LayerChange {
                name: layer.name.clone(),
                from: before.map(|before| before.version),
                to: Some(layer.version.clone()),
            })
        })
        .collect();
    let gone = old
        .into_iter()
        .filter(|layer| same_name(&new, &layer.name).is_none());
    changes.extend(gone.map(|layer| LayerChange {
        name: layer.name,
        from: Some(layer.version),
        to: None,
    }));
    changes
}
