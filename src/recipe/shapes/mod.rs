//! What `layer.toml` and recipes may say, as [`Shape`]s: the readers beside this folder check keys
//! with them, and the schemas and manual pages are made of them.

mod disk;
mod layer;
mod recipe;
pub(crate) mod words;

pub use layer::LAYER;
pub use recipe::RECIPE;

pub(super) use disk::{DISK, FILESYSTEM, FSTAB, PARTITION, PHYSICAL_VOLUME, VOLUME, VOLUME_GROUP};
pub(super) use layer::{
    ALLOWED_SECRET, APT, BOOTSTRAP, CHECK, FILES, HEALTH, REBUILD, RUN, SECRET, SERVICES, SOURCE,
};
pub(super) use recipe::{POLICY, WAIVER};
#[cfg(test)]
pub(super) use words::*;

/// A list of texts of one form, none twice.
macro_rules! set_of {
    ($of:expr, $least:expr) => {
        Holds::List(&List {
            of: $of,
            least: $least,
            is_set: true,
        })
    };
}
/// A list of anything.
macro_rules! list_of {
    ($of:expr) => {
        Holds::List(&List {
            of: $of,
            least: 0,
            is_set: false,
        })
    };
}
use {list_of, set_of};
