//! Shared by these commands: finding a remote, its root and the keys, and making the change.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use crate::cli::authority::{KeyArgs, TrustedArgs, read, state, writable};
use crate::cli::{CliError, Context, error};
use crate::durable::replace_file;
use crate::format::MAX_HEAD_BYTES;
use crate::remote::{Revision, WritableRemote};
use crate::time::{Clock as _, SystemClock, rfc3339};
use crate::trust::{
    Editor, KeyStore, PendingChange, TrustError, TrustState, Verified, verify_to_edit,
};

/// Which remote, and by which root it is trusted.
#[derive(Debug, Args)]
pub(super) struct RemoteArgs {
    /// The remote: its name in the trust policy, or its location
    pub(super) remote: String,
    #[command(flatten)]
    pub(super) trusted: TrustedArgs,
}

/// What becomes of a change.
#[derive(Debug, Args)]
pub(super) struct ChangeArgs {
    /// Publish nothing: write the change with the signatures made here to a file, for others to
    /// sign
    #[arg(long, value_name = "FILE")]
    pending: Option<PathBuf>,
    #[command(flatten)]
    pub(super) keys: KeyArgs,
}

/// A remote that was read and verified.
pub(super) struct OpenedRemote {
    pub(super) remote: Box<dyn WritableRemote>,
    pub(super) verified: Verified,
    pub(super) now: i64,
    revision: Revision,
    trusted_root: Vec<u8>,
    state: TrustState,
}

#[derive(Serialize)]
struct Report<'a> {
    remote: &'a str,
    changes: &'a [String],
    published: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pending: Option<&'a Path>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lacking: Vec<LackingReport>,
}

#[derive(Serialize)]
struct LackingReport {
    role: String,
    have: u64,
    threshold: u64,
    keys: Vec<String>,
}

impl OpenedRemote {
    /// Reads and verifies a remote. Expired signatures pass, because they are about to be renewed.
    pub(super) fn read(
        context: &Context,
        trusted: &TrustedArgs,
        remote: &str,
    ) -> Result<Self, CliError> {
        let (location, root, name) = trusted.find(remote)?;
        let trusted_root = read(&root)?;
        let state = state(context, &name)?;
        let remote = writable(context, &location)?;
        context.ui.doing(&format!("reading {location}"));
        let Some(head) = remote.read_head(MAX_HEAD_BYTES)? else {
            return Err(CliError::new(
                format!("nothing has been published to '{}' yet", remote.location()),
                error::FAILED,
            )
            .with_hint("`layerset trust init` makes a remote; or check the location"));
        };
        let now = SystemClock.now_sec();
        let verified = verify_to_edit(&head.bytes, &trusted_root, &state, now)?;
        if let Some(warning) = verified.clock_warning() {
            context.ui.remark(&format!("warning: {warning}"));
        }
        Ok(OpenedRemote {
            remote,
            verified,
            now,
            revision: head.revision,
            trusted_root,
            state,
        })
    }
}

impl RemoteArgs {
    pub(super) fn open(&self, context: &Context) -> Result<OpenedRemote, CliError> {
        OpenedRemote::read(context, &self.trusted, &self.remote)
    }
}

impl OpenedRemote {
    pub(super) fn editor(&self) -> Result<Editor, CliError> {
        Ok(Editor::open(&self.verified, self.now)?)
    }

    /// Publishes a change that has all its signatures, and tells what it was.
    pub(super) fn publish(
        &self,
        context: &Context,
        pending: PendingChange,
        store: &KeyStore,
    ) -> Result<(), CliError> {
        let changes = pending.describe(Some(&self.verified))?;
        let head = pending.finish(Some(&self.verified), store, self.now)?;
        context
            .ui
            .doing(&format!("publishing to {}", self.remote.location()));
        self.remote.replace_head(&head, Some(&self.revision))?;
        // This machine must notice if what it published is rolled back.
        let after = verify_to_edit(&head, &self.trusted_root, &self.state, self.now)?;
        let (expires, role) = after.expires();
        context.ui.print_json(&Report {
            remote: self.remote.location(),
            changes: &changes,
            published: true,
            pending: None,
            lacking: Vec::new(),
        })?;
        context.ui.print(&format!(
            "{}published to {}; role '{role}' is the first to expire, {}\n",
            lines(&changes),
            self.remote.location(),
            when(expires, self.now),
        ));
        Ok(())
    }
}

