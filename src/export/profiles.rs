//! Clouds and hypervisors: what each wants of a disk, as defaults and as rules.
//!
//! A profile sets what the recipe leaves open, and checks a [`Description`] of what is to be
//! written. Every rule that is broken is one [`RuleProblem`] with its fix, before anything is
//! written. Everything here is pure.
//!
//! Sources: the clouds' own pages on importing images; osbuild/images and coreos-assembler, which
//! do the same for Fedora; for EGI, docs.egi.eu, "Virtual Machine Images", fedcloud-vmi-templates,
//! and cloudkeeper.

mod cleanliness;
mod description;
mod glance;
mod rules;
mod wants;

pub use description::{
    Description, Layout, Partition, SshLogin, Table, Use, accounts_with_password,
};
pub use glance::{GlanceFacts, glance_properties};
pub use wants::Wants;

use std::fmt;

/// A cloud or a hypervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Profile {
    /// OpenStack, with Glance.
    OpenStack,
    /// Amazon EC2, by import of a snapshot or an image.
    Aws,
    /// Microsoft Azure.
    Azure,
    /// Google Compute Engine.
    Gcp,
    /// VMware vSphere.
    VSphere,
    /// Oracle VirtualBox.
    VirtualBox,
    /// The EGI federated cloud.
    Egi,
    /// QEMU with KVM, libvirt, Proxmox.
    Kvm,
    /// A machine without a hypervisor.
    BareMetal,
}

const NAMES: [(Profile, &str); 9] = [
    (Profile::OpenStack, "openstack"),
    (Profile::Aws, "aws"),
    (Profile::Azure, "azure"),
    (Profile::Gcp, "gcp"),
    (Profile::VSphere, "vsphere"),
    (Profile::VirtualBox, "virtualbox"),
    (Profile::Egi, "egi"),
    (Profile::Kvm, "kvm"),
    (Profile::BareMetal, "baremetal"),
];

/// Nothing known has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no profile '{0}': the profiles are {list}", list = NAMES.map(|(_, name)| name).join(", "))]
pub struct UnknownProfile(pub String);

impl Profile {
    /// Returns every profile.
    pub fn all() -> impl Iterator<Item = Self> {
        NAMES.iter().map(|(profile, _)| *profile)
    }

    /// Returns the name, such as `openstack`.
    pub fn name(self) -> &'static str {
        let found = NAMES.iter().find(|(profile, _)| *profile == self);
        found.map_or("", |(_, name)| name)
    }

    /// Finds a profile by its name.
    pub fn from_name(name: &str) -> Result<Self, UnknownProfile> {
        let found = Self::all().find(|profile| profile.name() == name);
        found.ok_or_else(|| UnknownProfile(name.to_owned()))
    }

    /// Returns what the profile wants: defaults for what nobody said, and what its rules check.
    pub fn wants(self) -> Wants {
        wants::of(self)
    }

    /// Returns every rule that the description breaks, the most serious first.
    pub fn check(self, description: &Description) -> Vec<RuleProblem> {
        let wants = self.wants();
        let mut problems = rules::check(self, &wants, description);
        problems.extend(cleanliness::check(self, description));
        // A stable sort: the order of the rules stays.
        problems.sort_by_key(|problem| problem.weight);
        problems
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How much a broken rule matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RuleWeight {
    /// The cloud refuses the image, it does not start there, or it holds a secret: nothing is
    /// written.
    Must,
    /// It starts, and something is worse than it need be.
    Should,
}

/// A rule that is broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleProblem {
    /// The rule's name, such as `azure/whole-mib`.
    pub rule: String,
    /// How much it matters.
    pub weight: RuleWeight,
    /// What is wrong, with the values.
    pub what: String,
    /// What to do.
    pub fix: String,
}

impl fmt::Display for RuleProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.rule, self.what, self.fix)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
