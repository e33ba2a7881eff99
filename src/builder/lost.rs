//! What the image before had and this one has not: the second law of blame.
//!
//! A baseline knows what was wrong in the set that a layer was built in. That set is not the image:
//! what a sibling brought was missing there too. So a grave problem that only a baseline knows, and
//! the last good image of the recipe did not have, is news. The layer is named that lost what the
//! image before had; a problem that a layer brings along by itself stays that layer's own.

use std::collections::BTreeSet;

use super::{BuildError, Composer};
use crate::check::{CHECKS_VERSION, Finding, FindingKind, Severity, Subject, Weight};
use crate::compose::{CheckedGround, Member, MemberProblem, finding};
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
struct Before {
    members: Vec<Member>,
    /// Ids of the grave problems that it has, by today's checks.
    problems: BTreeSet<String>,
    /// Ids of what somebody accepted there.
    accepted: BTreeSet<String>,
}

impl Before {
    fn had(&self, found: &MemberProblem) -> bool {
        let id = found.problem.id.as_str();
        self.problems.contains(id) && !self.accepted.contains(id)
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
        let mut findings = Vec::new();
        for found in known {
            if !before.had(found)
                && let Some(finding) = self.judge(found, &before)?
            {
                findings.push(finding);
            }
        }
        Ok(findings)
    }

    /// Reads the image before, with what is recorded of it. Where today's checks did not look at
    /// it, it is composed and checked again; `None` where its layers are not at hand, or cannot be
    /// composed here.
    fn read(&self, id: &str) -> Result<Option<Before>, BuildError> {
        let repository = self.composer.repository();
        let id = id.parse::<ImageId>().ok();
        let image = id.and_then(|id| Some((id, repository.read_image(&id).ok()?)));
        let Some((id, image)) = image else {
            return Ok(None);
        };
        let members = image.layers.iter();
        let members = members.map(|layer| Member::read(repository, &layer.id));
        let Ok(members) = members.collect::<Result<Vec<_>, _>>() else {
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

    /// Judges a problem that the image before had not, or only because somebody accepted it.
    fn judge(&self, found: &MemberProblem, before: &Before) -> Result<Option<Finding>, BuildError> {
        if before.accepted.contains(found.problem.id.as_str()) {
            return Ok(Some(finding(found.clone(), Severity::Refuse, self.members)));
        }
        let owner = &self.members[found.owner];
        let others = replaced(&before.members, owner);
        // A problem that is there with everything else as it was is the layer's own.
        if is_same(&others, &before.members) {
            return Ok(Some(self.finding(found, before)?));
        }
        let looked = self.look(&others)?;
        let is_own = has(&looked, found) || !self.is_there(found, &looked.composition.tree);
        if is_own {
            return Ok(None);
        }
        Ok(Some(self.finding(found, before)?))
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

    /// Makes the finding, and names the layer that lost what the image before had.
    fn finding(&self, found: &MemberProblem, before: &Before) -> Result<Finding, BuildError> {
        let owner = self.members[found.owner].layer.name.clone();
        let loser = self.loser(found, before)?;
        let mut news = finding(found.clone(), Severity::Refuse, self.members);
        let since = match &loser {
            Some(Loser::Changed(name)) => format!("since '{name}' changed"),
            Some(Loser::Left(name)) => format!("since '{name}' left the recipe"),
            None => "since the image before".to_owned(),
        };
        news.reason = format!("{} ({since})", news.reason);
        let name = match loser {
            Some(Loser::Changed(name)) => {
                news.layer.clone_from(&name);
                name
            }
            Some(Loser::Left(name)) => name,
            None => return Ok(news),
        };
        if name != owner {
            news.hint = format!(
                "'{owner}' uses what '{name}' brought: let '{name}' bring it again, add it to \
                 '{owner}' or to a layer in its `on`, or take out of '{owner}' what uses it"
            );
        }
        Ok(news)
    }

    /// Finds the layer whose older version alone makes a problem go away.
    fn loser(&self, found: &MemberProblem, before: &Before) -> Result<Option<Loser>, BuildError> {
        let today = |name: &str| self.members.iter().find(|m| m.layer.name == name);
        for old in before.members.iter().rev() {
            let name = &old.layer.name;
            let now = today(name);
            if now.is_some_and(|now| now.id == old.id) {
                continue;
            }
            let set = replaced(self.members, old);
            let looked = match self.look(&set) {
                Err(BuildError::Interrupted) => return Err(BuildError::Interrupted),
                Err(_) => continue,
                Ok(looked) => looked,
            };
            if !has(&looked, found) && self.is_there(found, &looked.composition.tree) {
                return Ok(Some(match now {
                    Some(_) => Loser::Changed(name.clone()),
                    None => Loser::Left(name.clone()),
                }));
            }
        }
        Ok(None)
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

fn is_same(a: &[Member], b: &[Member]) -> bool {
    a.iter().map(|m| m.id).eq(b.iter().map(|m| m.id))
}
