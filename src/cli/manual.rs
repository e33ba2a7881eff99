//! `layerset completions` and `layerset man`: made from the same definitions that parse the command
//! line.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{Cli, CliError, Context};

/// Prints shell completions.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  layerset completions bash > /etc/bash_completion.d/layerset")]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

/// Writes the manual pages.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  layerset man /usr/local/share/man/man1")]
pub(super) struct Man {
    /// The directory to write to; it is made when absent
    dir: PathBuf,
}

impl Completions {
    pub(super) fn run(&self, context: &Context) -> Result<(), CliError> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "layerset", &mut text);
        context.ui.print_bytes(&text);
        Ok(())
    }
}

impl Man {
    pub(super) fn run(&self, context: &Context) -> Result<(), CliError> {
        let fail = |error| {
            CliError::io(
                format!("cannot write manual pages to '{}'", self.dir.display()),
                error,
            )
        };
        std::fs::create_dir_all(&self.dir).map_err(fail)?;
        clap_mangen::generate_to(Cli::command(), &self.dir).map_err(fail)?;
        context
            .ui
            .remark(&format!("manual pages are in {}", self.dir.display()));
        Ok(())
    }
}
