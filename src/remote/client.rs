//! The HTTP client of all remotes: no redirects by itself, no compression, reasons in words and
//! without URLs.

use std::error::Error;
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};
use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap,
    HeaderName,
};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Response, StatusCode};
use rustls::CertificateError;
use url::Url;

use super::location::is_loopback;
use super::patience::{Body, Endpoint};
use super::{BlobSink, RemoteError};
use crate::causes::causes;
use std::ops::Range;

/// The most bytes that are read and dropped to get to a range that a server does not know how to
/// send, where its blobs can be kept as a whole instead.
const MAX_SKIP: u64 = 1 << 20;

/// The most bytes of an error's text that are looked at.
const MAX_ERROR_BYTES: u64 = 16 << 10;

/// Makes the client for `url` and what is beside it.
///
/// A machine that knows no authority of certificates gets one that trusts none: servers without TLS
/// can be used.
pub(super) fn client(endpoint: &Endpoint, loopback: bool) -> Result<Client, RemoteError> {
    if let Ok(client) = builder(endpoint, loopback)?.build() {
        return Ok(client);
    }
    let trusting_none = rustls::ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .map_err(|error| endpoint.unreachable(format!("no connection is possible: {error}")))?
    .with_root_certificates(rustls::RootCertStore::empty())
    .with_no_client_auth();
    builder(endpoint, loopback)?
        .tls_backend_preconfigured(trusting_none)
        .build()
        .map_err(|error| {
            endpoint.unreachable(format!("no connection is possible: {}", words(error)))
        })
}

