//! `layerset trust rotate`, `delegate`, `revoke` and `refresh`.

use clap::Args;

use super::access::{ChangeArgs, RemoteArgs};
use super::init::days_to_seconds;
use crate::cli::{CliError, Context};
use crate::format::release::ReleaseKind;
use crate::trust::{DocumentPolicy, KeyId, PublicKey, TrustError, Verified, role_of};

/// Gives roles other keys: an old key alone can sign no longer.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset trust rotate main timestamp snapshot  # new keys in place of those that are here
  layerset trust rotate main root --add 3f0c… --remove 91ab22… --threshold 2
  layerset trust rotate main layer.nginx --add 3f0c… --pending nginx.json

Without --add and --remove a new key is made for each role, in place of those of its keys that are
in the directory of keys; remove the old files once machines have the new head. A new root needs
the keys of the old one and its own. Rotate stolen keys of snapshot
and timestamp together: machines then forget the versions that a thief made up.")]
pub(in crate::cli) struct Rotate {
    #[command(flatten)]
    remote: RemoteArgs,
    /// The roles: root, targets, snapshot, timestamp, layer.NAME, image.NAME
    #[arg(required = true, value_name = "ROLE")]
    roles: Vec<String>,
    /// A public key that may sign from now on
    #[arg(long, value_name = "KEY")]
    add: Vec<String>,
    /// The id of a key that may no longer sign, or its first digits
    #[arg(long, value_name = "KEY-ID")]
    remove: Vec<String>,
    /// How many keys must sign [default: as before]
    #[arg(long, value_name = "N")]
    threshold: Option<u64>,
    #[command(flatten)]
    change: ChangeArgs,
}

impl Rotate {
    pub(super) fn run(&self, context: &Context) -> Result<(), CliError> {
        let opened = self.remote.open(context)?;
        let mut store = self.change.keys.open()?;
        let mut editor = opened.editor()?;
        let added = public_keys(&self.add)?;
        // Everything is looked at before a key is made.
        for role in &self.roles {
            let keys = editor.keys_of(role)?.keys;
            for prefix in &self.remove {
                find(&keys, prefix, role)?;
            }
            let is_asked =
                !self.add.is_empty() || !self.remove.is_empty() || self.threshold.is_some();
            if !is_asked && !keys.iter().any(|id| store.has(id)) {
                return Err(CliError::usage(format!(
                    "none of the keys of role '{role}' is in '{}'",
                    store.dir().display()
                ))
                .with_hint("say which keys with --add and --remove, or name the right directory with --keys"));
            }
        }
        for role in &self.roles {
            let now = editor.keys_of(role)?;
            let mut keys = editor.public_keys_of(role)?;
            if self.add.is_empty() && self.remove.is_empty() {
                if self.threshold.is_none() {
                    let before = keys.len();
                    keys.retain(|key| !store.has(key.id()));
                    for _ in keys.len()..before {
                        keys.push(store.generate(&*context.disk, role)?);
                    }
                }
            } else {
                for prefix in &self.remove {
                    let id = find(&now.keys, prefix, role)?;
                    keys.retain(|key| *key.id() != id);
                }
                keys.extend(added.iter().cloned());
            }
            editor.set_keys(role, &keys, self.threshold.unwrap_or(now.threshold))?;
        }
        self.change.finish(context, &opened, editor, &store)
    }
}

/// Gives a layer or image a role of its own: only its keys sign releases and channels of it from
/// now on.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset trust delegate main layers/nginx                # makes a key, for this build server
  layerset trust delegate main layers/nginx --key 3f0c… --pending nginx.json
  layerset trust delegate main images/web --key 3f0c… --key 77ea… --key b1d4… --threshold 2

The keys of role 'targets' are needed, and those of the new role: if they are somebody else's,
write a pending file and let them run `layerset trust sign`.")]
pub(in crate::cli) struct Delegate {
    #[command(flatten)]
    remote: RemoteArgs,
    /// What: layers/NAME or images/NAME
    name: String,
    /// A public key that may sign; without any, a key is made
    #[arg(long = "key", value_name = "KEY")]
    given: Vec<String>,
    /// How many keys must sign
    #[arg(long, default_value_t = 1, value_name = "N")]
    threshold: u64,
    /// How long its signatures are valid, in days [default: what the root says]
    #[arg(long, value_name = "DAYS")]
    days: Option<u64>,
    #[command(flatten)]
    change: ChangeArgs,
}

impl Delegate {
    pub(super) fn run(&self, context: &Context) -> Result<(), CliError> {
        let (kind, name) = subject(&self.name)?;
        let validity = self.days.map(days_to_seconds).transpose()?;
        let mut keys = public_keys(&self.given)?;
        let opened = self.remote.open(context)?;
        let mut store = self.change.keys.open()?;
        let mut editor = opened.editor()?;
        if keys.is_empty() {
            keys.push(store.generate(&*context.disk, &role_of(kind, name))?);
        }
        editor.delegate(kind, name, &keys, self.threshold, validity)?;
        self.change.finish(context, &opened, editor, &store)
    }
}

