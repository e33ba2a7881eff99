//! Whose doing a problem is that shows in a layer: perhaps that of a layer above it.

use std::collections::{BTreeMap, BTreeSet};

use super::{BuildError, Composer};
use crate::check::{FindingId, FindingKind, Weight};
use crate::compose::{Composition, Member, MemberProblem, leave_alone};
use crate::store::Transaction;

/// Blames the right layer. A problem shows with something of one layer, but a layer above it may
/// have made it: the last one without which, and without what is above, it does not show.
///
/// Where there is such a problem, this costs a composition for each layer above the one that has
/// it.
pub(super) fn blame(
    found: &mut [MemberProblem],
    composition: &mut Composition,
    name: &str,
    members: &[Member],
    composer: &Composer<'_>,
    transaction: &Transaction<'_>,
) -> Result<(), BuildError> {
    let mut prefixes = Prefixes {
        name,
        members,
        composer,
        transaction,
        looked: BTreeMap::new(),
    };
    for found in found.iter_mut() {
        if is_doubtful(found, members) {
            found.member = prefixes.maker(found.owner, &found.problem.id)?;
        }
    }
    for finding in &mut composition.findings {
        let owner = members.iter().position(|m| m.layer.name == finding.layer);
        let Some(owner) = owner.filter(|_| finding.id.kind() == FindingKind::Owner) else {
            continue;
        };
        let maker = prefixes.maker(owner, &finding.id)?;
        if maker != owner {
            finding.hint = leave_alone(&members[maker].layer.name, &finding.layer);
            finding.layer = members[maker].layer.name.clone();
        }
    }
    Ok(())
}

/// Says whether it pays to ask who made a problem.
fn is_doubtful(found: &MemberProblem, members: &[Member]) -> bool {
    let (own, above) = members[found.owner..].split_at(1);
    let is_moved = |layers: &[Member]| layers.iter().any(|member| member.is_moved(members));
    // Whoever brings a trigger breaks nothing: the layer with the files has to hear of it.
    let breaks =
        found.problem.id.kind() != FindingKind::Trigger || !is_moved(own) && is_moved(above);
    breaks && found.is_new_and_grave(members)
}

/// The layers up to each one, composed and checked once.
struct Prefixes<'a> {
    name: &'a str,
    members: &'a [Member],
    composer: &'a Composer<'a>,
    transaction: &'a Transaction<'a>,
    /// What is wrong with them: grave problems, and findings of the composition itself.
    looked: BTreeMap<usize, BTreeSet<FindingId>>,
}

impl Prefixes<'_> {
    /// Returns the number of the layer that made what is wrong in the whole set; `owner` when it is
    /// so already with the layers up to that one.
    fn maker(&mut self, owner: usize, id: &FindingId) -> Result<usize, BuildError> {
        for top in (owner + 1..self.members.len()).rev() {
            if !self.below(top)?.contains(id) {
                return Ok(top);
            }
        }
        Ok(owner)
    }

    /// Looks at the first `count` layers.
    fn below(&mut self, count: usize) -> Result<&BTreeSet<FindingId>, BuildError> {
        if !self.looked.contains_key(&count) {
            let below = &self.members[..count];
            let looked = self.composer.look(self.name, below, self.transaction)?;
            let grave = looked.found.into_iter().map(|found| found.problem);
            let grave = grave.filter(|problem| problem.weight == Weight::Grave);
            let own = looked.composition.findings.into_iter();
            let ids = grave.map(|problem| problem.id).chain(own.map(|f| f.id));
            self.looked.insert(count, ids.collect());
        }
        Ok(&self.looked[&count])
    }
}