fn builder(endpoint: &Endpoint, loopback: bool) -> Result<ClientBuilder, RemoteError> {
    let mut headers = HeaderMap::new();
    // A server that compresses would answer with other bytes than those that the digest and the
    // ranges are of.
    headers.insert(
        ACCEPT_ENCODING,
        "identity"
            .parse()
            .map_err(|_| endpoint.unreachable("no client"))?,
    );
    let mut builder = Client::builder()
        .default_headers(headers)
        .user_agent(concat!("layerset/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(endpoint.options.connect_timeout);
    if loopback {
        builder = builder.no_proxy();
    }
    Ok(builder)
}

/// Says what kept a request from being answered.
pub(super) fn failed(endpoint: &Endpoint, error: reqwest::Error) -> RemoteError {
    by_tls(endpoint, &error).unwrap_or_else(|| endpoint.unreachable(words(error)))
}

/// Says what TLS found wrong, where that is among the causes of an error: nothing that another try
/// would change.
pub(super) fn by_tls(endpoint: &Endpoint, error: &dyn Error) -> Option<RemoteError> {
    let found = causes(error).find_map(of_tls)?;
    match found {
        rustls::Error::InvalidCertificate(error) => {
            let (reason, hint) = flaw(error);
            Some(endpoint.untrusted(reason, hint))
        }
        rustls::Error::InvalidMessage(_) => Some(endpoint.protocol("it does not speak TLS")),
        _ => None,
    }
}

fn of_tls<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(found) = error.downcast_ref() {
        return Some(found);
    }
    // What an I/O error wraps is not among its causes.
    of_tls(error.downcast_ref::<std::io::Error>()?.get_ref()?)
}

/// Returns what is wrong with a certificate, and what may mend that.
fn flaw(error: &CertificateError) -> (String, &'static str) {
    use CertificateError as E;
    let clock = "set the clock, or have the certificate renewed";
    let reason = match error {
        E::UnknownIssuer | E::BadSignature => {
            return (
                "no authority that this machine knows has signed its certificate".to_owned(),
                "if that server is yours, make its authority known to this machine (ca-certificates), or name its file in SSL_CERT_FILE",
            );
        }
        E::NotValidForNameContext { presented, .. } => {
            return (
                format!("its certificate is for {}", presented.join(", ")),
                "name the remote as its certificate does",
            );
        }
        E::Expired | E::ExpiredContext { .. } => "its certificate has expired",
        E::NotValidYet | E::NotValidYetContext { .. } => "its certificate is not valid yet",
        other => {
            return (
                format!("its certificate is wrong: {other}"),
                "have it replaced",
            );
        }
    };
    let reason = format!("{reason}, or the clock of this machine is wrong");
    (reason, clock)
}

/// Says what went wrong with a connection, without the URL, which may hold what a redirect signed.
fn words(error: reqwest::Error) -> String {
    let what = if error.is_timeout() {
        return "no connection in time".to_owned();
    } else if error.is_connect() {
        "no connection"
    } else {
        "the connection broke"
    };
    let error = error.without_url();
    match causes(&error).last() {
        Some(deepest) => format!("{what}: {deepest}"),
        None => what.to_owned(),
    }
}

/// Returns a header that is text.
pub(super) fn header(response: &Response, name: impl Into<HeaderName>) -> Option<&str> {
    response.headers().get(name.into())?.to_str().ok()
}

/// Returns the length that an answer declares.
pub(super) fn content_length(response: &Response) -> Option<u64> {
    header(response, CONTENT_LENGTH)?.parse().ok()
}

/// Turns an answer with data into its bytes. A web page in its place, as captive portals and logins
/// send, is refused as one.
pub(super) async fn data(endpoint: &Endpoint, response: Response) -> Result<Body, RemoteError> {
    let status = response.status();
    let is_page = header(&response, CONTENT_TYPE).is_some_and(|kind| {
        let kind = kind.to_ascii_lowercase();
        ["text/html", "application/xhtml"]
            .iter()
            .any(|page| kind.starts_with(page))
    });
    if is_page && header(&response, CONTENT_ENCODING).is_some() {
        return Err(web_page(endpoint, status, ""));
    }
    let body = body(endpoint, response)?;
    // What follows a range that was asked for is a part of something, which may begin like a page.
    if status == StatusCode::PARTIAL_CONTENT && !is_page {
        return Ok(body);
    }
    no_page(endpoint, status, body).await
}

/// Refuses a body that begins like a web page.
pub(super) async fn no_page(
    endpoint: &Endpoint,
    status: StatusCode,
    mut body: Body,
) -> Result<Body, RemoteError> {
    let first = endpoint.first(&mut body).await?;
    if looks_like_page(&first) {
        let rest = endpoint.first(&mut body).await.unwrap_or_default();
        let text = [first.as_ref(), rest.as_ref()].concat();
        return Err(web_page(endpoint, status, &String::from_utf8_lossy(&text)));
    }
    let first = futures::stream::once(async move { Ok(first) });
    Ok(first.chain(body).boxed())
}

fn looks_like_page(start: &[u8]) -> bool {
    let start = start
        .strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(start)
        .trim_ascii_start();
    let begins = |word: &[u8]| {
        start
            .get(..word.len())
            .is_some_and(|s| s.eq_ignore_ascii_case(word))
    };
    begins(b"<!doctype html") || begins(b"<html")
}

fn web_page(endpoint: &Endpoint, status: StatusCode, text: &str) -> RemoteError {
    let title = title(text)
        .map(|title| format!(" '{title}'"))
        .unwrap_or_default();
    endpoint.protocol(format!(
        "it answers {status} with a web page{title} instead of data: a captive portal or a login stands between"
    ))
}

/// Returns the title of a page.
fn title(text: &str) -> Option<String> {
    // Same offsets: only ASCII changes.
    let lower = text.to_ascii_lowercase();
    let start = lower.find("<title")?;
    let start = start + lower.get(start..)?.find('>')? + 1;
    let end = start + lower.get(start..)?.find("</title")?;
    let words: Vec<&str> = text.get(start..end)?.split_whitespace().collect();
    let title: String = words.join(" ").chars().take(80).collect();
    (!title.is_empty()).then_some(title)
}

/// Turns an answer into its bytes; encoded ones are refused.
pub(super) fn body(endpoint: &Endpoint, response: Response) -> Result<Body, RemoteError> {
    if let Some(coding) = header(&response, CONTENT_ENCODING)
        && !coding.eq_ignore_ascii_case("identity")
    {
        return Err(endpoint.protocol(format!(
            "it sends '{coding}' content, which was not asked for"
        )));
    }
    Ok(response.bytes_stream().map_err(words).boxed())
}

/// Moves the bytes of the answer to a request for `range` into a sink.
pub(super) async fn ranged(
    endpoint: &Endpoint,
    response: Response,
    range: Range<u64>,
    sink: &mut BlobSink<'_>,
) -> Result<(), RemoteError> {
    let length = range.end - range.start;
    let asked = format!("bytes {}-{}", range.start, range.end - 1);
    let declared = content_length(&response);
    match response.status() {
        StatusCode::PARTIAL_CONTENT => {
            let found = header(&response, CONTENT_RANGE).unwrap_or("no range");
            let exact = found
                .strip_prefix(&asked)
                .is_some_and(|rest| rest.starts_with('/'));
            if !exact {
                return Err(
                    endpoint.protocol(format!("it sends {found} where {asked} was asked for"))
                );
            }
            if let Some(declared) = declared.filter(|declared| *declared != length) {
                return Err(endpoint.protocol(format!(
                    "it sends {declared} bytes where {length} were asked for"
                )));
            }
            let body = data(endpoint, response).await?;
            endpoint.pump(body, 0, length, false, sink).await
        }
        // Pull-through caches of registries know no ranges.
        StatusCode::OK => {
            let body = data(endpoint, response).await?;
            if let Some(declared) = declared {
                takes_whole(endpoint, declared, &range)?;
            }
            endpoint.pump(body, range.start, length, true, sink).await
        }
        StatusCode::RANGE_NOT_SATISFIABLE => {
            Err(endpoint.protocol(format!("it ends before {asked}")))
        }
        status => Err(endpoint.protocol(format!("it answers {status} to a request for a range"))),
    }
}

/// Checks that a range can be cut out of a whole of `size` bytes without dropping much.
pub(super) fn takes_whole(
    endpoint: &Endpoint,
    size: u64,
    range: &Range<u64>,
) -> Result<(), RemoteError> {
    if size < range.end {
        let asked = format!("bytes {}-{}", range.start, range.end - 1);
        return Err(endpoint.protocol(format!("it has {size} bytes where {asked} was asked for")));
    }
    match range.start > MAX_SKIP {
        true => Err(endpoint.whole_only(size)),
        false => Ok(()),
    }
}

/// Turns an answer that is no success into an error.
pub(super) async fn refused(endpoint: &Endpoint, response: Response, hint: &str) -> RemoteError {
    let status = response.status();
    let mut text = String::new();
    if let Ok(body) = body(endpoint, response)
        && let Ok(bytes) = endpoint.collect(body, MAX_ERROR_BYTES, "the error").await
    {
        text = String::from_utf8_lossy(&bytes).into_owned();
    }
    classify(endpoint, status, &text, hint)
}

/// Sorts an answer that is no success by what can be done about it.
pub(super) fn classify(
    endpoint: &Endpoint,
    status: StatusCode,
    text: &str,
    hint: &str,
) -> RemoteError {
    if status == StatusCode::TOO_MANY_REQUESTS {
        return endpoint.unreachable(format!("it answers {status}"));
    }
    let lower = text.to_ascii_lowercase();
    let full = [
        "quota",
        "no space left",
        "storagefull",
        "insufficientstorage",
        "disk full",
    ];
    if status == StatusCode::INSUFFICIENT_STORAGE || full.iter().any(|word| lower.contains(word)) {
        return endpoint.full(format!("it answers {status}"));
    }
    let expired = [
        "expiredtoken",
        "tokenrefreshrequired",
        "token is expired",
        "token has expired",
    ];
    if expired.iter().any(|word| lower.contains(word)) {
        return endpoint.denied("the credentials have expired", hint);
    }
    if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
        return endpoint.denied(format!("it answers {status}"), hint);
    }
    let again = status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT;
    match again {
        true => endpoint.unreachable(format!("it answers {status}")),
        false => endpoint.protocol(format!("it answers {status}")),
    }
}

