//! Runs the checks over a composition, and says whose each problem is.

use super::composition::Composition;
use super::error::ComposeError;
use super::member::Member;
use super::view::TreeView;
use super::{
    choices, disabled, kernels, named, ownership, packages, places, probes, records, root,
    triggers, usrmerge,
};
use crate::check::{self, FindingId, FindingKind, Problem, Subject, Weight};
use crate::format::LayerPackage;
use crate::layout::accounts::{self, PASSWD};
use crate::layout::{ALTERNATIVES, dpkg, join};
use crate::merge::derive::ldsocache::CacheEntry;
use crate::path::RelPath;
use crate::store::{Index, Transaction};
use crate::tree::Node;
use crate::tree::view::{ImageView as _, ViewError};

/// A problem with the number of the member that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberProblem {
    /// The problem.
    pub problem: Problem,
    /// Whose doing it is, as far as known.
    pub member: usize,
    /// Whose thing it is about.
    pub owner: usize,
}

impl MemberProblem {
    /// Says whether it existed, and was as bad, when a layer was built; never for a layer of
    /// unknown baseline. What could not show then, for something worse was wrong with the same
    /// thing, counts as well.
    pub(super) fn is_listed(&self, member: &Member) -> bool {
        let is_grave = self.problem.weight == Weight::Grave;
        let lists = |id: &FindingId| member.baseline.lists(id.as_str(), is_grave);
        let id = &self.problem.id;
        member.is_known() && (lists(id) || id.hidden_behind().is_some_and(|id| lists(&id)))
    }

    /// Says whether it existed, and was as bad, when one of the layers was built, and no later
    /// layer was found to make it again. A trigger that dpkg ran then is no problem, whatever the
    /// baselines say.
    pub fn is_known(&self, members: &[Member]) -> bool {
        let is_broken_by = |member: &Member| {
            let id = self.problem.id.as_str();
            member.is_known() && member.baseline.broken.iter().any(|broken| broken == id)
        };
        let listed = members.iter().rposition(|member| self.is_listed(member));
        listed.is_some_and(|listed| !members[listed..].iter().any(is_broken_by))
            || triggers::ran(&self.problem, members)
    }

    /// Says whether it is grave, and did not exist when the layers were built.
    pub fn is_new_and_grave(&self, members: &[Member]) -> bool {
        self.problem.weight == Weight::Grave && !self.is_known(members)
    }
}

/// Finds everything that is wrong with a composed tree, new or not; sorted by id.
pub fn examine(
    composition: &Composition,
    members: &[Member],
    transaction: &Transaction<'_>,
    index: &Index,
) -> Result<Vec<MemberProblem>, ComposeError> {
    let view = TreeView::new(&composition.tree, transaction, index);
    let mut problems = problems(composition, members, &view)?;
    kernels::weigh(&mut problems, composition, members);
    view.remember();
    let merged = TreeView::new(&composition.merged, transaction, index);
    let overruled = choices::overruled(composition, &merged);
    problems.extend(overruled.map_err(|source| ComposeError::Check { source })?);
    let mut found: Vec<MemberProblem> = problems
        .into_iter()
        .map(|problem| {
            let owner = owner_of_account(&problem, members, transaction)
                .unwrap_or_else(|| owner(&problem, composition, members));
            MemberProblem {
                problem,
                member: owner,
                owner,
            }
        })
        .collect();
    found.sort_by(|a, b| a.problem.id.cmp(&b.problem.id));
    found.dedup_by(|a, b| a.problem.id == b.problem.id);
    Ok(found)
}

