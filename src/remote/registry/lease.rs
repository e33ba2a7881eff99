//! One publisher at a time, in a registry that has no conditional put.
//!
//! A publisher puts a tag of its own, its claim, and then lists all tags. Every publisher puts
//! before it lists, so of two at least one sees the other. Who sees another claim withdraws its own
//! and tries again a random while later; who is alone has the lease. A claim counts for ten minutes
//! by the registry's own clock, which is in the tag: a publisher that crashed is forgotten then.
//! Registries that cannot delete keep a small manifest for each publication.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde::Deserialize;

use super::super::RemoteError;
use super::super::client::data;
use super::super::patience::{block_on, random};
use super::api::{Api, Request};
use super::artifact::{EMPTY, MANIFEST, Manifest};
use super::{Registry, StatusCode, digest};

/// How long a claim counts, in seconds.
const CLAIM_SECONDS: u64 = 600;

/// How long a publisher holds a lease before it asks for a new one: well below what others wait
/// for.
const HOLD: Duration = Duration::from_secs(240);

/// How long the work may last, from the claim on: then others no longer see it.
const LEASE: Duration = Duration::from_secs(CLAIM_SECONDS - 60);

/// How long a publisher tries.
const PATIENCE: Duration = Duration::from_secs(660);

/// After so many tries people are told what is waited for.
const WORTH_SAYING: u32 = 3;

const PREFIX: &str = "claim-";
const STATE: &str = "org.layerset.claim";

#[derive(Deserialize)]
struct Tags {
    tags: Option<Vec<String>>,
}

struct Claim {
    tag: String,
    digest: String,
    taken: Instant,
}

impl Registry {
    /// Does `work` while nobody else does such work, and tells it until when that is so; between
    /// tries, `still` says whether there is any point in waiting.
    pub(super) fn with_lease(
        &self,
        work: impl FnOnce(Instant) -> Result<(), RemoteError>,
        still: impl Fn() -> Result<(), RemoteError>,
    ) -> Result<(), RemoteError> {
        let started = Instant::now();
        let mut tries = 0;
        loop {
            still()?;
            let claim = self.claim()?;
            let alone = self
                .endpoint()
                .retry(|| block_on(self.endpoint(), self.is_alone(&claim)));
            if let Ok(true) = alone
                && claim.taken.elapsed() < HOLD
            {
                let done = work(claim.taken + LEASE);
                // What was published stays published when the claim cannot be taken back: it runs
                // out.
                let _ = self.release(&claim);
                return done;
            }
            let released = self.release(&claim);
            alone?;
            released?;
            if started.elapsed() > PATIENCE {
                return Err(self.endpoint().unreachable("others publish all the time"));
            }
            tries += 1;
            if tries == WORTH_SAYING {
                (self.endpoint().options.remark.0)(&format!(
                    "somebody else publishes to '{}', or was stopped while publishing: waiting, for at most {} minutes",
                    self.endpoint().name,
                    CLAIM_SECONDS / 60
                ));
            }
            self.endpoint().back_off(tries.min(4))?;
        }
    }

    /// Puts a claim. When that fails, it is taken back as far as possible: it may be there all the
    /// same.
    fn claim(&self) -> Result<Claim, RemoteError> {
        let taken = Instant::now();
        let (_, now) = self
            .endpoint()
            .retry(|| block_on(self.endpoint(), self.tags()))?;
        let tag = format!("{PREFIX}{now:010x}-{:016x}", random());
        let mut claim = Claim {
            tag,
            digest: String::new(),
            taken,
        };
        let put = self.endpoint().retry(|| {
            block_on(self.endpoint(), async {
                let bytes = self.claim_manifest(&claim.tag, "held").await?;
                claim.digest = format!("sha256:{}", digest(&bytes));
                self.put_manifest(&claim.tag, MANIFEST, bytes).await
            })
        });
        if let Err(error) = put {
            let _ = self.release(&claim);
            return Err(error);
        }
        Ok(claim)
    }

