//! Requests to a registry: who asks, where redirects lead, what refusals mean.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use reqwest::header::{AUTHORIZATION, DATE, HeaderValue, LOCATION, WWW_AUTHENTICATE};
use reqwest::{Body, Client, Method, Response, StatusCode};
use url::Url;

use super::super::RemoteError;
use super::super::client::{client, failed, header, is_private, refused};
use super::super::credentials::{self, RegistryLogin};
use super::super::location::is_loopback;
use super::super::patience::Endpoint;
use super::challenge;

const HINT: &str = "credentials are looked for in $REGISTRY_AUTH_FILE, $XDG_RUNTIME_DIR/containers/auth.json, ~/.config/containers/auth.json, $DOCKER_CONFIG/config.json and ~/.docker/config.json; 'skopeo login' or 'docker login' writes them";

/// The longest that a registry may think about an upload that has arrived.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// A repository of a registry, and who asks it.
#[derive(Clone)]
pub(super) struct Api {
    pub endpoint: Endpoint,
    client: Client,
    base: Url,
    host: String,
    repository: String,
    authorization: Arc<Mutex<Option<HeaderValue>>>,
}

/// A request that can be sent again, unless its body is a stream.
pub(super) struct Request {
    method: Method,
    to: Result<Url, String>,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    stream: Option<Body>,
    redirected: bool,
}

impl Request {
    /// Asks something of the repository: `manifests/head`.
    pub(super) fn new(method: Method, what: String) -> Self {
        Self {
            method,
            to: Err(what),
            headers: Vec::new(),
            body: Vec::new(),
            stream: None,
            redirected: false,
        }
    }

    /// Asks something of a URL that the registry named.
    pub(super) fn to(method: Method, url: Url) -> Self {
        Self {
            to: Ok(url),
            ..Self::new(method, String::new())
        }
    }

    pub(super) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(super) fn body(mut self, bytes: Vec<u8>) -> Self {
        self.body = bytes;
        self
    }

    pub(super) fn stream(mut self, body: Body) -> Self {
        self.stream = Some(body);
        self
    }

    /// Follows the registry's redirects: blobs often lie with a content network. The caller checks
    /// their digest.
    pub(super) fn redirected(mut self) -> Self {
        self.redirected = true;
        self
    }
}

impl Api {
    pub(super) fn new(
        host: &str,
        repository: &str,
        endpoint: Endpoint,
    ) -> Result<Self, RemoteError> {
        let host = match host {
            // Docker's own registry has another name than its images.
            "docker.io" => "registry-1.docker.io",
            host => host,
        };
        let location = |reason: String| RemoteError::Location {
            location: endpoint.name.clone(),
            reason,
        };
        let secure: Url = format!("https://{host}/v2/{repository}/")
            .parse()
            .map_err(|error: url::ParseError| location(error.to_string()))?;
        let loopback = is_loopback(&secure);
        let base = match loopback {
            true => format!("http://{host}/v2/{repository}/"),
            false => secure.to_string(),
        };
        let base = base
            .parse()
            .map_err(|error: url::ParseError| location(error.to_string()))?;
        Ok(Self {
            client: client(&endpoint, loopback)?,
            base,
            host: host.to_owned(),
            repository: repository.to_owned(),
            authorization: Arc::default(),
            endpoint,
        })
    }

