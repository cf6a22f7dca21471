//! Looks through a home without changing it: at a copy, because sled writes when it opens. What is found is
//! told of the original.

use std::fs;
use std::path::Path;

use super::value::Decoder;
use super::{Home, open};
use crate::store::StoreError;

/// The tree that sled makes by itself.
const SLEDS_OWN: &[u8] = b"__sled__default";

impl Home {
    /// Copies the files of the home in `dir` to `copy`, to be opened there.
    ///
    /// # Errors
    /// When they cannot be read, or there is no room for them.
    pub(crate) fn copy_files(dir: &Path, copy: &Path) -> Result<(), StoreError> {
        for entry in fs::read_dir(dir).map_err(io("list", dir))? {
            let entry = entry.map_err(io("list", dir))?;
            if entry.file_type().map_err(io("look at", &entry.path()))?.is_file() {
                fs::copy(entry.path(), copy.join(entry.file_name())).map_err(io("copy", &entry.path()))?;
            }
        }
        Ok(())
    }

    /// Opens a copy of the home in `dir`, made in `copy`.
    ///
    /// # Errors
    /// When the home is damaged.
    pub(crate) fn open_copy(dir: &Path, copy: &Path) -> Result<Home, StoreError> {
        let home = open::open_at(copy, dir)?;
        open::check_no_blobs(dir)?;
        Ok(home)
    }

    /// Looks at every row of every tree, whatever it holds: all values end with a crc. Gives what is wrong,
    /// and how many rows there are.
    pub(crate) fn examine(&self) -> (Vec<StoreError>, u64) {
        let mut findings = Vec::new();
        let mut rows = 0;
        for name in self.db.tree_names() {
            if name == SLEDS_OWN {
                continue;
            }
            let looked = self.guarded(|| self.examine_tree(&name, &mut findings, &mut rows));
            findings.extend(looked.err());
        }
        (findings, rows)
    }

    fn examine_tree(
        &self,
        name: &[u8],
        findings: &mut Vec<StoreError>,
        rows: &mut u64,
    ) -> Result<(), StoreError> {
        let shown = String::from_utf8_lossy(name);
        let failed = |error| self.failed(&format!("read the tree {shown}"), error);
        let tree = self.db.open_tree(name).map_err(failed)?;
        // sled does not go on behind what it cannot read.
        for row in &tree {
            let (key, value) = row.map_err(failed)?;
            *rows += 1;
            if let Err(error) = Decoder::open(&key, &value, u8::MAX) {
                findings.push(self.damaged(&shown, &key, error));
            }
        }
        Ok(())
    }
}

fn io<'a>(what: &'a str, path: &'a Path) -> impl FnOnce(std::io::Error) -> StoreError + use<'a> {
    move |source| StoreError::Io { what: format!("{what} {}", path.display()), source }
}
