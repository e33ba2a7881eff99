//! Shared by commands that open remotes: options, the trust policy, and where remotes are
//! remembered.

use std::path::PathBuf;
use std::sync::Arc;

use super::{CliError, Context, config_dir};
use crate::durable::{DurableError, make_dirs};
use crate::remote::{RemarkHandler, RemoteOptions};
use crate::trust::TrustError;

/// Opens remotes as commands do: an interrupt ends their waiting.
pub(super) fn open_options(context: &Context) -> RemoteOptions {
    RemoteOptions {
        cancel: Arc::clone(&context.cancel),
        remark: RemarkHandler(Arc::new({
            let ui = context.ui.clone();
            move |text| ui.remark(text)
        })),
        ..RemoteOptions::default()
    }
}

/// Returns where the trust policy is unless it is named.
pub(super) fn default_policy() -> Result<PathBuf, CliError> {
    config_dir().map(|dir| dir.join("trust.toml"))
}

/// Returns where the trust policy is for commands that take no `--trust`.
pub(super) fn trust_policy() -> Result<PathBuf, CliError> {
    let named = std::env::var_os("LAYERSET_TRUST").filter(|path| !path.is_empty());
    named.map_or_else(default_policy, |path| Ok(PathBuf::from(path)))
}

/// Finds the directory of what is remembered of remotes: in the repository if there is one, else
/// where programs keep such things.
pub(super) fn states(context: &Context) -> Result<PathBuf, CliError> {
    let dir = if context.repo.join("config.toml").exists() {
        context.repo.join("trust")
    } else {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let home = || set("HOME").map(|home| PathBuf::from(home).join(".local/state"));
        match set("XDG_STATE_HOME").map(PathBuf::from).or_else(home) {
            Some(dir) => dir.join("layerset/trust"),
            None => config_dir()?.join("trust"),
        }
    };
    make_dirs(&dir, 0o755)
        .map_err(|source| TrustError::Durable(DurableError::new("make", &dir, source)))?;
    Ok(dir)
}
