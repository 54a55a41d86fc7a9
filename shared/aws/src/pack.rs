//! Bodies as they lie in the table: a byte that says how, then the bytes.
//!
//! | first byte | then |
//! |---|---|
//! | 0 | the body as it is |
//! | 1 | raw deflate (RFC 1951) with the words of `words-1.txt` before it |
//! | 2 | a page or a chunk (see `store/page.rs`): the same with `words-2.txt` |
//!
//! DynamoDB counts a write by the begun kilobyte, twice in a transaction. An order's records are JSON of one to three
//! kilobytes whose names are the same in every one; packed, nearly all of them are one. The words are part of the
//! format: they are never changed, others would get the next number.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use tillway_engine::ports::MAX_BODY;

/// How a body lies there.
const PLAIN: u8 = 0;
const DEFLATED: u8 = 1;
const PAGE: u8 = 2;
/// What bodies have in common, most frequent last.
const WORDS: &[u8] = include_bytes!("words-1.txt");
/// What pages have in common: the records of an order that was never placed.
const PAGE_WORDS: &[u8] = include_bytes!("words-2.txt");
/// Below this nothing is gained: a kilobyte is the least that is counted.
const WORTH_IT: usize = 256;
/// Most bytes of a page or a chunk.
const MAX_PAGE: usize = 16 * 1024 * 1024;
/// A shorter text is left as it is.
const LONG: usize = 48;

/// A body on its way into the table.
pub(crate) fn pack(body: &[u8]) -> Vec<u8> {
    if body.len() >= WORTH_IT
        && let Some(packed) = deflate(body, DEFLATED, WORDS, body.len())
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
        (&DEFLATED, deflated) => inflate(deflated, WORDS, MAX_BODY),
        _ => None,
    }
}

/// The plain bytes of a page or a chunk; `None` where it is none.
pub(crate) fn unpack_page(packed: &[u8]) -> Option<Vec<u8>> {
    match packed.split_first()? {
        (&PAGE, deflated) => inflate(deflated, PAGE_WORDS, MAX_PAGE),
        _ => None,
    }
}

/// `None` where it takes more than `room` bytes.
fn deflate(body: &[u8], how: u8, words: &[u8], room: usize) -> Option<Vec<u8>> {
    let mut compress = Compress::new(Compression::best(), false);
    compress.set_dictionary(words).ok()?;
    let mut out = Vec::with_capacity(room);
    out.push(how);
    match compress.compress_vec(body, &mut out, FlushCompress::Finish) {
        Ok(Status::StreamEnd) => Some(out),
        _ => None,
    }
}

fn inflate(deflated: &[u8], words: &[u8], most: usize) -> Option<Vec<u8>> {
    let mut decompress = Decompress::new(false);
    decompress.set_dictionary(words).ok()?;
    let mut out = Vec::with_capacity(deflated.len().saturating_mul(4).clamp(1024, most));
    loop {
        let (taken, made) = (decompress.total_in(), decompress.total_out());
        let rest = deflated.get(usize::try_from(taken).ok()?..)?;
        match decompress.decompress_vec(rest, &mut out, FlushDecompress::Finish).ok()? {
            Status::StreamEnd => return Some(out),
            // More room, as long as there is something to come and it stays a body that could have been written.
            Status::Ok | Status::BufError if out.len() == out.capacity() && out.len() < most => {
                out.reserve(out.len().min(most - out.len()).max(1));
            }
            Status::Ok if (taken, made) != (decompress.total_in(), decompress.total_out()) => {}
            Status::Ok | Status::BufError => return None,
        }
    }
}

/// Writes the parts of a page.
#[derive(Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    /// Seven bits a byte, least first.
    pub(crate) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(u8::try_from(number & 0x7f).unwrap_or(0) | 0x80);
            number >>= 7;
        }
        self.0.push(u8::try_from(number).unwrap_or(0));
    }
    pub(crate) fn signed(&mut self, number: i64) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }
    fn bytes(&mut self, bytes: &[u8]) {
        self.number(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.0.extend_from_slice(bytes);
    }
    pub(crate) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }
    /// A body. Long base64 in it is written as the bytes it stands for: what was sent to a provider is text that packs
    /// well, and its base64 is not.
    pub(crate) fn body(&mut self, body: &[u8]) {
        let runs = base64_runs(body);
        self.number(u64::try_from(runs.len()).unwrap_or(0));
        let mut begin = 0;
        for (run, stands_for) in runs {
            self.bytes(body.get(begin..run.start).unwrap_or_default());
            self.bytes(&stands_for);
            begin = run.end;
        }
        self.bytes(body.get(begin..).unwrap_or_default());
    }
    /// All that was written, as it lies in the table; `None` where it takes more room than deflate ever does.
    pub(crate) fn packed(&self) -> Option<Vec<u8>> {
        let room = self.0.len().saturating_add(self.0.len() / 8).saturating_add(64);
        deflate(&self.0, PAGE, PAGE_WORDS, room)
    }
}

