//! A remote behind a web server that serves the files of a directory; it can only be read.

use std::ops::Range;

use reqwest::header::{AUTHORIZATION, CACHE_CONTROL, HeaderValue, LOCATION, RANGE};
use reqwest::{Client, Method, Response, StatusCode};
use url::Url;

use super::client::{client, content_length, data, header, is_private, ranged, refused, same_host};
use super::credentials::{basic, netrc};
use super::directory::head_of;
use super::location::is_loopback;
use super::patience::{Endpoint, block_on};
use super::{BlobSink, Head, Remote, RemoteError, RemoteOptions, blob_key};
use crate::sha256::Sha256;

const HINT: &str = "credentials for web servers are looked for in ~/.netrc (NETRC names another file), and sent by https only";

/// A remote behind a web server.
pub(super) struct Web {
    base: Url,
    endpoint: Endpoint,
    client: Client,
    authorization: Option<HeaderValue>,
}

impl Web {
    pub(super) fn new(
        base: &Url,
        name: String,
        options: &RemoteOptions,
    ) -> Result<Self, RemoteError> {
        let endpoint = Endpoint {
            name,
            options: options.clone(),
        };
        let mut authorization = None;
        if is_private(base) {
            let host = base.host_str().unwrap_or_default();
            authorization = netrc(&endpoint, host)?.as_ref().and_then(basic);
        }
        Ok(Self {
            client: client(&endpoint, is_loopback(base))?,
            base: base.clone(),
            endpoint,
            authorization,
        })
    }

    /// Sends a request, and follows redirects within the host; none says that the file is not
    /// there.
    async fn send(
        &self,
        method: Method,
        key: &str,
        range: Option<&Range<u64>>,
    ) -> Result<Option<Response>, RemoteError> {
        let endpoint = &self.endpoint;
        let mut url = self
            .base
            .join(key)
            .map_err(|error| endpoint.protocol(error.to_string()))?;
        for _ in 0..5 {
            let mut request = self.client.request(method.clone(), url.clone());
            if let Some(range) = range {
                request = request.header(RANGE, format!("bytes={}-{}", range.start, range.end - 1));
            } else if key == "head" {
                request = request.header(CACHE_CONTROL, "no-cache");
            }
            if let Some(value) = self.authorization.as_ref().filter(|_| is_private(&url)) {
                request = request.header(AUTHORIZATION, value.clone());
            }
            let sent = endpoint.answer("a request", request.send()).await?;
            let response = sent.map_err(|error| super::client::failed(endpoint, error))?;
            let status = response.status();
            if status == StatusCode::NOT_FOUND || status == StatusCode::GONE {
                return Ok(None);
            }
            if status.is_success() || status == StatusCode::RANGE_NOT_SATISFIABLE {
                return Ok(Some(response));
            }
            if !status.is_redirection() {
                return Err(refused(endpoint, response, HINT).await);
            }
            let to = header(&response, LOCATION).and_then(|to| url.join(to).ok());
            let to = to.ok_or_else(|| endpoint.protocol("a redirect to nowhere"))?;
            if !same_host(&url, &to) {
                let scheme = to.scheme();
                let reason = match to.host_str() {
                    Some(host) => format!("it redirects to {scheme}://{host}, another server"),
                    None => format!("it redirects to a '{scheme}:' address, which is not a server"),
                };
                return Err(endpoint.protocol(reason));
            }
            url = to;
        }
        Err(endpoint.protocol("it redirects without end"))
    }
}

impl Remote for Web {
    fn location(&self) -> &str {
        &self.endpoint.name
    }

    fn read_head(&self, limit: u64) -> Result<Option<Head>, RemoteError> {
        let endpoint = &self.endpoint;
        endpoint.retry(|| {
            block_on(endpoint, async {
                let Some(response) = self.send(Method::GET, "head", None).await? else {
                    return Ok(None);
                };
                if content_length(&response).is_some_and(|length| length > limit) {
                    return Err(endpoint.too_big("the head", limit));
                }
                let body = data(endpoint, response).await?;
                let bytes = endpoint.collect(body, limit, "the head").await?;
                Ok(Some(head_of(bytes)))
            })
        })
    }

    fn blob_size(&self, blob: &Sha256) -> Result<Option<u64>, RemoteError> {
        let endpoint = &self.endpoint;
        endpoint.retry(|| {
            block_on(endpoint, async {
                let Some(response) = self.send(Method::HEAD, &blob_key(blob), None).await? else {
                    return Ok(None);
                };
                let length = content_length(&response);
                let length = length
                    .ok_or_else(|| endpoint.protocol("it does not say how long a blob is"))?;
                Ok(Some(length))
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
        endpoint.read_range(range, sink, |range, sink| {
            block_on(endpoint, async {
                let sent = self
                    .send(Method::GET, &blob_key(blob), Some(&range))
                    .await?;
                let response = sent.ok_or_else(|| RemoteError::NoBlob {
                    location: endpoint.name.clone(),
                    blob: *blob,
                })?;
                ranged(endpoint, response, range, sink).await
            })
        })
    }
}