    async fn claim_manifest(&self, tag: &str, state: &str) -> Result<Vec<u8>, RemoteError> {
        let empty = self.put_small(EMPTY).await?;
        let mut manifest = Manifest::new(
            "application/vnd.layerset.claim.v1",
            empty.clone(),
            vec![empty],
        );
        manifest
            .annotations
            .insert(STATE.to_owned(), state.to_owned());
        manifest
            .annotations
            .insert("org.layerset.tag".to_owned(), tag.to_owned());
        Ok(manifest.encode())
    }

    async fn is_alone(&self, claim: &Claim) -> Result<bool, RemoteError> {
        let (tags, now) = self.tags().await?;
        if !tags.contains(&claim.tag) {
            return Err(self
                .endpoint()
                .protocol("it does not list a tag that was just put"));
        }
        for tag in tags.iter().filter(|tag| **tag != claim.tag) {
            let Some(taken) = tag
                .strip_prefix(PREFIX)
                .and_then(|rest| rest.split_once('-'))
            else {
                continue;
            };
            let taken = u64::from_str_radix(taken.0, 16).unwrap_or(0);
            if taken.saturating_add(CLAIM_SECONDS) < now {
                continue;
            }
            let Some(bytes) = self.manifest(tag).await? else {
                continue;
            };
            let manifest: Option<Manifest> = serde_json::from_slice(&bytes).ok();
            let state = manifest
                .as_ref()
                .and_then(|manifest| manifest.annotations.get(STATE));
            if state.is_none_or(|state| state != "released") {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Lists all tags, page by page, and the registry's time. A repository that is not there yet
    /// has none.
    async fn tags(&self) -> Result<(Vec<String>, u64), RemoteError> {
        let endpoint = self.endpoint();
        let (mut all, mut now) = (Vec::<String>::new(), 0);
        let mut what = "tags/list?n=1000".to_owned();
        for _ in 0..1000 {
            let response = self
                .api
                .send(Request::new(Method::GET, what.clone()))
                .await?;
            if response.status() == StatusCode::NOT_FOUND && all.is_empty() {
                return Ok((all, Api::time(&response)));
            }
            if response.status() != StatusCode::OK {
                return Err(self.api.refused(response).await);
            }
            now = Api::time(&response);
            let more = response.headers().contains_key("link");
            let bytes = endpoint
                .collect(
                    data(endpoint, response).await?,
                    16 << 20,
                    "the list of tags",
                )
                .await?;
            let page: Tags = serde_json::from_slice(&bytes)
                .map_err(|_| endpoint.protocol("its list of tags is no JSON"))?;
            let page = page.tags.unwrap_or_default();
            let last = page.last().cloned();
            all.extend(page);
            let Some(last) = last.filter(|_| more) else {
                return Ok((all, now));
            };
            let last: String = url::form_urlencoded::byte_serialize(last.as_bytes()).collect();
            what = format!("tags/list?n=1000&last={last}");
        }
        Err(endpoint.protocol(format!(
            "its list of tags has no end after {} at {now}",
            all.len()
        )))
    }

    /// Takes a claim back: deletes it, or says that it is released. An interrupt does not stop
    /// that, or the next publisher would wait until the claim runs out; but it shortens the wait.
    fn release(&self, claim: &Claim) -> Result<(), RemoteError> {
        let mut quiet = Self {
            api: self.api.clone(),
        };
        let options = &mut quiet.api.endpoint.options;
        if self.endpoint().interrupted().is_err() {
            options.stall_timeout = options.stall_timeout.min(Duration::from_millis(300));
            options.attempts = 1;
        }
        options.cancel = Arc::default();
        let endpoint = quiet.endpoint();
        endpoint.retry(|| {
            block_on(endpoint, async {
                if quiet.delete_manifest(&claim.digest).await {
                    return Ok(());
                }
                let bytes = quiet.claim_manifest(&claim.tag, "released").await?;
                quiet.put_manifest(&claim.tag, MANIFEST, bytes).await?;
                Ok(())
            })
        })
    }
}
