//! Package files that no archive has: asked for at the remotes that this machine trusts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::meter::Meter;
use super::remotes::{open_options, trust_policy};
use super::timeouts::with_timeouts;
use super::{CliError, Context};
use crate::apt::{DebFinder, LockedPackage};
use crate::builder::FetchPlaces;
use crate::causes::chain;
use crate::remote::{Location, Mirrors, RemoteOptions};
use crate::sha256::Sha256;
use crate::transfer::{PackageFilesOptions, TransferError, fetch_package_files};
use crate::trust::{Policy, TrustedRemote};

/// Says where packages come from: archives first, then remotes.
pub(super) fn packages(
    context: &Context,
    apt_sources: Option<PathBuf>,
) -> Result<FetchPlaces, CliError> {
    let finder = Finder {
        policy: trust_policy()?,
        options: with_timeouts(open_options(context))?,
        meter: Meter::new(&context.ui),
        remark: {
            let ui = context.ui.clone();
            Box::new(move |text| ui.remark(text))
        },
    };
    Ok(FetchPlaces {
        apt_sources,
        elsewhere: Some(DebFinder(Arc::new(move |packages, dir| {
            finder.find(packages, dir);
        }))),
    })
}

struct Finder {
    policy: PathBuf,
    options: RemoteOptions,
    meter: Meter,
    remark: Box<dyn Fn(&str) + Send + Sync>,
}

impl Finder {
    /// A remote that cannot be asked stops nobody: what is missing is told by whoever asked.
    fn find(&self, packages: &[&LockedPackage], dir: &Path) {
        if !self.policy.exists() {
            return;
        }
        let policy = match Policy::read(&self.policy) {
            Ok(policy) => policy,
            Err(error) => return (self.remark)(&format!("no remote is asked: {}", chain(&error))),
        };
        let mut wanted: Vec<(Sha256, u64)> = packages.iter().map(|p| (p.sha256, p.size)).collect();
        for remote in &policy.remotes {
            if wanted.is_empty() {
                break;
            }
            let name = &remote.name;
            match self.ask(remote, &wanted, dir) {
                Ok(found) if found.is_empty() => {}
                Ok(found) => {
                    wanted.retain(|(digest, _)| !found.contains(digest));
                    let files = if found.len() == 1 { "file" } else { "files" };
                    (self.remark)(&format!(
                        "{} package {files} that no archive has came from remote '{name}'",
                        found.len()
                    ));
                }
                Err(error) => (self.remark)(&format!(
                    "remote '{name}' could not be asked for packages: {}",
                    chain(&error)
                )),
            }
        }
    }

    fn ask(
        &self,
        remote: &TrustedRemote,
        wanted: &[(Sha256, u64)],
        dir: &Path,
    ) -> Result<Vec<Sha256>, TransferError> {
        let locations = remote.locations().map(str::parse);
        let locations = locations.collect::<Result<Vec<Location>, _>>()?;
        let mirrors = Mirrors::open(&locations, &self.options)?;
        let options = PackageFilesOptions {
            dir,
            cancel: &self.options.cancel,
            progress: &self.meter,
        };
        fetch_package_files(&mirrors, wanted, &options)
    }
}
