//! What is wrong with a deployment, as far as that shows without reading its contents: its own files,
//! and the objects that it is mounted over.

use std::collections::HashMap;
use std::sync::Arc;

use super::record::{DeploymentDir, DeploymentKind};
use super::{DeployError, Target, etc, mounts};
use crate::causes::chain;
use crate::durable::{LockMode, RealDisk};
use crate::id::ObjectId;
use crate::store::Repository;
use crate::tree::Node;

/// Looks for damage; what several deployments share is looked at once.
pub(super) struct DamageSearch {
    /// None where there is no repository, which deployments need only for what is mounted.
    repository: Option<Repository>,
    objects: HashMap<ObjectId, bool>,
}

impl DamageSearch {
    pub(super) fn of(target: &Target) -> Self {
        let root = &target.identity.repository;
        let looked = Repository::look(
            root,
            Arc::new(RealDisk),
            LockMode::Shared,
            "layerset status",
        );
        Self {
            repository: looked.ok().map(|(repository, _)| repository),
            objects: HashMap::new(),
        }
    }

    /// Returns what is wrong with a deployment, if anything.
    pub(super) fn damage_of(&mut self, deployment: &DeploymentDir) -> Option<String> {
        let said = |error: DeployError| (!is_forbidden(&error)).then(|| error.to_string());
        let image = match deployment.image() {
            Ok(image) => image,
            Err(error) => return said(error),
        };
        if let Err(error) = etc::base_of(deployment) {
            return said(error);
        }
        if deployment.facts.kind != DeploymentKind::Composefs {
            return None;
        }
        let metadata = deployment.dir.join("meta.erofs");
        if let Err(error) = mounts::check_metadata(deployment, &metadata) {
            return said(error);
        }
        let repository = self.repository.as_ref()?;
        let tree = match repository.read_tree(&image.tree) {
            Ok(tree) => tree,
            Err(error) => return Some(chain(&error)),
        };
        let mut harmed = tree.iter().filter(|(_, inode)| match inode.node {
            Node::File { object, size } => !*self
                .objects
                .entry(object)
                .or_insert_with(|| repository.is_untouched(&object, size)),
            _ => false,
        });
        let (first, _) = harmed.next()?;
        Some(match harmed.count() {
            0 => format!("the repository has '{first}' no more, or damaged"),
            more => format!("the repository has '{first}' and {more} more no more, or damaged"),
        })
    }
}

/// Says whether something could not be read for want of a right: whoever looks without it sees no
/// damage.
pub(super) fn is_forbidden(error: &(dyn std::error::Error + 'static)) -> bool {
    crate::causes::causes(error).any(|cause| {
        let system = cause.downcast_ref::<std::io::Error>();
        system.is_some_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
    })
}
