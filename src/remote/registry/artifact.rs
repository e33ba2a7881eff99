//! Manifests of the OCI image specification 1.1, and how what is published is listed with them.

use std::collections::BTreeMap;

use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::super::{Artifact, RemoteError};
use super::api::Request;
use super::{EMPTY_BYTES, Registry, digest};
use crate::sha256::Sha256;

pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
pub(super) const HEAD_TYPE: &str = "application/vnd.layerset.head.v1";
pub(super) use super::EMPTY_BYTES as EMPTY;

/// Names some bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    pub media_type: String,
    pub digest: String,
    pub size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    pub(super) fn of(media_type: &str, blob: &Sha256, size: u64) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: format!("sha256:{blob}"),
            size,
            data: None,
            artifact_type: None,
            annotations: BTreeMap::new(),
        }
    }

    pub(super) fn blob(&self) -> Option<Sha256> {
        self.digest.strip_prefix("sha256:")?.parse().ok()
    }
}

/// An artifact: blobs with words about them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    schema_version: u32,
    media_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    config: Descriptor,
    pub layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Manifest {
    pub(super) fn new(artifact_type: &str, empty: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: MANIFEST.to_owned(),
            artifact_type: Some(artifact_type.to_owned()),
            config: empty,
            layers,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        // Strings, numbers and lists of them: there is nothing that JSON cannot say.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// The list of what refers to a manifest, for registries that keep none by themselves.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u32,
    media_type: String,
    manifests: Vec<Descriptor>,
}

impl Registry {
    /// Puts the manifest of an artifact, so that its blobs are kept and seen.
    pub(super) async fn list(&self, artifact: &Artifact) -> Result<(), RemoteError> {
        let kind = format!("application/vnd.layerset.{}.v1", artifact.kind);
        let empty = self.put_small(EMPTY_BYTES).await?;
        let blob = |(blob, size): &(Sha256, u64)| {
            Descriptor::of("application/vnd.layerset.blob.v1", blob, *size)
        };
        let mut layers: Vec<_> = artifact.blobs.iter().map(blob).collect();
        if layers.is_empty() {
            layers.push(empty.clone());
        }
        let mut manifest = Manifest::new(&kind, empty, layers);
        let mut annotate = |key: &str, value: &str| {
            manifest
                .annotations
                .insert(key.to_owned(), value.to_owned());
        };
        annotate("org.opencontainers.image.title", &artifact.name);
        annotate("org.opencontainers.image.version", &artifact.version);
        annotate("org.layerset.id", &artifact.id);
        if let Some(from) = &artifact.from {
            annotate("org.layerset.from", from);
            manifest.subject = self.subject(artifact).await?;
        }
        let bytes = manifest.encode();
        let size = bytes.len() as u64;
        let (found, lists) = self
            .put_manifest(&tag(artifact.kind, artifact), MANIFEST, bytes)
            .await?;
        if let Some(subject) = manifest.subject.filter(|_| !lists) {
            let referrer = Descriptor {
                media_type: MANIFEST.to_owned(),
                digest: found,
                size,
                data: None,
                artifact_type: Some(kind),
                annotations: manifest.annotations,
            };
            self.refer(&subject, referrer).await?;
        }
        Ok(())
    }

    /// Finds the manifest of what a delta leads to: a layer or an image that was announced before.
    async fn subject(&self, delta: &Artifact) -> Result<Option<Descriptor>, RemoteError> {
        let whole = Artifact {
            from: None,
            ..delta.clone()
        };
        for kind in ["layer", "image"] {
            if let Some(bytes) = self.manifest(&tag(kind, &whole)).await? {
                return Ok(Some(Descriptor::of(
                    MANIFEST,
                    &digest(&bytes),
                    bytes.len() as u64,
                )));
            }
        }
        Ok(None)
    }

    /// Adds to the list by the referrers tag schema. Two writers can lose an entry to each other:
    /// who lost it adds it again.
    async fn refer(&self, subject: &Descriptor, referrer: Descriptor) -> Result<(), RemoteError> {
        let tag = subject.digest.replace(':', "-");
        for _ in 0..5 {
            let mut index = Index {
                schema_version: 2,
                media_type: INDEX.to_owned(),
                manifests: Vec::new(),
            };
            if let Some(bytes) = self.manifest(&tag).await? {
                let found = serde_json::from_slice(&bytes);
                index = found.map_err(|_| {
                    self.endpoint()
                        .protocol(format!("the tag '{tag}' is no index"))
                })?;
            }
            if index
                .manifests
                .iter()
                .any(|known| known.digest == referrer.digest)
            {
                return Ok(());
            }
            index.manifests.push(referrer.clone());
            let bytes = serde_json::to_vec(&index).unwrap_or_default();
            self.put_manifest(&tag, INDEX, bytes).await?;
        }
        Err(self
            .endpoint()
            .unreachable("others change the list of deltas all the time"))
    }

    /// Deletes a manifest by its digest; says whether the registry did.
    pub(super) async fn delete_manifest(&self, digest: &str) -> bool {
        let request = Request::new(Method::DELETE, format!("manifests/{digest}"));
        let sent = self.api.send(request).await;
        sent.is_ok_and(|response| response.status().is_success())
    }
}

/// The tag of an artifact: the same for the same artifact, and no longer than 128 characters.
fn tag(kind: &str, artifact: &Artifact) -> String {
    let fit = |c: char| {
        if c.is_ascii_alphanumeric() || c == '.' {
            c
        } else {
            '-'
        }
    };
    let name: String = artifact.name.chars().map(fit).take(40).collect();
    let short = |id: &str| -> String {
        id.rsplit(':')
            .next()
            .unwrap_or("")
            .chars()
            .map(fit)
            .take(32)
            .collect()
    };
    let id = short(&artifact.id);
    match &artifact.from {
        Some(from) => format!("{kind}-{name}-{}-{id}", short(from)),
        None => format!("{kind}-{name}-{id}"),
    }
}
