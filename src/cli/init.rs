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

A repository that is there already is left as it is.")]
pub struct Init {}

impl Init {
    pub(super) fn run(&self, context: &Context) -> Result<(), CliError> {
        let was_there = context.repo.join("config.toml").exists();
        Repository::init(&context.repo, Arc::clone(&context.disk))?;
        context.ui.print_json(
            &serde_json::json!({ "repository": context.repo, "created": !was_there }),
        )?;
        let what = if was_there {
            "is a repository already"
        } else {
            "is a repository now"
        };
        context
            .ui
            .print(&format!("{} {what}\n", context.repo.display()));
        Ok(())
    }
}
