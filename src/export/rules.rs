//! The rules of the profiles, and what lies beside the outputs because of them.

use std::path::PathBuf;

use super::ExportError;
use super::assemble::Assembly;
use super::describe::{self, Facts};
use super::disk::Export;
use super::output::{self};
use super::profiles::{Profile, RuleWeight, glance_properties};
use super::report::DiskReport;
use crate::boot::BootFiles;

/// A small file beside an output.
pub(super) struct Sidecar {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

impl<'a> Export<'a> {
    /// Checks the rules of all profiles: one that must hold and does not ends the export, others are
    /// reported. Returns what lies beside the outputs.
    pub(super) fn check_profiles(
        &self,
        assembly: &Assembly,
        boot: &BootFiles,
        report: &mut DiskReport,
    ) -> Result<Vec<Sidecar>, ExportError> {
        if self.request.profiles.is_empty() {
            return Ok(Vec::new());
        }
        (self.hooks.phase)("checking the rules of the profiles", None);
        let tree = self.tree()?;
        let view = self.view(&tree);
        let disk = self.request.disk;
        let consoles = disk
            .consoles
            .iter()
            .map(|console| format!("console={console}"));
        let facts = Facts {
            formats: self
                .request
                .outputs
                .iter()
                .map(|output| output.format)
                .collect(),
            layout: disk.layout,
            devices: &disk.devices,
            assembly,
            firmware: self.firmware(),
            kernel_arguments: consoles
                .chain(disk.kernel_arguments.iter().cloned())
                .collect(),
            kernel: boot.kernel(),
        };
        let packages = describe::packages(self.repository, &self.image)?;
        let description = describe::describe(&view, &facts, packages)?;
        let checked = self
            .request
            .profiles
            .iter()
            .flat_map(|profile| profile.check(&description));
        let (broken, noted): (Vec<_>, Vec<_>) =
            checked.partition(|problem| problem.weight == RuleWeight::Must);
        if !broken.is_empty() {
            return Err(ExportError::Rules(broken));
        }
        let noted = noted.iter().map(ToString::to_string);
        report.remarks.extend(noted);
        if !self.request.profiles.contains(&Profile::OpenStack) {
            return Ok(Vec::new());
        }
        let sidecars = self.request.outputs.iter().filter_map(|output| {
            let name = self.request.name;
            let facts =
                describe::glance_facts(&view, name, output.format, &self.image, &description);
            Some(Sidecar {
                path: output.path.with_added_extension("glance.json"),
                text: glance_properties(&facts)?,
            })
        });
        let sidecars: Vec<Sidecar> = sidecars.collect();
        for sidecar in &sidecars {
            output::check_place(&sidecar.path, self.request.replace)?;
        }
        Ok(sidecars)
    }
}
