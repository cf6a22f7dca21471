//! Preloaded into a process (`LD_PRELOAD`), it records every change of the files below a directory, and every sync of
//! them, in order. It stands in for the C library's functions and makes the system calls itself; it knows nothing of
//! the process.
//!
//! `RECORDER_ROOT` is the directory, `RECORDER_FILE` what is written to. `RECORDER_FORGET=fdatasync` leaves that call out, as a
//! bug would; `RECORDER_FORGET=root` leaves out syncs of that directory itself, and so of the names in it.
//!
//! An entry is `kind u8, time u64, file u64, number u64, bytes u32`, then so many bytes; little-endian:
//!
//! | kind | file | number | bytes |
//! | --- | --- | --- | --- |
//! | 1 opened | its inode | | its path |
//! | 2 written | its inode | the offset | what was written |
//! | 3 cut | its inode | its length | |
//! | 4 sync begun | its inode | of this sync | |
//! | 5 sync done | its inode | of this sync | |
//! | 6 renamed | | | path, zero, path |
//! | 7 removed | | | its path |
//! | 8 directory made | | | its path |
//! | 9 range synced | its inode | | |
//!
//! A range that was synced (`sync_file_range`) is there for sure no more than before: neither the disk's own cache nor
//! what finds the bytes (lengths, extents) is written by it.

#![allow(unsafe_code, reason = "it stands in for functions of the C library")]
#![allow(clippy::missing_safety_doc, reason = "each is as safe as the function it stands in for")]

use std::collections::HashMap;
use std::ffi::CStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use libc::{c_char, c_int, c_long, c_uint, c_void, mode_t, off_t, size_t, ssize_t};

/// What is known of the process.
struct Recorder {
    root: Vec<u8>,
    /// Where entries go.
    out: c_int,
    forgets_fdatasync: bool,
    forgets_root: bool,
    /// Inodes of open files below the root. While it is held nothing else is recorded.
    files: Mutex<HashMap<c_int, u64>>,
}

const OPENED: u8 = 1;
const WRITTEN: u8 = 2;
const CUT: u8 = 3;
const SYNC_BEGUN: u8 = 4;
const SYNC_DONE: u8 = 5;
const RENAMED: u8 = 6;
const REMOVED: u8 = 7;
const DIRECTORY_MADE: u8 = 8;
const RANGE_SYNCED: u8 = 9;

static SYNCS: AtomicU64 = AtomicU64::new(1);

fn recorder() -> Option<&'static Recorder> {
    static RECORDER: OnceLock<Option<Recorder>> = OnceLock::new();
    RECORDER.get_or_init(Recorder::from_environment).as_ref()
}

impl Recorder {
    fn from_environment() -> Option<Recorder> {
        let root = std::env::var("RECORDER_ROOT").ok()?.into_bytes();
        let mut path = std::env::var("RECORDER_FILE").ok()?.into_bytes();
        path.push(0);
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND | libc::O_CLOEXEC;
        // SAFETY: the path ends with a zero and lives until the call returns.
        let out = unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags, 0o600) };
        let forgets = std::env::var("RECORDER_FORGET").unwrap_or_default();
        let files = Mutex::new(HashMap::new());
        (out >= 0).then_some(Recorder {
            root,
            out: out as c_int,
            forgets_fdatasync: forgets == "fdatasync",
            forgets_root: forgets == "root",
            files,
        })
    }

    fn files(&self) -> MutexGuard<'_, HashMap<c_int, u64>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this is the root itself.
    fn is_root(&self, inode: u64) -> bool {
        let mut path = self.root.clone();
        path.push(0);
        // SAFETY: all zeros are a valid `stat`; the path ends with a zero, and both live until the call returns.
        unsafe {
            let mut stat: libc::stat = std::mem::zeroed();
            libc::stat(path.as_ptr().cast(), &raw mut stat) == 0 && stat.st_ino == inode
        }
    }

    /// Whether the path is below the root. The ballast holds nothing, and much of it.
    fn is_ours(&self, path: &[u8]) -> bool {
        path.starts_with(&self.root) && !path.ends_with(b"/ballast")
    }

    /// To be called while `files` is held: so entries stand in the order of their calls.
    fn note(&self, kind: u8, file: u64, number: u64, bytes: &[&[u8]]) {
        let length: usize = bytes.iter().map(|piece| piece.len()).sum();
        let mut entry = Vec::with_capacity(29 + length);
        entry.push(kind);
        entry.extend(now().to_le_bytes());
        entry.extend(file.to_le_bytes());
        entry.extend(number.to_le_bytes());
        entry.extend((length as u32).to_le_bytes());
        bytes.iter().for_each(|piece| entry.extend(*piece));
        let mut rest = &entry[..];
        while !rest.is_empty() {
            // SAFETY: `rest` lives, and is as long as is said.
            let written = unsafe { libc::syscall(libc::SYS_write, self.out, rest.as_ptr(), rest.len()) };
            if written <= 0 {
                // A recording with a gap would be a lie.
                std::process::abort();
            }
            rest = &rest[written as usize..];
        }
    }

    fn opened(&self, fd: c_int, path: &[u8]) {
        // SAFETY: all zeros are a valid `stat`, and `fstat` fills the one it is given.
        let inode = unsafe {
            let mut stat: libc::stat = std::mem::zeroed();
            if libc::fstat(fd, &raw mut stat) != 0 {
                return;
            }
            stat.st_ino
        };
        let mut files = self.files();
        files.insert(fd, inode);
        self.note(OPENED, inode, 0, &[path]);
    }
}

