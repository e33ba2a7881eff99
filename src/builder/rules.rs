//! What a layer's definition says about the files that its build makes.

use std::collections::BTreeMap;

use super::inputs::LayerInputs;
use crate::path::RelPath;
use crate::recipe::{
    AllowedSecret, FileContent, FileInput, LockedPackage, SecretRule, StateClass, StateRule,
};

/// Rules for the files that a build makes.
#[derive(Debug, Clone, Copy)]
pub(super) struct SettleRules<'a> {
    /// The layer, for messages.
    pub layer: &'a str,
    /// Its `[state]`.
    pub state: &'a [StateRule],
    /// Its `[secrets]`.
    pub secrets: &'a BTreeMap<RelPath, SecretRule>,
    /// What may be in it that looks like a secret: its `[secrets] allow`.
    pub allowed: &'a [AllowedSecret],
    /// The packages that it installs.
    pub packages: &'a [LockedPackage],
    /// What its `[files]` bring: somebody wants exactly that.
    pub files: &'a [FileInput],
}

impl<'a> SettleRules<'a> {
    /// Returns what a layer's definition says.
    pub(super) fn of(input: &'a LayerInputs) -> Self {
        Self {
            layer: &input.name,
            state: &input.definition.state,
            secrets: &input.definition.secrets,
            allowed: &input.definition.allowed_secrets,
            packages: &input.lock.packages,
            files: &input.files,
        }
    }

    /// Says whether the definition ships a file or link at `path`.
    pub(super) fn ships(&self, path: &[u8]) -> bool {
        let is_it = |file: &FileInput| {
            file.path.as_bytes() == path && file.content != FileContent::Directory
        };
        self.files.iter().any(is_it)
    }

    /// Says whether one of the layer's own rules drops `path`.
    pub(super) fn drops(&self, path: &RelPath) -> bool {
        let mut own = self.state.iter();
        own.any(|rule| rule.class == StateClass::Drop && rule.pattern.matches(path.as_bytes()))
    }
}
