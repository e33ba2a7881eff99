//! What a disk shall be like: what the recipe says, the profiles want, and the options say.

use std::path::{Path, PathBuf};

use super::Disk;
use crate::cli::{CliError, host_architecture};
use crate::disk::{Layout, TableKind};
use crate::export::profiles::{self, Profile};
use crate::recipe::{DiskSection, Recipe, SourceFile};

impl Disk {
    /// Returns the profiles: those of the command line, else those of the recipe.
    fn profiles(&self, section: &DiskSection) -> Result<Vec<Profile>, CliError> {
        let names = match self.profile.is_empty() {
            true => &section.profiles,
            false => &self.profile,
        };
        let profiles = names.iter().map(|name| Profile::from_name(name));
        let profiles: Result<Vec<Profile>, _> = profiles.collect();
        let mut profiles = profiles.map_err(|error| CliError::usage(error.to_string()))?;
        let mut seen = Vec::new();
        profiles.retain(|profile| {
            let is_new = !seen.contains(profile);
            seen.push(*profile);
            is_new
        });
        Ok(profiles)
    }

    /// Returns what the disk is like: the recipe, what the profiles want where it says nothing, and
    /// the options, each above the one before.
    pub(super) fn description(&self, name: &str) -> Result<(DiskSection, Vec<Profile>), CliError> {
        let default = PathBuf::from(format!("recipes/{name}.toml"));
        let path = match &self.recipe {
            Some(path) => Some(path.as_path()),
            // An image from elsewhere may have any name.
            None => Some(default.as_path()).filter(|path| !name.contains('/') && path.is_file()),
        };
        let written = path.map(read_section).transpose()?.flatten();
        let is_written = written.is_some();
        let mut section = written.unwrap_or_else(|| DiskSection::new(host_architecture()));
        let profiles = self.profiles(&section)?;
        for profile in &profiles {
            self.apply(profile, &mut section, is_written);
        }
        if self.layout.is_some() || self.table.is_some() {
            let disk = section.disk();
            let table = self
                .table
                .or(disk.and_then(|disk| disk.table))
                .unwrap_or_default();
            let layout = self.layout.unwrap_or(section.layout);
            if !section.lay_out(layout, table, host_architecture()) {
                return Err(
                    CliError::usage("the recipe describes partitions of its own")
                        .with_hint("change 'layout' and 'table' in [disk] of the recipe"),
                );
            }
        }
        if let Some(size) = &self.size {
            let resized = section.resize(size);
            resized.map_err(|error| {
                CliError::usage(error.to_string())
                    .with_hint("write --size auto, or e.g. --size 10GiB")
            })?;
        }
        if let Err(fault) = section.check() {
            return Err(match section.locate(&fault) {
                Some(error) => error.into(),
                None => CliError::usage(fault.to_string()).hinted(fault.help),
            });
        }
        for argument in &self.kernel_argument {
            let added = section.add_kernel_argument(argument);
            added.map_err(|problem| {
                let argument = argument.escape_debug();
                CliError::usage(format!("--kernel-argument: '{argument}' {problem}"))
            })?;
        }
        Ok((section, profiles))
    }

    /// Adds what a profile wants and nobody said.
    fn apply(&self, profile: &Profile, section: &mut DiskSection, is_written: bool) {
        let wants = profile.wants();
        if !is_written {
            let layout = match wants.layout {
                Some(profiles::Layout::Plain) => Layout::Plain,
                Some(profiles::Layout::Updatable) => Layout::Updatable,
                None => section.layout,
            };
            let table = match wants.table {
                Some(profiles::Table::Mbr) => TableKind::Mbr,
                Some(profiles::Table::Gpt) => TableKind::Gpt,
                _ => section
                    .disk()
                    .and_then(|disk| disk.table)
                    .unwrap_or_default(),
            };
            section.lay_out(layout, table, host_architecture());
        }
        let (consoles, arguments): (Vec<&str>, Vec<&str>) = wants
            .kernel_arguments
            .iter()
            .partition(|argument| argument.starts_with("console="));
        if section.has_usual_consoles() && !consoles.is_empty() {
            let names = consoles
                .iter()
                .filter_map(|console| console.strip_prefix("console="));
            section.consoles = names.map(str::to_owned).collect();
        }
        for argument in arguments {
            if !section
                .kernel_arguments
                .iter()
                .any(|given| given == argument)
            {
                section.kernel_arguments.push(argument.to_owned());
            }
        }
    }
}

fn read_section(path: &Path) -> Result<Option<DiskSection>, CliError> {
    let source = SourceFile::read(path)?;
    let stem = path
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default();
    Ok(Recipe::parse(&source, stem, host_architecture())?.disk)
}
