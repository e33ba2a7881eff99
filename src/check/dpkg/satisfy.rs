//! What is installed and provided, and whether it satisfies a relation.

use std::cell::Cell;
use std::collections::HashMap;

use crate::packages::{MultiArch, Package, Qualifier, Relation};
use crate::version::Version;

/// How many candidates are looked at in all; a system of 5,000 packages needs some 100,000.
const MAX_LOOKS: u64 = 5_000_000;

/// A package under its own name, or under one that it provides.
struct Candidate<'p, 'a> {
    package: &'p Package<'a>,
    /// The version that it has under this name.
    version: Option<Version<'a>>,
    /// The architecture that a `Provides` names.
    qualifier: Qualifier<'a>,
    is_real: bool,
}

/// Everything that is not absent, by name.
pub(super) struct Installed<'p, 'a> {
    native: &'p str,
    names: HashMap<&'a str, Vec<Candidate<'p, 'a>>>,
    left: Cell<u64>,
}

impl<'p, 'a> Installed<'p, 'a> {
    pub(super) fn new(packages: &[&'p Package<'a>], native: &'p str) -> Self {
        let mut names: HashMap<&str, Vec<Candidate<'_, '_>>> =
            HashMap::with_capacity(packages.len());
        for package in packages.iter().copied() {
            names.entry(package.name).or_default().push(Candidate {
                package,
                version: Some(package.version),
                qualifier: Qualifier::None,
                is_real: true,
            });
            for provided in &package.provides {
                names.entry(provided.name).or_default().push(Candidate {
                    package,
                    version: provided.version.map(|(_, version)| version),
                    qualifier: provided.qualifier,
                    is_real: false,
                });
            }
        }
        Self {
            native,
            names,
            left: Cell::new(MAX_LOOKS),
        }
    }

    /// Says whether the limit was reached; answers since then mean nothing.
    pub(super) fn is_exhausted(&self) -> bool {
        self.left.get() == 0
    }

    fn candidates(&self, name: &str) -> impl Iterator<Item = &Candidate<'p, 'a>> {
        let found = self.names.get(name).map_or(&[][..], Vec::as_slice);
        found.iter().take_while(|_| {
            let left = self.left.get();
            self.left.set(left.saturating_sub(1));
            left > 0
        })
    }

    /// Says whether one of the alternatives is there, and configured.
    pub(super) fn satisfies(&self, depender: &Package<'_>, clause: &[Relation<'_>]) -> bool {
        clause.iter().any(|relation| {
            self.candidates(relation.name).any(|candidate| {
                candidate.package.state.is_configured()
                    && relation.allows(candidate.version.as_ref())
                    && self.is_for(depender, relation.qualifier, candidate)
            })
        })
    }

    /// Returns the packages that a `Breaks` or `Conflicts` of `package` means; never one of its own
    /// name.
    ///
    /// A package that conflicts with a name it provides says that no other package may provide it.
    pub(super) fn matching<'s>(
        &'s self,
        package: &'s Package<'_>,
        relation: &'s Relation<'_>,
    ) -> impl Iterator<Item = &'p Package<'a>> + 's {
        let qualifier = relation.qualifier;
        self.candidates(relation.name)
            .filter(move |candidate| {
                candidate.package.name != package.name
                    && relation.allows(candidate.version.as_ref())
                    && match qualifier {
                        // Unlike a dependency, this is about all architectures.
                        Qualifier::None | Qualifier::Any => true,
                        _ => self.is_for(package, qualifier, candidate),
                    }
            })
            .map(|candidate| candidate.package)
    }

    /// `all` is what the native architecture can use.
    fn effective<'s>(&'s self, architecture: &'s str) -> &'s str {
        if architecture == "all" {
            self.native
        } else {
            architecture
        }
    }

    /// Says whether a candidate is of an architecture that a relation of `depender` means.
    fn is_for(
        &self,
        depender: &Package<'_>,
        qualifier: Qualifier<'_>,
        candidate: &Candidate<'_, '_>,
    ) -> bool {
        let there = match candidate.qualifier {
            Qualifier::None => candidate.package.architecture,
            Qualifier::Any => return true,
            Qualifier::Native => self.native,
            Qualifier::Exact(architecture) => architecture,
        };
        let is = |wanted: &str| self.effective(there) == self.effective(wanted);
        match qualifier {
            Qualifier::None => {
                is(depender.architecture) || candidate.package.multi_arch == MultiArch::Foreign
            }
            Qualifier::Any => {
                is(depender.architecture) || candidate.package.multi_arch == MultiArch::Allowed
            }
            Qualifier::Native => is(self.native),
            Qualifier::Exact(architecture) => is(architecture),
        }
    }

    /// Says in words why no alternative will do.
    pub(super) fn why_not(&self, depender: &Package<'_>, clause: &[Relation<'_>]) -> String {
        let mut near = Vec::new();
        for relation in clause {
            for candidate in self.candidates(relation.name).take(3) {
                let Package {
                    name,
                    architecture,
                    version,
                    state,
                    ..
                } = candidate.package;
                let label = match clause {
                    [_] if candidate.is_real => version.to_string(),
                    _ => format!("{name} {version}"),
                };
                near.push(if !state.is_configured() {
                    format!("{label} is {}", state.word())
                } else if !self.is_for(depender, relation.qualifier, candidate) {
                    format!("{label} is installed for {architecture}")
                } else if candidate.is_real {
                    format!("{label} is installed")
                } else if let Some(version) = &candidate.version {
                    format!("{label} provides {} {version}", relation.name)
                } else {
                    format!("{label} provides {} without a version", relation.name)
                });
            }
        }
        near.truncate(3);
        match clause {
            _ if !near.is_empty() => near.join(", "),
            [_] => "no such package is installed".to_owned(),
            _ => "none of these is installed".to_owned(),
        }
    }
}