/// Says whether a redirect may be followed by everybody: to the same host, and never from https to
/// http.
pub(super) fn same_host(from: &Url, to: &Url) -> bool {
    let upgrade = from.scheme() == "http" && to.scheme() == "https";
    let same_port = from.scheme() == to.scheme() && from.port() == to.port();
    from.host() == to.host() && (upgrade || same_port)
}

/// Says whether secrets may be sent to a URL.
pub(super) fn is_private(url: &Url) -> bool {
    url.scheme() == "https" || is_loopback(url)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_web_page_is_told_by_its_start_and_has_a_title() {
        for (start, is_page) in [
            (&b"<!DOCTYPE html><html>"[..], true),
            (b"\xef\xbb\xbf \n<HTML lang=en>", true),
            (b"{\"signed\":", false),
            (b"\x28\xb5\x2f\xfd", false),
            (b"", false),
        ] {
            assert_eq!(looks_like_page(start), is_page, "{start:?}");
        }
        let page = "<html><HEAD><Title lang=de>\n Sign \t in </title>";
        assert_eq!(title(page).unwrap(), "Sign in");
        assert_eq!(title("<html>no end<title>"), None);
    }

    #[test]
    fn redirects_stay_with_the_host_and_never_lose_encryption() {
        for (from, to, followed) in [
            ("https://a/x", "https://a/y", true),
            ("http://a/x", "https://a/y", true),
            ("http://a:81/x", "http://a:81/y", true),
            ("https://a/x", "http://a/y", false),
            ("https://a/x", "https://b/x", false),
            ("http://a/x", "https://b/x", false),
            ("https://a/x", "https://a:444/x", false),
            ("https://a/x", "file:///x", false),
        ] {
            let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
            assert_eq!(same_host(&from, &to), followed, "{from} {to}");
        }
    }
}
