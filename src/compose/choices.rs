//! Alternatives that somebody chose and that are gone: the links follow the priorities again.

use super::composition::Composition;
use crate::check::{FindingKind, Problem, Subject, Weight};
use crate::layout::{ALTERNATIVES, join};
use crate::merge::derive::alternatives;
use crate::path::{RelPath, escape};
use crate::tree::view::{ImageView, ViewError};

/// Finds groups of alternatives in manual mode whose chosen path is gone: `alternative:NAME`.
///
/// `merged` looks at the tree as the layers merged: derived links hide what was chosen.
pub(super) fn overruled(
    composition: &Composition,
    merged: &dyn ImageView,
) -> Result<Vec<Problem>, ViewError> {
    let found = alternatives::derive(merged)?.overruled.into_iter();
    let problem = |(name, path): (Vec<u8>, Vec<u8>)| {
        let link = RelPath::new(&join(ALTERNATIVES.as_bytes(), &name)).ok()?;
        composition.merged.get(link.as_bytes())?;
        let (name, path) = (escape(&name), escape(&path));
        Some(Problem {
            id: FindingKind::Alternative.at(&name),
            subject: Subject::Path(link),
            package: None,
            other: None,
            weight: Weight::Grave,
            reason: format!(
                "'{path}' was chosen for '{name}' and does not exist: the choice of the highest \
                 priority takes its place"
            ),
            hint: format!(
                "choose another one with `update-alternatives --set {name}` in the layer, or add \
                 what brings '{path}'"
            ),
        })
    };
    Ok(found.filter_map(problem).collect())
}