/// Takes a role from a layer or image, or a key from every role.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset trust revoke main layers/nginx
  layerset trust revoke main layers/nginx --keep-releases
  layerset trust revoke main 91ab22f03c1d

When the key of a role is in wrong hands, revoke the key. Its roles are signed anew by their other
keys; if there are not enough, run `layerset trust rotate` for the role instead. What a thief may
have published stays until you remove it: look at it with `layerset trust show` and the
channels.")]
pub(in crate::cli) struct Revoke {
    #[command(flatten)]
    remote: RemoteArgs,
    /// What: layers/NAME, images/NAME, or the id of a key or its first digits
    what: String,
    /// Keep releases and channels of the name: role 'targets' signs them from now on
    #[arg(long)]
    keep_releases: bool,
    #[command(flatten)]
    change: ChangeArgs,
}

impl Revoke {
    pub(super) fn run(&self, context: &Context) -> Result<(), CliError> {
        let opened = self.remote.open(context)?;
        let store = self.change.keys.open()?;
        let mut editor = opened.editor()?;
        if self.what.contains('/') {
            let (kind, name) = subject(&self.what)?;
            let documents = if self.keep_releases {
                DocumentPolicy::Keep
            } else {
                DocumentPolicy::Drop
            };
            editor.revoke(kind, name, documents)?;
        } else {
            let id = key_of(&opened.verified, &self.what)?;
            let roles = editor.revoke_key(&id)?;
            context.ui.remark(&format!(
                "key {} is taken from: {}",
                id.short(),
                roles.join(", ")
            ));
        }
        self.change.finish(context, &opened, editor, &store)
    }
}

/// Signs anew before signatures expire, without another change.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset trust refresh main  # snapshot and timestamp: every day, on a build server
  layerset trust refresh main --role root --role targets

Machines refuse a remote whose timestamp expired; what is deployed on them is not touched.")]
pub(in crate::cli) struct Refresh {
    #[command(flatten)]
    remote: RemoteArgs,
    /// A role to sign anew beside snapshot and timestamp
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    #[command(flatten)]
    change: ChangeArgs,
}

impl Refresh {
    pub(super) fn run(&self, context: &Context) -> Result<(), CliError> {
        let opened = self.remote.open(context)?;
        let store = self.change.keys.open()?;
        let mut editor = opened.editor()?;
        for role in &self.roles {
            editor.renew(role)?;
        }
        self.change.finish(context, &opened, editor, &store)
    }
}

/// Reads `layers/NAME` or `images/NAME`.
fn subject(text: &str) -> Result<(ReleaseKind, &str), CliError> {
    let found = match text.split_once('/') {
        Some(("layers", name)) => Some((ReleaseKind::Layer, name)),
        Some(("images", name)) => Some((ReleaseKind::Image, name)),
        _ => None,
    };
    found
        .filter(|(_, name)| crate::format::release::is_word(name))
        .ok_or_else(|| {
            CliError::usage(format!(
                "'{text}' names no layer and no image: write layers/NAME or images/NAME"
            ))
        })
}

fn public_keys(texts: &[String]) -> Result<Vec<PublicKey>, TrustError> {
    texts.iter().map(|text| PublicKey::from_hex(text)).collect()
}

fn find(keys: &[KeyId], prefix: &str, role: &str) -> Result<KeyId, CliError> {
    let mut found = keys
        .iter()
        .filter(|id| !prefix.is_empty() && id.as_str().starts_with(prefix));
    match (found.next(), found.next()) {
        (Some(id), None) => Ok(id.clone()),
        (None, _) => Err(CliError::usage(format!(
            "role '{role}' has no key '{prefix}'"
        ))),
        _ => Err(CliError::usage(format!(
            "'{prefix}' is the start of several keys of role '{role}'"
        ))),
    }
}

fn key_of(verified: &Verified, prefix: &str) -> Result<KeyId, CliError> {
    let mut keys: Vec<KeyId> = verified
        .roles()
        .into_iter()
        .flat_map(|role| role.keys.keys)
        .collect();
    keys.sort();
    keys.dedup();
    let mut found = keys
        .iter()
        .filter(|id| !prefix.is_empty() && id.as_str().starts_with(prefix));
    match (found.next(), found.next()) {
        (Some(id), None) => Ok(id.clone()),
        (None, _) => Err(
            CliError::usage(format!("no role has a key '{prefix}'")).with_hint(
                "`layerset trust show` lists roles and keys; a layer is written layers/NAME",
            ),
        ),
        _ => Err(CliError::usage(format!(
            "'{prefix}' is the start of several keys"
        ))),
    }
}
