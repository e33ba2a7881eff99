//! One cluster at a time: compressed, or found in the cache.

use super::ClusterCache;
use super::cache::Cached;
use super::codec::{Encoder, Method};

/// A cluster as it goes into the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Cluster {
    Plain(Vec<u8>),
    Packed(Vec<u8>),
}

/// Compresses clusters, or finds them in the cache.
pub(super) struct ClusterWorker<'a> {
    encoder: Encoder,
    keys: blake3::Hasher,
    cache: Option<&'a ClusterCache>,
    limit: usize,
}

impl<'a> ClusterWorker<'a> {
    /// Makes one whose results have less than `limit` bytes, or stay plain.
    pub(super) fn new(method: Method, cache: Option<&'a ClusterCache>, limit: usize) -> Self {
        // A cluster that was packed for one limit is not for another.
        let context = format!("{} below {limit}", method.name());
        Self {
            encoder: method.encoder(),
            keys: blake3::Hasher::new_derive_key(&context),
            cache,
            limit,
        }
    }

    pub(super) fn pack(&mut self, bytes: &[u8]) -> Cluster {
        let key = self.cache.map(|_| {
            let mut hasher = self.keys.clone();
            *hasher.update(bytes).finalize().as_bytes()
        });
        let cached = self.cache.zip(key).and_then(|(cache, key)| cache.get(&key));
        let packed = match cached {
            Some(Cached::Plain) => None,
            Some(Cached::Packed(packed)) => Some(packed),
            None => {
                let packed = self.encoder.compress(bytes, self.limit);
                if let Some((cache, key)) = self.cache.zip(key) {
                    cache.put(key, packed.as_deref());
                }
                packed
            }
        };
        match packed {
            Some(packed) => Cluster::Packed(packed),
            None => Cluster::Plain(bytes.to_vec()),
        }
    }
}
