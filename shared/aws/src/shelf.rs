//! Documents of settlement in S3: under `settlement/` in the bucket, for as long as the books are kept.
//!
//! What is thrown away lies under `settlement-gone/` for longer than the table can be restored to (the bucket's
//! lifecycle rule removes it): a restored table names the documents of its day.

use async_trait::async_trait;
use tillway_engine::ports::{Shelf, StoreError};

use crate::bucket::Bucket;

/// Folder of documents in the bucket.
const FOLDER: &str = "settlement/";
/// And of those that were thrown away.
const GONE: &str = "settlement-gone/";

/// [`Shelf`] in a bucket.
pub struct S3Shelf(Bucket);

impl S3Shelf {
    /// In that bucket.
    #[must_use]
    pub const fn new(bucket: Bucket) -> Self {
        Self(bucket)
    }
}

fn unavailable(said: &str) -> StoreError {
    StoreError::Unavailable(format!("documents of settlement: {said}"))
}

#[async_trait]
impl Shelf for S3Shelf {
    async fn put(&self, name: &str, document: Vec<u8>) -> Result<(), StoreError> {
        self.0.put(&format!("{FOLDER}{name}"), document).await.map_err(|why| unavailable(&why))
    }

    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.get(&format!("{FOLDER}{name}")).await.map_err(|why| unavailable(&why))
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        let key = format!("{FOLDER}{name}");
        let copied = self.0.copy(&key, &format!("{GONE}{name}")).await;
        if copied.map_err(|why| unavailable(&why))? {
            self.0.delete(&key).await.map_err(|why| unavailable(&why))?;
        }
        Ok(())
    }
}
