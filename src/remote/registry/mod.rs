//! A remote in a repository of an OCI registry, by the protocol of the OCI distribution
//! specification 1.1.
//!
//! Blobs are the registry's blobs. The head is a manifest with the tag `head`, and holds the bytes
//! itself while they are few.
//!
//! By reqwest, not by the crate `oci-client`: that one follows redirects by itself, has no limit
//! for slowness and size, and offers a range only beside its own idea of what an image is.

mod api;
mod artifact;
mod challenge;
mod lease;

use std::fs::File;
use std::ops::Range;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::SinkExt as _;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use reqwest::{Body, Method, StatusCode};
use url::Url;

use self::api::{Api, Request};
use self::artifact::{Descriptor, Manifest};
use super::client::{content_length, data, header, ranged};
use super::directory::{BlobReader, digest};
use super::patience::{Endpoint, block_on};
use super::{
    Artifact, BlobSink, Head, Remote, RemoteError, RemoteOptions, Revision, WritableRemote,
};
use crate::sha256::Sha256;

/// What the image specification wants where there is no configuration.
const EMPTY_BYTES: &[u8] = b"{}";

/// The tag of the head.
const HEAD: &str = "head";

/// Heads up to this size are in their manifest as well: one request instead of two. Registries take
/// manifests of 4 MiB.
const MAX_INLINE: usize = 1 << 20;

/// The most bytes that a manifest has.
const MAX_MANIFEST: u64 = 4 << 20;

/// A repository of a registry.
pub(super) struct Registry {
    api: Api,
}

impl Registry {
    pub(super) fn new(
        host: &str,
        repository: &str,
        name: String,
        options: &RemoteOptions,
    ) -> Result<Self, RemoteError> {
        let endpoint = Endpoint {
            name,
            options: options.clone(),
        };
        Ok(Self {
            api: Api::new(host, repository, endpoint)?,
        })
    }

    fn endpoint(&self) -> &Endpoint {
        &self.api.endpoint
    }

    /// Reads a manifest; none where there is none.
    async fn manifest(&self, reference: &str) -> Result<Option<Vec<u8>>, RemoteError> {
        let request = Request::new(Method::GET, format!("manifests/{reference}")).with(
            "accept",
            format!("{}, {}", artifact::MANIFEST, artifact::INDEX),
        );
        let Some(response) = self.api.found(request).await? else {
            return Ok(None);
        };
        let endpoint = self.endpoint();
        if content_length(&response).is_some_and(|length| length > MAX_MANIFEST) {
            return Err(endpoint.too_big("a manifest", MAX_MANIFEST));
        }
        let bytes = data(endpoint, response).await?;
        let bytes = endpoint.collect(bytes, MAX_MANIFEST, "a manifest").await?;
        Ok(Some(bytes))
    }

    /// Puts a manifest; returns its digest, and whether the registry lists what refers to others.
    async fn put_manifest(
        &self,
        reference: &str,
        media_type: &str,
        bytes: Vec<u8>,
    ) -> Result<(String, bool), RemoteError> {
        let found = format!("sha256:{}", digest(&bytes));
        let request = Request::new(Method::PUT, format!("manifests/{reference}"))
            .with(CONTENT_TYPE.as_str(), media_type)
            .body(bytes);
        let response = self.api.send(request).await?;
        if !response.status().is_success() {
            return Err(self.api.refused(response).await);
        }
        let lists = response.headers().contains_key("oci-subject");
        Ok((found, lists))
    }

    async fn head(&self, limit: u64) -> Result<Option<Head>, RemoteError> {
        let endpoint = self.endpoint();
        let Some(bytes) = self.manifest(HEAD).await? else {
            return Ok(None);
        };
        let revision = Revision(format!("sha256:{}", digest(&bytes)));
        let manifest: Manifest = serde_json::from_slice(&bytes)
            .map_err(|_| endpoint.protocol("the tag 'head' is no manifest of layerset"))?;
        let [layer] = manifest.layers.as_slice() else {
            return Err(endpoint.protocol("the tag 'head' is no manifest of layerset"));
        };
        let blob = layer
            .blob()
            .ok_or_else(|| endpoint.protocol("the head has no SHA-256 digest"))?;
        if layer.size > limit {
            return Err(endpoint.too_big("the head", limit));
        }
        let mut bytes = Vec::new();
        match &layer.data {
            Some(data) => {
                let decoded = STANDARD.decode(data);
                bytes = decoded.map_err(|_| endpoint.protocol("the head is no base64"))?;
            }
            None => {
                let mut take = |part: &[u8]| {
                    bytes.extend_from_slice(part);
                    Ok(())
                };
                self.blob(&blob, 0..layer.size, &mut take).await?;
            }
        }
        if bytes.len() as u64 != layer.size || digest(&bytes) != blob {
            return Err(endpoint.protocol("the head is not what its own manifest names"));
        }
        Ok(Some(Head { bytes, revision }))
    }

