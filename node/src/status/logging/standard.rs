//! Standard output and error, which may be full pipes without a reading process.
//!
//! The descriptors are written to directly: the standard library holds a lock while it waits in a write, and every
//! other thread that prints would wait for it too.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use std::io;
use std::time::{Duration, Instant};

/// A pipe that has any room has room for so many bytes, so a write of them does not wait.
const STEP_BYTES: usize = 4_096;

pub use rustix::stdio::{stderr, stdout};

/// Writes all bytes, and waits for room as long as it takes.
pub fn write(to: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            // Another process that shares the descriptor may have made it non-blocking.
            Err(Errno::AGAIN) => wait_for_room(to, None)?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Writes the bytes, or as many as find room within `patience`. An error cannot be reported.
pub fn write_within(to: BorrowedFd<'_>, mut bytes: &[u8], patience: Duration) {
    let deadline = Instant::now() + patience;
    while !bytes.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        if wait_for_room(to, Some(left)).is_err() {
            return;
        }
        match rustix::io::write(to, &bytes[..bytes.len().min(STEP_BYTES)]) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR | Errno::AGAIN) if !left.is_zero() => {}
            Err(_) => return,
        }
    }
}

/// Waits until a write finds room; an error when none has come within `patience`.
fn wait_for_room(to: BorrowedFd<'_>, patience: Option<Duration>) -> io::Result<()> {
    let timeout = patience.and_then(|patience| Timespec::try_from(patience).ok());
    let mut polled = [PollFd::from_borrowed_fd(to, PollFlags::OUT)];
    match poll(&mut polled, timeout.as_ref()) {
        Ok(0) => Err(io::ErrorKind::TimedOut.into()),
        Ok(_) | Err(Errno::INTR) if polled[0].revents().contains(PollFlags::OUT) => Ok(()),
        Ok(_) => Err(io::ErrorKind::BrokenPipe.into()),
        Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::AsFd;

    #[test]
    fn a_full_pipe_ends_the_wait() {
        let (mut reader, writer) = io::pipe().expect("descriptors");
        let line = vec![b'x'; 1 << 20];
        write_within(writer.as_fd(), &line, Duration::ZERO);
        drop(writer);
        let mut found = Vec::new();
        reader.read_to_end(&mut found).expect("the pipe is ours");
        assert!(!found.is_empty() && found.len() < line.len(), "{}", found.len());
    }

    #[test]
    fn a_pipe_without_a_reader_is_an_error() {
        let (reader, writer) = io::pipe().expect("descriptors");
        drop(reader);
        assert!(write(writer.as_fd(), b"line\n").is_err());
        write_within(writer.as_fd(), b"line\n", Duration::from_secs(60));
    }
}
