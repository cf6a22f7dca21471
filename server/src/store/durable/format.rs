//! The file FORMAT: that this directory is a store, of which layout, and which one. Written once.
//!
//! ```text
//! sluice store 1
//! id 0123456789abcdef0123456789abcdef
//! crc 89abcdef
//! ```

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::os;
use crate::store::StoreError;

const HEAD: &str = "sluice store ";
/// The layout of the directory. Another layout has another number.
const VERSION: u32 = 1;
/// A file that is longer is not ours.
const MAX_BYTES: u64 = 256;

/// The store's number; makes a store of a directory that holds none.
pub(super) fn read_or_create(dir: &Path) -> Result<u128, StoreError> {
    match read(dir)? {
        Some(store) => Ok(store),
        None => {
            let store = draw()?;
            write(dir, store)?;
            Ok(store)
        }
    }
}

/// The store's number; none when the directory holds no store.
pub(super) fn read(dir: &Path) -> Result<Option<u128>, StoreError> {
    let path = dir.join("FORMAT");
    match fs::metadata(&path) {
        Ok(meta) if meta.len() > MAX_BYTES => {
            return Err(StoreError::Unusable(format!("{} is no store of Sluice", dir.display())));
        }
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return nothing(dir),
        Err(source) => return Err(StoreError::Io { what: format!("read {}", path.display()), source }),
    }
    let text = fs::read(&path)
        .map_err(|source| StoreError::Io { what: format!("read {}", path.display()), source })?;
    parse(&String::from_utf8_lossy(&text), &path).map(Some)
}

/// Parts of a store without FORMAT are not nothing.
fn nothing(dir: &Path) -> Result<Option<u128>, StoreError> {
    for part in ["log", "sled"] {
        if dir.join(part).exists() {
            return Err(StoreError::Damaged(format!("{} holds a store without FORMAT", dir.display())));
        }
    }
    Ok(None)
}

/// A number for a new store.
pub(super) fn draw() -> Result<u128, StoreError> {
    os::random_u128()
        .map_err(|source| StoreError::Io { what: "draw the number of the store".to_owned(), source })
}

/// Makes a directory a store: from here on it counts as one. Its own name is durable before: nobody asks after it again.
pub(super) fn write(dir: &Path, store: u128) -> Result<(), StoreError> {
    let path = dir.join("FORMAT");
    os::sync_name(dir)
        .and_then(|()| os::replace_file(&path, encode(store).as_bytes()))
        .and_then(|()| os::sync_dir(dir))
        .map_err(|source| StoreError::Io { what: format!("write {}", path.display()), source })
}

fn encode(store: u128) -> String {
    let text = format!("{HEAD}{VERSION}\nid {store:032x}\n");
    let crc = crc32c::crc32c(text.as_bytes());
    format!("{text}crc {crc:08x}\n")
}

fn parse(text: &str, path: &Path) -> Result<u128, StoreError> {
    let version = text.strip_prefix(HEAD).and_then(|rest| rest.lines().next());
    match version.map(str::parse::<u32>) {
        Some(Ok(VERSION)) => {}
        Some(Ok(other)) => {
            return Err(StoreError::Unusable(format!(
                "{} is of layout {other}, which this version does not know",
                path.display()
            )));
        }
        _ => return Err(damaged(path)),
    }
    let id = text.lines().nth(1).and_then(|line| line.strip_prefix("id "));
    let store = id.and_then(|id| u128::from_str_radix(id, 16).ok()).ok_or_else(|| damaged(path))?;
    if text == encode(store) { Ok(store) } else { Err(damaged(path)) }
}

fn damaged(path: &Path) -> StoreError {
    StoreError::Damaged(format!("{} is not as it was written", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn store_keeps_its_number() {
        let dir = tempfile::tempdir().unwrap();
        let store = read_or_create(dir.path()).unwrap();
        assert_eq!(read_or_create(dir.path()).unwrap(), store);
        let other = tempfile::tempdir().unwrap();
        assert_ne!(read_or_create(other.path()).unwrap(), store);
    }

    #[test]
    fn text_on_disk_stays_as_it_is() {
        let text = "sluice store 1\nid 0000000000000000000000000000abcd\ncrc ";
        assert!(encode(0xABCD).starts_with(text), "{}", encode(0xABCD));
        assert_eq!(parse(&encode(0xABCD), Path::new("FORMAT")).unwrap(), 0xABCD);
    }

    #[test]
    fn changed_character_later_layout_and_lost_file_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("FORMAT");
        fs::write(&path, encode(7).replace("0007", "0008")).unwrap();
        assert!(matches!(read_or_create(dir.path()), Err(StoreError::Damaged(_))));
        fs::write(&path, encode(7).replace("store 1", "store 2")).unwrap();
        assert!(matches!(read_or_create(dir.path()), Err(StoreError::Unusable(_))));
        fs::remove_file(&path).unwrap();
        fs::create_dir(dir.path().join("log")).unwrap();
        assert!(matches!(read_or_create(dir.path()), Err(StoreError::Damaged(_))));
    }
}
