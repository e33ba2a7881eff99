//! `layerset forget`.

use clap::Args;

use super::{CliError, Context, error};
use crate::durable::LockMode;
use crate::store::RefName;

/// Releases the images of a target that no longer exists.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  layerset list                    # shows deployments/0f3c9a7be2d14650/1 and so on
  layerset forget 0f3c9a7be2d14650
  layerset gc

A repository keeps what targets have deployed, even when a target's directory was removed by
hand. Never forget a target that still exists: gc would remove its files.")]
pub(super) struct Forget {
    /// The target's id, 16 hexadecimal digits
    target: String,
}

impl Forget {
    pub(super) fn run(&self, context: &Context) -> Result<(), CliError> {
        let repository = context.open(LockMode::Shared, "layerset forget")?;
        let prefix = format!("deployments/{}/", self.target);
        let known = repository.refs()?;
        let names: Vec<&RefName> = known
            .iter()
            .map(|(name, _)| name)
            .filter(|name| name.as_str().starts_with(&prefix))
            .collect();
        if names.is_empty() {
            return Err(CliError::new(
                format!("the repository knows no target '{}'", self.target),
                error::FAILED,
            )
            .with_hint("`layerset list` shows targets as deployments/<id>/…"));
        }
        for name in &names {
            repository.remove_ref(name)?;
        }
        context
            .ui
            .print_json(&serde_json::json!({ "target": self.target, "released": names.len() }))?;
        context.ui.print(&format!(
            "{} deployments released; `layerset gc` frees what nothing else needs\n",
            names.len()
        ));
        Ok(())
    }
}