fn problems(
    composition: &Composition,
    members: &[Member],
    view: &TreeView<'_>,
) -> Result<Vec<Problem>, ComposeError> {
    let fail = |source: ViewError| ComposeError::Check { source };
    let tree = &composition.tree;
    let mut problems = Vec::new();
    if let Some(status) = tree.resolve(dpkg::STATUS.as_bytes()) {
        let native = members.first().map_or("", |base| &base.layer.architecture);
        let text = view.read(status.as_bytes()).map_err(fail)?;
        let mut found = check::dpkg::problems(&text, native);
        // An unreadable record makes many other packages look broken.
        if found.iter().any(is_unreadable) {
            found.retain(is_unreadable);
        }
        problems.extend(found);
    }
    let cache: Vec<check::elf::Library> = composition.libraries.iter().map(library).collect();
    problems.extend(check::elf::problems(tree, view, &cache).map_err(fail)?);
    problems.extend(check::paths::problems(tree, view).map_err(fail)?);
    problems.extend(check::imports::problems(tree, view).map_err(fail)?);
    problems.extend(packages::hidden_libraries(composition, view).map_err(fail)?);
    problems.extend(packages::replaced_files(composition, members, view).map_err(fail)?);
    problems.extend(records::damaged(tree, view).map_err(fail)?);
    problems.extend(places::stale(tree, view).map_err(fail)?);
    problems.extend(triggers::unheard(tree, members, view).map_err(fail)?);
    problems.extend(disabled::disabled(composition, members, view).map_err(fail)?);
    problems.extend(root::without_root(tree, members, view).map_err(fail)?);
    problems.extend(named::missed(composition, members, view).map_err(fail)?);
    problems.extend(ownership::given_away(composition, members));
    problems.extend(usrmerge::replaced_links(composition, members));
    problems.extend(probes::asked_beside(composition, members, view).map_err(fail)?);
    Ok(problems)
}

fn is_unreadable(problem: &Problem) -> bool {
    problem.id.kind() == FindingKind::DpkgUnreadable
}

fn library(entry: &CacheEntry) -> check::elf::Library {
    check::elf::Library {
        soname: entry.soname.clone(),
        path: entry.path.clone(),
        flags: entry.flags,
        hwcaps: entry.hwcaps.clone(),
    }
}

/// Returns the number of the member that has the subject.
fn owner(problem: &Problem, composition: &Composition, members: &[Member]) -> usize {
    let of_package = |name: &str, architecture: Option<&str>| {
        let is_it = |package: &LayerPackage| {
            package.name == name && architecture.is_none_or(|wanted| package.architecture == wanted)
        };
        members
            .iter()
            .rposition(|member| member.layer.packages.iter().any(is_it))
            .unwrap_or(0)
    };
    match &problem.subject {
        Subject::Path(path) => owner_of_path(path, composition),
        Subject::Layer(name) => members
            .iter()
            .position(|member| member.layer.name == *name)
            .unwrap_or(0),
        // The last layer that wrote the database.
        Subject::Package { .. } if is_unreadable(problem) => members
            .iter()
            .rposition(|member| member.changeset.get(dpkg::STATUS.as_bytes()).is_some())
            .unwrap_or(0),
        Subject::Package { name, architecture } => {
            // Of two that do not fit together, the upper one has to change: the lower one was there
            // first.
            let other = problem.other.as_deref().map_or(0, |other| {
                let (name, architecture) = other
                    .split_once(':')
                    .map_or((other, None), |(n, a)| (n, Some(a)));
                of_package(name, architecture)
            });
            of_package(name, Some(architecture)).max(other)
        }
    }
}

/// Returns the number of the member that has the account whose shell is amiss: the first that lists
/// it, whoever wrote the file last.
fn owner_of_account(
    problem: &Problem,
    members: &[Member],
    transaction: &Transaction<'_>,
) -> Option<usize> {
    let Subject::Path(path) = &problem.subject else {
        return None;
    };
    if problem.id.kind() != FindingKind::Account || path.as_bytes() != PASSWD.as_bytes() {
        return None;
    }
    let (_, account) = problem.id.place().rsplit_once(':')?;
    members.iter().position(|member| {
        let change = member.changeset.get(path.as_bytes());
        let object = change.and_then(|change| change.post.as_ref()?.object());
        // What cannot be read is said elsewhere.
        let file = object.and_then(|object| transaction.read_object(&object).ok());
        file.is_some_and(|file| accounts::numbers(&file).any(|(name, _)| name == account))
    })
}

/// Returns the number of the member that has a path.
pub(super) fn owner_of_path(path: &RelPath, composition: &Composition) -> usize {
    let known = |path: &[u8]| composition.origin.get(path).copied();
    let of_alternative = |path: &[u8]| {
        let name = path
            .strip_prefix(ALTERNATIVES.as_bytes())?
            .strip_prefix(b"/")?;
        // Each link is a function of the group of its name.
        known(&join(dpkg::ALTERNATIVES.as_bytes(), name))
    };
    let of_target = || match &composition.tree.get(path.as_bytes())?.node {
        Node::Symlink { target } => of_alternative(target.strip_prefix(b"/")?),
        _ => None,
    };
    // Derived files have no origin of their own.
    known(path.as_bytes())
        .or_else(|| of_alternative(path.as_bytes()))
        .or_else(of_target)
        .unwrap_or(0)
}
