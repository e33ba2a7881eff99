//! `layerset export`.

mod bundle;
mod disk;

use clap::{Args, Subcommand};

use super::{CliError, Context};

/// Writes images for use elsewhere.
#[derive(Debug, Args)]
pub(super) struct Export {
    #[command(subcommand)]
    what: ExportCommand,
}

#[derive(Debug, Subcommand)]
enum ExportCommand {
    /// Copy what channels need, with its signatures, to a directory
    Bundle(bundle::Bundle),
    /// Write an image as a disk that boots: raw, qcow2, VMDK, OVA and others
    Disk(Box<disk::Disk>),
}

impl Export {
    pub(super) fn run(&self, context: &Context) -> Result<(), CliError> {
        match &self.what {
            ExportCommand::Bundle(bundle) => bundle.run(context),
            ExportCommand::Disk(disk) => disk.run(context),
        }
    }
}
