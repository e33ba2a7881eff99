//! A machine's `trust.toml`: which remotes it trusts, by which root, and which channels it may
//! follow.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::TrustError;
use super::state::read_limited;
use crate::format::release::{ChannelName, is_word};
use crate::glob::Glob;

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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyFile {
    #[serde(default)]
    remote: Vec<PolicyEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyEntry {
    name: Spanned<String>,
    location: Spanned<String>,
    #[serde(default)]
    mirrors: Vec<Spanned<String>>,
    root: Spanned<String>,
    channels: Option<Vec<Spanned<String>>>,
    recompose: Option<bool>,
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
        let fault = |span: Range<usize>, message: String| fault(path, text, span.start, message);
        let file: PolicyFile = toml::from_str(text)
            .map_err(|error| fault(error.span().unwrap_or(0..0), error.message().to_owned()))?;
        let mut remotes: Vec<TrustedRemote> = Vec::new();
        for entry in file.remote {
            let name = entry.name.get_ref();
            if !is_word(name) {
                let message = format!(
                    "'{}' cannot be the name of a remote: use lower-case letters, digits, '.', '-', '_' and '+'",
                    name.escape_debug()
                );
                return Err(fault(entry.name.span(), message));
            }
            if remotes.iter().any(|known| known.name == *name) {
                let message = format!("there are two remotes called '{name}'");
                return Err(fault(entry.name.span(), message));
            }
            for location in std::iter::once(&entry.location).chain(&entry.mirrors) {
                if location.get_ref().trim().is_empty() {
                    return Err(fault(location.span(), "a location is empty".to_owned()));
                }
            }
            if entry.root.get_ref().is_empty() {
                return Err(fault(entry.root.span(), "the root is empty".to_owned()));
            }
            let dir = path.parent().unwrap_or(Path::new("."));
            remotes.push(TrustedRemote {
                name: name.clone(),
                root: dir.join(entry.root.get_ref()),
                location: entry.location.into_inner(),
                recompose: entry.recompose.unwrap_or(true),
                mirrors: entry.mirrors.into_iter().map(Spanned::into_inner).collect(),
                channels: match entry.channels {
                    None => None,
                    Some(list) => Some(
                        list.iter()
                            .map(|pattern| {
                                channel_pattern(pattern.get_ref())
                                    .map_err(|message| fault(pattern.span(), message))
                            })
                            .collect::<Result<_, _>>()?,
                    ),
                },
            });
        }
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

fn fault(path: &Path, text: &str, at: usize, message: String) -> TrustError {
    let before = text.get(..at).unwrap_or_default();
    TrustError::Policy {
        path: path.to_owned(),
        line: before.matches('\n').count() + 1,
        column: before.chars().rev().take_while(|c| *c != '\n').count() + 1,
        message,
    }
}
