//! Fetching the archives' indexes, and what is remembered of them.

use super::archive::Archive;
use super::error::AptError;
use super::resolve::Resolver;
use super::root::AptRoot;
use super::scratch::write_atomic;
use super::unknown;
use std::fs;

impl AptRoot {
    /// Fetches the archives' indexes, verifies their signatures, and yields what can resolve
    /// against them.
    pub fn update(&self) -> Result<Resolver<'_>, AptError> {
        let updated = self.apt("apt-get", &["-q", "--error-on=any", "update"])?;
        unknown::refuse(self, &updated)?;
        updated.checked("apt-get update")?;
        let format = "--format=$(REPO_URI)\t$(LABEL)";
        let targets = self.apt("apt-get", &["indextargets", format, "Created-By: Packages"])?;
        let mut archives: Vec<Archive> = targets
            .checked("apt-get indextargets")?
            .lines()
            .filter_map(Archive::from_target)
            .collect();
        archives.sort();
        archives.dedup();
        let text: String = archives
            .iter()
            .map(|a| format!("{}\t{}\n", a.label, a.root))
            .collect();
        write_atomic(&self.dir().join("archives"), text.as_bytes())?;
        Resolver::new(self, archives)
    }

    /// Returns the archives known from the last update, updating now if there was none.
    pub(super) fn archives(&self) -> Result<Vec<Archive>, AptError> {
        let path = self.dir().join("archives");
        if !path.exists() {
            self.update()?;
        }
        let text = fs::read_to_string(&path).map_err(AptError::io("read", &path))?;
        let archives = text.lines().filter_map(|line| line.split_once('\t'));
        Ok(archives
            .map(|(label, root)| Archive {
                label: label.to_owned(),
                root: root.to_owned(),
            })
            .collect())
    }
}
