//! `layerset mark-bad` and `layerset mark-good`.

use std::path::PathBuf;

use clap::Args;

use super::note;
use crate::cli::{CliError, Context};
use crate::deploy::RecordedVerdict;

/// Marks the image of a deployment as bad, so that nothing chooses it on this target by itself.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset mark-bad 7 --target /srv/web --reason 'loses mail'

The mark is on the image: it holds for all its deployments, those to come included, and stays when
they are removed. No update takes the image, and no rollback but one that names a generation.
`layerset mark-good` takes the mark back.")]
pub(in crate::cli) struct MarkBad {
    /// The deployment
    generation: u64,
    /// The target
    #[arg(long, value_name = "DIR", env = "LAYERSET_TARGET")]
    target: PathBuf,
    /// Why: shown by status, and whenever the image is refused
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

impl MarkBad {
    pub(in crate::cli) fn run(&self, context: &Context) -> Result<(), CliError> {
        let target = context.target(&self.target)?;
        let change = target.change("layerset mark-bad")?;
        let note = note(&self.reason, RecordedVerdict::Unchecked);
        change.mark_bad(self.generation, &note)?;
        context.ui.print_json(
            &serde_json::json!({ "generation": self.generation, "bad": self.reason }),
        )?;
        let mut text = format!(
            "the image of generation {} is marked bad\n",
            self.generation
        );
        if target.current()? == Some(self.generation) {
            text.push_str("it is current: `layerset rollback` goes back to the one before\n");
        }
        context.ui.print(&text);
        Ok(())
    }
}

/// Takes the mark of a bad image back.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset mark-good 7 --target /srv/web --reason 'it was the disk'

The mark is taken from the image and from all its deployments, whichever of them is named.")]
pub(in crate::cli) struct MarkGood {
    /// The deployment
    generation: u64,
    /// The target
    #[arg(long, value_name = "DIR", env = "LAYERSET_TARGET")]
    target: PathBuf,
    /// Why, for the history
    #[arg(long, default_value = "", value_name = "TEXT")]
    reason: String,
}

impl MarkGood {
    pub(in crate::cli) fn run(&self, context: &Context) -> Result<(), CliError> {
        let target = context.target(&self.target)?;
        let change = target.change("layerset mark-good")?;
        let note = note(&self.reason, RecordedVerdict::Unchecked);
        let was_bad = change.mark_good(self.generation, &note)?;
        context.ui.print_json(
            &serde_json::json!({ "generation": self.generation, "bad": null, "changed": was_bad }),
        )?;
        let text = if was_bad {
            format!(
                "the image of generation {} is no longer marked bad\n",
                self.generation
            )
        } else {
            format!(
                "the image of generation {} is not marked bad\n",
                self.generation
            )
        };
        context.ui.print(&text);
        Ok(())
    }
}