    /// Returns what the head is now.
    async fn revision(&self) -> Result<Option<String>, RemoteError> {
        let manifest = self.manifest(HEAD).await?;
        Ok(manifest.map(|bytes| format!("sha256:{}", digest(&bytes))))
    }

    async fn blob(
        &self,
        blob: &Sha256,
        range: Range<u64>,
        sink: &mut BlobSink<'_>,
    ) -> Result<(), RemoteError> {
        if range.is_empty() {
            return Ok(());
        }
        let wanted = format!("bytes={}-{}", range.start, range.end - 1);
        let request = Request::new(Method::GET, format!("blobs/sha256:{blob}"))
            .with("range", wanted)
            .redirected();
        let Some(response) = self.api.found(request).await? else {
            return Err(RemoteError::NoBlob {
                location: self.endpoint().name.clone(),
                blob: *blob,
            });
        };
        ranged(self.endpoint(), response, range, sink).await
    }

    async fn size(&self, blob: &Sha256) -> Result<Option<u64>, RemoteError> {
        let request = Request::new(Method::HEAD, format!("blobs/sha256:{blob}")).redirected();
        let Some(response) = self.api.found(request).await? else {
            return Ok(None);
        };
        let length = content_length(&response);
        let length = length.ok_or_else(|| {
            self.endpoint()
                .protocol("it does not say how long a blob is")
        })?;
        Ok(Some(length))
    }

    /// Starts an upload: where its bytes go.
    async fn start_upload(&self) -> Result<Url, RemoteError> {
        let request = Request::new(Method::POST, "blobs/uploads/".to_owned())
            .with(CONTENT_LENGTH.as_str(), "0");
        let response = self.api.send(request).await?;
        if response.status() != StatusCode::ACCEPTED {
            return Err(self.api.refused(response).await);
        }
        let to = header(&response, LOCATION).and_then(|to| response.url().join(to).ok());
        to.ok_or_else(|| self.endpoint().protocol("it starts an upload to nowhere"))
    }

    /// Sends a blob in one request, as its bytes are read: every registry takes that.
    async fn upload(
        &self,
        blob: &Sha256,
        source: &mut BlobReader<'_>,
        size: u64,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), RemoteError> {
        let endpoint = self.endpoint();
        let upload = self.start_upload().await?;
        let mut to = upload.clone();
        to.query_pairs_mut()
            .append_pair("digest", &format!("sha256:{blob}"));
        let (mut sender, receiver) = futures::channel::mpsc::channel::<std::io::Result<Bytes>>(1);
        let request = Request::to(Method::PUT, to)
            .with(CONTENT_TYPE.as_str(), "application/octet-stream")
            .with(CONTENT_LENGTH.as_str(), size.to_string())
            .stream(Body::wrap_stream(receiver));
        let feed = async {
            while let Some(chunk) = source.next()? {
                let (length, chunk) = (chunk.len() as u64, Bytes::copy_from_slice(chunk));
                let sent = endpoint.answer("an upload", sender.send(Ok(chunk))).await?;
                if sent.is_err() {
                    // The request ended first, and says why.
                    return Ok(());
                }
                progress(length);
            }
            sender.close_channel();
            Ok(())
        };
        let send = self.api.send_patiently(request);
        // All is sent; the registry may read it once more, and move it.
        let settle = endpoint.options.stall_timeout * 2 + Duration::from_secs(size >> 20);
        let response = match futures::future::select(Box::pin(feed), Box::pin(send)).await {
            futures::future::Either::Left((fed, send)) => match fed {
                Ok(()) => endpoint.within(settle, "an upload", send).await??,
                Err(error) => {
                    // Dropping the request cuts the upload short: nothing of it is seen.
                    drop(send);
                    self.cancel(upload).await;
                    return Err(error);
                }
            },
            futures::future::Either::Right((response, _)) => response?,
        };
        if response.status() != StatusCode::CREATED {
            return Err(self.api.refused(response).await);
        }
        Ok(())
    }

