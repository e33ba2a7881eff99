//! The packages of a composed tree: do the relations that they declare hold?
//!
//! What a relation means is in deb-control(5) and, in detail, in dpkg's src/main/depcon.c; the
//! words of a state are in dpkg(1). Nothing is guessed: a record that cannot be read is a problem
//! by itself. The work is bounded, so that a hostile database costs seconds at most.

mod satisfy;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use self::satisfy::Installed;
use super::{FindingId, FindingKind, Problem, Subject, Weight};
use crate::layout::dpkg;
use crate::packages::{self, MultiArch, Package, RecordFault};
use crate::path::RelPath;

/// A report with more problems would tell nobody more.
const MAX_PROBLEMS: usize = 4_000;

/// Finds what is wrong among the packages in `status`, the content of a dpkg status file.
///
/// `native` is dpkg's name of the image's architecture, e.g. `amd64`. The problems are sorted by
/// id, each id once.
pub fn problems(status: &[u8], native: &str) -> Vec<Problem> {
    let database = packages::dpkg::read(status);
    let packages: Vec<&Package<'_>> = database.packages().collect();
    let mut found = ProblemCollector {
        native,
        problems: BTreeMap::new(),
        is_full: false,
    };
    for fault in &database.faults {
        found.unreadable(fault);
    }
    for package in &packages {
        found.state(package);
    }
    found.instances(&packages);
    let mut installed = Installed::new(&packages, native);
    for package in &packages {
        if found.is_full || installed.is_exhausted() {
            found.is_full = true;
            break;
        }
        found.relations(package, &mut installed);
    }
    found.finish()
}

/// The problems so far.
struct ProblemCollector<'n> {
    native: &'n str,
    problems: BTreeMap<FindingId, Problem>,
    is_full: bool,
}

