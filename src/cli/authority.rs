//! What commands share that sign: the remote, the keys, and the root that they trust themselves.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::follow::{default_policy, open_options, trust_state};
use super::{CliError, Context, config_dir};
use crate::durable::RealDisk;
use crate::id::ObjectId;
use crate::remote::{self, Location, WritableRemote};
use crate::store::Repository;
use crate::time::{Clock as _, SystemClock};
use crate::transfer::Authority;
use crate::trust::{KeyStore, Policy, State};

/// Where to publish, and who signs.
#[derive(Debug, Args)]
pub struct Signatory {
    /// The remote: a directory, s3://BUCKET/PREFIX, oci://HOST/REPOSITORY, or its name in the trust policy
    #[arg(long, value_name = "LOCATION")]
    to: String,
    /// The directory of the signing keys [default: keys/ beside the trust policy]
    #[arg(long, env = "LAYERSET_KEYS", value_name = "DIR")]
    keys: Option<PathBuf>,
    /// The root metadata to trust [default: that of the trust policy, else root.json beside the keys]
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,
    /// Whom to trust [default: /etc/layerset/trust.toml for root, $XDG_CONFIG_HOME/layerset/trust.toml for others]
    #[arg(long, env = "LAYERSET_TRUST", value_name = "FILE")]
    trust: Option<PathBuf>,
}

/// A remote that can be published to, with all that signing takes.
pub struct Desk {
    /// The remote.
    pub remote: Box<dyn WritableRemote>,
    /// The keys.
    pub keys: KeyStore,
    /// The trusted root.
    pub root: Vec<u8>,
    /// What is remembered of the remote.
    pub state: State,
    /// When it is, in seconds since 1970.
    pub now: i64,
}

impl Desk {
    /// Returns what signing takes.
    pub fn authority(&self) -> Authority<'_> {
        Authority {
            remote: self.remote.as_ref(),
            root: &self.root,
            state: &self.state,
            keys: &self.keys,
            now: self.now,
        }
    }
}

impl Signatory {
    /// Returns the directory of the keys.
    pub fn keys_dir(&self) -> Result<PathBuf, CliError> {
        match &self.keys {
            Some(dir) => Ok(dir.clone()),
            None => Ok(config_dir()?.join("keys")),
        }
    }

    /// Opens the remote.
    pub fn remote(&self, context: &Context) -> Result<Box<dyn WritableRemote>, CliError> {
        let (location, _, _) = self.place()?;
        let location: Location = location.parse()?;
        Ok(remote::open_writable(&location, &open_options(context))?)
    }

    /// Opens everything.
    pub fn open(&self, context: &Context, repository: &Repository) -> Result<Desk, CliError> {
        let (_, name, policy_root) = self.place()?;
        let dir = self.keys_dir()?;
        let root = match self.root.clone().or(policy_root) {
            Some(root) => root,
            None => dir.join("root.json"),
        };
        let root = std::fs::read(&root).map_err(|error| {
            CliError::io(
                format!("cannot read the trusted root '{}'", root.display()),
                error,
            )
            .with_hint("`layerset trust init` makes one; --root names another")
        })?;
        Ok(Desk {
            remote: self.remote(context)?,
            keys: KeyStore::open(&dir)?,
            root,
            state: trust_state(repository, &name)?,
            now: SystemClock.now_sec(),
        })
    }

    /// Returns the location, what to call the remote, and the root that the trust policy has for it.
    fn place(&self) -> Result<(String, String, Option<PathBuf>), CliError> {
        let path = match &self.trust {
            Some(path) => path.clone(),
            None => default_policy()?,
        };
        if path.exists() {
            let policy = Policy::read(&path)?;
            let known = policy
                .remotes
                .iter()
                .find(|remote| remote.name == self.to || remote.location == self.to);
            if let Some(known) = known {
                let root = Some(known.root.clone());
                return Ok((known.location.clone(), known.name.clone(), root));
            }
        }
        let name = format!("to-{}", ObjectId::of(self.to.as_bytes()).short());
        Ok((self.to.clone(), name, None))
    }
}

/// Returns the primitives that key files are written with.
pub fn disk() -> Arc<RealDisk> {
    Arc::new(RealDisk)
}
