//! Requests for packages. The answer is a list of [`LockedPackage`]s.

pub use crate::recipe::{Bootstrap, BootstrapVariant, LockedPackage, Pocket, Sha256};

/// Asks for the packages of one layer.
#[derive(Clone, Copy, Debug)]
pub struct PackageRequest<'a> {
    /// The layer's name, for messages.
    pub layer: &'a str,
    /// Specifications: `name[:arch][=version|/suite]`. A base's own list comes from `base`.
    pub packages: &'a [String],
    /// Whether recommended packages come along.
    pub recommends: bool,
    /// The base's definition, if the layer is one.
    pub base: Option<&'a Bootstrap>,
}

/// Offers the locked packages of a layer below the one being resolved.
#[derive(Clone, Copy, Debug)]
pub struct LowerPackages<'a> {
    /// The layer's name.
    pub layer: &'a str,
    /// What its lock holds.
    pub packages: &'a [LockedPackage],
}

/// Says whether a text is a package's name (Debian Policy 5.6.7).
pub(super) fn is_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b);
    text.len() > 1 && text.as_bytes()[0].is_ascii_alphanumeric() && text.bytes().all(allowed)
}
