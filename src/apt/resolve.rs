//! Turns names into exact packages, by apt, without moving anything that a lower layer owns.

use super::archive::{Archive, ReleaseChange};
use super::cache::is_about;
use super::deb822::{self, ControlStanza};
use super::error::AptError;
use super::explain::{FailedRequest, held_error, holder};
use super::package::{BootstrapVariant, LockedPackage, LowerPackages, PackageRequest, is_name};
use super::root::AptRoot;
use super::state::{InstalledState, LowerPolicy};
use super::uris::{ChosenPackage, parse_uris};
use super::{reason, suggest};
use crate::recipe::pool_path_problem;
use std::collections::{BTreeMap, BTreeSet};

/// Resolves requests against indexes that were just updated.
#[derive(Debug)]
pub struct Resolver<'a> {
    root: &'a AptRoot,
    archives: Vec<Archive>,
    /// Every name that some package has, or that another provides or mentions.
    mentioned: BTreeSet<String>,
    /// Names that a package has.
    known: BTreeSet<String>,
    changes: Vec<ReleaseChange>,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(
        root: &'a AptRoot,
        archives: Vec<Archive>,
        changes: Vec<ReleaseChange>,
    ) -> Result<Self, AptError> {
        let names = |all: &str| -> Result<BTreeSet<String>, AptError> {
            let option = format!("APT::Cache::AllNames={all}");
            let output = root
                .apt("apt-cache", &["-o", &option, "pkgnames"])?
                .checked("apt-cache pkgnames")?;
            Ok(output.lines().map(str::to_owned).collect())
        };
        Ok(Self {
            root,
            archives,
            mentioned: names("true")?,
            known: names("false")?,
            changes,
        })
    }

    /// Says which of the names that a layer asks for no archive has.
    pub fn unknown_names(&self, layer: &str, names: &[String]) -> Vec<AptError> {
        let checked = names.iter().map(|name| self.check_name(layer, name));
        checked.filter_map(Result::err).collect()
    }

    /// Tells what archives call themselves otherwise than at the update before.
    pub fn changes(&self) -> &[ReleaseChange] {
        &self.changes
    }

    /// Returns what resolves with the archives of `view` alone, which is a view of the same state.
    pub fn within<'v>(&self, view: &'v AptRoot) -> Result<Resolver<'v>, AptError> {
        Resolver::new(view, self.archives.clone(), Vec::new())
    }

    /// Returns the packages that `request` adds to what is in `lower`, sorted by name.
    ///
    /// Packages of lower layers keep their versions, even where the archives have newer ones.
    pub fn resolve(
        &self,
        request: PackageRequest<'_>,
        lower: &[LowerPackages<'_>],
    ) -> Result<Vec<LockedPackage>, AptError> {
        let mut wanted: Vec<String> = Vec::new();
        if let Some(base) = request.base {
            wanted.extend(base_arguments(base.variant, self.root.arch()));
            wanted.extend(base.packages.iter().cloned());
        }
        wanted.extend(request.packages.iter().cloned());
        let named: Vec<&String> = request
            .base
            .iter()
            .flat_map(|b| &b.packages)
            .chain(request.packages)
            .collect();
        for name in &named {
            self.check_name(request.layer, name)?;
        }
        let state = InstalledState::new(self.root, &self.stanzas(lower)?, lower)?;
        let outcome = state.install(&wanted, request.recommends, LowerPolicy::Held)?;
        if !outcome.success {
            let failed = FailedRequest {
                root: self.root,
                state: &state,
                request,
                wanted: &wanted,
                lower,
                known: &self.known,
            };
            return Err(failed.explain(&outcome)?);
        }
        let chosen = parse_uris(&outcome.stdout)?;
        if let Some(moved) = chosen
            .iter()
            .find_map(|c| holder(lower, &c.name).map(|h| (c, h)))
        {
            let (choice, (holder, held)) = moved;
            let need = format!("needs {} {}", choice.name, choice.version);
            return Err(held_error(request, need, holder, held, true, None));
        }
        let mut manual: BTreeSet<&str> = named.iter().map(|name| base_name(name)).collect();
        let instead = reason::selected_instead(&outcome.stdout);
        manual.extend(instead.iter().map(String::as_str));
        self.lock(&chosen, &manual, request.base.map(|b| b.variant))
    }

    /// Completes apt's choice from the index, which is where digest and pool path stand.
    fn lock(
        &self,
        chosen: &[ChosenPackage],
        manual: &BTreeSet<&str>,
        variant: Option<BootstrapVariant>,
    ) -> Result<Vec<LockedPackage>, AptError> {
        let mut locked = Vec::new();
        let shown = self.show(
            chosen
                .iter()
                .map(|c| format!("{}={}", c.name, c.version))
                .collect(),
        )?;
        for choice in chosen {
            let candidates = shown
                .get(choice.name.as_str())
                .map_or(&[][..], Vec::as_slice);
            let found = candidates
                .iter()
                .find_map(|s| self.complete(choice, s).map(|l| (l, s)));
            if let Some((file, problem)) = candidates.iter().find_map(misplaced) {
                return Err(AptError::Malformed {
                    place: "an archive's index".to_owned(),
                    detail: format!(
                        "'{file}', the file of {} {}, {problem}",
                        choice.name, choice.version
                    ),
                });
            }
            let weak = candidates.iter().all(|s| s.get("SHA256").is_none());
            let lacks = if weak { "SHA256 digest" } else { "entry" };
            let (mut package, stanza) = found.ok_or_else(|| AptError::Malformed {
                place: "an archive's index".to_owned(),
                detail: format!(
                    "{} {} has no {lacks} for '{}'",
                    choice.name, choice.version, choice.address
                ),
            })?;
            package.manual = manual.contains(choice.name.as_str())
                || variant.is_some_and(|v| is_part_of(v, stanza));
            self.root.debs().remember(&package, stanza)?;
            locked.push(package);
        }
        locked.sort();
        Ok(locked)
    }

    fn complete(&self, choice: &ChosenPackage, stanza: &ControlStanza) -> Option<LockedPackage> {
        // Flat archives begin it with "./", which no lock may.
        let pool_path = stanza.get("Filename")?.trim_start_matches("./");
        if pool_path_problem(pool_path).is_some() {
            return None;
        }
        let root = choice.address.strip_suffix(pool_path)?;
        let root = format!("{}/", root.trim_end_matches("./").trim_end_matches('/'));
        let archive = self.archives.iter().find(|a| a.root == root)?;
        let package = LockedPackage {
            name: choice.name.clone(),
            version: choice.version.clone(),
            architecture: stanza.get("Architecture")?.to_owned(),
            sha256: stanza.get("SHA256")?.parse().ok()?,
            size: stanza.get("Size")?.parse().ok()?,
            pool_path: pool_path.to_owned(),
            archive: archive.label.clone(),
            manual: false,
        };
        is_about(stanza, &package).then_some(package)
    }

    /// Returns index entries by name for `name=version` specifications.
    fn show(
        &self,
        specifications: Vec<String>,
    ) -> Result<BTreeMap<String, Vec<ControlStanza>>, AptError> {
        let mut shown: BTreeMap<String, Vec<ControlStanza>> = BTreeMap::new();
        for batch in specifications.chunks(500) {
            let mut arguments = vec!["show".to_owned()];
            arguments.extend(batch.iter().cloned());
            // Entries that are not there any more make it fail, but the others are printed.
            let output = self.root.apt("apt-cache", &arguments)?.stdout;
            for stanza in deb822::parse(&output) {
                if let Some(name) = stanza.get("Package") {
                    shown.entry(name.to_owned()).or_default().push(stanza);
                }
            }
        }
        Ok(shown)
    }

    /// Returns control data for the lower layers' packages: remembered, from today's index, or from
    /// the file itself, which is fetched if need be.
    fn stanzas(&self, lower: &[LowerPackages<'_>]) -> Result<Vec<ControlStanza>, AptError> {
        let debs = self.root.debs();
        let packages = || lower.iter().flat_map(|l| l.packages);
        let unknown: Vec<&LockedPackage> = packages()
            .filter(|p| debs.remembered(p).is_none())
            .collect();
        let shown = self.show(
            unknown
                .iter()
                .map(|p| format!("{}={}", p.name, p.version))
                .collect(),
        )?;
        let mut superseded = Vec::new();
        for package in unknown {
            let digest = package.sha256.to_string();
            let entries = shown.get(&package.name).map_or(&[][..], Vec::as_slice);
            match entries
                .iter()
                .find(|s| s.get("SHA256") == Some(&digest) && is_about(s, package))
            {
                Some(stanza) => debs.remember(package, stanza)?,
                None => superseded.push(package.clone()),
            }
        }
        self.root.fetch(&superseded, &|_, _| {})?;
        packages()
            .map(|p| match debs.remembered(p) {
                Some(stanza) => Ok(stanza),
                None => debs.control(p),
            })
            .collect()
    }

    /// Refuses what apt would read as something else: an option, a removal, a pattern, a regular
    /// expression.
    fn check_name(&self, layer: &str, specification: &str) -> Result<(), AptError> {
        let name = base_name(specification);
        let rest = &specification[name.len()..];
        let valid = is_name(name)
            && !name.ends_with('-')
            && rest
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"+-.~:=/".contains(&b))
            && !rest.ends_with([':', '=', '/']);
        if !valid {
            return Err(AptError::BadName {
                layer: layer.to_owned(),
                name: specification.to_owned(),
            });
        }
        if self.mentioned.contains(name) {
            return Ok(());
        }
        Err(AptError::UnknownPackage {
            layer: layer.to_owned(),
            name: name.to_owned(),
            place: self.root.place().to_owned(),
            suggestion: suggest::closest(name, self.known.iter().map(String::as_str))
                .map(str::to_owned),
        })
    }
}

