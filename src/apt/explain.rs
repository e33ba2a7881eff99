//! Says why a request has no solution, and which lower layer stands in the way.

use super::command::ToolOutput;
use super::error::{AptError, HeldPackage};
use super::package::{LowerPackages, PackageRequest};
use super::reason::{self, UnmetRelation};
use super::root::AptRoot;
use super::state::{InstalledState, LowerPolicy};
use super::suggest;
use std::collections::BTreeSet;

/// How many times apt is asked for what it left out. Each answer goes one step down a chain of
/// relations, and chains in Debian are short.
const CHAIN_STEPS: usize = 6;
/// How many older versions of a package are tried.
const OLDER_VERSIONS: usize = 4;

/// A request that apt could not satisfy.
pub(super) struct FailedRequest<'a> {
    /// The private apt.
    pub root: &'a AptRoot,
    /// The lower layers, as apt sees them.
    pub state: &'a InstalledState<'a>,
    /// What was asked for.
    pub request: PackageRequest<'a>,
    /// The specifications that apt was given.
    pub wanted: &'a [String],
    /// The packages of the lower layers.
    pub lower: &'a [LowerPackages<'a>],
    /// Names that a package has.
    pub known: &'a BTreeSet<String>,
}

impl FailedRequest<'_> {
    /// Finds the most useful reason why apt failed with `outcome`.
    pub(super) fn explain(&self, outcome: &ToolOutput) -> Result<AptError, AptError> {
        let output = format!("{}\n{}", outcome.stdout, outcome.stderr);
        if let Some(error) = self.name_without_version(&output)? {
            return Ok(error);
        }
        let removed = reason::removed(&output);
        let unmet = self.unmet_causes(reason::unmet(&output), &removed)?;
        if let Some(error) = self.lower_layer_in_the_way(&unmet)? {
            return Ok(error);
        }
        let lost = removed
            .iter()
            .find_map(|name| holder(self.lower, name).map(|held| (name, held)));
        if let Some((name, (holder, held))) = lost {
            let need = format!("would remove {name}");
            return Ok(held_error(self.request, need, holder, held, false, None));
        }
        let reason = if unmet.is_empty() {
            outcome.reason()
        } else {
            reason::text(&unmet)
        };
        Ok(AptError::Unsolvable {
            layer: self.request.layer.to_owned(),
            reason,
        })
    }

    /// Returns the error for a name that has no such version, or none at all.
    fn name_without_version(&self, output: &str) -> Result<Option<AptError>, AptError> {
        let layer = self.request.layer.to_owned();
        if let Some((wanted, name)) = reason::no_such_version(output) {
            let available = self.show_versions(&name)?;
            return Ok(Some(AptError::NoVersion {
                layer,
                name,
                wanted,
                available,
            }));
        }
        let Some(name) = reason::no_candidate(output) else {
            return Ok(None);
        };
        let providers = reason::providers(output);
        // Others still mention a package that left with the suite before.
        Ok(Some(if providers.is_empty() {
            let others = self.known.iter().map(String::as_str);
            AptError::UnknownPackage {
                layer,
                place: self.root.place().to_owned(),
                suggestion: suggest::closest(&name, others.filter(|known| *known != name))
                    .map(str::to_owned),
                name,
            }
        } else {
            AptError::Virtual {
                layer,
                name,
                providers,
            }
        }))
    }

    /// Asks apt again until it names a cause. `unmet` is what it said first.
    fn unmet_causes(
        &self,
        mut unmet: Vec<UnmetRelation>,
        removed: &[String],
    ) -> Result<Vec<UnmetRelation>, AptError> {
        let mut arguments = self.wanted.to_vec();
        // apt would rather remove a lower package: asking for that package makes it say why.
        if unmet.is_empty() && !removed.is_empty() {
            arguments.extend(removed.iter().cloned());
            unmet = reason::unmet(&self.ask(&arguments, LowerPolicy::Held)?.stdout);
        }
        // apt names only the end of a chain: ask for the packages that it left out as well, until
        // a cause shows up.
        for _ in 0..CHAIN_STEPS {
            if unmet.iter().any(|relation| !relation.is_consequence()) {
                break;
            }
            let more: Vec<String> = unmet
                .iter()
                .map(|relation| relation.target.clone())
                .filter(|target| !arguments.contains(target))
                .collect();
            if more.is_empty() {
                break;
            }
            arguments.extend(more);
            let next = reason::unmet(&self.ask(&arguments, LowerPolicy::Held)?.stdout);
            if next.is_empty() {
                break;
            }
            unmet = next;
        }
        Ok(unmet)
    }

    /// Returns the error for the first cause whose target a lower layer holds.
    fn lower_layer_in_the_way(
        &self,
        unmet: &[UnmetRelation],
    ) -> Result<Option<AptError>, AptError> {
        let cause = unmet.iter().find_map(|relation| {
            holder(self.lower, &relation.target)
                .filter(|_| !relation.is_consequence())
                .map(|held| (relation, held))
        });
        let Some((relation, (holder, held))) = cause else {
            return Ok(None);
        };
        let mut with_target = self.wanted.to_vec();
        with_target.push(relation.target.clone());
        let movable = self.ask(&with_target, LowerPolicy::Movable)?.success;
        let (package, wanted) = (&relation.package, relation.wanted());
        let need = if relation.forbids() {
            format!("has {package}, which breaks {wanted}")
        } else {
            format!("needs {wanted} (for {package})")
        };
        let fitting = self.fitting()?;
        Ok(Some(held_error(
            self.request,
            need,
            holder,
            held,
            movable,
            fitting,
        )))
    }

    /// Looks for an older version of a package that was asked for by name and that lower layers can
    /// carry.
    fn fitting(&self) -> Result<Option<String>, AptError> {
        let named = self.wanted.iter().enumerate();
        for (index, package) in named.filter(|(_, name)| self.request.packages.contains(name)) {
            // The first is the newest, which is the one that did not fit.
            let versions = self.show_versions(package)?.into_iter().skip(1);
            for version in versions.take(OLDER_VERSIONS) {
                let mut arguments = self.wanted.to_vec();
                arguments[index] = format!("{package}={version}");
                if self.ask(&arguments, LowerPolicy::Held)?.success {
                    return Ok(Some(arguments.swap_remove(index)));
                }
            }
        }
        Ok(None)
    }

    fn ask(&self, wanted: &[String], policy: LowerPolicy) -> Result<ToolOutput, AptError> {
        self.state.install(wanted, self.request.recommends, policy)
    }

    fn show_versions(&self, name: &str) -> Result<Vec<String>, AptError> {
        let output = self.root.apt("apt-cache", &["madison", name])?.stdout;
        let mut versions: Vec<String> = output
            .lines()
            .filter_map(|l| l.split('|').nth(1))
            .map(|v| v.trim().to_owned())
            .collect();
        versions.dedup();
        Ok(versions)
    }
}

/// Returns the lower layer that has the package, and its version there.
pub(super) fn holder<'l>(lower: &[LowerPackages<'l>], name: &str) -> Option<(&'l str, &'l str)> {
    let held = |l: &LowerPackages<'l>| {
        l.packages
            .iter()
            .find(|p| p.name == name)
            .map(|p| (l.layer, p.version.as_str()))
    };
    lower.iter().find_map(held)
}

/// Makes the error for a package of a lower layer that stands in the way.
pub(super) fn held_error(
    request: PackageRequest<'_>,
    need: String,
    holder: &str,
    held: &str,
    movable: bool,
    fitting: Option<String>,
) -> AptError {
    let (layer, holder, held) = (request.layer.to_owned(), holder.to_owned(), held.to_owned());
    AptError::Held(Box::new(HeldPackage {
        layer,
        need,
        holder,
        held,
        movable,
        fitting,
    }))
}