/// Reads the parts of a page.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl Reader<'_> {
    pub(crate) fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for place in 0..10_u32 {
            let (first, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(first & 0x7f).checked_shl(place.saturating_mul(7))?;
            if first & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }
    pub(crate) fn signed(&mut self) -> Option<i64> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(i64::from_be_bytes(*number))
    }
    fn bytes(&mut self) -> Option<&[u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }
    pub(crate) fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?.to_vec()).ok()
    }
    pub(crate) fn body(&mut self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        for _ in 0..self.number()? {
            out.extend_from_slice(self.bytes()?);
            let stands_for = STANDARD.encode(self.bytes()?);
            out.extend_from_slice(stands_for.as_bytes());
        }
        out.extend_from_slice(self.bytes()?);
        Some(out)
    }
}

/// Where a body has long base64, and the bytes it stands for. Digits of a hash pack better as they are.
fn base64_runs(body: &[u8]) -> Vec<(std::ops::Range<usize>, Vec<u8>)> {
    let of = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let mut runs = Vec::new();
    let mut at = 0_usize;
    while let Some(rest) = body.get(at..).filter(|rest| !rest.is_empty()) {
        let length = rest.iter().take_while(|byte| of(byte)).count();
        let padding = rest.iter().skip(length).take_while(|byte| **byte == b'=').count();
        let end = at.saturating_add(length).saturating_add(padding);
        if length >= LONG
            && let Some(run) = body.get(at..end)
            && !run.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
            && let Ok(stands_for) = STANDARD.decode(run)
            && STANDARD.encode(&stands_for).as_bytes() == run
        {
            runs.push((at..end, stands_for));
        }
        at = end.max(at.saturating_add(1));
    }
    runs
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
        let sum = hex::encode(Sha256::digest(PAGE_WORDS));
        assert_eq!(sum, "4ebbcb69cad46d2defe91b6835822dd8b35d67694da80048f498020dc27eff4f");
        assert!(WORDS.len() < 32 * 1024 && PAGE_WORDS.len() < 32 * 1024, "deflate looks back no further");
    }

    #[test]
    fn the_parts_of_a_page_come_back() {
        let sent =
            STANDARD.encode(r#"{"form":"amount=4712&currency=usd&customer=cus_1&description=Order+1"}"#);
        let bodies = [
            String::new(),
            "{}".to_owned(),
            format!("{{\"request\":{{\"bytes\":\"{sent}\"}},\"blob\":\"{sent}\"}}"),
            sent.clone(),
            // No base64 of anything: too long by one, of another alphabet, bits that are left over, digits of a hash.
            format!("{sent}A"),
            "\u{e9}".repeat(60),
            format!("{}B", "A".repeat(50)),
            "0123456789abcdef".repeat(8),
        ];
        let mut out = Writer::default();
        let numbers = [0, 1, 127, 128, 16_384, u64::MAX];
        for (body, number) in bodies.iter().zip(numbers.iter().cycle()) {
            out.body(body.as_bytes());
            out.number(*number);
            out.signed(-1_795_248_000_123);
            out.text("§");
        }
        let plain = unpack_page(&out.packed().unwrap()).unwrap();
        let mut from = Reader(&plain);
        for (body, number) in bodies.iter().zip(numbers.iter().cycle()) {
            assert_eq!(from.body().as_deref(), Some(body.as_bytes()));
            assert_eq!((from.number(), from.signed()), (Some(*number), Some(-1_795_248_000_123)));
            assert_eq!(from.text().as_deref(), Some("§"));
        }
        assert!(
            from.0.is_empty() && from.number().is_none() && from.body().is_none() && from.signed().is_none()
        );
        // What was sent is kept as text, which packs: not as its base64, which does not.
        let mut kept = Writer::default();
        kept.body(bodies[2].as_bytes());
        let kept = kept.packed().unwrap();
        assert!(kept.len() < sent.len(), "{} of {}", kept.len(), sent.len());
        assert!(unpack(&kept).is_none(), "a page is no body");
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
