//! Errors as people see them: what failed, why, and what to do next; the kind picks the exit
//! status.
//!
//! Exit statuses are only here, and so is every hint that names a command or an option of it.

mod build;
mod deploy;
mod export;
mod recipe;
mod repair;
mod trust;

pub(super) use repair::RepairHints;

use std::error::Error;

use crate::agent::AgentError;
use crate::durable::DurableError;
use crate::recipe::RecipeError;
use crate::remote::RemoteError;
use crate::serve::ServeError;
use crate::store::StoreError;
use crate::transfer::TransferError;

/// What a person is told when a command fails.
#[derive(Debug)]
pub struct CliError {
    /// What failed, one line or a short list.
    pub message: String,
    /// Why, from the outside in.
    pub causes: Vec<String>,
    /// What to do next.
    pub hint: Option<String>,
    /// What programs may want to know beyond that, for the JSON document.
    pub details: Option<serde_json::Value>,
    /// The exit status.
    pub exit: u8,
    recipe: Option<Box<RecipeError>>,
}

/// There is nothing to do: `update --check`.
pub(super) const NOTHING_NEW: u8 = 5;
/// Something failed.
pub(super) const FAILED: u8 = 1;
/// The command was called wrongly.
pub(super) const USAGE: u8 = 2;
/// A check refused.
pub(super) const REFUSED: u8 = 3;
/// Data is damaged.
pub(super) const INTEGRITY: u8 = 4;
/// A bug.
pub(super) const BUG: u8 = 70;
/// An interrupt ended the work.
pub(super) const INTERRUPTED: u8 = 130;

const MAKE_ROOM: &str =
    "free some space; `layerset gc` removes what no image and no deployment needs";

