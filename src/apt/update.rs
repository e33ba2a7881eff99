//! Fetching the archives' indexes, and what is remembered of them.

use super::archive::{Archive, ReleaseInfo};
use super::error::AptError;
use super::refusal;
use super::resolve::Resolver;
use super::root::AptRoot;
use super::scratch::write_private;
use super::unknown;
use std::collections::BTreeSet;
use std::fs;

impl AptRoot {
    /// Fetches the archives' indexes, verifies their signatures, and yields what can resolve
    /// against them.
    ///
    /// An archive may call itself something else than at the last update: the signature says whose
    /// it is. [`Resolver::changes`] tells it.
    pub fn update(&self) -> Result<Resolver<'_>, AptError> {
        let before = self.releases()?;
        let updated = self.apt(
            "apt-get",
            &[
                "-q",
                "--error-on=any",
                "--allow-releaseinfo-change",
                "update",
            ],
        )?;
        unknown::refuse(self, &updated)?;
        if let Some(error) = refusal::of_archive(&updated, self.sources()) {
            return Err(error);
        }
        updated.checked("apt-get update")?;
        let now = self.releases()?;
        let archives: BTreeSet<Archive> = now.iter().map(ReleaseInfo::archive).collect();
        let text: String = archives
            .iter()
            .map(|a| format!("{}\t{}\n", a.label, a.root))
            .collect();
        write_private(&self.dir().join("archives"), text.as_bytes())?;
        let changes = ReleaseInfo::changes(&before, &now);
        Resolver::new(self, archives.into_iter().collect(), changes)
    }

    /// Yields what resolves against the indexes of the last update.
    pub fn resolver(&self) -> Result<Resolver<'_>, AptError> {
        Resolver::new(self, self.archives()?, Vec::new())
    }

    /// Returns what the archives called themselves at the last update.
    fn releases(&self) -> Result<Vec<ReleaseInfo>, AptError> {
        let targets = self.apt(
            "apt-get",
            &["indextargets", ReleaseInfo::FORMAT, "Created-By: Packages"],
        )?;
        if let Some(error) = refusal::of_archive(&targets, self.sources()) {
            return Err(error);
        }
        let lines = targets.checked("apt-get indextargets")?;
        Ok(lines.lines().filter_map(ReleaseInfo::from_target).collect())
    }

    /// Returns the archives known from the last update; none before the first.
    pub(super) fn archives(&self) -> Result<Vec<Archive>, AptError> {
        let path = self.dir().join("archives");
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(AptError::io("read", &path))?,
        };
        let archives = text.lines().filter_map(|line| line.split_once('\t'));
        Ok(archives
            .map(|(label, root)| Archive {
                label: label.to_owned(),
                root: root.to_owned(),
            })
            .collect())
    }
}
