//! `layerset trust`.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};

use super::authority::{Signatory, disk};
use super::{CliError, Context, error};
use crate::durable::{LockMode, replace_file};
use crate::format::MAX_HEAD_BYTES;
use crate::format::release::Kind;
use crate::time::{Clock as _, SystemClock, rfc3339};
use crate::transfer::Signing;
use crate::trust::{InitOptions, KeyStore, PublicKey, TOP_ROLES, Validity, init};

/// Says who may publish what.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  layerset trust init --to /srv/remote              # keys, root.json, and an empty remote
  layerset trust keygen --keys ~/keys               # a key for somebody else, e.g. the app team
  layerset trust delegate layers/nginx --to /srv/remote --key 3c8e…
  layerset trust show --to /srv/remote

The format is TUF's. Copy root.json to machines, and name it in their trust.toml:
  [[remote]]
  name = \"main\"
  location = \"https://updates.example.org/remote\"
  root = \"root.json\"
  channels = [\"images/web/stable\"]")]
pub struct Trust {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make keys, a root, and the first signed state of a remote
    Init(Signatory),
    /// Make a signing key, and print its public half
    Keygen {
        /// The directory of the signing keys
        #[arg(long, env = "LAYERSET_KEYS", value_name = "DIR")]
        keys: std::path::PathBuf,
        /// What its file is called
        #[arg(long, default_value = "key", value_name = "NAME")]
        label: String,
    },
    /// Give a layer or an image keys of its own: only they sign it from now on
    Delegate {
        /// layers/NAME or images/NAME
        name: String,
        #[command(flatten)]
        signatory: Signatory,
        /// A public key of 64 hex digits, as keygen prints it; may be given more than once
        #[arg(long = "key", required = true, value_name = "HEX")]
        public: Vec<String>,
        /// How many of the keys must sign
        #[arg(long, default_value_t = 1, value_name = "COUNT")]
        threshold: u64,
    },
    /// Sign anew what expires soonest, without any other change
    Refresh(Signatory),
    /// Show channels, who signs what, and until when it is good
    Show(Signatory),
}

impl Trust {
    pub(super) fn run(&self, context: &Context) -> Result<(), CliError> {
        match &self.action {
            Action::Init(signatory) => run_init(context, signatory),
            Action::Keygen { keys, label } => {
                let mut store = KeyStore::open(keys)?;
                let key = store.generate(disk().as_ref(), label)?;
                context.ui.print_json(
                    &serde_json::json!({ "id": key.id().as_str(), "public": key.hex() }),
                )?;
                context.ui.print(&format!("{}\n", key.hex()));
                Ok(())
            }
            Action::Delegate {
                name,
                signatory,
                public,
                threshold,
            } => delegate(context, name, signatory, public, *threshold),
            Action::Refresh(signatory) => {
                let repository = context.open(LockMode::Shared, "layerset trust")?;
                let desk = signatory.open(context, &repository)?;
                let mut signing = Signing::open(desk.authority())?;
                signing.edit(&mut |editor| Ok(editor.renew("timestamp")?))?;
                show(context, &signing)
            }
            Action::Show(signatory) => {
                let repository = context.open(LockMode::Shared, "layerset trust")?;
                let desk = signatory.open(context, &repository)?;
                show(context, &Signing::open(desk.authority())?)
            }
        }
    }
}

fn run_init(context: &Context, signatory: &Signatory) -> Result<(), CliError> {
    let remote = signatory.remote(context)?;
    if remote.read_head(MAX_HEAD_BYTES)?.is_some() {
        return Err(CliError::new(
            format!("'{}' is in use already", remote.location()),
            error::REFUSED,
        )
        .with_hint("`layerset trust show` says by whom; another location begins anew"));
    }
    let dir = signatory.keys_dir()?;
    let root_path = dir.join("root.json");
    if root_path.exists() {
        return Err(CliError::new(
            format!("'{}' is there already", root_path.display()),
            error::REFUSED,
        )
        .with_hint("it is the root of another remote: name another directory with --keys"));
    }
    if let Some(parent) = dir.parent() {
        std::fs::create_dir_all(parent)
            .map_err(|error| CliError::io(format!("cannot make '{}'", parent.display()), error))?;
    }
    let mut store = KeyStore::open(&dir)?;
    let mut keys = BTreeMap::new();
    for role in TOP_ROLES {
        let key = store.generate(disk().as_ref(), role)?;
        keys.insert(role, (vec![key], 1));
    }
    let options = InitOptions {
        keys,
        validity: Validity::default(),
    };
    let (head, root) = init(&options, &store, SystemClock.now_sec())?;
    replace_file(disk().as_ref(), &root_path, 0o644, &root)
        .map_err(|error| CliError::from(crate::store::StoreError::from(error)))?;
    remote.replace_head(&head, None)?;
    context.ui.print_json(&serde_json::json!({
        "location": remote.location(), "root": root_path, "keys": dir,
    }))?;
    context.ui.print(&format!(
        "'{}' can be published to, with the keys in '{}'\nroot.json is for machines: '{}'\nkeep root's key offline: only changes of keys need it\n",
        remote.location(),
        dir.display(),
        root_path.display()
    ));
    Ok(())
}

fn delegate(
    context: &Context,
    name: &str,
    signatory: &Signatory,
    public: &[String],
    threshold: u64,
) -> Result<(), CliError> {
    let (kind, own) = match name.split_once('/') {
        Some(("layers", own)) => (Kind::Layer, own),
        Some(("images", own)) => (Kind::Image, own),
        _ => {
            return Err(CliError::usage(format!(
                "'{name}' is neither layers/NAME nor images/NAME"
            )));
        }
    };
    let keys: Vec<PublicKey> = public
        .iter()
        .map(|text| PublicKey::from_hex(text))
        .collect::<Result<_, _>>()?;
    let repository = context.open(LockMode::Shared, "layerset trust")?;
    let desk = signatory.open(context, &repository)?;
    let mut signing = Signing::open(desk.authority())?;
    signing.edit(&mut |editor| Ok(editor.delegate(kind, own, &keys, threshold, None)?))?;
    context
        .ui
        .print_json(&serde_json::json!({ "name": name, "threshold": threshold, "keys": public }))?;
    context.ui.print(&format!(
        "only {threshold} of {} keys sign {name} from now on\n",
        keys.len()
    ));
    Ok(())
}

fn show(context: &Context, signing: &Signing<'_>) -> Result<(), CliError> {
    let verified = signing.verified();
    let (expires, role) = verified.expires();
    let mut text = String::new();
    let mut channels = Vec::new();
    for name in verified.channels() {
        let channel = verified.channel(&name)?;
        let signer = verified.signer(name.kind, &name.name);
        text.push_str(&format!(
            "{name}: release {}, {}, for {} % of the machines, signed by '{signer}'\n",
            channel.serial,
            channel.release.layer().short(),
            channel.rollout.percent
        ));
        channels.push(channel);
    }
    text.push_str(&format!(
        "role '{role}' expires first, at {}\n",
        rfc3339(expires)
    ));
    context.ui.print_json(&serde_json::json!({
        "channels": channels, "expires": expires, "expires_first": role,
    }))?;
    context.ui.print(&text);
    Ok(())
}