/// Nanoseconds of the monotonic clock.
fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it fills what it is given.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// A call that says what came of it as the C library does.
macro_rules! call {
    ($number:expr, $($argument:expr),*) => {
        // SAFETY: the arguments are those that the caller gave for the same call.
        unsafe { libc::syscall($number, $($argument),*) }
    };
}

fn path_of<'a>(path: *const c_char) -> &'a [u8] {
    // SAFETY: the caller gives a path that ends with a zero, and keeps it while the call lasts.
    unsafe { CStr::from_ptr(path) }.to_bytes()
}

fn open_at(directory: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    let fd = call!(libc::SYS_openat, directory, path, flags, c_long::from(mode)) as c_int;
    if fd >= 0
        && let Some(recorder) = recorder()
        && recorder.is_ours(path_of(path))
    {
        recorder.opened(fd, path_of(path));
    }
    fd
}

/// `open(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    open_at(libc::AT_FDCWD, path, flags, mode)
}

/// `open(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    open_at(libc::AT_FDCWD, path, flags, mode)
}

/// `openat(2)`: of an absolute path, or it is not seen.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn openat(directory: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    open_at(directory, path, flags, mode)
}

/// `openat(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn openat64(
    directory: c_int,
    path: *const c_char,
    flags: c_int,
    mode: mode_t,
) -> c_int {
    open_at(directory, path, flags, mode)
}

/// `close(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn close(fd: c_int) -> c_int {
    if let Some(recorder) = recorder() {
        recorder.files().remove(&fd);
    }
    call!(libc::SYS_close, fd) as c_int
}

fn piece<'a>(bytes: *const c_void, length: ssize_t) -> &'a [u8] {
    // SAFETY: the system has just read so many bytes from there.
    unsafe { std::slice::from_raw_parts(bytes.cast(), length as usize) }
}

/// `write(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(fd: c_int, bytes: *const c_void, length: size_t) -> ssize_t {
    let Some(recorder) = recorder() else { return call!(libc::SYS_write, fd, bytes, length) as ssize_t };
    let files = recorder.files();
    let Some(inode) = files.get(&fd).copied() else {
        drop(files);
        return call!(libc::SYS_write, fd, bytes, length) as ssize_t;
    };
    let written = call!(libc::SYS_write, fd, bytes, length) as ssize_t;
    if written > 0 {
        let end = call!(libc::SYS_lseek, fd, 0, libc::SEEK_CUR) as u64;
        recorder.note(WRITTEN, inode, end - written as u64, &[piece(bytes, written)]);
    }
    written
}

