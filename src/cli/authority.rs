//! Shared by commands that sign: the remote, the keys, and the trusted root.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::remotes::{default_policy, open_options, states};
use super::timeouts::with_timeouts;
use super::{CliError, Context, config_dir, error};
use crate::remote::{Location, WritableRemote};
use crate::time::{Clock as _, SystemClock};
use crate::transfer::SigningAuthority;
use crate::trust::{KeyStore, Policy, TrustState};

/// Where keys are.
#[derive(Debug, Args)]
pub(super) struct KeyArgs {
    /// The directory of the keys [default: /etc/layerset/keys for root,
    /// $XDG_CONFIG_HOME/layerset/keys for others]
    #[arg(long, env = "LAYERSET_KEYS", value_name = "DIR")]
    keys: Option<PathBuf>,
}

impl KeyArgs {
    /// Opens the keys.
    pub(super) fn open(&self) -> Result<KeyStore, CliError> {
        let dir = match &self.keys {
            Some(dir) => dir.clone(),
            None => config_dir()?.join("keys"),
        };
        Ok(KeyStore::open(&dir)?)
    }
}

/// By which root a remote is trusted.
#[derive(Debug, Args)]
pub(super) struct TrustedArgs {
    /// The trusted root of the remote [default: what the trust policy names for it]
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,
    /// The trust policy [default: trust.toml beside the default directory of keys]
    #[arg(long, env = "LAYERSET_TRUST", value_name = "FILE")]
    trust: Option<PathBuf>,
}

/// Where to publish, and who signs.
#[derive(Debug, Args)]
pub(super) struct PublisherArgs {
    /// The remote: a directory, s3://BUCKET/PREFIX, oci://HOST/REPOSITORY, or its name in the trust
    /// policy
    #[arg(long, value_name = "LOCATION")]
    to: String,
    #[command(flatten)]
    keys: KeyArgs,
    #[command(flatten)]
    trusted: TrustedArgs,
}

/// An open remote to publish to, with all that signing needs.
pub(super) struct Publisher {
    /// The remote.
    pub remote: Box<dyn WritableRemote>,
    /// The keys.
    pub keys: KeyStore,
    /// The trusted root.
    pub root: Vec<u8>,
    /// What is remembered of the remote.
    pub state: TrustState,
    /// When it is, in seconds since 1970.
    pub now: i64,
}

impl Publisher {
    /// Returns what signing needs.
    pub(super) fn authority(&self) -> SigningAuthority<'_> {
        SigningAuthority {
            remote: self.remote.as_ref(),
            root: &self.root,
            state: &self.state,
            keys: &self.keys,
            now: self.now,
        }
    }
}

impl PublisherArgs {
    /// Opens everything.
    pub(super) fn open(&self, context: &Context) -> Result<Publisher, CliError> {
        let (location, root, name) = self.trusted.find(&self.to)?;
        Ok(Publisher {
            remote: writable(context, &location)?,
            keys: self.keys.open()?,
            root: read(&root)?,
            state: state(context, &name)?,
            now: SystemClock.now_sec(),
        })
    }
}

impl TrustedArgs {
    /// Returns the root that was named on the command line.
    pub(super) fn root(&self) -> Option<&Path> {
        self.root.as_deref()
    }

    /// Returns the roots that can vouch for a change that names no remote: the one named on the
    /// command line, or else those of the trust policy.
    pub(super) fn roots(&self) -> Result<Vec<Vec<u8>>, CliError> {
        if let Some(root) = &self.root {
            return Ok(vec![read(root)?]);
        }
        let remotes = self.policy()?.1.remotes;
        remotes
            .iter()
            .map(|remote| Ok(remote.read_root()?))
            .collect()
    }

    fn policy(&self) -> Result<(PathBuf, Policy), CliError> {
        let path = match &self.trust {
            Some(path) => path.clone(),
            None => default_policy()?,
        };
        let policy = if path.exists() || self.trust.is_some() {
            Policy::read(&path)?
        } else {
            Policy {
                remotes: Vec::new(),
            }
        };
        Ok((path, policy))
    }

    /// Returns location, root and a name for what is remembered of a remote.
    pub(super) fn find(&self, remote: &str) -> Result<(String, PathBuf, String), CliError> {
        let (path, policy) = self.policy()?;
        let known = policy
            .remotes
            .iter()
            .find(|known| known.name == remote || known.locations().any(|at| at == remote));
        if let Some(known) = known {
            let location = if known.name == remote {
                known.location.clone()
            } else {
                remote.to_owned()
            };
            let root = self.root.clone().unwrap_or_else(|| known.root.clone());
            return Ok((location, root, known.name.clone()));
        }
        let Some(root) = &self.root else {
            return Err(CliError::new(
                format!(
                    "the trust policy '{}' has no remote '{remote}'",
                    path.display()
                ),
                error::FAILED,
            )
            .with_hint("name the root that `layerset trust init` made with --root"));
        };
        let digest = blake3::hash(remote.as_bytes()).to_hex();
        let name = format!("at-{}", digest.get(..16).unwrap_or_default());
        Ok((remote.to_owned(), root.clone(), name))
    }
}

/// Opens a remote to write to it.
pub(super) fn writable(
    context: &Context,
    location: &str,
) -> Result<Box<dyn WritableRemote>, CliError> {
    let location: Location = location.parse()?;
    let options = with_timeouts(open_options(context))?;
    Ok(crate::remote::open_writable(&location, &options)?)
}

/// Reads a file that was named on the command line.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    std::fs::read(path)
        .map_err(|error| {
            let missing = error.kind() == std::io::ErrorKind::NotFound;
            let shown = CliError::io(format!("cannot read '{}'", path.display()), error);
            match missing {
                true => shown.with_hint(
                    "name a file that is there: `layerset trust init` writes the root of a remote where its --root says",
                ),
                false => shown,
            }
        })
}

/// Opens what is remembered of a remote.
pub(super) fn state(context: &Context, name: &str) -> Result<TrustState, CliError> {
    let dir = states(context)?.join(name);
    Ok(TrustState::open(Arc::clone(&context.disk), &dir)?)
}
