//! From a request to its answer.

use std::io::{self, Seek as _, SeekFrom};
use std::net::IpAddr;
use std::sync::Arc;

use hyper::body::Bytes;
use hyper::header::{
    ACCEPT_RANGES, ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH, IF_RANGE, RANGE,
};
use hyper::{Method, Request, Response, StatusCode};

use super::account::{Account, Ledger};
use super::body::{Answer, BodySource};
use super::published::{PublishedFiles, Resource};
use super::range::{self, RequestedRange};
use crate::sha256::Sha256;

/// Blobs never change: a client that has one need not ask again.
const FOREVER: &str = "public, max-age=31536000, immutable";
/// Clients ask for the head each time; the answer is short when it has not changed.
const ALWAYS_ASK: &str = "no-cache";

/// What answers are made from.
pub(super) struct ServedSite {
    pub(super) published: PublishedFiles,
    pub(super) ledger: Ledger,
    pub(super) has_metrics: bool,
}

/// An answer that is being put together.
struct AnswerDraft {
    status: StatusCode,
    headers: Vec<(HeaderName, String)>,
    source: BodySource,
}

impl AnswerDraft {
    fn new(status: StatusCode) -> Self {
        Self {
            status,
            headers: Vec::new(),
            source: BodySource::Bytes(Bytes::new()),
        }
    }

    fn text(status: StatusCode, text: impl Into<String>) -> Self {
        Self {
            source: BodySource::Bytes(Bytes::from(text.into())),
            ..Self::new(status).with(CONTENT_TYPE, "text/plain; charset=utf-8")
        }
    }