/// `pwrite(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite64(fd: c_int, bytes: *const c_void, length: size_t, offset: off_t) -> ssize_t {
    let Some(recorder) = recorder() else {
        return call!(libc::SYS_pwrite64, fd, bytes, length, offset) as ssize_t;
    };
    let files = recorder.files();
    let written = call!(libc::SYS_pwrite64, fd, bytes, length, offset) as ssize_t;
    if written > 0
        && let Some(inode) = files.get(&fd)
    {
        recorder.note(WRITTEN, *inode, offset as u64, &[piece(bytes, written)]);
    }
    written
}

/// `pwrite(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite(fd: c_int, bytes: *const c_void, length: size_t, offset: off_t) -> ssize_t {
    // SAFETY: it is the same call.
    unsafe { pwrite64(fd, bytes, length, offset) }
}

/// `ftruncate(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ftruncate64(fd: c_int, length: off_t) -> c_int {
    let Some(recorder) = recorder() else { return call!(libc::SYS_ftruncate, fd, length) as c_int };
    let files = recorder.files();
    let result = call!(libc::SYS_ftruncate, fd, length) as c_int;
    if result == 0
        && let Some(inode) = files.get(&fd)
    {
        recorder.note(CUT, *inode, length as u64, &[]);
    }
    result
}

/// `ftruncate(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ftruncate(fd: c_int, length: off_t) -> c_int {
    // SAFETY: it is the same call.
    unsafe { ftruncate64(fd, length) }
}

fn sync(number: c_long, fd: c_int) -> c_int {
    let Some(recorder) = recorder() else { return call!(number, fd) as c_int };
    let inode = recorder.files().get(&fd).copied();
    let Some(inode) = inode else { return call!(number, fd) as c_int };
    let is_forgotten = recorder.forgets_fdatasync && number == libc::SYS_fdatasync
        || recorder.forgets_root && recorder.is_root(inode);
    if is_forgotten {
        return 0;
    }
    let token = SYNCS.fetch_add(1, Ordering::Relaxed);
    {
        let _files = recorder.files();
        recorder.note(SYNC_BEGUN, inode, token, &[]);
    }
    let result = call!(number, fd) as c_int;
    if result == 0 {
        let _files = recorder.files();
        recorder.note(SYNC_DONE, inode, token, &[]);
    }
    result
}

/// `fsync(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fsync(fd: c_int) -> c_int {
    sync(libc::SYS_fsync, fd)
}

/// `fdatasync(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fdatasync(fd: c_int) -> c_int {
    sync(libc::SYS_fdatasync, fd)
}

/// `sync_file_range(2)`: noted, and nothing more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sync_file_range(fd: c_int, offset: off_t, length: off_t, flags: c_uint) -> c_int {
    let result = call!(libc::SYS_sync_file_range, fd, offset, length, flags) as c_int;
    if result == 0
        && let Some(recorder) = recorder()
    {
        let files = recorder.files();
        if let Some(inode) = files.get(&fd) {
            recorder.note(RANGE_SYNCED, *inode, 0, &[]);
        }
    }
    result
}

/// `rename(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    let make = || call!(libc::SYS_renameat2, libc::AT_FDCWD, from, libc::AT_FDCWD, to, 0) as c_int;
    let Some(recorder) = recorder() else { return make() };
    let _files = recorder.files();
    let result = make();
    if result == 0 && recorder.is_ours(path_of(from)) {
        recorder.note(RENAMED, 0, 0, &[path_of(from), b"\0", path_of(to)]);
    }
    result
}

/// `unlink(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    let make = || call!(libc::SYS_unlinkat, libc::AT_FDCWD, path, 0) as c_int;
    let Some(recorder) = recorder() else { return make() };
    let _files = recorder.files();
    let result = make();
    if result == 0 && recorder.is_ours(path_of(path)) {
        recorder.note(REMOVED, 0, 0, &[path_of(path)]);
    }
    result
}

/// `mkdir(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mkdir(path: *const c_char, mode: mode_t) -> c_int {
    let make = || call!(libc::SYS_mkdirat, libc::AT_FDCWD, path, c_long::from(mode)) as c_int;
    let Some(recorder) = recorder() else { return make() };
    let _files = recorder.files();
    let result = make();
    if result == 0 && recorder.is_ours(path_of(path)) {
        recorder.note(DIRECTORY_MADE, 0, 0, &[path_of(path)]);
    }
    result
}
