//! Where request bodies are kept: the flags, the same for every gateway.

use std::path::PathBuf;
use std::sync::OnceLock;

use clap::Args;

use super::units;
use super::usage::{Failure, check_folder};
use crate::spool::Store;

#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = units::LIMITS)]
pub(super) struct SpoolFlags {
    /// Where request bodies are kept that do not fit into memory; by default the folder for temporary files
    #[arg(long, value_name = "DIR")]
    spool_dir: Option<PathBuf>,
    /// How much of request bodies is kept in files at once, in all; more is answered with 503 [default: 4G]
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    spool_max: Option<u64>,
    /// What all parts of the gateway share.
    #[arg(skip)]
    store: OnceLock<Store>,
}

impl SpoolFlags {
    /// What is not there would be missed by some request only.
    ///
    /// # Errors
    /// The folder cannot be used.
    pub(super) fn check(&self) -> Result<(), Failure> {
        check_folder("--spool-dir", self.spool_dir.as_deref()).map_err(Failure::run)
    }

    pub(super) fn store(&self) -> &Store {
        self.store.get_or_init(|| match (&self.spool_dir, self.spool_max) {
            (None, None) => Store::default(),
            (folder, most) => Store::new(folder.clone(), most.unwrap_or(4 << 30)),
        })
    }
}
