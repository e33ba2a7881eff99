//! `layerset show`.

use clap::Args;

use super::{CliError, Context};
use crate::durable::LockMode;
use crate::format;
use crate::store::ResolvedId;

/// Shows an image, a layer, a tree or an object.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset show web                       # the newest image of the recipe web
  layerset show web/nginx                 # the newest build of its layer nginx
  layerset show b3:1f2e --dump            # a tree or changeset, one line a path
  layerset show web --dump                # the tree of an image

Ids may be abbreviated where they stay unique.")]
pub(super) struct Show {
    /// A ref, an id or an abbreviation of one
    id: String,
    /// Print the text form of the tree or changeset
    #[arg(long)]
    dump: bool,
}

impl Show {
    pub(super) fn run(&self, context: &Context) -> Result<(), CliError> {
        let repository = context.open(LockMode::Shared, "layerset show")?;
        let tree = match repository.resolve(&self.id)? {
            ResolvedId::Object(id) => {
                context.ui.print_bytes(&repository.read_object(&id)?);
                return Ok(());
            }
            ResolvedId::Tree(id) => id,
            ResolvedId::Image(id) => {
                let image = repository.read_image(&id)?;
                if !self.dump {
                    context.ui.print_bytes(&manifest("image", &image)?);
                    return Ok(());
                }
                image.tree
            }
            ResolvedId::Layer(id) => {
                let layer = repository.read_layer(&id)?;
                if !self.dump {
                    context.ui.print_bytes(&manifest("layer", &layer)?);
                    return Ok(());
                }
                layer.changeset
            }
        };
        let bytes = repository.read_tree_bytes(&tree)?;
        let text = match format::decode_tree(&bytes) {
            Ok(tree) => format::dump_tree(&tree),
            Err(_) => format::dump_changeset(&repository.read_changeset(&tree)?),
        };
        context.ui.print_bytes(text.as_bytes());
        Ok(())
    }
}

fn manifest<T: serde::Serialize>(what: &'static str, value: &T) -> Result<Vec<u8>, CliError> {
    format::to_canonical_json(what, value).map_err(|error| CliError::bug(error.to_string()))
}
