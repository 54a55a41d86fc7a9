//! Documents of settlement in S3: under `settlement/` in the bucket, for as long as the books are kept.
//!
//! What is thrown away lies under `settlement-gone/` for longer than the table can be restored to (the bucket's
//! lifecycle rule removes it): a restored table names the documents of its day.

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use tillway_core::settle::report::in_url;
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

/// The source of a copy, which is a header: percent-encoded but for its slashes.
fn source(bucket: &str, key: &str) -> String {
    let parts: Vec<String> = key.split('/').map(in_url).collect();
    format!("{bucket}/{}", parts.join("/"))
}

#[async_trait]
impl Shelf for S3Shelf {
    async fn put(&self, name: &str, document: Vec<u8>) -> Result<(), StoreError> {
        let put = self.client.put_object().bucket(&self.bucket).key(format!("{FOLDER}{name}"));
        let sent = put.body(ByteStream::from(document)).send().await;
        sent.map(|_| ()).map_err(|e| unavailable(&trouble::describe(&e)))
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
        let key = format!("{FOLDER}{name}");
        let copy = self.client.copy_object().bucket(&self.bucket).key(format!("{GONE}{name}"));
        match copy.copy_source(source(&self.bucket, &key)).send().await {
            Ok(_) => {}
            Err(error) if trouble::is(&error, "NoSuchKey") => return Ok(()),
            Err(error) => return Err(unavailable(&trouble::describe(&error))),
        }
        let sent = self.client.delete_object().bucket(&self.bucket).key(key).send().await;
        sent.map(|_| ()).map_err(|e| unavailable(&trouble::describe(&e)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_of_a_copy_is_a_header_and_one_name() {
        assert_eq!(source("b", "settlement/c/1-1/book"), "b/settlement/c/1-1/book");
        assert_eq!(source("b", "c/1@2026 a+b%2F?v=\u{e4}"), "b/c/1%402026%20a%2Bb%252F%3Fv%3D%C3%A4");
    }
}
