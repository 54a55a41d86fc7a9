//! Claim checks: a body too large for a message lies in S3, and the message holds its key.
//!
//! The object is written before the message is sent and removed after the message was dealt with, so a message
//! finds its body; one that comes a second time after it was dealt with does not, and is known by that. Objects
//! whose message was never accepted are removed by the bucket's lifecycle rule, which has to keep them longer than
//! the queues and their dead letters keep messages (30 days).

use std::sync::Arc;

use async_trait::async_trait;
use tillway_engine::ports::{Entropy, QueueError};

use crate::bucket::Bucket;

/// Keeps large bodies beside the queues.
#[async_trait]
pub trait Claims: Send + Sync {
    /// Keeps a body; answers its key.
    async fn put(&self, body: Vec<u8>) -> Result<String, QueueError>;
    /// The body; `None`: it is no longer there.
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, QueueError>;
    /// Removes it; one that is not there is removed already.
    async fn delete(&self, key: &str) -> Result<(), QueueError>;
}

/// [`Claims`] in a bucket.
pub struct S3Claims {
    bucket: Bucket,
    entropy: Arc<dyn Entropy>,
}

impl S3Claims {
    /// In that bucket.
    pub fn new(bucket: Bucket, entropy: Arc<dyn Entropy>) -> Self {
        Self { bucket, entropy }
    }
}

fn unavailable(said: &str) -> QueueError {
    QueueError::Unavailable(format!("claim checks: {said}"))
}

#[async_trait]
impl Claims for S3Claims {
    async fn put(&self, body: Vec<u8>) -> Result<String, QueueError> {
        let mut drawn = [0_u8; 16];
        self.entropy.fill(&mut drawn);
        let key = format!("claims/{}", hex::encode(drawn));
        self.bucket.put(&key, body).await.map_err(|why| unavailable(&why))?;
        Ok(key)
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, QueueError> {
        self.bucket.get(key).await.map_err(|why| unavailable(&why))
    }

    async fn delete(&self, key: &str) -> Result<(), QueueError> {
        self.bucket.delete(key).await.map_err(|why| unavailable(&why))
    }
}
