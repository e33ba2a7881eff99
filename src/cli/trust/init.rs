//! `layerset trust init`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::access::{self, ChangeArgs};
use crate::cli::{CliError, Context, authority, error};
use crate::durable::replace_file;
use crate::format::MAX_HEAD_BYTES;
use crate::remote::{Location, WritableRemote};
use crate::time::{Clock as _, SystemClock};
use crate::trust::{
    Editor, InitOptions, KeyStore, PublicKey, TOP_ROLES, TrustError, Validity, first_root,
};

/// The keys of a role, and how many of them must sign.
type RoleKeys = (Vec<PublicKey>, u64);

/// Makes a new remote, with its keys and the root to give to machines.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset trust init /srv/images --root root.json
  layerset trust init s3://images/prod --root root.json --root-keys 3 --root-threshold 2
  layerset trust init s3://images/prod --root root.json --key targets=3f0c… --pending new.json

Each role without a --key gets a new key, written to the directory of keys; move the keys of root
and targets to a safe place. Machines trust the remote by FILE. It holds public keys only, and
must reach machines by another way than the remote, e.g. in the image.")]
pub(in crate::cli) struct Init {
    /// Where the remote will be
    location: String,
    /// Where to write the root to give to machines
    #[arg(long, value_name = "FILE")]
    root: PathBuf,
    /// How many keys to make for the root
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100))]
    root_keys: u64,
    /// How many keys must sign a new root
    #[arg(long, default_value_t = 1, value_name = "N")]
    root_threshold: u64,
    /// Give a role this public key instead of a new one
    #[arg(long = "key", value_name = "ROLE=KEY")]
    given: Vec<String>,
    /// How many keys of a role must sign
    #[arg(long = "threshold", value_name = "ROLE=N")]
    thresholds: Vec<String>,
    /// How long signatures of a role are valid, in days [default: root 730, targets 365, delegated
    /// 365, snapshot 30, timestamp 7]
    #[arg(long = "days", value_name = "ROLE=DAYS")]
    days: Vec<String>,
    #[command(flatten)]
    change: ChangeArgs,
}

#[derive(Serialize)]
struct Report<'a> {
    remote: &'a str,
    root: &'a PathBuf,
    keys: BTreeMap<&'a str, Vec<String>>,
    made: Vec<PathBuf>,
}

impl Init {
    pub(super) fn run(&self, context: &Context) -> Result<(), CliError> {
        if self.root.exists() {
            return Err(CliError::usage(format!(
                "'{}' already exists: a new remote gets a new root",
                self.root.display()
            ))
            .with_hint("name another file, or remove it if no remote came of it"));
        }
        check_place(&self.root)?;
        let validity = self.validity()?;
        let thresholds = self.thresholds()?;
        let given = self.given()?;
        let remote = authority::writable(context, &self.location)?;
        if remote.read_head(MAX_HEAD_BYTES)?.is_some() {
            return Err(CliError::new(
                format!("'{}' is already a remote", remote.location()),
                error::FAILED,
            )
            .with_hint("choose another place; `layerset trust rotate` gives this one other keys"));
        }
        let mut store = self.change.keys.open()?;
        let keys = self.role_keys(context, &mut store, &given, &thresholds)?;
        let ids = |keys: &[PublicKey]| keys.iter().map(|key| key.id().to_string()).collect();
        let by_role = keys.iter().map(|(role, (keys, _))| (*role, ids(keys)));
        let by_role: BTreeMap<&str, Vec<String>> = by_role.collect();
        let options = InitOptions { keys, validity };
        let now = SystemClock.now_sec();
        let pending = Editor::create(&options, now)?.sign_partial(&store)?;
        if let Some(path) = self.change.pending() {
            let changes = pending.describe(None)?;
            context.ui.remark(&format!(
                "'{}' is written when the remote is published, with --root",
                self.root.display()
            ));
            return access::write_pending(context, &pending, path, &self.location, &changes);
        }
        let head = pending.finish(None, &store, now)?;
        establish(context, remote.as_ref(), &head, &self.root)?;
        self.report(context, remote.location(), &store, by_role)
    }

