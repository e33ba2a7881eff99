//! `layerset trust`: the keys and roles of a remote.

mod access;
mod init;
mod keys;
mod roles;
mod show;

pub(super) use access::write_pending;

use clap::{Args, Subcommand};

use super::{CliError, Context};

/// Manages who may publish what on a remote.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: a remote, a team with a role of its own, and a look at it
  layerset trust init s3://images/prod --root root.json
  layerset trust keygen nginx --keys /secure/nginx  # the team does this, and sends the public key
  layerset trust delegate s3://images/prod layers/nginx --key 3f0c… --pending nginx.json
  layerset trust sign nginx.json --keys /secure/nginx --root root.json    # the team again
  layerset trust sign nginx.json --publish s3://images/prod
  layerset trust show s3://images/prod

The roles: 'root' says whose keys count; 'targets' signs releases and channels, and delegates
names; 'layer.NAME' and 'image.NAME' sign those of one name; 'snapshot' and 'timestamp' say what
is current, and their keys are on the build servers. Keep the keys of root and targets elsewhere."
)]
pub(super) struct Trust {
    #[command(subcommand)]
    command: TrustCommand,
}

#[derive(Debug, Subcommand)]
enum TrustCommand {
    /// Make a new remote, with its keys and the root to give to machines
    Init(init::Init),
    /// Give a role other keys
    Rotate(roles::Rotate),
    /// Give a layer or image a role of its own
    Delegate(roles::Delegate),
    /// Take a role from a layer or image, or a key from every role
    Revoke(roles::Revoke),
    /// Sign anew before signatures expire
    Refresh(roles::Refresh),
    /// Show roles, keys and when signatures expire
    Show(show::Show),
    /// Add signatures to a pending change, and publish it
    Sign(keys::Sign),
    /// Make a key
    Keygen(keys::Keygen),
}

impl Trust {
    pub(super) fn run(&self, context: &Context) -> Result<(), CliError> {
        match &self.command {
            TrustCommand::Init(command) => command.run(context),
            TrustCommand::Rotate(command) => command.run(context),
            TrustCommand::Delegate(command) => command.run(context),
            TrustCommand::Revoke(command) => command.run(context),
            TrustCommand::Refresh(command) => command.run(context),
            TrustCommand::Show(command) => command.run(context),
            TrustCommand::Sign(command) => command.run(context),
            TrustCommand::Keygen(command) => command.run(context),
        }
    }
}
