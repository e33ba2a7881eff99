//! What a build of a moved lock would do, as far as facts of packages tell: before anything is
//! built.
//!
//! The relations of all packages that the lock names are checked as if they were installed. They
//! come from the indexes that `layerset lock` saw, or from package files that are here. What only
//! files tell (libraries, units, conflicts) a build finds.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::inputs::LayerInputs;
use super::{BuildError, keys};
use crate::apt::DebCache;
use crate::check::{Finding, FindingKind, Problem, Severity, Subject, Verdict, dpkg, verdict};
use crate::compose::waive;
use crate::format::Layer;
use crate::glob::Glob;
use crate::id::LayerId;
use crate::layout;
use crate::packages::package_of_list;
use crate::recipe::{LockedPackage, Workspace};
use crate::store::{Repository, StoreError, Untouched};
use crate::time::Date;
use crate::version::Version;

/// What would become of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ForecastAction {
    /// It would be kept.
    Keep,
    /// It would be built, because its inputs changed.
    Build,
    /// It is there, and would be built again on what moved below it.
    Rebuild,
    /// It has to be locked again first.
    Lock,
}

/// What would become of one layer, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LayerForecast {
    /// The layer's name.
    pub name: String,
    /// What would become of it.
    pub action: ForecastAction,
    /// Why.
    pub reason: String,
}

/// What a build would do.
#[derive(Debug, Clone, Serialize)]
pub struct Forecast {
    /// What the findings add up to.
    pub verdict: Verdict,
    /// The layers, lowest first.
    pub layers: Vec<LayerForecast>,
    /// What speaks against keeping layers, with waivers applied.
    pub findings: Vec<Finding>,
    /// Packages whose relations are not known here: nothing is said of relations then.
    pub unknown: Vec<String>,
}

/// Forecasts what a build of the recipe would do on the day `today`, or returns `None` where it
/// would keep every layer: then a check says more.
pub fn forecast(
    workspace: &Workspace,
    repository: &Repository,
    today: Date,
) -> Result<Option<Forecast>, BuildError> {
    let lock = workspace.require_lock()?;
    let mut set = Vec::new();
    let untouched = Untouched::default();
    for layer in workspace.layers() {
        let input = LayerInputs::read(layer, &lock)?;
        let known = keys::find(repository, &input, &untouched)?.map(|cached| cached.layer);
        set.push(PlannedLayer { input, known });
    }
    if set.iter().all(|layer| layer.known.is_some()) {
        return Ok(None);
    }
    let plan = Plan {
        workspace,
        repository,
        set: &set,
    };
    let (stanzas, unknown) = plan.stanzas()?;
    let mut findings = Vec::new();
    if unknown.is_empty() {
        let problems = dpkg::problems(stanzas.as_bytes(), &lock.architecture);
        findings.extend(problems.into_iter().map(|problem| plan.finding(problem)));
    }
    for layer in &set {
        findings.extend(plan.built_from_what_moves(layer)?);
    }
    findings.sort_by(|a, b| (&a.layer, &a.id).cmp(&(&b.layer, &b.id)));
    let findings = waive(findings, &workspace.recipe().waivers, today).findings;
    let layers = set.iter().map(|layer| plan.of(layer, &findings));
    Ok(Some(Forecast {
        verdict: verdict(&findings),
        layers: layers.collect::<Result<_, _>>()?,
        findings,
        unknown,
    }))
}

struct PlannedLayer {
    input: LayerInputs,
    /// The layer that was built from the same inputs, if it is here.
    known: Option<LayerId>,
}

struct Plan<'a> {
    workspace: &'a Workspace,
    repository: &'a Repository,
    set: &'a [PlannedLayer],
}

