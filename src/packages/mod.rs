//! The package database of an image, as values.
//!
//! [`dpkg`] reads what dpkg keeps, all of it in one place: what a package is, how far it got, what
//! it wants and has. What that means for a set of layers is the business of [`check`](crate::check)
//! and [`merge`](crate::merge). Pure; any bytes are safe to give to it.

pub mod dpkg;
mod info;
mod interests;
mod relation;
mod script;

pub use info::{Diversions, digests, package_of_list, stem};
pub use interests::{Interest, interests};
pub use relation::{Operator, Qualifier, Relation};
pub use script::{Probe, only_tells_daemons, probes};

use std::collections::HashMap;

use crate::version::Version;

/// The packages of an image.
#[derive(Debug, Default)]
pub struct PackageDatabase<'a> {
    /// What could be read, in the order of the database.
    pub records: Vec<PackageRecord<'a>>,
    /// What could not.
    pub faults: Vec<RecordFault<'a>>,
}

impl<'a> PackageDatabase<'a> {
    /// Iterates over the packages of which more than the configuration is there.
    pub fn packages(&self) -> impl Iterator<Item = &Package<'a>> {
        self.records
            .iter()
            .filter_map(|record| record.package.as_ref())
    }

    /// Says whether every record could be read, if not every field of it.
    pub fn is_whole(&self) -> bool {
        self.faults.iter().all(|fault| fault.field.is_some())
    }
}

/// Name and architecture; the architecture is empty for packages that were removed long ago.
pub type PackageKey<'a> = (&'a str, &'a str);

/// What a database says of one package.
#[derive(Debug)]
pub struct PackageRecord<'a> {
    /// The record as it stands there, without what ends it.
    pub raw: &'a [u8],
    /// Which package it is about.
    pub key: PackageKey<'a>,
    /// The package, where more than its configuration is there.
    pub package: Option<Package<'a>>,
    /// Whether it may be there for several architectures at once.
    pub is_same: bool,
    /// Who maintains it, as the field says: a name, and an address in angle brackets.
    pub maintainer: &'a [u8],
    conffiles: &'a [u8],
}

impl<'a> PackageRecord<'a> {
    /// Returns what the package's files below `info` are named by.
    ///
    /// The source is `pkg_infodb_get_file` in dpkg's lib/dpkg.
    pub fn stem(&self) -> String {
        let (name, architecture) = self.key;
        if self.is_same {
            format!("{name}:{architecture}")
        } else {
            name.to_owned()
        }
    }

    /// Returns the digests of its configuration files, by absolute path.
    pub fn conffiles(&self) -> HashMap<&'a [u8], &'a [u8]> {
        let lines = self.conffiles.split(|byte| *byte == b'\n');
        lines
            .filter_map(|line| {
                let mut words = line.trim_ascii().split(|byte| *byte == b' ');
                Some((words.next()?, words.next()?))
            })
            .collect()
    }
}

/// A package of which something is on the system.
#[derive(Debug)]
pub struct Package<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its architecture, `all` included.
    pub architecture: &'a str,
    /// Its version.
    pub version: Version<'a>,
    /// How far its installation got.
    pub state: InstallState,
    /// Whether it has to be installed again, because something went wrong.
    pub broken: bool,
    /// What it may be to packages of other architectures.
    pub multi_arch: MultiArch,
    /// What it needs, before or after it is unpacked: one alternative of each.
    pub depends: Vec<Vec<Relation<'a>>>,
    /// What must not be configured beside it.
    pub breaks: Vec<Relation<'a>>,
    /// What must not be unpacked beside it.
    pub conflicts: Vec<Relation<'a>>,
    /// What else it is.
    pub provides: Vec<Relation<'a>>,
}

/// How far the installation of a package got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum InstallState {
    /// Its files were being installed or removed.
    HalfInstalled,
    /// Its files are there.
    Unpacked,
    /// It was being configured.
    HalfConfigured,
    /// Installed; it or another waits for triggers.
    Triggers,
    /// Installed.
    Installed,
}

impl InstallState {
    /// Says whether others may rely on the package.
    pub fn is_configured(self) -> bool {
        self >= Self::Triggers
    }

    /// Returns dpkg's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::HalfInstalled => "half-installed",
            Self::Unpacked => "unpacked",
            Self::HalfConfigured => "half-configured",
            Self::Triggers => "triggers-pending",
            Self::Installed => "installed",
        }
    }
}

/// What a package may be to those of other architectures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MultiArch {
    /// Nothing.
    No,
    /// It can be installed beside them.
    Same,
    /// It serves them.
    Foreign,
    /// It serves those that ask for any architecture.
    Allowed,
}

/// A record, or a field of one, that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordFault<'a> {
    /// The line, counted from 1.
    pub line: usize,
    /// Which package it is about, where that can be read.
    pub package: Option<PackageKey<'a>>,
    /// The field, where it is one that the rest can be read without.
    pub field: Option<&'static str>,
    /// What is wrong.
    pub reason: String,
}
