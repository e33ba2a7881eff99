//! What caches hold, by the time of its last use. All of it can be made or fetched again.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{GcPlan, Repository, StoreError};

/// The caches that age. Others are small, or belong to commands that run.
const AGEING: [&str; 9] = [
    "apt", "clusters", "debs", "derived", "erofs", "export", "logs", "outgoing", "secrets",
];

impl Repository {
    /// Adds to a plan the files of caches that nobody read or wrote for `age`; says how many these
    /// are.
    pub fn plan_cache(&self, age: Duration, plan: &mut GcPlan) -> Result<usize, StoreError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let before = now.unwrap_or_default().saturating_sub(age).as_secs();
        let before = i64::try_from(before).unwrap_or(i64::MAX);
        let mut found = Vec::new();
        for name in AGEING {
            aged(&self.root.join("cache").join(name), before, &mut found)?;
        }
        found.sort();
        let planned: std::collections::BTreeSet<PathBuf> =
            plan.files.iter().map(|(path, _)| path.clone()).collect();
        found.retain(|(path, _)| !planned.contains(path));
        let count = found.len();
        plan.files.extend(found);
        Ok(count)
    }
}

/// Lists the files below `dir` that were last used before a second since 1970.
fn aged(dir: &Path, before: i64, found: &mut Vec<(PathBuf, u64)>) -> Result<(), StoreError> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|error| StoreError::io("list", dir, error))?,
    };
    for entry in entries.filter_map(Result::ok) {
        let path = entry.path();
        // What goes meanwhile is gone.
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        if metadata.is_dir() {
            aged(&path, before, found)?;
        } else if metadata.atime().max(metadata.mtime()) < before {
            found.push((path, metadata.blocks() * 512));
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::durable::RealDisk;
    use crate::store::RepositoryOptions;
    use std::fs::{File, FileTimes};
    use std::sync::Arc;

    #[test]
    fn what_a_cache_held_for_long_goes_and_the_rest_stays() {
        let dir = tempfile::tempdir().unwrap();
        Repository::init(dir.path(), Arc::new(RealDisk)).unwrap();
        let repository =
            Repository::open(dir.path(), Arc::new(RealDisk), RepositoryOptions::default()).unwrap();
        let day = Duration::from_secs(86_400);
        let put = |name: &str, read: u32, written: u32| {
            let path = dir.path().join("cache").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let file = File::create(&path).unwrap();
            let ago = |days: u32| SystemTime::now() - day * days;
            let times = FileTimes::new()
                .set_accessed(ago(read))
                .set_modified(ago(written));
            file.set_times(times).unwrap();
            path
        };
        let old = [
            put("debs/old.deb", 40, 90),
            put("apt/web/lists/InRelease", 31, 31),
            put("outgoing/pack", 35, 35),
        ];
        let kept = [
            put("debs/used.deb", 2, 90),
            put("debs/fresh.deb", 90, 2),
            put("keys/old", 90, 90),
            put("locks/pull", 90, 90),
        ];
        let mut plan = repository.plan_gc().unwrap();
        assert_eq!(repository.plan_cache(day * 30, &mut plan).unwrap(), 3);
        let report = repository.apply_gc(&plan).unwrap();
        assert_eq!(report.files, 3);
        assert!(old.iter().all(|path| !path.exists()));
        assert!(kept.iter().all(|path| path.exists()));
    }
}
