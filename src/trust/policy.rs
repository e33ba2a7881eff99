//! A machine's `trust.toml`: which remotes it trusts, by which root, and which channels it may
//! follow.

use std::path::{Path, PathBuf};

use super::TrustError;
use super::policy_shape::{REMOTE, TRUST};
use super::state::read_limited;
use crate::format::release::{ChannelName, is_word};
use crate::glob::Glob;
use crate::recipe::reader::{Document, Value};
use crate::recipe::{RecipeError, SourceFile};

/// The most bytes that a policy and a trusted root have.
const MAX_BYTES: u64 = 1 << 20;

/// What a machine trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The remotes, in the order of the file; names differ.
    pub remotes: Vec<TrustedRemote>,
}

/// One remote that a machine trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedRemote {
    /// What the machine calls it.
    pub name: String,
    /// Where it is tried first.
    pub location: String,
    /// Where it is tried then, in order.
    pub mirrors: Vec<String>,
    /// The trusted root metadata.
    pub root: PathBuf,
    /// Whether images are composed again from their layers, and compared with what was published.
    pub recompose: bool,
    /// The channels that may be followed; `None` says all.
    channels: Option<Vec<Glob>>,
}

impl Policy {
    /// Reads the policy at `path`.
    pub fn read(path: &Path) -> Result<Self, TrustError> {
        let fail = |source| TrustError::Read {
            path: path.to_owned(),
            source,
        };
        let bytes = read_limited(path, MAX_BYTES).map_err(fail)?;
        let text = String::from_utf8(bytes)
            .map_err(|error| fail(std::io::Error::other(error.utf8_error())))?;
        Self::parse(path, &text)
    }

    /// Parses the text of the policy at `path`; the roots are relative to its directory.
    pub fn parse(path: &Path, text: &str) -> Result<Self, TrustError> {
        let source = SourceFile::new(path, text);
        let remotes = parse(&source, path.parent().unwrap_or(Path::new(".")));
        let remotes = remotes.map_err(|error| of_policy(path, &error))?;
        Ok(Self { remotes })
    }

    /// Returns the remote of that name.
    pub fn remote(&self, name: &str) -> Option<&TrustedRemote> {
        self.remotes.iter().find(|remote| remote.name == name)
    }
}

impl TrustedRemote {
    /// Says whether the machine may follow a channel of this remote.
    pub fn allows(&self, channel: &ChannelName) -> bool {
        let name = channel.to_string();
        self.channels
            .as_ref()
            .is_none_or(|list| list.iter().any(|pattern| pattern.matches(name.as_bytes())))
    }

    /// Returns the patterns of the channels that the machine may follow; nothing where it may follow
    /// all.
    pub fn patterns(&self) -> impl Iterator<Item = &str> {
        self.channels.iter().flatten().map(Glob::as_str)
    }

    /// Returns where it is, in the order in which to try.
    pub fn locations(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.location)
            .chain(&self.mirrors)
            .map(String::as_str)
    }

    /// Reads the trusted root.
    pub fn read_root(&self) -> Result<Vec<u8>, TrustError> {
        read_limited(&self.root, MAX_BYTES).map_err(|source| TrustError::Read {
            path: self.root.clone(),
            source,
        })
    }
}

fn channel_pattern(text: &str) -> Result<Glob, String> {
    let glob = Glob::new(text).map_err(|problem| {
        format!(
            "'{}' is not a pattern of channels: {problem}",
            text.escape_debug()
        )
    })?;
    let kind = text.split('/').next().unwrap_or_default();
    if text.split('/').count() > 3 || !["images", "layers", "*", "**"].contains(&kind) {
        return Err(format!(
            "'{}' matches no channel: write 'images/NAME/CHANNEL' or 'layers/NAME/CHANNEL', where '*' may stand for a part",
            text.escape_debug()
        ));
    }
    Ok(glob)
}

fn parse(source: &SourceFile, dir: &Path) -> Result<Vec<TrustedRemote>, RecipeError> {
    let document = Document::parse(source)?;
    let mut remotes: Vec<TrustedRemote> = Vec::new();
    let Some(list) = document.table(&TRUST)?.get("remote") else {
        return Ok(remotes);
    };
    for item in list.list()? {
        let remote = remote(&item, dir)?;
        if remotes.iter().any(|known| known.name == remote.name) {
            let place = item.table(&REMOTE)?.need("name")?;
            let message = format!("there are two remotes called '{}'", remote.name);
            return Err(place.fault(message));
        }
        remotes.push(remote);
    }
    Ok(remotes)
}

fn remote(item: &Value<'_>, dir: &Path) -> Result<TrustedRemote, RecipeError> {
    let table = item.table(&REMOTE)?;
    let name = table.need("name")?;
    let name = name.checked(|text| {
        (!is_word(text)).then_some(
            "cannot be the name of a remote: use lower-case letters, digits, '.', '-', '_' and '+'",
        )
    })?;
    let mirrors = match table.get("mirrors") {
        None => Vec::new(),
        Some(list) => list
            .list()?
            .iter()
            .map(location)
            .collect::<Result<_, _>>()?,
    };
    let root = table.need("root")?;
    let root = match root.string()? {
        "" => return Err(root.fault("the root is empty")),
        root => dir.join(root),
    };
    Ok(TrustedRemote {
        name: name.to_owned(),
        location: location(&table.need("location")?)?,
        mirrors,
        root,
        recompose: table.get("recompose").map_or(Ok(true), |v| v.boolean())?,
        channels: match table.get("channels") {
            None => None,
            Some(list) => Some(
                list.list()?
                    .iter()
                    .map(channels)
                    .collect::<Result<_, _>>()?,
            ),
        },
    })
}

fn location(value: &Value<'_>) -> Result<String, RecipeError> {
    match value.string()? {
        text if text.trim().is_empty() => Err(value.fault("a location is empty")),
        text => Ok(text.to_owned()),
    }
}

fn channels(value: &Value<'_>) -> Result<Glob, RecipeError> {
    channel_pattern(value.string()?).map_err(|message| value.fault(message))
}

/// Says of a policy what its reader says of any file that people write.
fn of_policy(path: &Path, error: &RecipeError) -> TrustError {
    let (line, column, message) = match error.faults().first() {
        None => (1, 1, error.to_string()),
        Some(fault) => {
            let help = fault.help.as_ref().map(|help| format!(" ({help})"));
            let message = fault.message.clone() + &help.unwrap_or_default();
            (fault.line, fault.column, message)
        }
    };
    TrustError::Policy {
        path: path.to_owned(),
        line,
        column,
        message,
    }
}