impl ChangeArgs {
    /// Publishes a change, or writes it down for others.
    pub(super) fn finish(
        &self,
        context: &Context,
        opened: &OpenedRemote,
        editor: Editor,
        store: &KeyStore,
    ) -> Result<(), CliError> {
        let pending = editor.sign_partial(store)?;
        match &self.pending {
            None => opened.publish(context, pending, store),
            Some(path) => {
                let changes = pending.describe(Some(&opened.verified))?;
                let remote = opened.remote.location();
                write_pending(context, &pending, path, remote, &changes)
            }
        }
    }

    pub(super) fn pending(&self) -> Option<&Path> {
        self.pending.as_deref()
    }
}

/// Writes a pending change to a new file, and tells whose signatures it lacks.
pub(in crate::cli) fn write_pending(
    context: &Context,
    pending: &PendingChange,
    path: &Path,
    remote: &str,
    changes: &[String],
) -> Result<(), CliError> {
    if path.exists() {
        return Err(CliError::usage(format!(
            "'{}' already exists",
            path.display()
        )));
    }
    save(context, pending, path)?;
    tell_pending(context, pending, path, remote, changes)
}

pub(super) fn save(
    context: &Context,
    pending: &PendingChange,
    path: &Path,
) -> Result<(), CliError> {
    let bytes = pending.to_json()?;
    let written = replace_file(&*context.disk, path, 0o644, &bytes);
    written.map_err(|error| TrustError::Durable(error).into())
}

pub(super) fn tell_pending(
    context: &Context,
    pending: &PendingChange,
    path: &Path,
    remote: &str,
    changes: &[String],
) -> Result<(), CliError> {
    let lacking = pending.missing_signatures()?;
    let mut text = lines(changes);
    for role in &lacking {
        let keys: Vec<&str> = role.keys.iter().map(|id| id.short()).collect();
        text.push_str(&format!(
            "role '{}' has {} of {} signatures, by its keys {}\n",
            role.role,
            role.have,
            role.threshold,
            keys.join(", ")
        ));
    }
    let path_text = path.display();
    text.push_str(&if lacking.is_empty() {
        format!("'{path_text}' has all signatures: `layerset trust sign {path_text} --publish {remote}` publishes it\n")
    } else {
        let root = if pending.is_new_remote() { "" } else { " --root ROOT" };
        format!("'{path_text}' waits for signatures: `layerset trust sign {path_text}{root}` adds them\n")
    });
    let each = lacking.into_iter().map(|role| LackingReport {
        role: role.role,
        have: role.have,
        threshold: role.threshold,
        keys: role.keys.iter().map(ToString::to_string).collect(),
    });
    context.ui.print_json(&Report {
        remote,
        changes,
        published: false,
        pending: Some(path),
        lacking: each.collect(),
    })?;
    context.ui.print(&text);
    Ok(())
}

pub(super) fn lines(changes: &[String]) -> String {
    changes.iter().map(|line| format!("{line}\n")).collect()
}

/// Says when something expires.
pub(super) fn when(expires: i64, now: i64) -> String {
    let day = rfc3339(expires);
    let day = day.get(..10).unwrap_or(&day);
    match expires.saturating_sub(now) {
        left if left < 0 => format!("expired on {day}, {} day(s) ago", -left / 86_400),
        left => format!("good until {day}, {} day(s)", left / 86_400),
    }
}
