//! What a run that dies leaves for the next start: how far it was, and what its files hold.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::disk::Disk;
use super::folder::Folder;
use super::parts::Entry;
use super::totals::Totals;
use super::{Plan, SettleError};

/// Its name.
pub(super) const NAME: &str = "manifest";
/// Raised when records or manifest change their shape.
const FORMAT: u32 = 2;

/// How far a run is.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// Of the run.
    pub(super) fingerprint: String,
    /// Rank of the last stage that ended.
    pub(super) ended: usize,
    pub(super) totals: Totals,
    pub(super) lines: Vec<Entry>,
    pub(super) expected: Vec<Entry>,
}

/// What two starts have in common that are one run: format, release, name, rules, day and partitions.
pub(super) fn fingerprint(plan: &Plan<'_>) -> String {
    let Plan { run, rules, today, partitions, seal, .. } = plan;
    let release = env!("CARGO_PKG_VERSION");
    let text = format!("{FORMAT}|{release}|{run:?}|{rules:?}|{today}|{partitions}|{seal}");
    hex::encode(Sha256::digest(text.as_bytes()))
}

impl Manifest {
    fn file(folder: &Folder) -> PathBuf {
        folder.path().join(NAME)
    }

    /// The one that is there, of this run, whole; else none.
    pub(super) fn find(
        disk: &dyn Disk,
        folder: &Folder,
        fingerprint: &str,
    ) -> Result<Option<Self>, SettleError> {
        let bytes = match disk.read(&Self::file(folder)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => {
                read.map_err(|source| SettleError::File { file: Self::file(folder), doing: "read", source })?
            }
        };
        Ok(whole(&bytes).filter(|manifest| manifest.fingerprint == fingerprint))
    }

    /// Takes the place of the one before.
    pub(super) fn keep(&self, disk: &dyn Disk, folder: &Folder) -> Result<(), SettleError> {
        let file = Self::file(folder);
        let failed = |source| SettleError::File { file: file.clone(), doing: "write", source };
        let mut bytes = postcard::to_allocvec(self).map_err(|e| failed(io::Error::other(e)))?;
        let check = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&check.to_le_bytes());
        disk.replace(&file, &bytes).map_err(failed)
    }
}

/// The manifest in bytes that end with their checksum.
fn whole(bytes: &[u8]) -> Option<Manifest> {
    let (body, check) = bytes.split_last_chunk::<4>()?;
    let holds = crc32fast::hash(body) == u32::from_le_bytes(*check);
    holds.then(|| postcard::from_bytes(body).ok()).flatten()
}