    /// Takes the keys that were given for each role, and makes the others.
    fn role_keys(
        &self,
        context: &Context,
        store: &mut KeyStore,
        given: &BTreeMap<&'static str, Vec<PublicKey>>,
        thresholds: &BTreeMap<&'static str, u64>,
    ) -> Result<BTreeMap<&'static str, RoleKeys>, CliError> {
        let mut keys = BTreeMap::new();
        for role in TOP_ROLES {
            let (count, default) = if role == "root" {
                (self.root_keys, self.root_threshold)
            } else {
                (1, 1)
            };
            let of_role = match given.get(role) {
                Some(given) => given.clone(),
                None => (0..count)
                    .map(|_| store.generate(&*context.disk, role))
                    .collect::<Result<_, _>>()?,
            };
            let threshold = thresholds.get(role).copied().unwrap_or(default);
            keys.insert(role, (of_role, threshold));
        }
        Ok(keys)
    }

    fn report(
        &self,
        context: &Context,
        remote: &str,
        store: &KeyStore,
        by_role: BTreeMap<&str, Vec<String>>,
    ) -> Result<(), CliError> {
        let all: Vec<&String> = by_role.values().flatten().collect();
        let made = store
            .public_keys()
            .filter(|(key, _)| all.contains(&&key.id().to_string()));
        let made: Vec<PathBuf> = made.map(|(_, path)| path.to_owned()).collect();
        context.ui.print_json(&Report {
            remote,
            root: &self.root,
            keys: by_role,
            made: made.clone(),
        })?;
        let made: String = made
            .iter()
            .map(|path| format!("  {}\n", path.display()))
            .collect();
        context.ui.print(&format!(
            "made a remote at {}\nkeys, which nobody else may read:\n{made}{}",
            remote,
            advice(remote, &self.root.display().to_string()),
        ));
        Ok(())
    }

    fn given(&self) -> Result<BTreeMap<&'static str, Vec<PublicKey>>, CliError> {
        let mut keys: BTreeMap<&str, Vec<PublicKey>> = BTreeMap::new();
        for text in &self.given {
            let (role, key) = pair(text, "--key")?;
            keys.entry(top_role(role)?)
                .or_default()
                .push(PublicKey::from_hex(key)?);
        }
        Ok(keys)
    }

    fn thresholds(&self) -> Result<BTreeMap<&'static str, u64>, CliError> {
        let each = self.thresholds.iter().map(|text| {
            let (role, number) = pair(text, "--threshold")?;
            Ok((top_role(role)?, parse_number(number)?))
        });
        each.collect()
    }

    fn validity(&self) -> Result<Validity, CliError> {
        let mut validity = Validity::default();
        for text in &self.days {
            let (role, days) = pair(text, "--days")?;
            let span = days_to_seconds(parse_number(days)?)?;
            match role {
                "root" => validity.root = span,
                "targets" => validity.targets = span,
                "delegated" => validity.delegated = span,
                "snapshot" => validity.snapshot = span,
                "timestamp" => validity.timestamp = span,
                _ => return Err(no_top_role(role)),
            }
        }
        Ok(validity)
    }
}

/// Refuses, before anything is made, a root that could not be written.
fn check_place(root: &Path) -> Result<(), CliError> {
    let dir = root.parent().filter(|dir| !dir.as_os_str().is_empty());
    match dir {
        Some(dir) if !dir.is_dir() => Err(CliError::usage(format!(
            "'{}' cannot be written: '{}' is not a directory",
            root.display(),
            dir.display()
        ))),
        _ => Ok(()),
    }
}

/// Publishes the first head of a remote, and writes the root to give to machines. The root comes
/// first: a remote without it is useless, and cannot be made again.
pub(super) fn establish(
    context: &Context,
    remote: &dyn WritableRemote,
    head: &[u8],
    root: &Path,
) -> Result<(), CliError> {
    check_place(root)?;
    let bytes = first_root(head)?;
    let is_there = root.exists();
    // A command that was killed may have written it already.
    if is_there && authority::read(root)? != bytes {
        return Err(CliError::usage(format!(
            "'{}' already exists, and is the root of something else",
            root.display()
        )));
    }
    if !is_there {
        replace_file(&*context.disk, root, 0o644, &bytes).map_err(TrustError::Durable)?;
    }
    let Err(error) = remote.replace_head(head, None) else {
        return Ok(());
    };
    // Only if the remote is known to have refused: a lost answer may have been a success.
    let is_ours = remote
        .read_head(MAX_HEAD_BYTES)
        .map(|found| found.is_some_and(|found| found.bytes == head));
    if !is_there && matches!(is_ours, Ok(false)) {
        context.disk.remove(root).map_err(TrustError::Durable)?;
    }
    Err(error.into())
}

/// Says how machines come to trust a new remote.
pub(super) fn advice(location: &str, root: &str) -> String {
    // A relative path would mean another place on the machines.
    let absolute = match location.parse() {
        Ok(Location::Directory(path)) => std::path::absolute(path).ok(),
        _ => None,
    };
    let location = absolute.map_or(location.to_owned(), |path| path.display().to_string());
    format!(
        "\nTo let machines follow it, install '{root}' and this on them, as /etc/layerset/root.json and\n/etc/layerset/trust.toml:\n\n  [[remote]]\n  name = \"main\"\n  location = \"{location}\"\n  root = \"root.json\"\n"
    )
}

/// Returns a number of days in seconds.
pub(super) fn days_to_seconds(days: u64) -> Result<i64, CliError> {
    if (1..=36_500).contains(&days) {
        return Ok(i64::try_from(days).unwrap_or(0) * 86_400);
    }
    Err(CliError::usage(format!(
        "signatures cannot be valid for {days} days: give 1 to 36500"
    )))
}

fn pair<'t>(text: &'t str, option: &str) -> Result<(&'t str, &'t str), CliError> {
    text.split_once('=')
        .ok_or_else(|| CliError::usage(format!("{option} wants ROLE=VALUE, not '{text}'")))
}

fn top_role(role: &str) -> Result<&'static str, CliError> {
    let found = TOP_ROLES.into_iter().find(|known| *known == role);
    found.ok_or_else(|| no_top_role(role))
}

fn no_top_role(role: &str) -> CliError {
    CliError::usage(format!("a new remote has no role '{role}'"))
        .with_hint("its roles are root, targets, snapshot and timestamp")
}

fn parse_number(text: &str) -> Result<u64, CliError> {
    text.parse()
        .map_err(|_| CliError::usage(format!("'{text}' is not a number")))
}
