//! What a waiting process has in its memory, and where its descriptors lead.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use libc::iovec;

/// Longer paths are refused by the kernel.
const PATH_MAX: usize = 4096;
/// The smallest page: memory is there or not by pages.
const PAGE: usize = 4096;
/// Most paths end within so many bytes.
const FIRST: usize = 192;

/// Reads a text that ends with a zero, or says that there is none: then the call fails too.
///
/// # Errors
///
/// When the process may not be looked into.
pub(super) fn text(thread: u32, address: u64) -> io::Result<Option<OsString>> {
    let mut text = Vec::new();
    let Ok(mut address) = usize::try_from(address) else {
        return Ok(None);
    };
    let mut buffer = [0; PAGE];
    while text.len() < PATH_MAX {
        let wanted = if text.is_empty() { FIRST } else { PAGE };
        // What lies beyond the end of a page may not be there.
        let count = wanted.min(PAGE - address % PAGE);
        let read = match read(thread, address, &mut buffer[..count]) {
            Err(cause) if cause.raw_os_error() == Some(libc::EFAULT) => return Ok(None),
            read => read?,
        };
        if let Some(end) = buffer[..read].iter().position(|byte| *byte == 0) {
            text.extend_from_slice(&buffer[..end]);
            return Ok(Some(OsString::from_vec(text)));
        }
        text.extend_from_slice(&buffer[..read]);
        address += read;
    }
    Ok(None)
}

/// Reads exactly so many bytes, or says that they are not there.
///
/// # Errors
///
/// When the process may not be looked into.
pub(super) fn bytes<const N: usize>(thread: u32, address: u64) -> io::Result<Option<[u8; N]>> {
    let mut bytes = [0; N];
    let Ok(address) = usize::try_from(address) else {
        return Ok(None);
    };
    match read(thread, address, &mut bytes) {
        Ok(count) => Ok((count == N).then_some(bytes)),
        Err(cause) if cause.raw_os_error() == Some(libc::EFAULT) => Ok(None),
        Err(cause) => Err(cause),
    }
}

/// As [`bytes`], as many as the call says.
pub(super) fn some(thread: u32, address: u64, count: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    let Ok(address) = usize::try_from(address) else {
        return Ok(Vec::new());
    };
    match read(thread, address, &mut bytes) {
        Ok(count) => bytes.truncate(count),
        Err(cause) if cause.raw_os_error() == Some(libc::EFAULT) => bytes.clear(),
        Err(cause) => return Err(cause),
    }
    Ok(bytes)
}

#[expect(unsafe_code, reason = "nothing safe offers process_vm_readv(2)")]
fn read(thread: u32, address: usize, buffer: &mut [u8]) -> io::Result<usize> {
    let local = iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    let remote = iovec {
        iov_base: address as *mut _,
        iov_len: buffer.len(),
    };
    let thread = libc::pid_t::try_from(thread).map_err(io::Error::other)?;
    // SAFETY: it writes to the local buffer alone, which is as long as it says; the kernel checks the other address.
    let count = unsafe { libc::process_vm_readv(thread, &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// Returns where a thread's working directory, root or descriptor is; `None`: it leads to nothing that has a path.
///
/// # Errors
///
/// When the process may not be looked into.
pub(super) fn link(thread: u32, name: &Path) -> io::Result<Option<PathBuf>> {
    let own = Path::new("/proc").join(thread.to_string());
    let target = match std::fs::read_link(own.join(name)) {
        // A descriptor that is not open: the call fails too. Unless the whole process is hidden.
        Err(cause) if cause.kind() == io::ErrorKind::NotFound && own.exists() => return Ok(None),
        target => target?,
    };
    let bytes = target.as_os_str().as_bytes();
    if !bytes.starts_with(b"/") || bytes.starts_with(b"/memfd:") {
        return Ok(None);
    }
    // What was removed goes by this name, which may also be somebody's own.
    let is_removed = bytes.ends_with(b" (deleted)") && std::fs::symlink_metadata(&target).is_err();
    Ok((!is_removed).then_some(target))
}

/// Returns the process that a thread belongs to, if it has one number only: it is in this process's namespace.
pub(super) fn process(thread: u32) -> Option<u32> {
    let status = std::fs::read(format!("/proc/{thread}/status")).ok()?;
    let line = |name: &[u8]| {
        let line = status
            .split(|byte| *byte == b'\n')
            .find(|line| line.starts_with(name))?;
        std::str::from_utf8(&line[name.len()..]).ok()
    };
    let spaces = line(b"NSpid:")?.split_whitespace().count();
    let process = line(b"Tgid:")?.trim().parse().ok()?;
    (spaces == 1).then_some(process)
}

/// Whether a thread is one of this process.
#[expect(unsafe_code, reason = "nothing safe offers tgkill(2)")]
pub(super) fn is_own(thread: u32) -> bool {
    let process = rustix::process::getpid().as_raw_nonzero().get();
    // SAFETY: it takes numbers only. No signal is sent: it says whether the thread is one of the process.
    unsafe { libc::syscall(libc::SYS_tgkill, process, thread, 0) == 0 }
}

/// Whether `/proc` shows this process under the number that it knows itself by.
pub(super) fn is_shown(thread: u32) -> bool {
    std::fs::symlink_metadata(format!("/proc/self/task/{thread}")).is_ok()
}

/// Whether two numbers are of threads of one process.
pub(super) fn are_together(thread: u32, other: &OsStr) -> bool {
    std::fs::symlink_metadata(
        Path::new("/proc")
            .join(thread.to_string())
            .join("task")
            .join(other),
    )
    .is_ok()
}
