//! `layerset list`.

use clap::Args;

use super::{CliError, Context, ui};
use crate::durable::LockMode;
use crate::tree::{Changeset, Node};

/// Lists the images and layers of the repository.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset list
  layerset list --json | jq '.images'")]
pub(super) struct List {}

impl List {
    pub(super) fn run(&self, context: &Context) -> Result<(), CliError> {
        let repository = context.open(LockMode::Shared, "layerset list")?;
        let (mut images, mut layers, mut rows) = (Vec::new(), Vec::new(), Vec::new());
        for (name, id) in repository.refs()? {
            if name.is_layer() {
                let Ok(id) = id.parse() else { continue };
                let layer = repository.read_layer(&id)?;
                let bytes = content_bytes(&repository.read_changeset(&layer.changeset)?);
                rows.push(vec![
                    name.to_string(),
                    id.short(),
                    layer.version.clone(),
                    ui::size(bytes),
                    format!("{} packages", layer.packages.len()),
                ]);
                layers.push(serde_json::json!({
                    "ref": name.as_str(), "id": id, "name": layer.name, "version": layer.version, "bytes": bytes,
                }));
            } else {
                let Ok(id) = id.parse() else { continue };
                let image = repository.read_image(&id)?;
                let parts: Vec<&str> = image
                    .layers
                    .iter()
                    .map(|layer| layer.name.as_str())
                    .collect();
                rows.push(vec![
                    name.to_string(),
                    id.short(),
                    String::new(),
                    ui::size(image.bytes),
                    parts.join(" + "),
                ]);
                images.push(serde_json::json!({
                    "ref": name.as_str(), "id": id, "name": image.name, "bytes": image.bytes, "layers": image.layers,
                }));
            }
        }
        let targets = repository.targets()?;
        let known: Vec<_> = targets
            .iter()
            .map(|(id, root)| serde_json::json!({ "id": id, "root": root }))
            .collect();
        context.ui.print_json(
            &serde_json::json!({ "images": images, "layers": layers, "targets": known }),
        )?;
        if rows.is_empty() {
            context
                .ui
                .print("nothing is built yet: `layerset build RECIPE` makes an image\n");
        } else {
            context.ui.print(&ui::table(
                &["ref", "id", "version", "size", "holds"],
                &rows,
            ));
        }
        for (id, root) in targets {
            let root = root.map_or("at an unknown place".to_owned(), |root| {
                format!("'{}'", root.display())
            });
            context.ui.print(&format!("deployments/{id} is {root}\n"));
        }
        Ok(())
    }
}

/// Returns the size of the files that a layer brings, in bytes.
pub(super) fn content_bytes(changeset: &Changeset) -> u64 {
    let sizes = changeset
        .iter()
        .filter_map(|(_, change)| match change.post.as_ref()?.node {
            Node::File { size, .. } => Some(size),
            _ => None,
        });
    sizes.sum()
}
