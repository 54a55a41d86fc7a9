//! What is sealed to be stored (people's data, parked and unhandled events) is made smaller before: sealed it is noise, and
//! what is stored is paid by the kilobyte. What stands in queues is not: the version before has to read it.

use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

/// Before deflated bytes (RFC 1951). JSON as it is begins otherwise.
const DEFLATED: u8 = 1;
/// Nothing larger than this comes out.
const MOST: u64 = 16 * 1024 * 1024;

/// JSON, smaller.
pub(crate) fn shrink(json: Vec<u8>) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(vec![DEFLATED], Compression::best());
    match encoder.write_all(&json).and_then(|()| encoder.finish()) {
        Ok(shrunk) if shrunk.len() < json.len() => shrunk,
        _ => json,
    }
}

/// What [`shrink`] made, or what was kept before there was one; `None` where it is neither.
pub(crate) fn grow(kept: Vec<u8>) -> Option<Vec<u8>> {
    match kept.split_first() {
        Some((&DEFLATED, deflated)) => {
            let mut json = Vec::new();
            let read = DeflateDecoder::new(deflated).take(MOST).read_to_end(&mut json);
            read.ok().map(|_| json)
        }
        _ => Some(kept),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_shrunk_comes_back_and_older_content_is_read_as_it_is() {
        let json = format!("{{\"of\":\"{}\"}}", "customer.updated ".repeat(60)).into_bytes();
        let shrunk = shrink(json.clone());
        assert!(shrunk.len() * 4 < json.len(), "{}", shrunk.len());
        assert_eq!(grow(shrunk.clone()), Some(json.clone()));
        assert_eq!(grow(json.clone()), Some(json));
        assert_eq!(shrink(b"{}".to_vec()), b"{}");
        assert_eq!(grow(b"\x01no deflate".to_vec()), None);
        assert_eq!(grow(shrunk[..shrunk.len() / 2].to_vec()), None, "cut off");
    }
}
