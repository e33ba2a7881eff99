//! Makes baselines again that are missing, or that checks of another version made. This needs the
//! layers that a layer was built on.

use std::collections::BTreeMap;

use super::{BuildError, Composer};
use crate::compose::{Member, baseline};
use crate::format::Baseline;
use crate::id::LayerId;
use crate::store::Transaction;

/// Gives each member a baseline of today's checks, made in the set that the layer was built in.
/// Where that set has left the repository, or cannot be composed here, the baseline stays unknown,
/// and the judgement says so.
///
/// New baselines go into `transaction`, for the next time.
pub(super) fn recall(
    composer: &Composer<'_>,
    members: &mut [Member],
    transaction: &Transaction<'_>,
) -> Result<(), BuildError> {
    let mut again = BaselineRecall {
        composer,
        transaction,
        known: BTreeMap::new(),
    };
    for member in members.iter_mut().filter(|member| !member.is_known()) {
        let Some(id) = member.id else { continue };
        if let Some(baseline) = again.baseline_of(&id)? {
            member.baseline = baseline;
        }
    }
    Ok(())
}

struct BaselineRecall<'a> {
    composer: &'a Composer<'a>,
    transaction: &'a Transaction<'a>,
    /// The baselines so far. `None` means that one cannot be made.
    known: BTreeMap<LayerId, Option<Baseline>>,
}

impl BaselineRecall<'_> {
    fn baseline_of(&mut self, id: &LayerId) -> Result<Option<Baseline>, BuildError> {
        if let Some(known) = self.known.get(id) {
            return Ok(known.clone());
        }
        let made = match self.look(id) {
            Err(BuildError::Interrupted) => return Err(BuildError::Interrupted),
            // The layer is gone or damaged, or the set cannot be composed here.
            Err(_) => None,
            Ok(made) => made,
        };
        self.known.insert(*id, made.clone());
        Ok(made)
    }

    fn look(&mut self, id: &LayerId) -> Result<Option<Baseline>, BuildError> {
        let member = Member::read(self.composer.repository(), id)?;
        if member.is_known() {
            return Ok(Some(member.baseline));
        }
        let mut set = Vec::new();
        for below in &member.layer.build.on {
            // Without it, a fault of a layer below would pass for this layer's own.
            let Some(baseline) = self.baseline_of(&below.id)? else {
                return Ok(None);
            };
            let below = Member::read(self.composer.repository(), &below.id)?;
            set.push(Member { baseline, ..below });
        }
        let name = member.layer.name.clone();
        set.push(member);
        let whole = self.composer.look(&name, &set, self.transaction)?;
        let damage = self
            .composer
            .damage(&name, &set, &whole, self.transaction)?;
        let derived = self.composer.evidence(
            (&whole.composition, &set),
            set.last(),
            None,
            self.transaction,
        )?;
        let made = Baseline {
            derived,
            ..baseline(&whole.found, &set, &damage.problems, None)
        };
        self.transaction.put_baseline(id, &made)?;
        Ok(Some(made))
    }
}
