//! Answers tough's requests for files from a head in memory.

use std::sync::{Arc, Mutex, PoisonError};

use tough::{Bytes, Transport, TransportError, TransportErrorKind, TransportStream};
use url::Url;

use crate::format::HeadContents;

/// Where tough believes that metadata is; nothing is ever asked of it.
pub(super) const METADATA_URL: &str = "head://remote/metadata/";
/// Where tough believes that documents are.
pub(super) const TARGETS_URL: &str = "head://remote/targets/";

/// A head that answers, and remembers what it was asked for last: tough's errors do not say which
/// file is at fault.
#[derive(Debug, Clone)]
pub(super) struct HeadTransport {
    contents: Arc<HeadContents>,
    last: Arc<Mutex<String>>,
}

impl HeadTransport {
    pub(super) fn new(contents: Arc<HeadContents>) -> Self {
        Self {
            contents,
            last: Arc::default(),
        }
    }

    /// Returns the file that was asked for last.
    pub(super) fn last(&self) -> String {
        self.last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn find(&self, url: &str) -> Option<&String> {
        let (files, name) = match url.strip_prefix(METADATA_URL) {
            Some(name) => (&self.contents.metadata, name),
            None => (&self.contents.targets, url.strip_prefix(TARGETS_URL)?),
        };
        // tough escapes the names of roles, and only `+` of what those are made of.
        let name = name.replace("%2B", "+");
        let found = files.get(&name);
        // A next root that is not there is no answer to anything.
        if found.is_some() || !name.ends_with(".root.json") {
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = name;
        }
        found
    }
}

#[async_trait::async_trait]
impl Transport for HeadTransport {
    async fn fetch(&self, url: Url) -> Result<TransportStream, TransportError> {
        match self.find(url.as_str()) {
            Some(text) => {
                let bytes = Bytes::copy_from_slice(text.as_bytes());
                Ok(Box::pin(futures::stream::once(std::future::ready(Ok(
                    bytes,
                )))))
            }
            None => Err(TransportError::new(TransportErrorKind::FileNotFound, url)),
        }
    }
}
