//! The derivation of `/etc/ld.so.cache`, and of the links that go with it, as glibc's `ldconfig`
//! does it.
//!
//! The cache maps sonames to files, so that the loader need not search directories. [`derive()`]
//! gives, byte for byte, what the image's own `ldconfig` would write, without running it; where it
//! cannot know which of several equal names a directory listing would give first, it takes them in
//! byte order. Followed are glibc 2.37 and later, and 2.33 to 2.36 except for their legacy hardware
//! subdirectories (`tls`, `haswell`, …), which Debian's libraries no longer use. Three things are
//! left out on purpose: objects of machines that the image is not for, a.out files, and links that
//! a soname would make outside its directory. The steps: which directories (`conf`), which
//! libraries in them (`scan`), in which order (`order`) and how written down (`encode`).

mod conf;
mod encode;
mod glob;
mod order;
mod program;
mod scan;

pub use program::LdConfig;

use super::{Derived, DerivedLink};
use crate::tree::view::{ImageView, ViewError};

/// Where the cache belongs.
const CACHE_PATH: &[u8] = b"etc/ld.so.cache";

/// Why the cache cannot be derived.
#[derive(Debug, thiserror::Error)]
pub enum LdSoCacheError {
    /// A file of the image cannot be read.
    #[error(transparent)]
    View(#[from] ViewError),
    /// The configuration files include each other without an end in sight.
    #[error("cannot read '/etc/ld.so.conf': it includes more than {limit} files")]
    TooManyIncludes {
        /// The most that is accepted.
        limit: usize,
    },
    /// The names of the libraries do not fit into the format.
    #[error("cannot write '/etc/ld.so.cache': more than 4 GiB of names")]
    TooLarge,
}

/// One line of the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheEntry {
    /// The name that programs need.
    pub soname: Vec<u8>,
    /// Where the loader finds it: an absolute path.
    pub path: Vec<u8>,
    /// Which ABI it is for; see [`ElfFacts::cache_flags`](crate::elf::ElfFacts::cache_flags).
    pub flags: u32,
    /// The `glibc-hwcaps` subdirectory that it is in, such as `x86-64-v3`.
    pub hwcaps: Option<Vec<u8>>,
    /// The x86-64 level it needs; the cache only keeps it for entries with hwcaps.
    pub isa_level: u32,
}

/// What `ldconfig` would do to an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LdSoCache {
    /// The lines of the cache, in the order in which the loader searches them.
    pub entries: Vec<CacheEntry>,
    /// The cache itself.
    pub file: Derived,
    /// Links from sonames to the files that have them, where they are missing or point elsewhere;
    /// sorted.
    pub links: Vec<DerivedLink>,
    /// Links to missing libraries, which `ldconfig` removes; sorted.
    pub stale: Vec<Vec<u8>>,
}

/// Derives the loader's cache of an image; `None` says that it has no `ldconfig`, hence no glibc
/// that wants a cache.
pub fn derive(view: &dyn ImageView) -> Result<Option<LdSoCache>, LdSoCacheError> {
    match LdConfig::of_image(view)? {
        Some(ldconfig) => derive_as(view, &ldconfig).map(Some),
        None => Ok(None),
    }
}

/// Derives the loader's cache of an image as `ldconfig` would.
pub fn derive_as(view: &dyn ImageView, ldconfig: &LdConfig) -> Result<LdSoCache, LdSoCacheError> {
    let dirs = conf::directories(view, ldconfig)?;
    let mut found = scan::scan(view, ldconfig, &dirs)?;
    // Stable: of equal entries, the one in the directory named first comes first.
    found.entries.sort_by(order::compare_entries);
    found.links.sort();
    found.stale.sort();
    let contents = encode::encode(&found.entries, &dirs, ldconfig)?;
    Ok(LdSoCache {
        entries: found.entries,
        file: Derived {
            path: CACHE_PATH.to_vec(),
            contents,
        },
        links: found.links,
        stale: found.stale,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
