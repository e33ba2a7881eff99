//! The Debian package side of a build: from names in a recipe to installed, verified packages.
//!
//! Four steps, each usable alone:
//! 1. [`AptRoot`] finds the archives of a recipe and keeps a private apt state for them;
//!    [`AptRoot::update`] fetches the signed indexes and yields a [`Resolver`], which turns names
//!    into [`LockedPackage`]s.
//! 2. [`AptRoot::fetch`] brings the locked packages into the [`DebCache`]; nothing unverified
//!    becomes visible there.
//! 3. [`LocalRepo`] offers verified packages to apt as a `file:`/`copy:` archive.
//! 4. [`Bootstrapper`] installs a base from it, [`InstallPlan`] says how to install an upper layer
//!    inside a sandbox.
//!
//! Only `update` and `fetch` use the network. No host name is written here or in a lock: the
//! default archives are what mmdebstrap knows for the suite. Of the host's apt configuration only
//! the transport (proxies, retries) and the credentials (apt_auth.conf(5)) are used. Child processes stay in the caller's process group, so
//! that an interrupt reaches them.

mod archive;
mod bootstrap;
mod cache;
mod command;
mod deb822;
mod error;
mod explain;
mod fetch;
mod install;
mod installed;
mod key_file;
mod meter;
mod package;
mod reason;
mod refusal;
mod repo;
mod resolve;
mod root;
mod scratch;
mod source_list;
mod sources;
mod state;
mod suggest;
mod unknown;
mod update;
mod uris;

pub use archive::ReleaseChange;
pub use bootstrap::Bootstrapper;
pub use cache::DebCache;
pub use error::{AptError, HeldPackage, RefusedArchive};
pub use fetch::{DebFinder, FindDebs};
pub use install::{InstallPlan, StatusLine};
pub use installed::status_differences;
pub use package::{
    Bootstrap, BootstrapVariant, LockedPackage, LowerPackages, PackageRequest, Pocket, Sha256,
};
pub use repo::LocalRepo;
pub use resolve::Resolver;
pub use root::AptRoot;
pub use sources::PackageSources;
