//! A remote in a bucket of S3 or of a store that speaks its protocol, by the crate `object_store`.

use std::fs::File;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::client::{ClientOptions, HttpClient, HttpConnector, HttpError};
use object_store::path::Path as Key;
use object_store::{
    Error, GetOptions, GetRange, MultipartUpload, ObjectStore, ObjectStoreExt as _, PutMode,
    PutOptions, PutPayload, RetryConfig, UpdateVersion,
};
use reqwest::{Client, StatusCode};
use url::Url;

use super::client::{by_tls, classify, client, no_page, takes_whole};
use super::credentials::{aws_profile, names_s3_keys};
use super::directory::BlobReader;
use super::location::is_loopback;
use super::patience::{Endpoint, block_on};
use super::{
    BlobSink, Head, Remote, RemoteError, RemoteOptions, Revision, WritableRemote, blob_key,
};
use crate::causes::{causes, deepest};
use crate::sha256::Sha256;

const HINT: &str = "credentials are looked for in AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, then in the profile AWS_PROFILE of ~/.aws/credentials and ~/.aws/config, then asked of the machine's metadata service";

/// Up to this size, a blob is put at once; S3 wants parts of at least 5 MiB.
const PART: u64 = 8 << 20;

/// S3 takes 10,000 parts.
const MAX_PARTS: u64 = 9_000;

/// How many parts are on their way at once.
const PARALLEL: usize = 3;

/// How long a machine may take to name its own credentials.
const METADATA_TIMEOUT: Duration = Duration::from_secs(5);

/// A remote in a bucket.
pub(super) struct S3 {
    store: AmazonS3,
    prefix: String,
    endpoint: Endpoint,
    has_credentials: AtomicBool,
}

impl S3 {
    pub(super) fn new(
        bucket: &str,
        prefix: &str,
        name: String,
        options: &RemoteOptions,
    ) -> Result<Self, RemoteError> {
        let endpoint = Endpoint {
            name,
            options: options.clone(),
        };
        let environment = &options.environment;
        let (mut builder, url) = configured(&endpoint)?;
        let mut loopback = false;
        if let Some(url) = url {
            loopback = check_endpoint(&endpoint, &url)?;
            builder = builder.with_endpoint(url);
        }
        let connector = Connector(client(&endpoint, loopback)?);
        // Reads are retried by us, from the byte that arrived; an upload that fails starts over.
        let retry = RetryConfig {
            max_retries: 0,
            ..RetryConfig::default()
        };
        let store = builder
            .with_bucket_name(bucket)
            .with_http_connector(connector)
            .with_retry(retry)
            .build()
            .map_err(|error| endpoint.denied(deepest(&error), HINT))?;
        Ok(Self {
            store,
            prefix: prefix.to_owned(),
            endpoint,
            has_credentials: AtomicBool::new(environment.get("AWS_SKIP_SIGNATURE").is_some()),
        })
    }

    fn key(&self, name: &str) -> Key {
        match self.prefix.as_str() {
            "" => Key::from(name),
            prefix => Key::from(format!("{prefix}/{name}")),
        }
    }

    /// Finds credentials before the first request, in a short time: a machine without any would
    /// wait for minutes.
    async fn ready(&self) -> Result<(), RemoteError> {
        if self.has_credentials.load(Ordering::Relaxed) {
            return Ok(());
        }
        let ask = self.store.credentials().get_credential();
        match self
            .endpoint
            .within(METADATA_TIMEOUT, "credentials", ask)
            .await
        {
            Ok(Ok(_)) => self.has_credentials.store(true, Ordering::Relaxed),
            Err(RemoteError::Interrupted) => return Err(RemoteError::Interrupted),
            _ => return Err(self.endpoint.denied("there are no credentials", HINT)),
        }
        Ok(())
    }

    fn failed(&self, error: &Error) -> RemoteError {
        let text = error.to_string();
        if let Some((status, body)) = status_in(&text) {
            return classify(&self.endpoint, status, body, HINT);
        }
        if let Some(error) = by_tls(&self.endpoint, error) {
            return error;
        }
        if let Some(cause) = causes(error).find(|cause| cause.is::<HttpError>()) {
            let reason = format!("the connection broke: {}", deepest(cause));
            return self.endpoint.unreachable(reason);
        }
        self.endpoint.protocol(deepest(error))
    }

