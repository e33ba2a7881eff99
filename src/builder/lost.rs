//! What the image before had and this one has not: the second law of blame.
//!
//! A baseline knows what was wrong in the set that a layer was built in. That set is not the image:
//! what a sibling brought was missing there too. So a grave problem that only a baseline knows, and
//! the last good image of the recipe did not have, is news. The layer is named that lost what the
//! image before had; a problem that a layer brings along by itself stays that layer's own. Extras
//! that a package lives without are told, and refuse nothing.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::{BuildError, Composer};
use crate::check::{CHECKS_VERSION, Finding, FindingId, FindingKind, Severity, Subject, Weight};
use crate::compose::{
    CheckedGround, ComposeError, Member, MemberProblem, TreeView, extras, finding,
};
use crate::format::{Baseline, Waiver};
use crate::id::ImageId;
use crate::path::RelPath;
use crate::store::Transaction;
use crate::tree::Tree;

/// A set to compare with the image before it.
pub(super) struct Comparison<'a> {
    /// The name of the recipe.
    pub name: &'a str,
    /// The id of the last good image of the recipe, if there is one.
    pub before: Option<&'a str>,
    /// The set.
    pub members: &'a [Member],
    /// Its tree.
    pub tree: &'a Tree,
    /// What composes and checks.
    pub composer: &'a Composer<'a>,
    /// Where new contents go.
    pub transaction: &'a Transaction<'a>,
}

/// The image before.
struct Before<'a> {
    members: Cow<'a, [Member]>,
    /// Ids of the grave problems that it has, by today's checks.
    problems: BTreeSet<String>,
    /// Ids of what somebody accepted there.
    accepted: BTreeSet<String>,
}

impl Before<'_> {
    fn had(&self, found: &MemberProblem) -> bool {
        let has = |id: &FindingId| {
            self.problems.contains(id.as_str()) && !self.accepted.contains(id.as_str())
        };
        let id = &found.problem.id;
        has(id) || id.hidden_behind().is_some_and(|id| has(&id))
    }
}

/// Returns what is recorded of an image: its grave problems but for those that somebody accepts.
pub(super) fn record(found: &[MemberProblem], accepted: &[Waiver]) -> Baseline {
    let is_accepted = |id: &String| accepted.iter().any(|waiver| waiver.finding == *id);
    let grave = found.iter().filter(|f| f.problem.weight == Weight::Grave);
    let ids = grave.map(|found| found.problem.id.to_string());
    Baseline {
        checks: CHECKS_VERSION,
        problems: ids.filter(|id| !is_accepted(id)).collect(),
        ..Baseline::default()
    }
}

fn has(looked: &CheckedGround, wanted: &MemberProblem) -> bool {
    let mut found = looked.found.iter();
    found
        .any(|found| found.problem.id == wanted.problem.id && found.problem.weight == Weight::Grave)
}

