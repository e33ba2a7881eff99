//! Refuses a layer that breaks what is below it: the first law of blame.

use super::{BuildError, Composer};
use crate::check::{Finding, FindingKind, Severity};
use crate::compose::{
    CheckedGround, Member, MemberProblem, damage, finding, leave_alone, lost_owners, may_damage,
    waive,
};
use crate::format::Waiver;
use crate::store::Transaction;
use crate::time::Date;

/// What a layer broke of the layers below it.
#[derive(Debug, Default)]
pub(super) struct Damage {
    /// The problems, which never become normal for the layer.
    pub problems: Vec<MemberProblem>,
    /// What is said about them, and about files whose owner is gone.
    pub findings: Vec<Finding>,
}

impl Composer<'_> {
    /// Composes layers and checks them.
    pub fn look(
        &self,
        name: &str,
        members: &[Member],
        transaction: &Transaction<'_>,
    ) -> Result<CheckedGround, BuildError> {
        let composition = self.compose(name, members, transaction)?;
        let found = self.examine(&composition, members, transaction)?;
        Ok(CheckedGround { composition, found })
    }

    /// Finds what the last of `members` broke of the others, given what was found in the whole set.
    /// Where there is something to suspect, the others are composed and checked for themselves.
    pub(super) fn damage(
        &self,
        name: &str,
        members: &[Member],
        whole: &CheckedGround,
        transaction: &Transaction<'_>,
    ) -> Result<Damage, BuildError> {
        let lower = &members[..members.len().saturating_sub(1)];
        if !may_damage(&whole.composition, &whole.found, members) {
            return Ok(Damage::default());
        }
        let ground = self.look(name, lower, transaction)?;
        Ok(Damage::done(whole, members, &ground))
    }
}

/// Returns what a build refuses of the last of `members`, which stands on `ground`: `whole` is what
/// a look at all of them found. For tools that try many layers on the same ground.
pub fn refused(whole: &CheckedGround, members: &[Member], ground: &CheckedGround) -> Vec<Finding> {
    match may_damage(&whole.composition, &whole.found, members) {
        true => Damage::done(whole, members, ground).findings,
        false => Vec::new(),
    }
}

impl Damage {
    fn done(whole: &CheckedGround, members: &[Member], ground: &CheckedGround) -> Self {
        let Some(last) = members.last() else {
            return Self::default();
        };
        let problems = damage(&whole.found, members, ground);
        let mut findings: Vec<Finding> = problems
            .iter()
            .map(|found| finding(found.clone(), Severity::Refuse, members))
            .collect();
        for owner in lost_owners(&whole.composition, last, ground) {
            findings.push(Finding {
                severity: Severity::Refuse,
                hint: leave_alone(&last.layer.name, &owner.layer),
                layer: last.layer.name.clone(),
                ..owner
            });
        }
        Self { problems, findings }
    }

    /// Fails unless the recipe accepts everything that the layer broke.
    pub(super) fn refuse(
        &self,
        layer: &str,
        waivers: &[Waiver],
        today: Date,
    ) -> Result<(), BuildError> {
        let mut findings = waive(self.findings.clone(), waivers, today).findings;
        findings.retain(|finding| finding.severity > Severity::Note);
        // Without its links, half of the image is not found: that is said, and not each file.
        let is_cause = |finding: &Finding| finding.id.kind() == FindingKind::Merged;
        if findings.iter().any(is_cause) {
            findings.retain(is_cause);
        }
        if findings.is_empty() {
            return Ok(());
        }
        Err(BuildError::Damage {
            layer: layer.to_owned(),
            findings: super::refuse::worst_first(findings),
        })
    }
}
