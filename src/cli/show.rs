//! `layerset show`.

use clap::Args;

use super::list::content_bytes;
use super::{CliError, Context, ui};
use crate::durable::LockMode;
use crate::format::{self, Image, Layer};
use crate::id::{ImageId, LayerId};
use crate::store::ResolvedId;

/// Shows an image, a layer, a tree or an object.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset show web                       # the newest image of the recipe web
  layerset show web/nginx                 # the newest build of its layer nginx
  layerset show web --json                # the manifest itself
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
                    if context.ui.is_json() {
                        context.ui.print_bytes(&manifest("image", &image)?);
                    } else {
                        context.ui.print(&describe_image(&id, &image));
                    }
                    return Ok(());
                }
                image.tree
            }
            ResolvedId::Layer(id) => {
                let layer = repository.read_layer(&id)?;
                if !self.dump {
                    if context.ui.is_json() {
                        context.ui.print_bytes(&manifest("layer", &layer)?);
                    } else {
                        let bytes = content_bytes(&repository.read_changeset(&layer.changeset)?);
                        context.ui.print(&describe_layer(&id, &layer, bytes));
                    }
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

/// Describes an image for people.
fn describe_image(id: &ImageId, image: &Image) -> String {
    let mut text = format!(
        "image {} {id}\n{}, {} paths, {}; targets keep {} deployments\n\n",
        image.name,
        ui::size(image.bytes),
        image.entries,
        image.architecture,
        image.keep
    );
    let rows: Vec<Vec<String>> = image
        .layers
        .iter()
        .map(|layer| vec![layer.name.clone(), layer.version.clone(), layer.id.short()])
        .collect();
    text.push_str(&ui::table(&["layer", "version", "id"], &rows));
    for waiver in &image.waivers {
        text.push_str(&format!(
            "accepts {} until {}: {}\n",
            waiver.finding, waiver.expires, waiver.reason
        ));
    }
    text
}

/// Describes a layer for people; `bytes` is the size of its files.
fn describe_layer(id: &LayerId, layer: &Layer, bytes: u64) -> String {
    let on: Vec<&str> = layer
        .build
        .on
        .iter()
        .map(|layer| layer.name.as_str())
        .collect();
    let on = match on.as_slice() {
        [] => "a base".to_owned(),
        names => format!("built on {}", names.join(", ")),
    };
    let mut text = format!(
        "layer {} {} {id}\n{}, {}, {on}\n",
        layer.name,
        layer.version,
        ui::size(bytes),
        layer.architecture
    );
    if !layer.restart.is_empty() {
        text.push_str(&format!("asks to restart {}\n", layer.restart.join(", ")));
    }
    if layer.forbids_live {
        text.push_str("a change of it restarts all services of a machine\n");
    }
    for path in layer.first_boot.keys() {
        text.push_str(&format!("each machine makes its own {path}\n"));
    }
    if !layer.packages.is_empty() {
        let rows: Vec<Vec<String>> = layer
            .packages
            .iter()
            .map(|package| vec![package.name.clone(), package.version.clone()])
            .collect();
        text.push('\n');
        text.push_str(&ui::table(&["package", "version"], &rows));
    }
    text
}
