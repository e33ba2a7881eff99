//! Account numbers: layers that exist and the ids table must agree, in a fresh checkout too.

use std::collections::BTreeMap;

use super::BuildError;
use super::keys::CachedLayer;
use super::session::BuildSession;
use crate::recipe::IdKind;

impl BuildSession<'_> {
    /// Returns a name of the cached layer that has another number in the table, or whose number
    /// belongs to another name there.
    pub(super) fn number_that_moved(&self, cached: &CachedLayer) -> Option<String> {
        let moved = |kind, names: &BTreeMap<String, u32>| {
            let is_moved = |name: &str, number: u32| match self.ids.get(kind, name) {
                Some(fixed) => fixed != number,
                None => self.ids.iter(kind).any(|(_, used)| used == number),
            };
            names
                .iter()
                .find(|(name, number)| is_moved(name, **number))
                .map(|(name, _)| name.clone())
        };
        moved(IdKind::User, &cached.created.users)
            .or_else(|| moved(IdKind::Group, &cached.created.groups))
    }

    /// Adds the numbers of a kept layer to the table, which lacks them e.g. in a fresh checkout.
    pub(super) fn adopt_numbers(&mut self, cached: &CachedLayer) -> Result<(), BuildError> {
        for (kind, names) in [
            (IdKind::User, &cached.created.users),
            (IdKind::Group, &cached.created.groups),
        ] {
            for (name, number) in names {
                self.ids
                    .fix(kind, name, *number)
                    .map_err(|source| BuildError::Ids { source })?;
            }
        }
        Ok(())
    }

    pub(super) fn save_ids_file(&self) -> Result<(), BuildError> {
        let path = self.workspace.ids_path();
        if self.ids != *self.known_ids {
            let disk = self.repository.disk().as_ref();
            crate::durable::replace_file(disk, &path, 0o644, self.ids.to_toml().as_bytes())?;
        }
        Ok(())
    }

    pub(super) fn save_ids(&self) -> Result<Vec<String>, BuildError> {
        self.save_ids_file()?;
        let mut new = Vec::new();
        for kind in [IdKind::User, IdKind::Group] {
            for (name, number) in self.ids.iter(kind) {
                if self.known_ids.get(kind, name).is_none() {
                    let word = if kind == IdKind::User {
                        "user"
                    } else {
                        "group"
                    };
                    new.push(format!("{word} {name} = {number}"));
                }
            }
        }
        Ok(new)
    }
}
