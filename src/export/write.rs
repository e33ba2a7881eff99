//! The raw disk, every format of it, and their names.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use super::ExportError;
use super::assemble::Assembly;
use super::describe;
use super::disk::DiskOutput;
use super::disk::Export;
use super::formats::{
    self, Appliance, ClusterCache, DiskFormat, FormatOptions, GuestOs, Output, Source,
};
use super::output::{self, NewFile};
use super::report::OutputReport;
use super::rules::Sidecar;
use crate::disk::FileMedium;

impl<'a> Export<'a> {
    pub(super) fn write(
        &self,
        assembly: &Assembly,
        sidecars: &[Sidecar],
    ) -> Result<Vec<OutputReport>, ExportError> {
        let outputs = self.request.outputs;
        let raw = self.raw();
        for output in outputs {
            output::remove_leftovers(&output.path)?;
        }
        // Without a raw output it is removed in the end, by whoever drops it.
        let scratch = match raw {
            Some(output) => NewFile::create(&output.path)?,
            None => NewFile::create(&self.place().with_added_extension("raw"))?,
        };
        (self.hooks.phase)("writing the disk", Some(assembly.used()));
        let disk = self.write_raw(assembly, &scratch)?;
        let mut new_files = Vec::new();
        let cache = self.cluster_cache();
        let appliance = self.appliance()?;
        for output in outputs.iter().filter(|output| Some(*output) != raw) {
            new_files.push(self.convert(
                &disk,
                assembly.plan.size,
                output,
                &appliance,
                cache.as_ref(),
            )?);
        }
        if let Some(cache) = cache {
            cache.save();
        }
        let mut placed: BTreeMap<PathBuf, u64> = BTreeMap::new();
        for (output, file, size) in &new_files {
            file.sync()?;
            placed.insert(output.path.clone(), *size);
        }
        if let Some(output) = raw {
            scratch.sync()?;
            placed.insert(output.path.clone(), assembly.plan.size);
        }
        if self.hooks.cancel.load(Ordering::Relaxed) {
            return Err(ExportError::Interrupted);
        }
        for sidecar in sidecars {
            let mut file = NewFile::create(&sidecar.path)?;
            let written = std::io::Write::write_all(file.file_mut(), sidecar.text.as_bytes());
            written.map_err(|error| ExportError::io("write", &sidecar.path, error))?;
            file.sync()?;
            file.place(self.request.replace)?;
        }
        for (_, file, _) in new_files {
            file.place(self.request.replace)?;
        }
        if raw.is_some() {
            scratch.place(self.request.replace)?;
        }
        let reports = outputs.iter().map(|output| OutputReport {
            path: output.path.clone(),
            format: output.format.name(),
            bytes: placed.get(&output.path).copied().unwrap_or_default(),
        });
        Ok(reports.collect())
    }

    pub(super) fn write_raw(
        &self,
        assembly: &Assembly,
        scratch: &NewFile,
    ) -> Result<std::fs::File, ExportError> {
        let fail = |error| ExportError::io("write", scratch.beside(), error);
        let file = scratch.file().try_clone().map_err(fail)?;
        let mut medium = FileMedium::new(file, assembly.plan.size).map_err(fail)?;
        assembly.write(&mut medium, &self.common(), self.hooks.advance)?;
        Ok(medium.into_file())
    }

    /// Returns what an OVA says of its machine: what was asked for, on the firmware that starts the
    /// disk, with the system that is on it.
    fn appliance(&self) -> Result<Appliance, ExportError> {
        let mut outputs = self.request.outputs.iter();
        if !outputs.any(|output| output.format == DiskFormat::Ova) {
            return Ok(self.request.appliance.clone());
        }
        let tree = self.tree()?;
        let release = describe::release(&self.view(&tree));
        Ok(Appliance {
            firmware: match self.firmware().uefi {
                true => formats::Firmware::Uefi,
                false => formats::Firmware::Bios,
            },
            os: GuestOs::from_os_release(release.get("ID").map_or("", String::as_str)),
            ..self.request.appliance.clone()
        })
    }

    /// Opens the cache; a repository that cannot be written has none.
    pub(super) fn cluster_cache(&self) -> Option<ClusterCache> {
        let dir = self.repository.cache_dir("clusters").ok()?;
        Some(ClusterCache::open(&dir, ClusterCache::DEFAULT_LIMIT))
    }

    pub(super) fn convert<'o>(
        &self,
        disk: &std::fs::File,
        size: u64,
        output: &'o DiskOutput,
        appliance: &Appliance,
        cache: Option<&ClusterCache>,
    ) -> Result<(&'o DiskOutput, NewFile, u64), ExportError> {
        let what = format!("writing {}", output.format);
        (self.hooks.phase)(&what, Some(size));
        let mut file = NewFile::create(&output.path)?;
        let done = std::cell::Cell::new(0);
        let progress = |now: u64, _total: u64| {
            (self.hooks.advance)(now.saturating_sub(done.get()));
            done.set(now);
        };
        let options = FormatOptions {
            seed: self.seed,
            epoch: self.epoch,
            qcow2: self.request.qcow2,
            appliance,
            threads: self.hooks.threads,
            cache,
            progress: &progress,
            cancel: self.hooks.cancel,
        };
        let written = formats::write(
            output.format,
            &Source::new(disk, size),
            &mut Output {
                file: file.file_mut(),
                path: &output.path,
            },
            &options,
        )?;
        Ok((output, file, written))
    }
}
