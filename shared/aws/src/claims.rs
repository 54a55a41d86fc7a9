//! Claim checks: a body too large for a message lies in S3, and the message holds its key.
//!
//! The object is written before the message is sent and removed after the message was dealt with, so a message
//! finds its body; one that comes a second time after it was dealt with does not, and is known by that. Objects
//! whose message was never accepted are removed by the bucket's lifecycle rule, which has to keep them longer than
//! the queues and their dead letters keep messages (30 days).

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use tillway_engine::ports::{Entropy, QueueError};

use crate::trouble;

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
    client: Client,
    bucket: String,
    entropy: Arc<dyn Entropy>,
}

impl S3Claims {
    /// In the bucket of that name.
    pub fn new(client: Client, bucket: impl Into<String>, entropy: Arc<dyn Entropy>) -> Self {
        Self { client, bucket: bucket.into(), entropy }
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
        let put = self.client.put_object().bucket(&self.bucket).key(&key).body(ByteStream::from(body));
        put.send().await.map_err(|e| unavailable(&trouble::describe(&e)))?;
        Ok(key)
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, QueueError> {
        let answer = self.client.get_object().bucket(&self.bucket).key(key).send().await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) if trouble::is(&error, "NoSuchKey") => return Ok(None),
            Err(error) => return Err(unavailable(&trouble::describe(&error))),
        };
        let body = answer.body.collect().await.map_err(|_| unavailable("the body broke off"))?;
        Ok(Some(body.into_bytes().to_vec()))
    }

    async fn delete(&self, key: &str) -> Result<(), QueueError> {
        let sent = self.client.delete_object().bucket(&self.bucket).key(key).send().await;
        sent.map(|_| ()).map_err(|e| unavailable(&trouble::describe(&e)))
    }
}