    /// Sends a request; none says that what it asks for is not there.
    pub(super) async fn found(&self, request: Request) -> Result<Option<Response>, RemoteError> {
        let response = self.send(request).await?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() || status == StatusCode::RANGE_NOT_SATISFIABLE => {
                Ok(Some(response))
            }
            _ => Err(self.refused(response).await),
        }
    }

    pub(super) async fn refused(&self, response: Response) -> RemoteError {
        refused(&self.endpoint, response, HINT).await
    }

    pub(super) async fn send(&self, request: Request) -> Result<Response, RemoteError> {
        self.send_within(request, self.endpoint.options.stall_timeout)
            .await
    }

    /// Sends a request whose body takes its time; who feeds the body watches over its progress.
    pub(super) async fn send_patiently(&self, request: Request) -> Result<Response, RemoteError> {
        self.send_within(request, UPLOAD_TIMEOUT).await
    }

    async fn send_within(
        &self,
        mut request: Request,
        limit: Duration,
    ) -> Result<Response, RemoteError> {
        let endpoint = &self.endpoint;
        let mut url = match &request.to {
            Ok(url) => url.clone(),
            Err(what) => self
                .base
                .join(what)
                .map_err(|error| endpoint.protocol(error.to_string()))?,
        };
        let mut asked = false;
        let streamed = request.stream.is_some();
        for _ in 0..6 {
            if self.base.scheme() == "https" && url.scheme() != "https" || !is_private(&url) {
                return Err(endpoint.protocol("it leads from https to http"));
            }
            let mut sent = self.client.request(request.method.clone(), url.clone());
            for (name, value) in &request.headers {
                sent = sent.header(name, value);
            }
            let here = url.origin() == self.base.origin();
            let authorization = self.authorization();
            if here && let Some(value) = &authorization {
                sent = sent.header(AUTHORIZATION, value.clone());
            }
            if let Some(stream) = request.stream.take() {
                sent = sent.body(stream);
            } else if request.method == Method::PUT {
                sent = sent.body(request.body.clone());
            }
            let sent = endpoint.within(limit, "a request", sent.send()).await?;
            let response = sent.map_err(|error| failed(endpoint, error))?;
            let status = response.status();
            if status == StatusCode::UNAUTHORIZED && here && !asked && !streamed {
                asked = true;
                let value = self.authorize(&response).await?;
                *self
                    .authorization
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner) = Some(value);
            } else if status.is_redirection() && request.redirected {
                let to = header(&response, LOCATION).and_then(|to| url.join(to).ok());
                url = to.ok_or_else(|| endpoint.protocol("a redirect to nowhere"))?;
            } else {
                return Ok(response);
            }
        }
        Err(endpoint.protocol("it redirects without end"))
    }

    fn authorization(&self) -> Option<HeaderValue> {
        self.authorization
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Answers the challenge of a registry, as RFC 7235 and docker's token servers have it.
    async fn authorize(&self, response: &Response) -> Result<HeaderValue, RemoteError> {
        let endpoint = &self.endpoint;
        let login = credentials::registry(endpoint, &self.host, &self.repository)?;
        let denied = |reason: &str| endpoint.denied(reason, HINT);
        let challenges = response.headers().get_all(WWW_AUTHENTICATE);
        let challenges: Vec<_> = challenges
            .iter()
            .filter_map(|value| value.to_str().ok())
            .collect();
        if let Some(bearer) = challenges.iter().find_map(|text| challenge::bearer(text)) {
            let scope = bearer
                .scope
                .clone()
                .unwrap_or_else(|| format!("repository:{}:pull", self.repository));
            return self.token(&bearer, &scope, login.as_ref()).await;
        }
        match login {
            Some(RegistryLogin::Password(login)) => {
                credentials::basic(&login).ok_or_else(|| denied("the user name cannot be sent"))
            }
            _ => Err(denied(
                "it answers 401 Unauthorized, and there are no credentials for it",
            )),
        }
    }

    async fn token(
        &self,
        bearer: &challenge::Bearer,
        scope: &str,
        login: Option<&RegistryLogin>,
    ) -> Result<HeaderValue, RemoteError> {
        let endpoint = &self.endpoint;
        let mut realm: Url = bearer
            .realm
            .parse()
            .map_err(|_| endpoint.protocol("its token server is no URL"))?;
        let loopback = is_loopback(&realm) && is_loopback(&self.base);
        if realm.scheme() != "https" && !loopback {
            return Err(endpoint.protocol("its token server is not reached by https"));
        }
        let service = bearer.service.as_deref();
        let request = match login {
            Some(RegistryLogin::Identity(token)) => {
                let mut form = url::form_urlencoded::Serializer::new(String::new());
                form.append_pair("grant_type", "refresh_token")
                    .append_pair("refresh_token", token)
                    .append_pair("client_id", "layerset")
                    .append_pair("service", service.unwrap_or_default())
                    .append_pair("scope", scope);
                let kind = "application/x-www-form-urlencoded";
                self.client
                    .post(realm)
                    .header("content-type", kind)
                    .body(form.finish())
            }
            login => {
                let mut pairs = realm.query_pairs_mut();
                pairs.append_pair("scope", scope);
                if let Some(service) = service {
                    pairs.append_pair("service", service);
                }
                drop(pairs);
                let mut request = self.client.get(realm);
                if let Some(RegistryLogin::Password(login)) = login
                    && let Some(value) = credentials::basic(login)
                {
                    request = request.header(AUTHORIZATION, value);
                }
                request
            }
        };
        let sent = endpoint
            .answer("a request for a token", request.send())
            .await?;
        let response = sent.map_err(|error| failed(endpoint, error))?;
        if !response.status().is_success() {
            return Err(self.refused(response).await);
        }
        let body = super::data(endpoint, response).await?;
        let bytes = endpoint.collect(body, 1 << 20, "a token").await?;
        let token = challenge::token(&bytes)
            .ok_or_else(|| endpoint.protocol("its token server gives no token"))?;
        let mut value = HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|_| endpoint.protocol("its token server gives no token"))?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// Returns the registry's own time, in seconds since 1970: publishers' clocks may differ. An
    /// answer without one gives this machine's.
    pub(super) fn time(response: &Response) -> u64 {
        let said = header(response, DATE).and_then(challenge::http_date);
        said.unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            now.map_or(0, |now| now.as_secs())
        })
    }
}
