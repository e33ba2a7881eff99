//! Checks that an image is what its layers make. Each layer is signed by its own publishers; an
//! image only says which layers, in which order.

use super::TransferError;
use crate::compose::{Generate, GenerateError, Member, compose};
use crate::format::Image;
use crate::merge::derive::generators::Job;
use crate::store::{Repository, Transaction};
use crate::tree::{self, Tree};

/// Returns what programs of the image generated when it was published, instead of running them: a
/// machine runs nothing that it pulled before it deploys it.
struct PublishedOutputs<'a>(&'a Tree);

impl Generate for PublishedOutputs<'_> {
    fn generate(
        &self,
        _: &Tree,
        _: &Transaction<'_>,
        jobs: &[Job],
    ) -> Result<Vec<Tree>, GenerateError> {
        let made = jobs.iter().map(|job| {
            let mut outputs = Tree::new();
            for (path, inode) in self.0.iter() {
                if job.makes(path, inode) {
                    outputs.insert(path.clone(), inode.clone());
                }
            }
            outputs
        });
        Ok(made.collect())
    }
}

/// Composes the layers of an image and refuses the image if it differs. What programs of the image
/// generate (caches) is taken from the image; everything else must come from the layers. The
/// manifest need not be stored yet.
pub fn verify_composition(repository: &Repository, image: &Image) -> Result<(), TransferError> {
    let published = repository.read_tree(&image.tree)?;
    let members = members_of(repository, image)?;
    let transaction = repository.begin()?;
    let composed = compose(
        &members,
        &transaction,
        &repository.index(),
        &PublishedOutputs(&published),
    )?;
    let mut differences = tree::diff(&published, &composed.tree);
    let Some((first, _)) = differences.next() else {
        return Ok(());
    };
    Err(TransferError::NotComposed {
        name: image.name.clone(),
        first: first.to_string(),
        count: 1 + differences.count(),
    })
}

/// Reads the layers of an image.
fn members_of(repository: &Repository, image: &Image) -> Result<Vec<Member>, TransferError> {
    let members = image.layers.iter();
    let members = members.map(|layer| Member::read(repository, &layer.id));
    Ok(members.collect::<Result<_, _>>()?)
}
