//! What is asked of a disk; a port, so that tests can fill it up or take the power away.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

pub(super) trait Disk: Sync {
    /// Adds to the end of a file, which it makes where it is not there. All of it or an error; after an error some of
    /// it may be there.
    fn append(&self, file: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Puts a file in the place of an older one, at once.
    fn replace(&self, file: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Reads a file.
    fn read(&self, file: &Path) -> io::Result<Vec<u8>>;
    /// Cuts a file to a length; a shorter one stays as it is.
    fn cut(&self, file: &Path, length: u64) -> io::Result<()>;
    /// Removes a file; one that is not there is removed already.
    fn remove(&self, file: &Path) -> io::Result<()>;
}

/// The machine's own.
pub(super) struct Real;

/// Only the owner may read what was made here.
fn open(options: &mut OpenOptions, file: &Path) -> io::Result<File> {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options.create(true).open(file)
}

impl Disk for Real {
    fn append(&self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        open(OpenOptions::new().append(true), file)?.write_all(bytes)
    }
    fn replace(&self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        let new = file.with_extension("new");
        open(OpenOptions::new().write(true).truncate(true), &new)?.write_all(bytes)?;
        fs::rename(&new, file)
    }
    fn read(&self, file: &Path) -> io::Result<Vec<u8>> {
        fs::read(file)
    }
    fn cut(&self, file: &Path, length: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(file)?;
        if file.metadata()?.len() > length { file.set_len(length) } else { Ok(()) }
    }
    fn remove(&self, file: &Path) -> io::Result<()> {
        match fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}