    /// Tells the registry that an upload does not go on; one that is forgotten is cleared by the
    /// registry some day.
    async fn cancel(&self, upload: Url) {
        let _ = self.api.send(Request::to(Method::DELETE, upload)).await;
    }

    /// Stores few bytes.
    async fn put_small(&self, bytes: &[u8]) -> Result<Descriptor, RemoteError> {
        let blob = digest(bytes);
        if self.size(&blob).await? != Some(bytes.len() as u64) {
            let mut to = self.start_upload().await?;
            to.query_pairs_mut()
                .append_pair("digest", &format!("sha256:{blob}"));
            let request = Request::to(Method::PUT, to)
                .with(CONTENT_TYPE.as_str(), "application/octet-stream")
                .body(bytes.to_vec());
            let response = self.api.send(request).await?;
            if response.status() != StatusCode::CREATED {
                return Err(self.api.refused(response).await);
            }
        }
        Ok(Descriptor::of(
            artifact::EMPTY_TYPE,
            &blob,
            bytes.len() as u64,
        ))
    }
}

impl Remote for Registry {
    fn location(&self) -> &str {
        &self.endpoint().name
    }

    fn read_head(&self, limit: u64) -> Result<Option<Head>, RemoteError> {
        self.endpoint()
            .retry(|| block_on(self.endpoint(), self.head(limit)))
    }

    fn blob_size(&self, blob: &Sha256) -> Result<Option<u64>, RemoteError> {
        self.endpoint()
            .retry(|| block_on(self.endpoint(), self.size(blob)))
    }

    fn read_blob(
        &self,
        blob: &Sha256,
        range: Range<u64>,
        sink: &mut BlobSink<'_>,
    ) -> Result<(), RemoteError> {
        self.endpoint().read_range(range, sink, |range, sink| {
            block_on(self.endpoint(), self.blob(blob, range, sink))
        })
    }
}

impl WritableRemote for Registry {
    fn put_blob(
        &self,
        blob: &Sha256,
        file: &mut File,
        size: u64,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), RemoteError> {
        if self.blob_size(blob)? == Some(size) {
            return Ok(());
        }
        self.endpoint().retry(|| {
            let mut source = BlobReader::new(blob, file, size)?;
            block_on(
                self.endpoint(),
                self.upload(blob, &mut source, size, progress),
            )
        })?;
        match self.blob_size(blob)? {
            Some(found) if found == size => Ok(()),
            found => {
                let found = found.unwrap_or(0);
                Err(self
                    .endpoint()
                    .protocol(format!("it kept {found} of the {size} bytes of a blob")))
            }
        }
    }

    fn replace_head(&self, bytes: &[u8], expected: Option<&Revision>) -> Result<(), RemoteError> {
        let manifest = self.endpoint().retry(|| {
            block_on(self.endpoint(), async {
                let empty = self.put_small(EMPTY_BYTES).await?;
                let mut layer = self.put_small(bytes).await?;
                layer.media_type = artifact::HEAD_TYPE.to_owned();
                layer.data = (bytes.len() <= MAX_INLINE).then(|| STANDARD.encode(bytes));
                Ok(Manifest::new(artifact::HEAD_TYPE, empty, vec![layer]))
            })
        })?;
        let bytes = manifest.encode();
        let ours = format!("sha256:{}", digest(&bytes));
        let expected = expected.map(|revision| revision.0.as_str());
        let still = || match self
            .endpoint()
            .retry(|| block_on(self.endpoint(), self.revision()))?
        {
            found if found.as_deref() == expected => Ok(()),
            _ => Err(self.endpoint().moved()),
        };
        let commit = |until: Instant| {
            let mut sent = false;
            self.endpoint().retry(|| {
                let found = block_on(self.endpoint(), self.revision())?;
                if sent && found.as_deref() == Some(&ours) {
                    // The answer to our own put was lost.
                    return Ok(());
                }
                if found.as_deref() != expected {
                    return Err(self.endpoint().moved());
                }
                sent = true;
                let put = self.put_manifest(HEAD, artifact::MANIFEST, bytes.clone());
                // A late put would replace what somebody else has put in the meantime.
                let left = until.saturating_duration_since(Instant::now());
                let put = self.endpoint().within(left, "a publication", put);
                block_on(self.endpoint(), put)?.map(|_| ())
            })
        };
        self.with_lease(commit, still)
    }

    fn announce(&self, artifact: &Artifact) -> Result<(), RemoteError> {
        self.endpoint()
            .retry(|| block_on(self.endpoint(), self.list(artifact)))
    }
}
