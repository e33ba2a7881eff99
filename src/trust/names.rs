//! Names: of roles, of metadata files, and of the documents that each role may sign.

use std::str::FromStr as _;

use crate::format::release::{ChannelName, ReleaseId, ReleaseKind, is_word, release_target};
use crate::id::LayerId;

/// The roles that every remote has.
pub const TOP_ROLES: [&str; 4] = ["root", "targets", "snapshot", "timestamp"];

/// Returns the role that a layer's or an image's documents can be delegated to: `layer.nginx`.
pub fn role_of(kind: ReleaseKind, name: &str) -> String {
    format!("{}.{name}", kind.word())
}

/// Returns the layer or image that a delegated role is for.
pub(super) fn subject_of(role: &str) -> Option<(ReleaseKind, &str)> {
    let (kind, name) = role.split_once('.')?;
    let kind = match kind {
        "layer" => ReleaseKind::Layer,
        "image" => ReleaseKind::Image,
        _ => return None,
    };
    is_word(name).then_some((kind, name))
}

/// Returns the path patterns of a delegated role.
///
/// Two, so that they mean the same to readers for which `*` stops at a `/` (the specification's)
/// and for which it does not (tough's).
pub(super) fn paths_of(kind: ReleaseKind, name: &str) -> [String; 2] {
    let plural = kind.plural();
    [
        format!("{plural}/{name}/channels/*"),
        format!("{plural}/{name}/releases/*"),
    ]
}

/// What a target name names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Document {
    Channel(ChannelName),
    Release(ReleaseKind, String, ReleaseId),
}

impl Document {
    /// Reads a target name; only the form that the writer makes is one.
    pub(super) fn parse(target: &str) -> Option<Self> {
        let parts: Vec<&str> = target.split('/').collect();
        let [kind, name, what, file] = parts.as_slice() else {
            return None;
        };
        let kind = match *kind {
            "layers" => ReleaseKind::Layer,
            "images" => ReleaseKind::Image,
            _ => return None,
        };
        let stem = file.strip_suffix(".json")?;
        let document = match *what {
            "channels" => Self::Channel(ChannelName::new(kind, name, stem).ok()?),
            "releases" if is_word(name) => {
                let id = LayerId::from_str(&format!("b3:{stem}")).ok()?;
                Self::Release(kind, (*name).to_owned(), ReleaseId::from(id))
            }
            _ => return None,
        };
        (document.target() == target).then_some(document)
    }

    fn target(&self) -> String {
        match self {
            Self::Channel(name) => name.target(),
            Self::Release(kind, name, id) => release_target(*kind, name, id),
        }
    }

    /// Returns the role that it can be delegated to.
    pub(super) fn role(&self) -> String {
        match self {
            Self::Channel(name) => role_of(name.kind, &name.name),
            Self::Release(kind, name, _) => role_of(*kind, name),
        }
    }
}

/// Returns the name of a role's metadata file within a head; that of a root has its version.
pub(super) fn file_of(role: &str) -> String {
    format!("{role}.json")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_the_writer_makes_are_documents() {
        let hex = "ab".repeat(32);
        for good in [
            format!("layers/nginx/releases/{hex}.json"),
            "images/web/channels/stable.json".to_owned(),
            "layers/libstdc++6/channels/a.b.json".to_owned(),
        ] {
            assert!(Document::parse(&good).is_some(), "{good}");
        }
        for bad in [
            "",
            "layers/nginx/releases/abc.json",
            "layers/../channels/stable.json",
            "layers/nginx/channels/stable",
            "layers//channels/stable.json",
            "packs/nginx/channels/stable.json",
            "layers/nginx/channels/x/stable.json",
            "./layers/nginx/channels/stable.json",
            "layers/NGINX/channels/stable.json",
        ] {
            assert_eq!(Document::parse(bad), None, "{bad}");
        }
        let upper = format!("layers/nginx/releases/{}.json", hex.to_uppercase());
        assert_eq!(Document::parse(&upper), None);
    }
}
