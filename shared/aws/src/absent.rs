//! Stand-ins for ports that a function has no permission for and no use of: a receiving function has no store,
//! decide no way out. Each says so rather than reach for a service.

use async_trait::async_trait;
use tillway_connectors::http::{Http, HttpError};
use tillway_core::http::{Request, Response};
use tillway_core::time::{Millis, Timestamp};
use tillway_engine::ports::{
    Item, ItemPage, Key, Notice, Notify, NotifyError, Shelf, Store, StoreError, Write,
};

const NO_STORE: &str = "this function has no store";

/// Stands where a function has no store.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoStore;

fn no_store<T>() -> Result<T, StoreError> {
    Err(StoreError::Unavailable(NO_STORE.to_owned()))
}

#[async_trait]
impl Store for NoStore {
    async fn get(&self, _keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        no_store()
    }
    async fn transact(&self, _writes: Vec<Write>) -> Result<(), StoreError> {
        no_store()
    }
    async fn query(&self, _: &str, _: &str, _: Option<&str>, _: usize) -> Result<ItemPage, StoreError> {
        no_store()
    }
    async fn list(&self, _: &str, _: Option<&str>, _: bool, _: usize) -> Result<ItemPage, StoreError> {
        no_store()
    }
    async fn due(&self, _: u16, _: Timestamp, _: usize) -> Result<Vec<Item>, StoreError> {
        no_store()
    }
    async fn scan(&self, _: Option<&str>, _: usize) -> Result<ItemPage, StoreError> {
        no_store()
    }
}

/// Stands where a function has no documents.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoShelf;

#[async_trait]
impl Shelf for NoShelf {
    async fn put(&self, _: &str, _: Vec<u8>) -> Result<(), StoreError> {
        no_store()
    }
    async fn get(&self, _: &str) -> Result<Option<Vec<u8>>, StoreError> {
        no_store()
    }
    async fn delete(&self, _: &str) -> Result<(), StoreError> {
        no_store()
    }
}

/// Stands where a function never talks to the outside.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoHttp;

#[async_trait]
impl Http for NoHttp {
    async fn send(&self, _request: Request, _limit: Millis) -> Result<Response, HttpError> {
        Err(HttpError::Forbidden)
    }
}

/// Stands where a function tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoNotify;

#[async_trait]
impl Notify for NoNotify {
    async fn notify(&self, _notice: Notice) -> Result<(), NotifyError> {
        Err(NotifyError::NotSent("this function sends no notices; the function notify does".to_owned()))
    }
}
