//! Says why a request has no solution, and which lower layer stands in the way.

use super::command::ToolOutput;
use super::error::{AptError, HeldPackage};
use super::package::{LowerPackages, PackageRequest};
use super::reason;
use super::resolve::Resolver;
use super::state::{InstalledState, LowerPolicy};

impl Resolver<'_> {
    /// Finds the most useful reason why apt failed.
    pub(super) fn explain(
        &self,
        state: &InstalledState<'_>,
        request: PackageRequest<'_>,
        wanted: &[String],
        lower: &[LowerPackages<'_>],
        outcome: &ToolOutput,
    ) -> Result<AptError, AptError> {
        let output = format!("{}\n{}", outcome.stdout, outcome.stderr);
        let layer = request.layer.to_owned();
        if let Some((wanted, name)) = reason::no_such_version(&output) {
            let available = self.show_versions(&name)?;
            return Ok(AptError::NoVersion {
                layer,
                name,
                wanted,
                available,
            });
        }
        if let Some(name) = reason::no_candidate(&output) {
            return Ok(AptError::Virtual {
                layer,
                name,
                providers: reason::providers(&output),
            });
        }
        let mut arguments = wanted.to_vec();
        let mut unmet = reason::unmet(&output);
        // Where apt would rather remove a lower package, insisting on that package makes it say why.
        let removed = reason::removed(&output);
        if unmet.is_empty() && !removed.is_empty() {
            arguments.extend(removed.iter().cloned());
            let again = state.install(&arguments, request.recommends, LowerPolicy::Held)?;
            unmet = reason::unmet(&again.stdout);
        }
        // apt names only the end of a chain: ask for what it left out as well until a cause shows up.
        for _ in 0..6 {
            if unmet.iter().any(|u| !u.is_consequence()) {
                break;
            }
            let more: Vec<String> = unmet
                .iter()
                .map(|u| u.target.clone())
                .filter(|t| !arguments.contains(t))
                .collect();
            if more.is_empty() {
                break;
            }
            arguments.extend(more);
            let again = state.install(&arguments, request.recommends, LowerPolicy::Held)?;
            let next = reason::unmet(&again.stdout);
            if next.is_empty() {
                break;
            }
            unmet = next;
        }
        let cause = unmet.iter().find_map(|u| {
            holder(lower, &u.target)
                .filter(|_| !u.is_consequence())
                .map(|h| (u, h))
        });
        if let Some((unmet, (holder, held))) = cause {
            let mut with_target = wanted.to_vec();
            with_target.push(unmet.target.clone());
            let movable = state
                .install(&with_target, request.recommends, LowerPolicy::Movable)?
                .success;
            let need = match unmet.forbids() {
                true => format!("has {}, which breaks {}", unmet.package, unmet.wanted()),
                false => format!("needs {} (for {})", unmet.wanted(), unmet.package),
            };
            let fitting = self.fitting(state, request, wanted)?;
            return Ok(held_error(request, need, holder, held, movable, fitting));
        }
        let lost = removed
            .iter()
            .find_map(|name| holder(lower, name).map(|h| (name, h)));
        if let Some((name, (holder, held))) = lost {
            return Ok(held_error(
                request,
                format!("would remove {name}"),
                holder,
                held,
                false,
                None,
            ));
        }
        let reason = if unmet.is_empty() {
            outcome.reason()
        } else {
            reason::text(&unmet)
        };
        Ok(AptError::Unsolvable { layer, reason })
    }

    /// Looks for an older version of a package that was asked for by name and that lower layers can carry.
    fn fitting(
        &self,
        state: &InstalledState<'_>,
        request: PackageRequest<'_>,
        wanted: &[String],
    ) -> Result<Option<String>, AptError> {
        for (place, package) in wanted
            .iter()
            .enumerate()
            .filter(|(_, w)| request.packages.contains(w))
        {
            // The first is the newest, which is the one that did not fit.
            for version in self.show_versions(package)?.into_iter().skip(1).take(4) {
                let mut arguments = wanted.to_vec();
                arguments[place] = format!("{package}={version}");
                if state
                    .install(&arguments, request.recommends, LowerPolicy::Held)?
                    .success
                {
                    return Ok(Some(arguments.swap_remove(place)));
                }
            }
        }
        Ok(None)
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
pub fn holder<'l>(lower: &[LowerPackages<'l>], name: &str) -> Option<(&'l str, &'l str)> {
    let held = |l: &LowerPackages<'l>| {
        l.packages
            .iter()
            .find(|p| p.name == name)
            .map(|p| (l.layer, p.version.as_str()))
    };
    lower.iter().find_map(held)
}

/// Makes the error for a package of a lower layer that stands in the way.
pub fn held_error(
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
