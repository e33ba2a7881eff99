//! Baselines that checks of another version made, or nobody: made again where the layers that a
//! layer was built on are at hand.

use std::collections::BTreeMap;

use super::{BuildError, Composer};
use crate::compose::{Member, baseline};
use crate::format::Baseline;
use crate::id::LayerId;
use crate::store::Transaction;

/// Gives the members whose baseline today's checks did not make one that they make now, in the set
/// that each layer was built in. Where that set is not in the repository any more, or cannot be
/// composed here, the baseline stays unknown, and the judgement says so.
///
/// What is made is put into `transaction`, for the next time.
pub fn recall(
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
    /// What was found out so far; `None` is what cannot be known.
    known: BTreeMap<LayerId, Option<Baseline>>,
}

impl BaselineRecall<'_> {
    fn baseline_of(&mut self, id: &LayerId) -> Result<Option<Baseline>, BuildError> {
        if let Some(known) = self.known.get(id) {
            return Ok(known.clone());
        }
        let made = match self.look(id) {
            Err(BuildError::Interrupted) => return Err(BuildError::Interrupted),
            // A layer that is gone or damaged, or a set that cannot be composed here.
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
            // Without this one, what was wrong below would pass for the layer's own.
            let Some(baseline) = self.baseline_of(&below.id)? else {
                return Ok(None);
            };
            let below = Member::read(self.composer.repository(), &below.id)?;
            set.push(Member { baseline, ..below });
        }
        let name = member.layer.name.clone();
        set.push(member);
        let composition = self.composer.compose(&name, &set, self.transaction)?;
        let found = self
            .composer
            .examine(&composition, &set, self.transaction)?;
        let made = baseline(&found, &set, None);
        self.transaction.put_baseline(id, &made)?;
        Ok(Some(made))
    }
}