    fn with(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// Answers a request.
pub(super) async fn answer<B>(
    site: Arc<ServedSite>,
    peer: IpAddr,
    request: Request<B>,
) -> Response<Answer> {
    let mut account = Account::open(&site.ledger, peer, &request);
    let resource = Resource::of(request.uri().path());
    let is_head = request.method() == Method::HEAD;
    let mut draft = if is_head || request.method() == Method::GET {
        find(&site, resource, request.headers(), is_head).await
    } else {
        AnswerDraft::text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n")
            .with(ALLOW, "GET, HEAD")
    };
    if draft.status != StatusCode::NOT_MODIFIED {
        let length = match &draft.source {
            BodySource::Bytes(bytes) => bytes.len() as u64,
            BodySource::File(_, bytes) => *bytes,
        };
        draft.headers.push((CONTENT_LENGTH, length.to_string()));
    }
    if is_head {
        draft.source = BodySource::Bytes(Bytes::new());
    }
    account.answer(kind(resource), draft.status);
    let mut response = Response::new(Answer::new(draft.source, account));
    *response.status_mut() = draft.status;
    for (name, value) in draft.headers {
        // All are made here, of digits and plain words.
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// Returns the label of the counters.
fn kind(resource: Resource) -> &'static str {
    match resource {
        Resource::Head => "head",
        Resource::Blob(_) => "blob",
        Resource::Metrics => "metrics",
        Resource::Health => "health",
        Resource::Other => "other",
    }
}

async fn find(
    site: &Arc<ServedSite>,
    resource: Resource,
    headers: &HeaderMap,
    is_head: bool,
) -> AnswerDraft {
    let found = match resource {
        Resource::Head => {
            let site = Arc::clone(site);
            let read = tokio::task::spawn_blocking(move || site.published.head()).await;
            read.unwrap_or_else(|error| Err(io::Error::other(error)))
                .map(|head| {
                    head.map(|head| {
                        conditional(headers, head.digest, ALWAYS_ASK, || {
                            AnswerDraft {
                                source: BodySource::Bytes(head.bytes),
                                ..AnswerDraft::new(StatusCode::OK)
                            }
                            .with(CONTENT_TYPE, "application/zstd")
                        })
                    })
                })
        }
        Resource::Blob(digest) => blob(site, digest, headers, is_head).await,
        Resource::Health => Ok(Some(AnswerDraft::text(StatusCode::OK, "ok\n"))),
        Resource::Metrics if site.has_metrics => {
            let text = site.ledger.metrics.text();
            let draft = AnswerDraft::text(StatusCode::OK, text);
            Ok(Some(draft.with(CONTENT_TYPE, "text/plain; version=0.0.4")))
        }
        Resource::Metrics | Resource::Other => Ok(None),
    };
    match found {
        Ok(Some(draft)) => draft,
        Ok(None) => AnswerDraft::text(StatusCode::NOT_FOUND, "not found\n"),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            AnswerDraft::text(StatusCode::FORBIDDEN, "the server may not read this\n")
        }
        Err(_) => AnswerDraft::text(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the server cannot read this\n",
        ),
    }
}

async fn blob(
    site: &Arc<ServedSite>,
    digest: Sha256,
    headers: &HeaderMap,
    is_head: bool,
) -> io::Result<Option<AnswerDraft>> {
    let range = headers.get(RANGE).filter(|_| !is_head);
    // Of another state of the blob there is no part: it has one state.
    let is_ours = |value: &HeaderValue| value.as_bytes() == etag(&digest).as_bytes();
    let range = range.filter(|_| headers.get(IF_RANGE).is_none_or(is_ours));
    let range = range.and_then(|range| range.to_str().ok()).unwrap_or("");
    let (range, site) = (range.to_owned(), Arc::clone(site));
    let opened = tokio::task::spawn_blocking(move || -> io::Result<_> {
        let Some((mut file, size)) = site.published.blob(&digest)? else {
            return Ok(None);
        };
        let wanted = range::parse(&range, size);
        if let RequestedRange::Part(part) = &wanted {
            file.seek(SeekFrom::Start(part.start))?;
        }
        Ok(Some((file, size, wanted)))
    });
    let opened = opened.await.map_err(io::Error::other)??;
    Ok(opened.map(|(file, size, wanted)| {
        conditional(headers, digest, FOREVER, || {
            part(tokio::fs::File::from_std(file), size, wanted)
        })
    }))
}

fn part(file: tokio::fs::File, size: u64, wanted: RequestedRange) -> AnswerDraft {
    let of_file = |status, bytes| {
        AnswerDraft {
            source: BodySource::File(file, bytes),
            ..AnswerDraft::new(status)
        }
        .with(CONTENT_TYPE, "application/octet-stream")
        .with(ACCEPT_RANGES, "bytes")
    };
    match wanted {
        RequestedRange::All => of_file(StatusCode::OK, size),
        RequestedRange::Part(part) => {
            let said = format!("bytes {}-{}/{size}", part.start, part.end - 1);
            of_file(StatusCode::PARTIAL_CONTENT, part.end - part.start).with(CONTENT_RANGE, said)
        }
        RequestedRange::Beyond => {
            AnswerDraft::text(StatusCode::RANGE_NOT_SATISFIABLE, "no such bytes\n")
                .with(CONTENT_RANGE, format!("bytes */{size}"))
        }
    }
}

/// Answers 304 where the client has this state, else what `full` makes; either names the state.
fn conditional(
    headers: &HeaderMap,
    digest: Sha256,
    caching: &str,
    full: impl FnOnce() -> AnswerDraft,
) -> AnswerDraft {
    let draft = if headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .any(|value| names(value, &etag(&digest)))
    {
        AnswerDraft::new(StatusCode::NOT_MODIFIED)
    } else {
        full()
    };
    // An error about a state is not that state.
    if draft.status == StatusCode::RANGE_NOT_SATISFIABLE {
        return draft;
    }
    draft.with(ETAG, etag(&digest)).with(CACHE_CONTROL, caching)
}

fn etag(digest: &Sha256) -> String {
    format!("\"{digest}\"")
}

/// Says whether a list of entity tags names this one (RFC 9110, 13.1.2): by weak comparison, `*`
/// names all.
fn names(list: &HeaderValue, etag: &str) -> bool {
    let mut tags = list.to_str().unwrap_or("").split(',').map(str::trim);
    tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}