impl Comparison<'_> {
    /// Returns the findings about problems that baselines know and the image before had not.
    ///
    /// Costs nothing where the baselines know no grave problem.
    pub(super) fn lost(&self, found: &[MemberProblem]) -> Result<Vec<Finding>, BuildError> {
        let is_grave = |found: &&MemberProblem| found.problem.weight == Weight::Grave;
        let known = found.iter().filter(is_grave);
        let known: Vec<&MemberProblem> = known.filter(|f| f.is_known(self.members)).collect();
        if known.is_empty() {
            return Ok(Vec::new());
        }
        let Some(before) = self.before else {
            return Ok(vec![
                self.unknown(known.len(), "there is no image before it"),
            ]);
        };
        let before = match self.read(before)? {
            None => {
                return Ok(vec![
                    self.unknown(known.len(), "the image before it is gone"),
                ]);
            }
            Some(before) => before,
        };
        let news: Vec<&MemberProblem> = known.into_iter().filter(|f| !before.had(f)).collect();
        // What somebody accepted there has to be accepted again.
        let (accepted, news): (Vec<&MemberProblem>, _) = news
            .into_iter()
            .partition(|f| before.accepted.contains(f.problem.id.as_str()));
        let refused =
            |found: &MemberProblem| finding(found.clone(), Severity::Refuse, self.members);
        let mut findings: Vec<Finding> = accepted.into_iter().map(refused).collect();
        let lost = self.without_own(news, &before)?;
        let extras = self.extras(&lost)?;
        let mut news = self.name_losers(lost, &before)?;
        for finding in &mut news {
            if let Some(package) = extras.get(&finding.id) {
                finding.severity = Severity::Note;
                finding.hint = format!(
                    "'{package}' needs it for this file only, and does without: {}",
                    finding.hint
                );
            }
        }
        findings.append(&mut news);
        Ok(findings)
    }

    /// Returns which problems are with what a package is made to live without; by id, the package.
    fn extras(&self, lost: &[&MemberProblem]) -> Result<BTreeMap<FindingId, String>, BuildError> {
        let index = self.composer.repository().index();
        let view = TreeView::new(self.tree, self.transaction, &index);
        extras(lost.iter().copied(), self.tree, self.members, &view)
            .map_err(|source| ComposeError::Check { source }.into())
    }

    /// Reads the image before, with what is recorded of it. Where today's checks did not look at
    /// it, it is composed and checked again; `None` where its layers are not at hand, or cannot be
    /// composed here.
    fn read(&self, id: &str) -> Result<Option<Before<'_>>, BuildError> {
        let repository = self.composer.repository();
        let id = id.parse::<ImageId>().ok();
        let image = id.and_then(|id| Some((id, repository.read_image(&id).ok()?)));
        let Some((id, image)) = image else {
            return Ok(None);
        };
        let layers = image.layers.iter();
        let is_same = layers.clone().map(|layer| Some(layer.id));
        let members = match is_same.eq(self.members.iter().map(|member| member.id)) {
            true => Ok(Cow::Borrowed(self.members)),
            false => layers
                .map(|layer| Member::read(repository, &layer.id))
                .collect::<Result<Vec<_>, _>>()
                .map(Cow::Owned),
        };
        let Ok(members) = members else {
            return Ok(None);
        };
        // A damaged record is made again; fsck names it.
        let recorded = repository.read_image_baseline(&id).ok().flatten();
        let recorded = match recorded.filter(|record| record.checks == CHECKS_VERSION) {
            Some(recorded) => recorded,
            None => match self.look(&members) {
                Err(BuildError::Interrupted) => return Err(BuildError::Interrupted),
                Err(_) => return Ok(None),
                Ok(looked) => {
                    let made = record(&looked.found, &image.waivers);
                    self.transaction.put_image_baseline(&id, &made)?;
                    made
                }
            },
        };
        let accepted = image.waivers.into_iter().map(|waiver| waiver.finding);
        Ok(Some(Before {
            members,
            problems: recorded.problems.into_iter().collect(),
            accepted: accepted.collect(),
        }))
    }

    fn look(&self, members: &[Member]) -> Result<CheckedGround, BuildError> {
        self.composer.look(self.name, members, self.transaction)
    }

    /// Leaves out the problems that their layer brings along: those that are there with everything
    /// else as it was.
    fn without_own<'f>(
        &self,
        news: Vec<&'f MemberProblem>,
        before: &Before<'_>,
    ) -> Result<Vec<&'f MemberProblem>, BuildError> {
        let mut lost = Vec::new();
        for (number, owner) in self.members.iter().enumerate() {
            let of_owner: Vec<_> = news.iter().filter(|f| f.owner == number).copied().collect();
            let was_there = before.members.iter().any(|old| old.id == owner.id);
            if of_owner.is_empty() || was_there {
                lost.extend(of_owner);
                continue;
            }
            let looked = self.look(&replaced(&before.members, owner))?;
            lost.extend(of_owner.into_iter().filter(|f| self.is_mended(f, &looked)));
        }
        Ok(lost)
    }

    /// Makes the findings, and names for each the layer whose older version alone makes the problem
    /// go away.
    fn name_losers(
        &self,
        mut lost: Vec<&MemberProblem>,
        before: &Before<'_>,
    ) -> Result<Vec<Finding>, BuildError> {
        let mut findings = Vec::new();
        for old in before.members.iter().rev() {
            let name = &old.layer.name;
            let now = self
                .members
                .iter()
                .find(|member| member.layer.name == *name);
            if lost.is_empty() || now.is_some_and(|now| now.id == old.id) {
                continue;
            }
            let looked = match self.look(&replaced(self.members, old)) {
                Err(BuildError::Interrupted) => return Err(BuildError::Interrupted),
                // The older version does not go with the others.
                Err(_) => continue,
                Ok(looked) => looked,
            };
            let loser = match now {
                Some(_) => Loser::Changed(name.clone()),
                None => Loser::Left(name.clone()),
            };
            let (mended, rest) = lost.into_iter().partition(|f| self.is_mended(f, &looked));
            lost = rest;
            let mended: Vec<&MemberProblem> = mended;
            findings.extend(mended.into_iter().map(|f| self.finding(f, Some(&loser))));
        }
        findings.extend(lost.into_iter().map(|f| self.finding(f, None)));
        Ok(findings)
    }

    /// Says whether a problem is gone in another composition.
    fn is_mended(&self, found: &MemberProblem, looked: &CheckedGround) -> bool {
        !has(looked, found) && self.is_there(found, &looked.composition.tree)
    }

    /// Says whether the thing that a problem is about is the same in another composition: where it
    /// is not, the absence of the problem says nothing.
    fn is_there(&self, found: &MemberProblem, tree: &Tree) -> bool {
        let Subject::Path(path) = &found.problem.subject else {
            return true;
        };
        let node =
            |tree: &Tree, path: &RelPath| tree.get(path.as_bytes()).map(|inode| inode.node.clone());
        node(tree, path) == node(self.tree, path)
    }

    fn finding(&self, found: &MemberProblem, loser: Option<&Loser>) -> Finding {
        let owner = &self.members[found.owner].layer.name;
        let mut news = finding(found.clone(), Severity::Refuse, self.members);
        let (since, name) = match loser {
            Some(Loser::Changed(name)) => {
                news.layer.clone_from(name);
                (format!("since '{name}' changed"), Some(name))
            }
            Some(Loser::Left(name)) => (format!("since '{name}' left the recipe"), Some(name)),
            None => ("since the image before".to_owned(), None),
        };
        news.reason = format!("{} ({since})", news.reason);
        if let Some(name) = name.filter(|name| *name != owner) {
            news.hint = format!(
                "'{owner}' uses what '{name}' brought: let '{name}' bring it again, add it to \
                 '{owner}' or to a layer in its `on`, or take out of '{owner}' what uses it"
            );
        }
        news
    }

    /// Says that nobody knows whether the image before was better.
    fn unknown(&self, count: usize, why: &str) -> Finding {
        let (name, problems) = (self.name, if count == 1 { "problem" } else { "problems" });
        Finding {
            id: FindingKind::Baseline.at(format_args!("image:{name}")),
            severity: Severity::Note,
            layer: String::new(),
            package: None,
            path: None,
            reason: format!(
                "nobody knows whether {count} grave {problems} of the layers of '{name}' are new in \
                 it, for {why}: they were there when the layers were built"
            ),
            hint: "look at them once: `layerset check --all` lists them".to_owned(),
            waived: None,
        }
    }
}

/// Which layer lost something.
enum Loser {
    /// A layer of the set, which had it before.
    Changed(String),
    /// A layer that the recipe had before.
    Left(String),
}

/// Returns a set with `member` in the place of the layer of its name, or above all where there is
/// none.
fn replaced(members: &[Member], member: &Member) -> Vec<Member> {
    let mut set = members.to_vec();
    let same = |other: &Member| other.layer.name == member.layer.name;
    match set.iter().position(same) {
        Some(place) => set[place] = member.clone(),
        None => set.push(member.clone()),
    }
    set
}
