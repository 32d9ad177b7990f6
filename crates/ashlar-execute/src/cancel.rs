//! A flag that stops a build and wakes whatever waits.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{EventfdFlags, eventfd};

/// A flag that is raised once; clones share it.
///
/// Whoever waits polls the descriptor together with what it waits for, so that a wait ends the
/// moment the flag is raised.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    raised: AtomicBool,
    /// Becomes readable when the flag is raised. Absent when the process has no descriptor left;
    /// waits then look at the flag from time to time.
    bell: Option<OwnedFd>,
}

impl Default for Inner {
    fn default() -> Self {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok();
        Self { raised: AtomicBool::new(false), bell }
    }
}

impl Cancel {
    /// A flag that is not raised.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Raises the flag. It is never lowered again.
    pub fn cancel(&self) {
        self.0.raised.store(true, Ordering::SeqCst);
        if let Some(bell) = &self.0.bell {
            // It can only fail when the counter is full, and then the descriptor is readable.
            let _ = rustix::io::write(bell, &1_u64.to_ne_bytes());
        }
    }

    /// Whether the flag is raised.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.raised.load(Ordering::SeqCst)
    }

    /// A descriptor that is readable once the flag is raised.
    pub(crate) fn bell(&self) -> Option<BorrowedFd<'_>> {
        self.0.bell.as_ref().map(AsFd::as_fd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    #[test]
    fn clones_share_the_flag_and_waits_wake_up() {
        let cancel = Cancel::new();
        let other = cancel.clone();
        let waiter = std::thread::spawn(move || {
            let bell = other.bell().expect("a descriptor");
            let long = Timespec { tv_sec: 20, tv_nsec: 0 };
            let ready = poll(&mut [PollFd::new(&bell, PollFlags::IN)], Some(&long)).unwrap();
            (ready, other.is_cancelled())
        });
        assert!(!cancel.is_cancelled());
        cancel.cancel();
        cancel.cancel();
        assert_eq!(waiter.join().unwrap(), (1, true));
    }
}
