//! Files that a provider gives: read once for as long as whoever asks keeps them, and bounded by themselves.
//!
//! A day's report is asked for by its list of batches, by every batch in it and by every page of a batch. A run of settlement
//! therefore keeps what it downloaded ([`Kept`], which the engine makes and the way out hands on): the text stands in memory once,
//! and readers go over it where it lies.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tillway_core::http::{Request, Response};
use tillway_core::time::Millis;

use super::{Http, HttpError};
use crate::settlement::Statement;

/// Largest file that is downloaded, bytes: about a million and a half rows of a report. Other answers keep to
/// [`super::live::MAX_ANSWER`].
pub const MAX_FILE: usize = 256 * 1024 * 1024;
/// What may be kept while another file comes, bytes.
const BESIDE: usize = MAX_FILE / 2;

/// A file that a provider sent.
pub(crate) struct File {
    bytes: Vec<u8>,
    announced: Option<u64>,
    /// What it said as a whole, once it was read through.
    pub(crate) told: OnceLock<Statement>,
}

impl File {
    fn of(response: Response) -> Self {
        let announced = response.header("content-length").and_then(|length| length.trim().parse().ok());
        Self { bytes: response.body, announced, told: OnceLock::new() }
    }
    /// How long it is to be: as announced. Where nothing was announced the way out vouches for it, which gives whole
    /// answers alone.
    pub(crate) fn length(&self) -> Option<u64> {
        self.announced.or_else(|| u64::try_from(self.bytes.len()).ok())
    }
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
    /// Reads it from its beginning, without a copy.
    pub(crate) fn open(self: &Arc<Self>) -> Opened {
        std::io::Cursor::new(Bytes(Arc::clone(self)))
    }
}

/// A file's bytes, for a reader that outlives the call.
pub(crate) struct Bytes(Arc<File>);
impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        &self.0.bytes
    }
}
/// A file on its way through a reader.
pub(crate) type Opened = std::io::Cursor<Bytes>;

/// Files of one run, the newest last, and where a reader stands in one of them.
#[derive(Default)]
pub struct Kept(Mutex<Shelf>);

#[derive(Default)]
struct Shelf {
    files: VecDeque<(String, Arc<File>)>,
    place: Option<(String, Box<dyn Any + Send>)>,
}

impl Kept {
    fn shelf<T>(&self, act: impl FnOnce(&mut Shelf) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
    fn file(&self, name: &str) -> Option<Arc<File>> {
        self.shelf(|s| s.files.iter().find(|(known, _)| known == name).map(|(_, file)| Arc::clone(file)))
    }
    /// Lets the oldest go until another file of any size may come beside what is left.
    fn make_room(&self) {
        self.shelf(|s| {
            let size = |s: &Shelf| s.files.iter().map(|(_, file)| file.bytes.len()).sum::<usize>();
            while size(s) > BESIDE {
                // A reader's place holds on to its file.
                s.place = None;
                s.files.pop_front();
            }
        });
    }
    /// Keeps a reader where it stands. There is one place.
    pub(crate) fn put<R: Any + Send>(&self, name: String, reader: R) {
        self.shelf(|s| s.place = Some((name, Box::new(reader))));
    }
    /// A reader that stands there.
    pub(crate) fn take<R: Any + Send>(&self, name: &str) -> Option<R> {
        let found = self.shelf(|s| s.place.take_if(|(known, _)| known == name))?;
        found.1.downcast().ok().map(|reader| *reader)
    }
}

/// Downloads a file, or takes the one that is kept. The inner error is an answer without success.
pub(crate) async fn file(
    http: &dyn Http,
    request: Request,
    limit: Millis,
) -> Result<Result<Arc<File>, Response>, HttpError> {
    // In another form it is another file.
    let name = format!("{} {}", request.header("accept").unwrap_or(""), request.url);
    let kept = http.kept();
    if let Some(file) = kept.and_then(|kept| kept.file(&name)) {
        return Ok(Ok(file));
    }
    if let Some(kept) = kept {
        kept.make_room();
    }
    let response = http.download(request, limit, MAX_FILE).await?;
    if !response.is_success() {
        return Ok(Err(response));
    }
    let file = Arc::new(File::of(response));
    if let Some(kept) = kept {
        kept.shelf(|s| s.files.push_back((name, Arc::clone(&file))));
    }
    Ok(Ok(file))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use tillway_core::http::Method;

    use super::*;

    /// Gives a file of this size to whoever asks, or nothing.
    struct Files {
        size: usize,
        asked: AtomicUsize,
        kept: Kept,
    }
    #[async_trait]
    impl Http for Files {
        async fn send(&self, _: Request, _: Millis) -> Result<Response, HttpError> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            Ok(Response {
                body: vec![b'x'; self.size],
                ..Response::new(if self.size == 0 { 404 } else { 200 })
            })
        }
        fn kept(&self) -> Option<&Kept> {
            Some(&self.kept)
        }
    }

    async fn ask(http: &Files, url: &str, accept: &str) -> Option<usize> {
        let request = Request::new(Method::Get, url).with_header("accept", accept);
        file(http, request, Millis(1)).await.unwrap().ok().map(|file| file.bytes.len())
    }

    #[tokio::test]
    async fn a_file_is_asked_for_once_and_what_was_not_there_is_asked_for_again() {
        let mut http = Files { size: 9, asked: AtomicUsize::new(0), kept: Kept::default() };
        for (url, accept) in
            [("/a", "text/csv"), ("/a", "text/csv"), ("/a", "application/xml"), ("/b", "text/csv")]
        {
            assert_eq!(ask(&http, url, accept).await, Some(9));
        }
        assert_eq!(http.asked.load(Ordering::SeqCst), 3);
        http.size = 0;
        assert_eq!((ask(&http, "/c", "").await, ask(&http, "/c", "").await), (None, None));
        assert_eq!(http.asked.load(Ordering::SeqCst), 5);
    }

    #[tokio::test]
    async fn the_oldest_go_before_there_is_too_much() {
        let http = Files { size: BESIDE / 2 + 1, asked: AtomicUsize::new(0), kept: Kept::default() };
        for url in ["/a", "/b", "/c", "/d", "/d", "/c"] {
            ask(&http, url, "").await;
            assert!(http.kept.shelf(|s| s.files.len()) <= 2);
        }
        assert_eq!(http.asked.load(Ordering::SeqCst), 4, "the two newest are kept");
        ask(&http, "/a", "").await;
        assert_eq!(http.asked.load(Ordering::SeqCst), 5);
    }

    #[test]
    fn a_reader_is_taken_where_it_stands_and_nowhere_else() {
        let kept = Kept::default();
        kept.put("b#20".to_owned(), 7_i32);
        assert_eq!(kept.take::<i32>("b#40"), None);
        assert_eq!(kept.take::<i32>("b#20"), Some(7));
        assert_eq!(kept.take::<i32>("b#20"), None, "once");
    }
}