    async fn upload(
        &self,
        blob: &Sha256,
        file: &mut File,
        size: u64,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), RemoteError> {
        let key = self.key(&blob_key(blob));
        let mut source = BlobReader::new(blob, file, size)?;
        if size <= PART {
            let mut bytes = Vec::with_capacity(size as usize);
            while let Some(chunk) = source.next()? {
                bytes.extend_from_slice(chunk);
            }
            let put = self.store.put(&key, PutPayload::from(bytes));
            let put = self
                .endpoint
                .within(self.patience(size), "an upload", put)
                .await?;
            put.map_err(|error| self.failed(&error))?;
            progress(size);
            return Ok(());
        }
        let start = self.store.put_multipart(&key);
        let start = self
            .endpoint
            .answer("the start of an upload", start)
            .await?;
        let mut upload = start.map_err(|error| self.failed(&error))?;
        let sent = self
            .upload_parts(upload.as_mut(), source, size, progress)
            .await;
        let sent = match sent {
            // The blob is there from here on.
            Ok(()) => {
                let complete = upload.complete();
                let done = self
                    .endpoint
                    .within(self.patience(size), "the end of an upload", complete)
                    .await;
                done.and_then(|done| done.map_err(|error| self.failed(&error)))
            }
            Err(error) => Err(error),
        };
        if sent.is_err() {
            // Parts of an upload that does not end cost their owner room; they can be seen by
            // nobody else.
            let abort = tokio::time::timeout(METADATA_TIMEOUT, upload.abort());
            let _ = abort.await;
        }
        sent.map(|_| ())
    }

    async fn upload_parts(
        &self,
        upload: &mut dyn MultipartUpload,
        mut source: BlobReader<'_>,
        size: u64,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), RemoteError> {
        let part = PART.max(size.div_ceil(MAX_PARTS)).next_multiple_of(1 << 20) as usize;
        let mut under_way = futures::stream::FuturesUnordered::new();
        let mut bytes = Vec::with_capacity(part);
        let mut last = false;
        while !last {
            match source.next()? {
                Some(chunk) => bytes.extend_from_slice(chunk),
                None => last = true,
            }
            if bytes.is_empty() || bytes.len() < part && !last {
                continue;
            }
            // Parts have one length, except the last one: some stores insist.
            let rest = bytes.split_off(part.min(bytes.len()));
            let whole = Bytes::from(std::mem::replace(&mut bytes, rest));
            let length = whole.len() as u64;
            let put = upload.put_part(PutPayload::from(whole));
            under_way.push(async move {
                let done = self
                    .endpoint
                    .within(self.patience(length), "an upload", put)
                    .await?;
                done.map(|()| length).map_err(|error| self.failed(&error))
            });
            if under_way.len() >= PARALLEL
                && let Some(done) = under_way.next().await
            {
                progress(done?);
            }
        }
        while let Some(done) = under_way.next().await {
            progress(done?);
        }
        Ok(())
    }

    /// How long an upload of so many bytes may take: never shorter than a silence, and at most a
    /// quarter of an hour.
    fn patience(&self, bytes: u64) -> Duration {
        let options = &self.endpoint.options;
        let slowest = bytes / options.minimum_rate.max(1);
        options.stall_timeout + Duration::from_secs(slowest.min(900))
    }

