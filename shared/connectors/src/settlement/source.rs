//! Bytes as they come: counted, hashed, and never more of them kept than one record may have.

use std::io::{self, BufRead, Read};

use sha2::{Digest, Sha256};

/// The longest record of a file, in bytes. What is longer is no record: a quote or a tag is not closed.
pub const MAX_RECORD: usize = 64 * 1024;
/// Bytes read ahead.
const AHEAD: usize = 16 * 1024;
/// Follows the last byte of a CSV file, for its parser alone: where it does not come out as a record, a quote is open.
const SENTINEL: &[u8] = b"\n\x01end\x01\n";
/// The sentinel's record.
pub(crate) const END: &[u8] = b"\x01end\x01";

/// Why no more bytes come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    TooLong,
    Utf16,
    Io(io::ErrorKind),
}

/// What was read, as far as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) bytes: u64,
    /// SHA-256 of the bytes, hexadecimal.
    pub(crate) digest: String,
    /// Whether the last byte ends a line.
    pub(crate) line_ended: bool,
}

/// A file on its way in.
pub(crate) struct Source<R> {
    inner: R,
    hash: Sha256,
    bytes: u64,
    last: u8,
    /// Ends of lines consumed.
    lines: u64,
    buffer: Vec<u8>,
    at: usize,
    begun: bool,
    ended: bool,
    /// Line breaks are given as `\n` alone: the CSV parser miscounts lines that end in two bytes.
    plain_breaks: bool,
    /// A `\r` whose neighbour has not come yet.
    held: bool,
    sentinel: bool,
    left: usize,
    trouble: Option<Trouble>,
}

impl<R: Read> Source<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self {
            inner,
            hash: Sha256::new(),
            bytes: 0,
            last: b'\n',
            lines: 0,
            buffer: Vec::new(),
            at: 0,
            begun: false,
            ended: false,
            plain_breaks: false,
            held: false,
            sentinel: false,
            left: MAX_RECORD,
            trouble: None,
        }
    }
    /// With plain line breaks, and the sentinel after its end.
    pub(crate) fn for_csv(inner: R) -> Self {
        Self { plain_breaks: true, sentinel: true, ..Self::new(inner) }
    }
    /// A record is done: the next one may have as many bytes.
    pub(crate) fn allow(&mut self) {
        self.left = MAX_RECORD;
    }
    /// The line the next byte is in, from 1.
    pub(crate) const fn line(&self) -> u64 {
        self.lines.saturating_add(1)
    }
    pub(crate) const fn trouble(&self) -> Option<Trouble> {
        self.trouble
    }
    pub(crate) fn seen(&self) -> Seen {
        let digest = hex::encode(self.hash.clone().finalize());
        Seen { bytes: self.bytes, digest, line_ended: self.last == b'\n' }
    }

    fn stop(&mut self, trouble: Trouble) -> io::Error {
        self.trouble = Some(trouble);
        io::Error::other("unreadable")
    }

    /// Reads ahead into the empty buffer.
    fn refill(&mut self) -> io::Result<()> {
        self.at = 0;
        self.buffer.resize(AHEAD, 0);
        let mut have = 0_usize;
        // A byte-order mark has three bytes, which may come one by one.
        while have < 3 {
            let room = self.buffer.get_mut(have..).unwrap_or_default();
            match self.inner.read(room) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(n) => have = have.saturating_add(n),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.stop(Trouble::Io(error.kind()))),
            }
            if self.begun {
                break;
            }
        }
        self.buffer.truncate(have);
        self.hash.update(&self.buffer);
        self.bytes = self.bytes.saturating_add(u64::try_from(have).unwrap_or(u64::MAX));
        if let Some(last) = self.buffer.last() {
            self.last = *last;
        }
        if !self.begun {
            self.begun = true;
            if self.buffer.starts_with(&[0xfe, 0xff]) || self.buffer.starts_with(&[0xff, 0xfe]) {
                return Err(self.stop(Trouble::Utf16));
            }
            if self.buffer.starts_with(&[0xef, 0xbb, 0xbf]) {
                self.at = 3;
            }
        }
        if self.plain_breaks {
            self.plain();
        }
        Ok(())
    }

    /// Takes `\r` out before `\n`.
    fn plain(&mut self) {
        if std::mem::take(&mut self.held) && self.buffer.first() != Some(&b'\n') {
            self.buffer.insert(0, b'\r');
        }
        if self.buffer.last() == Some(&b'\r') && !self.ended {
            self.held = self.buffer.pop().is_some();
        }
        if self.buffer.contains(&b'\r') {
            let mut bytes = std::mem::take(&mut self.buffer).into_iter().peekable();
            let mut out = Vec::with_capacity(AHEAD.saturating_add(1));
            while let Some(byte) = bytes.next() {
                if byte != b'\r' || bytes.peek() != Some(&b'\n') {
                    out.push(byte);
                }
            }
            self.buffer = out;
        }
    }
}

impl<R: Read> BufRead for Source<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.trouble.is_some() {
            return Err(io::Error::other("unreadable"));
        }
        // What was read may be a held byte alone.
        while self.at >= self.buffer.len() && !self.ended {
            self.refill()?;
        }
        if self.at >= self.buffer.len() && self.ended && self.sentinel {
            self.sentinel = false;
            self.at = 0;
            self.buffer.clear();
            self.buffer.extend_from_slice(SENTINEL);
        }
        if self.left == 0 && self.at < self.buffer.len() {
            return Err(self.stop(Trouble::TooLong));
        }
        let end = self.buffer.len().min(self.at.saturating_add(self.left));
        Ok(self.buffer.get(self.at..end).unwrap_or_default())
    }
    fn consume(&mut self, amount: usize) {
        let end = self.at.saturating_add(amount);
        let gone = self.buffer.get(self.at..end).unwrap_or_default();
        let lines = gone.iter().filter(|b| **b == b'\n').count();
        self.lines = self.lines.saturating_add(u64::try_from(lines).unwrap_or(0));
        self.left = self.left.saturating_sub(amount);
        self.at = end;
    }
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let have = self.fill_buf()?;
        let n = have.len().min(out.len());
        for (to, from) in out.iter_mut().zip(have) {
            *to = *from;
        }
        self.consume(n);
        Ok(n)
    }
}
