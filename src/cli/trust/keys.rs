//! `layerset trust keygen` and `layerset trust sign`.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::access::{self, OpenedRemote};
use crate::cli::authority::{self, KeyArgs, TrustedArgs};
use crate::cli::{CliError, Context, error};
use crate::time::{Clock as _, SystemClock};
use crate::trust::PendingChange;

/// Makes a key.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  layerset trust keygen nginx --keys /secure/nginx

Send the public key to whoever has the keys of role 'targets': `layerset trust delegate` takes it.
The private key stays in its file, unencrypted, readable by its owner only: put it where backups
and other people do not reach.")]
pub(in crate::cli) struct Keygen {
    /// What to call the file, e.g. the name of a role or a person
    #[arg(default_value = "key")]
    label: String,
    #[command(flatten)]
    keys: KeyArgs,
}

#[derive(Serialize)]
struct NewKey<'a> {
    id: &'a str,
    public: &'a str,
    file: Option<&'a std::path::Path>,
}

impl Keygen {
    pub(super) fn run(&self, context: &Context) -> Result<(), CliError> {
        if !crate::format::release::is_word(&self.label) {
            return Err(CliError::usage(format!(
                "'{}' is not a label: use lower-case letters, digits, '.', '-', '_' and '+'",
                self.label
            )));
        }
        let mut store = self.keys.open()?;
        let key = store.generate(&*context.disk, &self.label)?;
        let file = store
            .public_keys()
            .find(|(known, _)| known.id() == key.id());
        let file = file.map(|(_, path)| path);
        context.ui.print_json(&NewKey {
            id: key.id().as_str(),
            public: key.hex(),
            file,
        })?;
        let path = file
            .map(|path| path.display().to_string())
            .unwrap_or_default();
        context.ui.print(&format!(
            "key id      {}\npublic key  {}\nprivate key {path}\n",
            key.id(),
            key.hex(),
        ));
        Ok(())
    }
}

/// Adds signatures to a pending change, and publishes it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset trust sign nginx.json --keys /media/usb/keys --root root.json
  layerset trust sign nginx.json --compare main  # shows the changes against what is published
  layerset trust sign nginx.json --publish main

Read what is printed before you pass the file on: your signature says that you meant it. Without
--compare it shows the changes against the state that the file was made from; the root of --root,
or one of the trust policy, must vouch for that state. --publish needs all signatures, and the
keys of snapshot and timestamp. What others published meanwhile stays.")]
pub(in crate::cli) struct Sign {
    /// The pending change
    file: PathBuf,
    /// Publish it to this remote
    #[arg(long, value_name = "REMOTE")]
    publish: Option<String>,
    /// Show the changes against this remote
    #[arg(long, value_name = "REMOTE", conflicts_with = "publish")]
    compare: Option<String>,
    /// Sign nothing, only show the changes
    #[arg(long)]
    look: bool,
    #[command(flatten)]
    trusted: TrustedArgs,
    #[command(flatten)]
    keys: KeyArgs,
}

impl Sign {
    pub(super) fn run(&self, context: &Context) -> Result<(), CliError> {
        let mut pending = PendingChange::from_json(&authority::read(&self.file)?)?;
        let store = self.keys.open()?;
        let place = self.publish.as_ref().or(self.compare.as_ref());
        if pending.is_new_remote() {
            return self.run_new(context, pending, &store);
        }
        let opened = match place {
            Some(place) => Some(OpenedRemote::read(context, &self.trusted, place)?),
            None => None,
        };
        let changes = match &opened {
            Some(opened) => pending.describe(Some(&opened.verified))?,
            None => self.compare_with_itself(context, &pending)?,
        };
        self.sign(context, &mut pending, &store)?;
        match (&opened, &self.publish) {
            (Some(opened), Some(_)) => opened.publish(context, pending, &store),
            _ => {
                let remote = place.map_or("REMOTE", String::as_str);
                access::tell_pending(context, &pending, &self.file, remote, &changes)
            }
        }
    }

    /// Describes the changes against the state that the file was made from, if a trusted root
    /// vouches for that state.
    fn compare_with_itself(
        &self,
        context: &Context,
        pending: &PendingChange,
    ) -> Result<Vec<String>, CliError> {
        let mut refusal = None;
        for root in self.trusted.roots()? {
            match pending.describe_alone(&root) {
                Ok(changes) => {
                    context.ui.remark("compared with what was published when the file was made; --compare REMOTE compares with what is published now");
                    return Ok(changes);
                }
                Err(error) => refusal = Some(error),
            }
        }
        Err(match refusal {
            Some(error) => error.into(),
            None => CliError::usage(format!(
                "no trusted root vouches for the state that '{}' was made from",
                self.file.display()
            ))
            .with_hint("name the root that the remote's machines have with --root, or compare with what is published now, with --compare REMOTE"),
        })
    }

    fn sign(
        &self,
        context: &Context,
        pending: &mut PendingChange,
        store: &crate::trust::KeyStore,
    ) -> Result<(), CliError> {
        if self.look {
            return Ok(());
        }
        let signed = pending.add_signatures(store)?;
        if signed.is_empty() {
            context.ui.remark(&format!(
                "nothing new was signed with the keys in '{}'",
                store.dir().display()
            ));
            return Ok(());
        }
        context.ui.remark(&format!("signed: {}", signed.join(", ")));
        access::save(context, pending, &self.file)
    }

    /// A new remote: there is nothing yet to compare with, and its root goes to the file of --root.
    fn run_new(
        &self,
        context: &Context,
        mut pending: PendingChange,
        store: &crate::trust::KeyStore,
    ) -> Result<(), CliError> {
        let changes = pending.describe(None)?;
        context.ui.remark("this makes a new remote");
        self.sign(context, &mut pending, store)?;
        let Some(location) = &self.publish else {
            return access::tell_pending(context, &pending, &self.file, "LOCATION", &changes);
        };
        let Some(root) = self.trusted.root() else {
            return Err(CliError::usage("a new remote has a root for machines")
                .with_hint("say where to write it with --root FILE"));
        };
        let remote = authority::writable(context, location)?;
        if remote.read_head(crate::format::MAX_HEAD_BYTES)?.is_some() {
            return Err(CliError::new(
                format!("'{}' is already a remote", remote.location()),
                error::FAILED,
            ));
        }
        let head = pending.finish(None, store, SystemClock.now_sec())?;
        super::init::establish(context, remote.as_ref(), &head, root)?;
        context
            .ui
            .print_json(&serde_json::json!({ "remote": remote.location(), "root": root }))?;
        context.ui.print(&format!(
            "{}made a remote at {}\n{}",
            access::lines(&changes),
            remote.location(),
            super::init::advice(remote.location(), &root.display().to_string()),
        ));
        Ok(())
    }
}