impl Plan<'_> {
    /// Returns the packages of all layers as dpkg's database would have them: of a package that two
    /// layers lock, the newer version. Packages of unknown relations are named.
    fn stanzas(&self) -> Result<(String, Vec<String>), BuildError> {
        let cache = DebCache::new(self.repository.cache_dir("debs")?);
        let mut newest: BTreeMap<(&str, &str), &LockedPackage> = BTreeMap::new();
        for package in self.set.iter().flat_map(|layer| &layer.input.lock.packages) {
            let key = (package.name.as_str(), package.architecture.as_str());
            let known = newest.entry(key).or_insert(package);
            if is_newer(&package.version, &known.version) {
                *known = package;
            }
        }
        let (mut text, mut unknown) = (String::new(), Vec::new());
        for package in newest.values() {
            match cache.status_stanza(package) {
                Some(stanza) => text.push_str(&stanza),
                None => unknown.push(package.label()),
            }
        }
        Ok((text, unknown))
    }

    /// Blames the layer of a problem: of two packages that do not fit together, the upper one.
    fn finding(&self, problem: Problem) -> Finding {
        let holder = |name: &str| {
            let name = name.split(':').next().unwrap_or(name);
            let has = |layer: &PlannedLayer| {
                let mut packages = layer.input.lock.packages.iter();
                packages.any(|package| package.name == name)
            };
            self.set.iter().rposition(has).unwrap_or(0)
        };
        let own = match &problem.subject {
            Subject::Package { name, .. } => holder(name),
            Subject::Path(_) | Subject::Layer(_) => 0,
        };
        let number = own.max(problem.other.as_deref().map_or(0, holder));
        Finding {
            id: problem.id,
            severity: Severity::Rebuild,
            layer: self.set[number].input.name.clone(),
            package: problem.package,
            path: None,
            reason: problem.reason,
            hint: problem.hint,
            waived: None,
        }
    }

    /// Returns the layers below one that would not be the ones it was built on.
    fn moved_below(&self, layer: &Layer) -> Vec<&PlannedLayer> {
        let is_same = |planned: &PlannedLayer| {
            let mut on = layer.build.on.iter();
            on.any(|on| on.name == planned.input.name && planned.known == Some(on.id))
        };
        let closure = self.workspace.closure(&layer.name);
        self.set
            .iter()
            .filter(|planned| closure.contains(&planned.input.name.as_str()) && !is_same(planned))
            .collect()
    }

    fn of(
        &self,
        planned: &PlannedLayer,
        findings: &[Finding],
    ) -> Result<LayerForecast, BuildError> {
        let name = planned.input.name.clone();
        let speaks =
            |finding: &&Finding| finding.layer == name && finding.severity > Severity::Note;
        let against: Vec<&Finding> = findings.iter().filter(speaks).collect();
        let mut locks = against.iter().filter(|finding| finding.needs_lock());
        let (action, reason) = match (locks.next().or(against.first()), planned.known) {
            (Some(finding), _) if finding.needs_lock() => {
                (ForecastAction::Lock, finding.reason.clone())
            }
            (_, None) => {
                let recipe = &self.workspace.recipe().name;
                let why = keys::why_new(self.repository, recipe, &planned.input)?;
                (ForecastAction::Build, why)
            }
            (Some(finding), _) => (ForecastAction::Rebuild, finding.reason.clone()),
            (None, Some(id)) => (ForecastAction::Keep, self.why_kept(&id)?),
        };
        Ok(LayerForecast {
            name,
            action,
            reason,
        })
    }

    fn why_kept(&self, id: &LayerId) -> Result<String, BuildError> {
        let layer = self.repository.read_layer(id)?;
        let moved = self.moved_below(&layer);
        let names: Vec<&str> = moved.iter().map(|it| it.input.name.as_str()).collect();
        Ok(if names.is_empty() {
            "nothing below it moves".to_owned()
        } else {
            format!(
                "no relation of its packages speaks against it on {}",
                names.join(" and ")
            )
        })
    }

    /// Finds the patterns of `[rebuild]` of a kept layer whose files belong to packages that move.
    fn built_from_what_moves(&self, planned: &PlannedLayer) -> Result<Vec<Finding>, BuildError> {
        let Some(id) = planned.known else {
            return Ok(Vec::new());
        };
        let layer = self.repository.read_layer(&id)?;
        let mut found = Vec::new();
        for pattern in &layer.rebuild.when {
            let Ok(glob) = Glob::new(pattern) else {
                continue;
            };
            for on in &layer.build.on {
                for (package, how) in self.movers(&glob, &on.id)? {
                    found.push(Finding {
                        id: FindingKind::Rebuild.at(format_args!("{}:{pattern}", layer.name)),
                        severity: Severity::Rebuild,
                        layer: layer.name.clone(),
                        package: Some(package.clone()),
                        path: None,
                        reason: format!(
                            "files that match '{pattern}' belong to '{package}', which {how}, and the layer is built from them"
                        ),
                        hint: format!("`layerset build` rebuilds '{}'", layer.name),
                        waived: None,
                    });
                }
            }
        }
        found.dedup_by(|a, b| a.id == b.id);
        Ok(found)
    }

    /// Returns the packages of a layer as it was built that have files for a pattern and are not the
    /// same in the lock, with what becomes of them.
    fn movers(&self, glob: &Glob, id: &LayerId) -> Result<Vec<(String, String)>, BuildError> {
        let layer = match self.repository.read_layer(id) {
            // It left the repository: nobody knows what it had.
            Err(StoreError::NotFound { .. }) => return Ok(Vec::new()),
            layer => layer?,
        };
        let moved: BTreeMap<&str, String> = layer
            .packages
            .iter()
            .filter_map(|package| {
                let now = self.locked(&package.name, &package.architecture);
                let how = match now {
                    Some(now) if now == package.version => return None,
                    Some(now) => format!("moves from {} to {now}", package.version),
                    None => "leaves".to_owned(),
                };
                Some((package.name.as_str(), how))
            })
            .collect();
        let mut packages: BTreeSet<&str> = BTreeSet::new();
        let changeset = self.repository.read_changeset(&layer.changeset)?;
        for (path, change) in changeset.iter() {
            let name = package_of_list(path.name()).and_then(|name| std::str::from_utf8(name).ok());
            let name = name
                .and_then(|name| moved.get_key_value(name))
                .map(|it| *it.0);
            let object = change.post.as_ref().and_then(|inode| inode.object());
            let is_list = path.starts_with(layout::dpkg::INFO.as_bytes());
            if let (Some(name), Some(object), true) = (name, object, is_list) {
                let list = self.repository.read_object(&object)?;
                let mut files = list.split(|byte| *byte == b'\n');
                if files.any(|file| file.strip_prefix(b"/").is_some_and(|at| glob.matches(at))) {
                    packages.insert(name);
                }
            }
        }
        let how = |name: &str| (name.to_owned(), moved[name].clone());
        Ok(packages.into_iter().map(how).collect())
    }

    fn locked(&self, name: &str, architecture: &str) -> Option<&str> {
        let mut packages = self.set.iter().flat_map(|layer| &layer.input.lock.packages);
        let found = packages.find(|it| it.name == name && it.architecture == architecture);
        found.map(|package| package.version.as_str())
    }
}

fn is_newer(version: &str, than: &str) -> bool {
    match (
        Version::parse(version.as_bytes()),
        Version::parse(than.as_bytes()),
    ) {
        (Ok(version), Ok(than)) => version > than,
        _ => false,
    }
}
