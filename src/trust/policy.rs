//! A machine's `trust.toml`: which remotes it trusts, by which root, and which channels it may
//! follow.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::TrustError;
use super::policy_shape::{REMOTE, TRUST};
use super::state::read_limited;
use crate::format::release::{ChannelName, is_word};
use crate::glob::Glob;
use crate::recipe::reader::{Document, Value};
use crate::recipe::together::{Together as _, all};
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
        Ok(Self {
            remotes: remotes.map_err(TrustError::Policy)?,
        })
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
    let (root, keys) = document.open(&TRUST);
    let remotes = root.get("remote").map_or(Ok(Vec::new()), |list| {
        let items = list.list()?;
        let remotes = all(items.iter().map(|item| remote(item, dir)));
        let names = all(items.iter().scan(BTreeSet::new(), |seen, item| {
            // What is no table or has no name says so itself.
            let name = item.table(&REMOTE).ok().and_then(|table| table.get("name"));
            let fault = name.and_then(|place| {
                let name = place.string().ok()?;
                let message = format!("there are two remotes called '{name}'");
                (!seen.insert(name)).then(|| place.fault(message))
            });
            Some(fault.map_or(Ok(()), Err))
        }));
        Ok((remotes, names).together()?.0)
    });
    Ok((keys, remotes).together()?.1)
}

fn remote(item: &Value<'_>, dir: &Path) -> Result<TrustedRemote, RecipeError> {
    let (table, keys) = item.open(&REMOTE)?;
    let name = table.need("name").and_then(|name| {
        name.checked(|text| {
            (!is_word(text)).then_some(
                "cannot be the name of a remote: use lower-case letters, digits, '.', '-', '_' and '+'",
            )
        })
    });
    let root = table.need("root").and_then(|root| match root.string()? {
        "" => Err(root.fault("the root is empty")),
        root => Ok(dir.join(root)),
    });
    let mirrors = table.get("mirrors").map_or(Ok(Vec::new()), |list| {
        all(list.list()?.iter().map(location))
    });
    let given = table
        .get("channels")
        .map(|list| all(list.list()?.iter().map(channels)));
    let recompose = table.get("recompose").map_or(Ok(true), |v| v.boolean());
    let at = table.need("location").and_then(|value| location(&value));
    let ((), name, at, mirrors, root, recompose, given) =
        (keys, name, at, mirrors, root, recompose, given.transpose()).together()?;
    Ok(TrustedRemote {
        name: name.to_owned(),
        location: at,
        mirrors,
        root,
        recompose,
        channels: given,
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
