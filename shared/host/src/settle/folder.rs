//! The folder of one settlement: private, locked while somebody works in it, cleared of nothing that others made.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::SettleError;

/// Says that a settlement made the folder, and is locked while one is at work in it.
const MARK: &str = "tillway-settlement";

/// A folder that is ours while this lives.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes it, or takes over what a run that died has left.
    pub(super) fn open(path: &Path) -> Result<Self, SettleError> {
        let failed = |doing, source| SettleError::File { file: path.to_owned(), doing, source };
        let mut builder = DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        match builder.create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let mark = path.join(MARK);
                let mut inside = fs::read_dir(path).map_err(|e| failed("list", e))?;
                if !mark.exists() && inside.next().is_some() {
                    return Err(SettleError::NotOurs { folder: path.to_owned() });
                }
                #[cfg(unix)]
                fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o700))
                    .map_err(|e| failed("make private", e))?;
            }
            made => made.map_err(|e| failed("make", e))?,
        }
        let mut options = OpenOptions::new();
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let lock = options
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.join(MARK))
            .map_err(|e| failed("mark", e))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(SettleError::Busy { folder: path.to_owned() }),
            Err(TryLockError::Error(e)) => Err(failed("lock", e)),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes what a run left, but for the files to keep.
    pub(super) fn clear(&self, keep: impl Fn(&str) -> bool) -> Result<(), SettleError> {
        let failed = |file: &Path, doing, source| SettleError::File { file: file.to_owned(), doing, source };
        for entry in fs::read_dir(&self.path).map_err(|e| failed(&self.path, "list", e))? {
            let file = entry.map_err(|e| failed(&self.path, "list", e))?;
            let name = file.file_name();
            if name != MARK && !name.to_str().is_some_and(&keep) {
                fs::remove_file(file.path()).map_err(|e| failed(&file.path(), "remove", e))?;
            }
        }
        Ok(())
    }

    /// Removes it with all that is in it.
    pub(super) fn remove(self) -> Result<(), SettleError> {
        fs::remove_dir_all(&self.path).map_err(|source| SettleError::File {
            file: self.path.clone(),
            doing: "remove",
            source,
        })
    }
}