/// Says what helps where the system refused something, whoever asked it.
fn cure_of_system(cause: &(dyn Error + 'static)) -> Option<&'static str> {
    use std::io::ErrorKind;
    if is_no_room(cause) {
        return Some(MAKE_ROOM);
    }
    match cause.downcast_ref::<std::io::Error>()?.kind() {
        ErrorKind::PermissionDenied => Some("run as root, or as the owner of what is named"),
        ErrorKind::ReadOnlyFilesystem => Some(
            "it lies on a filesystem that is mounted read-only: name another place, or mount it for writing",
        ),
        _ => None,
    }
}

/// Says what helps where a path cannot be made or written because the kernel itself makes what is
/// there.
pub(super) fn of_place(path: &std::path::Path) -> Option<String> {
    // From linux/magic.h: proc, sysfs, cgroup, cgroup2, debugfs, tracefs, securityfs, devpts, efivarfs.
    const OF_KERNEL: [u32; 9] = [
        0x9fa0,
        0x6265_6572,
        0x0027_e0eb,
        0x6367_7270,
        0x6462_6720,
        0x7472_6163,
        0x7363_6673,
        0x1cd1,
        0xde5e_81e4,
    ];
    let path = std::path::absolute(path).ok()?;
    let found = path
        .ancestors()
        .find_map(|above| rustix::fs::statfs(above).ok())?;
    let magic = u32::try_from(found.f_type).ok()?;
    OF_KERNEL.contains(&magic).then(|| {
        format!(
            "'{}' is on a filesystem that the kernel makes: name a directory on a disk",
            path.display()
        )
    })
}

/// Says whether a cause is that a disk, or somebody's share of it, is full.
fn is_no_room(cause: &(dyn Error + 'static)) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    let kind = cause.downcast_ref().map(std::io::Error::kind);
    matches!(kind, Some(StorageFull | QuotaExceeded))
}

impl CliError {
    /// Makes an error of one line.
    pub fn new(message: impl Into<String>, exit: u8) -> Self {
        Self {
            message: message.into(),
            causes: Vec::new(),
            hint: None,
            details: None,
            exit,
            recipe: None,
        }
    }

    /// Makes an error about how the command was called.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(message, USAGE)
    }

    /// Makes an error that should not happen.
    pub fn bug(message: impl Into<String>) -> Self {
        Self::new(message, BUG)
            .with_hint("this is a bug in layerset: please report it with the command that you ran")
    }

    /// Makes an error about a file.
    pub fn io(what: impl Into<String>, error: std::io::Error) -> Self {
        Self {
            causes: vec![error.to_string()],
            ..Self::new(what, FAILED)
        }
    }

    /// Adds what to do next.
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// Turns any error into the consequence of an interrupt; one that is said to be that stays.
    pub fn interrupted(self) -> Self {
        if self.exit == INTERRUPTED && self.hint.is_some() {
            return self;
        }
        Self {
            hint: Some("finished steps were kept; run the command again to continue".to_owned()),
            ..Self::new("interrupted", INTERRUPTED)
        }
    }

    /// Adds what to do next, where that is known.
    pub(super) fn hinted(self, hint: Option<String>) -> Self {
        Self {
            hint: hint.or(self.hint),
            ..self
        }
    }

    /// Takes over an error with its chain of causes.
    pub fn from_error(error: &dyn Error, exit: u8) -> Self {
        let mut causes = Vec::new();
        let mut hint = None;
        for cause in crate::causes::causes(error) {
            if let Some(cure) = cure_of_system(cause) {
                hint = Some(cure.to_owned());
            }
            let text = cause.to_string();
            if !text.is_empty() && causes.last() != Some(&text) {
                causes.push(text);
            }
        }
        Self {
            causes,
            hint,
            ..Self::new(error.to_string(), exit)
        }
    }

    /// Draws the places in recipes and definitions that are wrong.
    pub fn excerpt(&self, color: bool) -> Option<String> {
        let faults = self.recipe.as_ref()?.faults();
        let drawn = faults.iter().filter_map(|fault| recipe::draw(fault, color));
        Some(drawn.collect())
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        let (exit, hint) = match &error {
            StoreError::Missing { path } => (
                FAILED,
                Some(format!(
                    "run `layerset init --repo {}`, or name another one with --repo",
                    path.display()
                )),
            ),
            StoreError::Occupied { .. } => (FAILED, Some("choose an empty directory".to_owned())),
            StoreError::Incompatible { .. } => (FAILED, Some("use a newer layerset".to_owned())),
            StoreError::Corrupt { .. } | StoreError::Format { .. } => (
                INTEGRITY,
                Some("`layerset fsck` shows what else is damaged and what uses it; `layerset fsck --repair` brings back what it can".to_owned()),
            ),
            StoreError::Config { .. } => (
                INTEGRITY,
                Some("`layerset fsck --repair` writes it anew".to_owned()),
            ),
            StoreError::DamagedRef { .. } => (
                INTEGRITY,
                Some("`layerset fsck --repair` says what helps; nothing was removed".to_owned()),
            ),
            StoreError::NotFound { .. } => (
                FAILED,
                Some("`layerset list` shows what there is".to_owned()),
            ),
            StoreError::Ambiguous { .. } => (FAILED, Some("give more digits of the id".to_owned())),
            StoreError::TooSmall { .. } | StoreError::Durable(DurableError::Full { .. }) => {
                (FAILED, Some(MAKE_ROOM.to_owned()))
            }
            StoreError::Durable(DurableError::Locked { .. }) => (
                FAILED,
                Some("wait for it to end, or give --lock-timeout".to_owned()),
            ),
            StoreError::Durable(DurableError::Io { source, .. })
                if source.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                (
                    FAILED,
                    Some("run as root, or name a repository of your own with --repo".to_owned()),
                )
            }
            StoreError::Durable(DurableError::Io { path, .. }) => (FAILED, of_place(path)),
            _ => (FAILED, None),
        };
        Self::from_error(&error, exit).hinted(hint)
    }
}

impl From<RemoteError> for CliError {
    fn from(error: RemoteError) -> Self {
        let (exit, hint) = match &error {
            RemoteError::Interrupted => return Self::new("interrupted", INTERRUPTED),
            RemoteError::Location { .. } => (
                USAGE,
                Some("write a directory, http(s)://HOST/PATH, s3://BUCKET/PREFIX or oci://HOST/REPOSITORY".to_owned()),
            ),
            RemoteError::Unreachable { .. } => (
                FAILED,
                Some("what arrived is kept: run the command again, or name mirrors in the trust policy".to_owned()),
            ),
            RemoteError::Untrusted { hint, .. } => (FAILED, Some((*hint).to_owned())),
            RemoteError::Protocol { .. } => (
                FAILED,
                Some("this server, or one on the way to it, is broken or hostile: try a mirror".to_owned()),
            ),
            RemoteError::WholeOnly { .. } => (
                FAILED,
                Some("serve the remote by a web server that knows ranges, or name mirrors".to_owned()),
            ),
            RemoteError::NoBlob { .. } => (
                FAILED,
                Some("this mirror is incomplete: try another, or publish again".to_owned()),
            ),
            RemoteError::Denied { hint, .. } => (FAILED, Some(hint.clone())),
            RemoteError::Moved { .. } => (FAILED, Some("run the command again".to_owned())),
            RemoteError::Full { .. } => (
                FAILED,
                Some("nothing was published: make room there, and run the command again".to_owned()),
            ),
            RemoteError::ReadOnly { .. } => (
                USAGE,
                Some("publish to a directory, s3:// or oci://".to_owned()),
            ),
            RemoteError::Local { .. } => (FAILED, None),
        };
        Self::from_error(&error, exit).hinted(hint)
    }
}

/// What is wrong with each mirror; the first one is the preferred one, and what to do about it
/// comes first.
fn of_mirrors(failures: Vec<(String, TransferError)>) -> CliError {
    let count = failures.len();
    let mut whole = CliError::new(format!("none of the {count} mirrors can be used"), FAILED);
    for (number, (location, error)) in failures.into_iter().enumerate() {
        let error = CliError::from(error);
        let said = error.message.contains(&location);
        let message = match said {
            true => error.message,
            false => format!("'{location}': {}", error.message),
        };
        let causes = error.causes.iter().map(|cause| format!(": {cause}"));
        whole.causes.push(message + &causes.collect::<String>());
        if number == 0 {
            (whole.exit, whole.hint) = (error.exit, error.hint);
        }
    }
    whole
}

impl From<AgentError> for CliError {
    fn from(error: AgentError) -> Self {
        match error {
            AgentError::Transfer(error) => error.into(),
            AgentError::Deploy(error) => error.into(),
            AgentError::Build(error) => error.into(),
            AgentError::Config(error) => error.into(),
            AgentError::Read { .. } => Self::from_error(&error, FAILED),
            AgentError::Host { .. } => Self::from_error(&error, FAILED)
                .with_hint("`systemctl status` and the journal say why"),
            AgentError::NoChannel => Self::from_error(&error, USAGE)
                .with_hint("name one with --channel, or a layer to rebuild"),
            AgentError::LayerChannel { .. } => Self::from_error(&error, USAGE)
                .with_hint("a target takes images; `layerset pull` brings layers"),
        }
    }
}

impl From<TransferError> for CliError {
    fn from(error: TransferError) -> Self {
        let (exit, hint) = match error {
            TransferError::Store(error) => return error.into(),
            TransferError::Remote(error) => return error.into(),
            TransferError::Trust(error) => return (*error).into(),
            TransferError::Interrupted => return Self::new("interrupted", INTERRUPTED),
            TransferError::Mirrors { failures } => return of_mirrors(failures),
            TransferError::Io { .. } | TransferError::Compose(_) | TransferError::Delta(_) => {
                (FAILED, None)
            }
            TransferError::UnknownRemote { ref known, .. } => {
                let hint = format!("the policy has: {}", known.join(", "));
                return Self::from_error(&error, USAGE).with_hint(hint);
            }
            TransferError::NoPolicy { .. } => (
                FAILED,
                Some(
                    "write one: [[remote]] with name, location and root, the root.json that `layerset trust init` made; or name one with --trust",
                ),
            ),
            TransferError::NotAllowed { ref allowed, .. } => {
                let hint = format!(
                    "it allows: {}; add the channel to `channels` of a [[remote]] there",
                    allowed.join(", ")
                );
                return Self::from_error(&error, REFUSED).with_hint(hint);
            }
            TransferError::MachineId { .. } => (
                FAILED,
                Some("`systemd-machine-id-setup` makes one; --ahead takes the release anyway"),
            ),
            TransferError::Unpublished { .. } => (
                FAILED,
                Some("run `layerset trust init`, then `layerset publish`; or check the location"),
            ),
            TransferError::Format(_)
            | TransferError::Inconsistent { .. }
            | TransferError::Lacking { .. } => (
                INTEGRITY,
                Some("nothing was taken over; tell those who publish it"),
            ),
            TransferError::Damaged { .. } => (
                INTEGRITY,
                Some("nothing was taken over; try a mirror, or --from another place"),
            ),
            TransferError::NotComposed { .. } => (
                REFUSED,
                Some(
                    "it was composed by another version of layerset, or whoever signs the image adds what no layer has: nothing was taken over; `recompose = false` in the trust policy takes this remote's images as they are signed",
                ),
            ),
            TransferError::NoPackageFiles { .. } => (
                FAILED,
                Some(
                    "`layerset build RECIPE --rebuild LAYER` fetches those of a layer; or publish from where it was built, or without --debs",
                ),
            ),
            TransferError::OtherRemote { .. } => (
                REFUSED,
                Some("choose an empty directory, or the one of an earlier bundle"),
            ),
            TransferError::ChannelMoved { .. } => (
                REFUSED,
                Some("look at what is there now; the same command publishes on top of it"),
            ),
            TransferError::WouldGoBack { .. } => (
                REFUSED,
                Some("--rollback REASON publishes it anyway, and lets machines go back"),
            ),
        };
        Self::from_error(&error, exit).hinted(hint.map(str::to_owned))
    }
}

impl From<ServeError> for CliError {
    fn from(error: ServeError) -> Self {
        let plain = Self::from_error(&error, FAILED);
        match &error {
            ServeError::Directory { .. } => {
                plain.with_hint("name the directory that `layerset publish --to` was given")
            }
            ServeError::Listen { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse => {
                plain.with_hint("give --listen with another port, or 0 for one that is free")
            }
            _ => plain,
        }
    }
}
