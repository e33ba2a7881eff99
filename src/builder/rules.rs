//! What a layer's definition says about the files that its build makes.

use std::collections::BTreeMap;

use crate::path::RelPath;
use crate::recipe::{Definition, SecretRule, StateClass, StateRule};

/// Rules for the files that a build makes.
#[derive(Debug, Clone, Copy)]
pub(super) struct SettleRules<'a> {
    /// The layer, for messages.
    pub layer: &'a str,
    /// Its `[state]`.
    pub state: &'a [StateRule],
    /// Its `[secrets]`.
    pub secrets: &'a BTreeMap<RelPath, SecretRule>,
}

impl<'a> SettleRules<'a> {
    /// Returns what a definition says.
    pub(super) fn of(definition: &'a Definition) -> Self {
        Self {
            layer: &definition.name,
            state: &definition.state,
            secrets: &definition.secrets,
        }
    }

    /// Says whether one of the layer's own rules drops `path`.
    pub(super) fn drops(&self, path: &RelPath) -> bool {
        let mut own = self.state.iter();
        own.any(|rule| rule.class == StateClass::Drop && rule.pattern.matches(path.as_bytes()))
    }
}
