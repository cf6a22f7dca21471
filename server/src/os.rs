//! What only the operating system can do, and no safe wrapper of ours offers. The one module where
//! `unsafe` is allowed; each use says why it is sound. It knows nothing of stores or queues.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// How full a file system is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes that we may still write.
    pub free: u64,
    /// Bytes in all.
    pub total: u64,
}

/// The space of the file system that holds `path`.
///
/// # Errors
/// As `statvfs(3)`.
pub fn space(path: &Path) -> io::Result<Space> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(Space {
        free: stat.f_bavail.saturating_mul(stat.f_frsize),
        total: stat.f_blocks.saturating_mul(stat.f_frsize),
    })
}

/// Makes sure that the directory is there, and that nobody but its owner can look into it.
///
/// # Errors
/// When it cannot be made, or belongs to somebody else.
pub fn private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

/// Makes entries made, renamed or removed in a directory durable.
///
/// # Errors
/// As `fsync(2)`.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Makes the name of a directory durable, and the names of those it lies in: who made them may have been killed before it
/// came to that. What lies on another file system was there before.
///
/// # Errors
/// As `fsync(2)`.
pub fn sync_name(dir: &Path) -> io::Result<()> {
    let path = fs::canonicalize(dir)?;
    let device = fs::metadata(&path)?.dev();
    for parent in path.ancestors().skip(1) {
        if fs::metadata(parent)?.dev() != device {
            break;
        }
        match sync_dir(parent) {
            // Whoever may not look into it has made nothing there.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            synced => synced?,
        }
    }
    Ok(())
}

/// Writes a small file, synced and whole: until it is, what was there before stays. The name itself is durable
/// once its directory is synced.
///
/// # Errors
/// When it cannot be written.
pub fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension("new");
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)
}

/// Takes room on the disk for `file` to grow by so many bytes: what is written beyond its end finds room then, whoever
/// fills the disk. Its length stays. Whether there was room; where a file system cannot do it, there is nothing to take.
///
/// # Errors
/// As `fallocate(2)`, but for those of a full disk.
#[cfg(target_os = "linux")]
pub fn reserve_growth(file: &File, bytes: u64) -> io::Result<bool> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;

    match fallocate(file, FallocateFlags::KEEP_SIZE, file.metadata()?.len(), bytes) {
        Err(Errno::NOSPC | Errno::DQUOT) => Ok(false),
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Elsewhere there is no such call.
///
/// # Errors
/// Never.
#[cfg(not(target_os = "linux"))]
pub fn reserve_growth(_file: &File, _bytes: u64) -> io::Result<bool> {
    Ok(true)
}

/// Writes the file's pages out and forgets them, so that the next read shows what the disk holds. After
/// a sync that failed, the page cache goes on to show what never reached the disk.
///
/// # Errors
/// As `fdatasync(2)` and `posix_fadvise(2)`.
pub fn forget_pages(file: &File) -> io::Result<()> {
    file.sync_data()?;
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed)?;
    Ok(())
}

/// Lets this process have as many files open as it is ever allowed to; how many that is. Programs are often started with
/// few, for the sake of old ones.
#[must_use]
pub fn raise_file_limit() -> u64 {
    use rustix::process::{Resource, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
    // What is refused leaves it as it was.
    let limit = setrlimit(Resource::Nofile, raised).map_or(limit, |()| raised);
    limit.current.unwrap_or(u64::MAX)
}

/// Lets others go first where this thread competes with them. Only a wish: a refusal is no error.
pub fn lower_priority(niceness: i32) {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(None, niceness);
    #[cfg(not(target_os = "linux"))]
    let _ = niceness;
}

/// A number that nobody has drawn before.
///
/// # Errors
/// When the system has no chance to give.
pub fn random_u128() -> io::Result<u128> {
    let mut bytes = [0; 16];
    let mut filled = 0;
    while filled < bytes.len() {
        filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(u128::from_ne_bytes(bytes))
}

/// Ends the process without running anything more: no destructor may write what was not meant to be.
#[allow(unsafe_code, reason = "no safe wrapper ends a process without its destructors")]
pub fn exit_at_once(code: i32) -> ! {
    // SAFETY: `_exit` takes any number, touches no memory of ours and does not return.
    unsafe { libc::_exit(code) }
}

/// Makes the system call `sync_file_range` answer ENOSYS in this process and all it starts. sled calls it
/// where a true sync is needed, and falls back to one on this answer. To be called before any thread starts.
///
/// # Errors
/// When the kernel has no seccomp filters, or forbids them.
#[cfg(target_os = "linux")]
pub fn refuse_sync_file_range() -> io::Result<()> {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter_all_threads};

    let arch = std::env::consts::ARCH.try_into().map_err(io::Error::other)?;
    let rules = [(libc::SYS_sync_file_range, Vec::new())].into_iter().collect();
    let refuse = SeccompAction::Errno(libc::ENOSYS as u32);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch).map_err(io::Error::other)?;
    let program: BpfProgram = filter.try_into().map_err(io::Error::other)?;
    apply_filter_all_threads(&program).map_err(io::Error::other)
}

/// Whether `sync_file_range` is refused in this thread.
#[cfg(target_os = "linux")]
#[must_use]
#[allow(unsafe_code, reason = "no safe wrapper of this call exists")]
pub fn sync_file_range_is_refused() -> bool {
    // SAFETY: without a file (-1) the call can only fail; it takes no pointers.
    let answer = unsafe { libc::sync_file_range(-1, 0, 0, 0) };
    answer == -1 && io::Error::last_os_error().raw_os_error() == Some(libc::ENOSYS)
}

/// Elsewhere sled syncs for real by itself.
///
/// # Errors
/// Never.
#[cfg(not(target_os = "linux"))]
pub fn refuse_sync_file_range() -> io::Result<()> {
    Ok(())
}

/// Elsewhere sled syncs for real by itself.
#[cfg(not(target_os = "linux"))]
#[must_use]
pub fn sync_file_range_is_refused() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    // The other tests run in other threads of this process; the filter harms none of them.
    #[test]
    fn sync_file_range_is_refused_once_the_filter_is_in_force() {
        refuse_sync_file_range().unwrap();
        assert!(sync_file_range_is_refused());
        let in_thread = std::thread::spawn(sync_file_range_is_refused).join().unwrap();
        assert!(in_thread);
    }

    #[test]
    fn private_directory_is_closed_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        private_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        private_dir(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn forgotten_pages_are_read_again_from_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, b"kept").unwrap();
        forget_pages(&File::open(&path).unwrap()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"kept");
    }

    #[test]
    fn room_to_grow_is_taken_and_the_length_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, b"kept").unwrap();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        assert!(reserve_growth(&file, 1 << 20).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"kept");
        assert!(file.metadata().unwrap().blocks() * 512 >= 1 << 20);
    }

    #[test]
    fn space_is_known_and_random_numbers_differ() {
        let space = space(&std::env::temp_dir()).unwrap();
        assert!(space.free <= space.total && space.total > 0);
        assert_ne!(random_u128().unwrap(), random_u128().unwrap());
    }
}