    /// Puts the head; says whether the store took it, or none when the answer got lost.
    fn put_head(&self, bytes: &[u8], mode: PutMode) -> Result<Option<bool>, RemoteError> {
        let key = self.key("head");
        let options = PutOptions {
            mode,
            ..PutOptions::default()
        };
        block_on(&self.endpoint, async {
            self.ready().await?;
            let payload = PutPayload::from(bytes.to_vec());
            let put = self.store.put_opts(&key, payload, options);
            match self
                .endpoint
                .within(self.patience(bytes.len() as u64), "an upload", put)
                .await
            {
                Ok(Ok(_)) => Ok(Some(true)),
                Ok(Err(
                    Error::Precondition { .. }
                    | Error::AlreadyExists { .. }
                    | Error::NotModified { .. },
                )) => Ok(Some(false)),
                Ok(Err(error)) => match self.failed(&error) {
                    RemoteError::Unreachable { .. } => Ok(None),
                    error => Err(error),
                },
                Err(RemoteError::Unreachable { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        })
    }

    /// Holds the store of a new remote to its word, with what was just written: one that ignores
    /// conditions would lose what somebody publishes while somebody else does.
    fn probe(&self, bytes: &[u8]) -> Result<(), RemoteError> {
        let never = PutMode::Update(UpdateVersion {
            e_tag: Some("\"00000000000000000000000000000000\"".to_owned()),
            version: None,
        });
        for mode in [PutMode::Create, never] {
            if self.put_head(bytes, mode)? == Some(true) {
                return Err(self.endpoint.protocol(
                    "it ignores the conditions of writes, so that publishers would overwrite each other",
                ));
            }
        }
        Ok(())
    }
}

impl Remote for S3 {
    fn location(&self) -> &str {
        &self.endpoint.name
    }

    fn read_head(&self, limit: u64) -> Result<Option<Head>, RemoteError> {
        let endpoint = &self.endpoint;
        let key = self.key("head");
        endpoint.retry(|| {
            block_on(endpoint, async {
                self.ready().await?;
                let got = match endpoint.answer("a request", self.store.get(&key)).await? {
                    Err(Error::NotFound { .. }) => return Ok(None),
                    result => result.map_err(|error| self.failed(&error))?,
                };
                if got.meta.size > limit {
                    return Err(endpoint.too_big("the head", limit));
                }
                let tag = got.meta.e_tag.clone();
                let tag = tag.ok_or_else(|| endpoint.protocol("it gives no entity tag"))?;
                let body = got.into_stream().map_err(|error| deepest(&error)).boxed();
                let body = no_page(endpoint, StatusCode::OK, body).await?;
                let bytes = endpoint.collect(body, limit, "the head").await?;
                Ok(Some(Head {
                    bytes,
                    revision: Revision(tag),
                }))
            })
        })
    }

    fn blob_size(&self, blob: &Sha256) -> Result<Option<u64>, RemoteError> {
        let endpoint = &self.endpoint;
        let key = self.key(&blob_key(blob));
        endpoint.retry(|| {
            block_on(endpoint, async {
                self.ready().await?;
                match endpoint.answer("a request", self.store.head(&key)).await? {
                    Ok(meta) => Ok(Some(meta.size)),
                    Err(Error::NotFound { .. }) => Ok(None),
                    Err(error) => Err(self.failed(&error)),
                }
            })
        })
    }

    fn read_blob(
        &self,
        blob: &Sha256,
        range: Range<u64>,
        sink: &mut BlobSink<'_>,
    ) -> Result<(), RemoteError> {
        let endpoint = &self.endpoint;
        let key = self.key(&blob_key(blob));
        endpoint.read_range(range, sink, |range, sink| {
            block_on(endpoint, async {
                self.ready().await?;
                let options = GetOptions {
                    range: Some(GetRange::Bounded(range.clone())),
                    ..GetOptions::default()
                };
                let mut got = endpoint
                    .answer("a request", self.store.get_opts(&key, options))
                    .await?;
                let sends_whole = got.as_ref().is_err_and(ignores_ranges);
                if sends_whole {
                    let whole = self.store.get(&key);
                    got = endpoint.answer("a request", whole).await?;
                }
                let got = match got {
                    Err(Error::NotFound { .. }) => {
                        return Err(RemoteError::NoBlob {
                            location: endpoint.name.clone(),
                            blob: *blob,
                        });
                    }
                    result => result.map_err(|error| self.failed(&error))?,
                };
                if sends_whole {
                    let size = got.meta.size;
                    let body = got.into_stream().map_err(|error| deepest(&error)).boxed();
                    let body = no_page(endpoint, StatusCode::OK, body).await?;
                    takes_whole(endpoint, size, &range)?;
                    let length = range.end - range.start;
                    return endpoint.pump(body, range.start, length, true, sink).await;
                }
                if got.range != range {
                    let (size, last) = (got.meta.size, range.end - 1);
                    let asked = format!("bytes {}-{last}", range.start);
                    return Err(endpoint
                        .protocol(format!("it has {size} bytes where {asked} was asked for")));
                }
                let body = got.into_stream().map_err(|error| deepest(&error)).boxed();
                endpoint
                    .pump(body, 0, range.end - range.start, false, sink)
                    .await
            })
        })
    }
}

impl WritableRemote for S3 {
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
        self.endpoint
            .retry(|| block_on(&self.endpoint, self.upload(blob, file, size, progress)))?;
        match self.blob_size(blob)? {
            Some(found) if found == size => Ok(()),
            found => {
                let found = found.unwrap_or(0);
                Err(self
                    .endpoint
                    .protocol(format!("it kept {found} of the {size} bytes of a blob")))
            }
        }
    }

    fn replace_head(&self, bytes: &[u8], expected: Option<&Revision>) -> Result<(), RemoteError> {
        let mode = match expected {
            None => PutMode::Create,
            Some(Revision(tag)) => PutMode::Update(UpdateVersion {
                e_tag: Some(tag.clone()),
                version: None,
            }),
        };
        let mut doubt = false;
        self.endpoint
            .retry(|| match self.put_head(bytes, mode.clone())? {
                Some(true) => Ok(()),
                Some(false) if !doubt => Err(self.endpoint.moved()),
                // An answer got lost. What is there now tells whether our bytes were taken.
                outcome => {
                    doubt = true;
                    match self.read_head(bytes.len() as u64) {
                        Ok(Some(head)) if head.bytes == bytes => Ok(()),
                        Ok(head)
                            if outcome.is_none()
                                && head.as_ref().map(|head| &head.revision) == expected =>
                        {
                            Err(self.endpoint.unreachable("no answer to an upload"))
                        }
                        Ok(_) | Err(RemoteError::Protocol { .. }) => Err(self.endpoint.moved()),
                        Err(error) => Err(error),
                    }
                }
            })?;
        match expected {
            None => self.endpoint.retry(|| self.probe(bytes)),
            Some(_) => Ok(()),
        }
    }
}

/// Takes keys, token, region and endpoint from the environment, and what that does not say from the
/// profile. Returns the endpoint's URL, where one is named, unchecked.
fn configured(endpoint: &Endpoint) -> Result<(AmazonS3Builder, Option<String>), RemoteError> {
    let environment = &endpoint.options.environment;
    let mut builder = AmazonS3Builder::new();
    for (key, value) in environment.iter() {
        if key.starts_with("AWS_")
            && let Ok(key) = key.to_ascii_lowercase().parse()
        {
            builder = builder.with_config(key, value);
        }
    }
    if let Some(tokens) = environment.get("AWS_ENDPOINT_URL_STS") {
        check_endpoint(endpoint, tokens)?;
    }
    let profile = aws_profile(endpoint)?;
    let of_profile = |key: &str| profile.get(key).filter(|value| !value.is_empty()).cloned();
    let first = |keys: &[&str]| keys.iter().find_map(|key| environment.get(key));
    if !names_s3_keys(environment)
        && let (Some(id), Some(secret)) = (
            of_profile("aws_access_key_id"),
            of_profile("aws_secret_access_key"),
        )
    {
        builder = builder
            .with_access_key_id(id)
            .with_secret_access_key(secret);
        if let Some(token) = of_profile("aws_session_token") {
            builder = builder.with_token(token);
        }
    }
    if first(&["AWS_REGION", "AWS_DEFAULT_REGION"]).is_none()
        && let Some(region) = of_profile("region")
    {
        builder = builder.with_region(region);
    }
    let url = first(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"]);
    let url = url
        .map(str::to_owned)
        .or_else(|| of_profile("endpoint_url"));
    Ok((builder, url))
}

/// Says whether an endpoint is this machine; refuses one that would carry secrets over a network in
/// the clear.
fn check_endpoint(endpoint: &Endpoint, url: &str) -> Result<bool, RemoteError> {
    let refuse = |reason: &str| RemoteError::Location {
        location: endpoint.name.clone(),
        reason: reason.to_owned(),
    };
    let url =
        Url::parse(url).map_err(|_| refuse("its endpoint, from AWS_ENDPOINT_URL, is no URL"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse(
            "its endpoint, from AWS_ENDPOINT_URL, must not hold credentials",
        ));
    }
    let allowed = endpoint.options.environment.get("AWS_ALLOW_HTTP");
    let allowed = allowed.is_some_and(|value| value.eq_ignore_ascii_case("true") || value == "1");
    let loopback = is_loopback(&url);
    match url.scheme() {
        "https" => Ok(loopback),
        "http" if loopback || allowed => Ok(loopback),
        "http" => Err(refuse(
            "its endpoint, from AWS_ENDPOINT_URL, is plain http; AWS_ALLOW_HTTP=true allows that",
        )),
        _ => Err(refuse(
            "its endpoint, from AWS_ENDPOINT_URL, is no http URL",
        )),
    }
}

/// Gives `object_store` our client, which follows no redirects.
#[derive(Debug)]
struct Connector(Client);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}

/// Says whether a store answered with all where a range was asked for: the crate keeps the type to
/// itself.
fn ignores_ranges(error: &Error) -> bool {
    causes(error).any(|cause| cause.to_string().contains("non-partial response"))
}

/// Finds the status and the body in the text of an error: the crate keeps the type to itself.
fn status_in(text: &str) -> Option<(StatusCode, &str)> {
    let rest = text.split_once("status code: ")?.1;
    let status = rest.get(..3)?.parse().ok()?;
    Some((status, &rest[3..]))
}
