//! Bodies as they lie in the table: a byte that says how, then the bytes.
//!
//! | first byte | then |
//! |---|---|
//! | 0 | the body as it is |
//! | 1 | raw deflate (RFC 1951) with the words of `words-1.txt` before it |
//!
//! DynamoDB counts a write by the begun kilobyte, twice in a transaction. An order's records are JSON of one to three
//! kilobytes whose names are the same in every one; packed, nearly all of them are one. The words are part of the
//! format: they are never changed, others would get the next number.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use tillway_engine::ports::MAX_BODY;

/// How a body lies there.
const PLAIN: u8 = 0;
const DEFLATED: u8 = 1;
/// What bodies have in common, most frequent last.
const WORDS: &[u8] = include_bytes!("words-1.txt");
/// Below this nothing is gained: a kilobyte is the least that is counted.
const WORTH_IT: usize = 256;

/// A body on its way into the table.
pub(crate) fn pack(body: &[u8]) -> Vec<u8> {
    if body.len() >= WORTH_IT
        && let Some(packed) = deflate(body)
    {
        return packed;
    }
    let mut plain = Vec::with_capacity(body.len().saturating_add(1));
    plain.push(PLAIN);
    plain.extend_from_slice(body);
    plain
}

/// A body as it was packed; `None` where it is not of ours.
pub(crate) fn unpack(packed: &[u8]) -> Option<Vec<u8>> {
    match packed.split_first()? {
        (&PLAIN, body) => Some(body.to_vec()),
        (&DEFLATED, deflated) => inflate(deflated),
        _ => None,
    }
}

/// `None` where the body would not become smaller.
fn deflate(body: &[u8]) -> Option<Vec<u8>> {
    let mut compress = Compress::new(Compression::default(), false);
    compress.set_dictionary(WORDS).ok()?;
    // What does not fit is not smaller.
    let mut out = Vec::with_capacity(body.len());
    out.push(DEFLATED);
    match compress.compress_vec(body, &mut out, FlushCompress::Finish) {
        Ok(Status::StreamEnd) => Some(out),
        _ => None,
    }
}

fn inflate(deflated: &[u8]) -> Option<Vec<u8>> {
    let mut decompress = Decompress::new(false);
    decompress.set_dictionary(WORDS).ok()?;
    let mut out = Vec::with_capacity(deflated.len().saturating_mul(4).clamp(1024, MAX_BODY));
    loop {
        let (taken, made) = (decompress.total_in(), decompress.total_out());
        let rest = deflated.get(usize::try_from(taken).ok()?..)?;
        match decompress.decompress_vec(rest, &mut out, FlushDecompress::Finish).ok()? {
            Status::StreamEnd => return Some(out),
            // More room, as long as there is something to come and it stays a body that could have been written.
            Status::Ok | Status::BufError if out.len() == out.capacity() && out.len() < MAX_BODY => {
                out.reserve(out.len().min(MAX_BODY - out.len()).max(1));
            }
            Status::Ok if (taken, made) != (decompress.total_in(), decompress.total_out()) => {}
            Status::Ok | Status::BufError => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn the_words_of_the_first_format_are_what_they_were() {
        // Items in tables of merchants can be read with these words only. Add a format; never change this one.
        let sum = hex::encode(Sha256::digest(WORDS));
        assert_eq!(sum, "e8133698122f4b476e14502023d0ef980d0fad830bc1f4088cf8914a7ac31c3e");
        assert!(WORDS.len() < 32 * 1024, "deflate looks back no further");
    }

    #[test]
    fn what_is_packed_comes_back() {
        let record = r#"{"id":"aa7eb60bfbb02afc","connection":"stripe","action":"stripe.create_payment","money":true,
            "listeners":[{"order":"shop/C-1","step":"payment/pm_card_visa","told":false}],"state":{"is":"pending"},"fence":0,
            "generation":0,"resends":0,"attempts":0,"created_at":1795584447206,"answer":"","history":[]}"#;
        let noise: Vec<u8> =
            (0..5000_u32).map(|n| u8::try_from(n.wrapping_mul(2_654_435_761) >> 24).unwrap()).collect();
        let repeated = record.repeat(MAX_BODY / record.len());
        let zeros = vec![0; MAX_BODY];
        for body in [b"".as_slice(), &[0, 255], b"{}", record.as_bytes(), &noise, repeated.as_bytes(), &zeros]
        {
            let packed = pack(body);
            assert_eq!(unpack(&packed).as_deref(), Some(body), "{} bytes", body.len());
            assert!(packed.len() <= body.len() + 1);
        }
        assert!(pack(record.as_bytes()).len() * 2 < record.len(), "{}", pack(record.as_bytes()).len());
    }

    #[test]
    fn what_nobody_packed_is_not_read() {
        let packed = pack(&vec![b'a'; 5000]);
        assert_eq!(packed.first(), Some(&DEFLATED));
        let cut = packed.get(..packed.len() - 2).unwrap();
        for wrong in [b"".as_slice(), b"{}", &[2, 1, 1], &[DEFLATED, 0xff, 0xff], &[DEFLATED], cut] {
            assert_eq!(unpack(wrong), None, "{wrong:?}");
        }
        // More than a body can hold does not come out.
        let mut compress = Compress::new(Compression::best(), false);
        compress.set_dictionary(WORDS).unwrap();
        let mut bomb = Vec::with_capacity(1 << 20);
        bomb.push(DEFLATED);
        compress.compress_vec(&vec![0; 64 << 20], &mut bomb, FlushCompress::Finish).unwrap();
        assert!(unpack(&bomb).is_none());
    }
}
