//! Request bodies that do not fit into memory: temporary files without a name, bounded in all.
//!
//! ```
//! use gatewright::server::{Protocol, Server};
//! use gatewright::spool::Store;
//!
//! let mut server = Server::new(Protocol::FastCgi);
//! server.settings.spool = Store::new(Some("/var/spool/gatewright".into()), 100 << 20);
//! ```

use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use crate::error::{Error, Fault};

/// Where bodies are kept, and how much of them at once. Clones count together.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: Option<PathBuf>,
    most: u64,
    used: AtomicU64,
}

/// A file without a name, whose bytes count until it is dropped.
#[derive(Debug)]
pub(crate) struct Kept {
    file: File,
    bytes: u64,
    store: Store,
}

impl Store {
    /// At most `most` bytes in all, where 0 is no limit, in files in `folder`, by default the system's folder for temporary
    /// files.
    pub fn new(folder: Option<PathBuf>, most: u64) -> Self {
        Self(Arc::new(Inner { folder, most, used: AtomicU64::new(0) }))
    }

    /// What counts together where nobody has said anything else.
    pub(crate) fn usual() -> &'static Self {
        static USUAL: LazyLock<Store> = LazyLock::new(Store::default);
        &USUAL
    }

    /// How many bytes are kept now.
    pub fn used(&self) -> u64 {
        self.0.used.load(Ordering::Relaxed)
    }

    /// A new file.
    pub(crate) fn open(&self) -> Result<Kept, Error> {
        let file = match &self.0.folder {
            Some(folder) => nameless_file(folder),
            None => nameless_file(&std::env::temp_dir()),
        };
        Ok(Kept { file: file.map_err(cannot_keep)?, bytes: 0, store: self.clone() })
    }
}

impl Default for Store {
    /// 4 GiB in the system's folder for temporary files.
    fn default() -> Self {
        Self::new(None, 4 << 30)
    }
}

impl Kept {
    /// Appends what may be kept.
    pub(crate) fn append(&mut self, data: &[u8]) -> Result<(), Error> {
        let (inner, count) = (&*self.store.0, data.len() as u64);
        let before = inner.used.fetch_add(count, Ordering::Relaxed);
        if inner.most > 0 && before.saturating_add(count) > inner.most {
            inner.used.fetch_sub(count, Ordering::Relaxed);
            let most = inner.most;
            let message =
                format!("more than {most} bytes of request bodies would be kept in files (--spool-max)");
            return Err(Error::new(Fault::Gateway, 503, message));
        }
        self.bytes += count;
        self.file.write_all(data).map_err(cannot_keep)
    }

    /// The file, whose position is behind its last byte until somebody changes it.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.store.0.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

fn cannot_keep(error: io::Error) -> Error {
    let message = format!("the request body cannot be kept: {error}; --spool-dir names another folder");
    Error::new(Fault::Gateway, 503, message)
}

/// A temporary file that vanishes with its last handle, and that nobody else can open.
fn nameless_file(folder: &Path) -> io::Result<File> {
    let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
    for _ in 0..8 {
        let random = std::hash::RandomState::new().build_hasher().finish();
        let path = folder.join(format!("gatewright-{random:016x}"));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        #[cfg(windows)]
        {
            const DELETE_ON_CLOSE: u32 = 0x0400_0000;
            std::os::windows::fs::OpenOptionsExt::custom_flags(&mut options, DELETE_ON_CLOSE);
        }
        match options.open(&path) {
            Ok(file) => {
                #[cfg(unix)]
                std::fs::remove_file(&path)?;
                return Ok(file);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded_in_all_and_given_back() {
        let store = Store::new(None, 100);
        let (mut one, mut other) = (store.open().unwrap(), store.clone().open().unwrap());
        one.append(&[0; 60]).unwrap();
        other.append(&[0; 40]).unwrap();
        let full = other.append(&[0; 1]).unwrap_err();
        assert_eq!((full.status(), store.used()), (503, 100));
        assert!(full.to_string().contains("--spool-max"), "{full}");
        drop(other);
        assert_eq!(store.used(), 60);
        store.open().unwrap().append(&[0; 40]).unwrap();
        drop(one);
        assert_eq!(store.used(), 0);
        Store::new(None, 0).open().unwrap().append(&[0; 200]).unwrap();
        let nowhere = Store::new(Some("/nowhere".into()), 0).open().unwrap_err();
        assert!(nowhere.to_string().contains("--spool-dir"), "{nowhere}");
    }
}