impl ProblemCollector<'_> {
    /// Names a package as ids do: with its architecture where that is foreign.
    fn label(&self, name: &str, architecture: &str) -> String {
        if [self.native, "all", ""].contains(&architecture) {
            name.to_owned()
        } else {
            format!("{name}:{architecture}")
        }
    }

    fn label_of(&self, package: &Package<'_>) -> String {
        self.label(package.name, package.architecture)
    }

    fn push(
        &mut self,
        id: FindingId,
        package: &Package<'_>,
        other: Option<String>,
        reason: String,
        hint: String,
    ) {
        let subject = Subject::Package {
            name: package.name.to_owned(),
            architecture: package.architecture.to_owned(),
        };
        self.add(Problem {
            id,
            subject,
            package: Some(package.name.to_owned()),
            other,
            weight: Weight::Grave,
            reason,
            hint,
        });
    }

    fn add(&mut self, problem: Problem) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.entry(problem.id.clone()).or_insert(problem);
        } else {
            self.is_full = true;
        }
    }

    fn unreadable(&mut self, fault: &RecordFault<'_>) {
        let place = match fault.package {
            None => format!("line-{}", fault.line),
            Some((name, architecture)) => self.label(name, architecture),
        };
        let id = match fault.field {
            None => FindingKind::DpkgUnreadable.at(place),
            Some(field) => FindingKind::DpkgUnreadable
                .at(format_args!("{place}:{}", field.to_ascii_lowercase())),
        };
        let path = RelPath::new(dpkg::STATUS.as_bytes()).unwrap_or_default();
        let what = match fault.package {
            None => "a record".to_owned(),
            Some((name, _)) => format!("the record of '{name}'"),
        };
        let reason = format!(
            "'{path}', line {}: {what} cannot be read: {}",
            fault.line, fault.reason
        );
        let subject = match fault.package {
            Some((name, architecture)) => Subject::Package {
                name: name.to_owned(),
                architecture: architecture.to_owned(),
            },
            None => Subject::Path(path),
        };
        self.add(Problem {
            id,
            subject,
            package: fault.package.map(|(name, _)| name.to_owned()),
            other: None,
            weight: Weight::Grave,
            reason,
            hint: "rebuild the layer that wrote this record".to_owned(),
        });
    }

    fn state(&mut self, package: &Package<'_>) {
        let Package { name, version, .. } = package;
        let wrong = if !package.state.is_configured() {
            format!("is {}", package.state.word())
        } else if package.broken {
            "must be reinstalled, according to dpkg".to_owned()
        } else {
            return;
        };
        self.push(
            FindingKind::Dpkg.at(format_args!("state:{}", self.label_of(package))),
            package,
            None,
            format!("{name} {version} {wrong}"),
            format!("rebuild the layer that brings '{name}': its installation failed"),
        );
    }

    /// Finds packages of several architectures that cannot be installed together.
    fn instances(&mut self, packages: &[&Package<'_>]) {
        let mut first: BTreeMap<&str, &Package<'_>> = BTreeMap::new();
        for package in packages {
            let Package { name, version, .. } = package;
            let other = *first.entry(name).or_insert(package);
            let (here, there) = (package.architecture, other.architecture);
            let wrong = if here == there {
                continue;
            } else if [package, other]
                .iter()
                .any(|p| p.multi_arch != MultiArch::Same)
            {
                "can be installed for one architecture only"
            } else if *version != other.version {
                "must have one version for all architectures"
            } else {
                continue;
            };
            self.push(
                FindingKind::Dpkg.at(format_args!("multi-arch:{name}")),
                package,
                Some(self.label_of(other)),
                format!(
                    "{name} {wrong}, and {} for {there} and {version} for {here} are installed",
                    other.version
                ),
                format!(
                    "lock the layers that bring '{name}' again, so that they agree on a version"
                ),
            );
        }
    }

    /// Finds relations of one package that do not hold.
    fn relations(&mut self, package: &Package<'_>, installed: &mut Installed<'_, '_>) {
        let label = self.label_of(package);
        let Package { name, version, .. } = package;
        if package.state.is_configured() {
            for clause in &package.depends {
                if installed.satisfies(package, clause) {
                    continue;
                }
                let labels: Vec<_> = clause.iter().map(|one| one.label()).collect();
                let wanted: Vec<_> = clause.iter().map(|one| one.to_string()).collect();
                let reason = format!(
                    "{name} {version} needs {}, and {}",
                    wanted.join(" | "),
                    installed.why_not(package, clause)
                );
                self.push(
                    FindingKind::Dpkg.at(format_args!("depends:{label}:{}", labels.join("|"))),
                    package,
                    None,
                    reason,
                    format!(
                        "lock the layer that brings '{name}' again on these lower layers, so that apt adds what it needs"
                    ),
                );
            }
        }
        for (kind, verb, relations) in [
            ("breaks", "breaks", &package.breaks),
            ("conflicts", "conflicts with", &package.conflicts),
        ] {
            for relation in relations {
                for other in installed.matching(package, relation) {
                    let other_label = self.label_of(other);
                    let reason = format!(
                        "{name} {version} {verb} {relation}, and {other_label} {} is installed",
                        other.version
                    );
                    let hint = format!(
                        "lock the layers of '{name}' and '{other_label}' again, so that their versions fit"
                    );
                    let id = FindingKind::Dpkg.at(format_args!("{kind}:{label}:{other_label}"));
                    self.push(id, package, Some(other_label), reason, hint);
                    if self.is_full {
                        return;
                    }
                }
            }
        }
    }

    fn finish(mut self) -> Vec<Problem> {
        if self.is_full {
            let path = RelPath::new(dpkg::STATUS.as_bytes()).unwrap_or_default();
            let problem = Problem {
                id: FindingKind::DpkgUnreadable.at("too-much"),
                reason: format!("'{path}' has more relations or problems than this check follows"),
                subject: Subject::Path(path),
                package: None,
                other: None,
                weight: Weight::Grave,
                hint: "solve the other problems first".to_owned(),
            };
            self.problems.insert(problem.id.clone(), problem);
        }
        self.problems.into_values().collect()
    }
}
