//! Documents of settlement in S3: under `settlement/` in the bucket, for as long as the books are kept.
//!
//! What is thrown away lies under `settlement-gone/` for longer than the table can be restored to (the bucket's
//! lifecycle rule removes it): a restored table names the documents of its day.

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use tillway_engine::ports::{Shelf, StoreError};

use crate::trouble;

/// Folder of documents in the bucket.
const FOLDER: &str = "settlement/";
/// And of those that were thrown away.
const GONE: &str = "settlement-gone/";

/// [`Shelf`] in a bucket.
pub struct S3Shelf {
    client: Client,
    bucket: String,
}

impl S3Shelf {
    /// In the bucket of that name.
    pub fn new(client: Client, bucket: impl Into<String>) -> Self {
        Self { client, bucket: bucket.into() }
    }
}

fn unavailable(said: &str) -> StoreError {
    StoreError::Unavailable(format!("documents of settlement: {said}"))
}

impl S3Shelf {
    async fn write(&self, key: String, document: Vec<u8>) -> Result<(), StoreError> {
        let put = self.client.put_object().bucket(&self.bucket).key(key);
        let sent = put.body(ByteStream::from(document)).send().await;
        sent.map(|_| ()).map_err(|e| unavailable(&trouble::describe(&e)))
    }
}

#[async_trait]
impl Shelf for S3Shelf {
    async fn put(&self, name: &str, document: Vec<u8>) -> Result<(), StoreError> {
        self.write(format!("{FOLDER}{name}"), document).await
    }

    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let key = format!("{FOLDER}{name}");
        let answer = match self.client.get_object().bucket(&self.bucket).key(key).send().await {
            Ok(answer) => answer,
            Err(error) if trouble::is(&error, "NoSuchKey") => return Ok(None),
            Err(error) => return Err(unavailable(&trouble::describe(&error))),
        };
        let body = answer.body.collect().await.map_err(|_| unavailable("a document broke off"))?;
        Ok(Some(body.into_bytes().to_vec()))
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        let Some(document) = self.get(name).await? else { return Ok(()) };
        self.write(format!("{GONE}{name}"), document).await?;
        let key = format!("{FOLDER}{name}");
        let sent = self.client.delete_object().bucket(&self.bucket).key(key).send().await;
        sent.map(|_| ()).map_err(|e| unavailable(&trouble::describe(&e)))
    }
}