/// Returns the file of an index entry that no lock can name, and why.
fn misplaced(stanza: &ControlStanza) -> Option<(&str, &'static str)> {
    let file = stanza.get("Filename")?;
    Some((file, pool_path_problem(file.trim_start_matches("./"))?))
}

/// Returns what to ask apt for to get a variant's set, by the patterns that mmdebstrap uses
/// (apt-patterns(7)).
fn base_arguments(variant: BootstrapVariant, arch: &str) -> Vec<String> {
    let pattern = |inner: &str| format!("?and(?architecture({arch}),{inner})");
    match variant {
        BootstrapVariant::Essential => vec![pattern("?essential")],
        BootstrapVariant::Apt => vec![pattern("?essential"), "apt".to_owned()],
        BootstrapVariant::Minbase => vec![
            pattern("?or(?essential,?priority(required))"),
            "apt".to_owned(),
        ],
    }
}

/// Says whether the variant itself asks for the package. Then it is marked as installed by hand.
fn is_part_of(variant: BootstrapVariant, stanza: &ControlStanza) -> bool {
    stanza.get("Essential") == Some("yes")
        || variant != BootstrapVariant::Essential && stanza.get("Package") == Some("apt")
        || variant == BootstrapVariant::Minbase && stanza.get("Priority") == Some("required")
}

fn base_name(specification: &str) -> &str {
    specification
        .split([':', '=', '/'])
        .next()
        .unwrap_or(specification)
}
