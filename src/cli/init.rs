//! `layerset init`.

use std::sync::Arc;

use clap::Args;

use super::{CliError, Context};
use crate::store::Repository;

/// Makes a repository.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset init                       # /var/lib/layerset as root
  layerset --repo ./repo init

An existing repository is left as it is.")]
pub(super) struct Init {}

impl Init {
    pub(super) fn run(&self, context: &Context) -> Result<(), CliError> {
        let was_there = context.repo.join("config.toml").exists();
        Repository::init(&context.repo, Arc::clone(&context.disk))?;
        context.ui.print_json(
            &serde_json::json!({ "repository": context.repo, "created": !was_there }),
        )?;
        let what = if was_there {
            "left as it is: there is already a repository at"
        } else {
            "made a repository at"
        };
        context
            .ui
            .print(&format!("{what} {}\n", context.repo.display()));
        Ok(())
    }
}
