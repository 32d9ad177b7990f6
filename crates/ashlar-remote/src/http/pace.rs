//! How slowly a body may come before it counts as standing still.

use std::time::Duration;

use super::client::Fault;

/// The least that must come, in bytes per second of waiting, over a window as long as a stall. What
/// is slower than this would keep somebody waiting for hours who asked for a few megabytes.
const RATE: u32 = 1024;

/// Watches one body. Only time spent waiting counts: who reads slowly is no fault of the sender.
#[derive(Debug)]
pub(super) struct Pace {
    window: Duration,
    waited: Duration,
    came: u64,
}

impl Pace {
    /// Of a body that has not begun; `window` is for how long nothing may come.
    pub fn new(window: Duration) -> Self {
        Self { window, waited: Duration::ZERO, came: 0 }
    }

    /// So many bytes came after so long a wait.
    ///
    /// # Errors
    /// [`Fault::Slow`] when a whole window brought too little.
    pub fn after(&mut self, waited: Duration, bytes: usize) -> Result<(), Fault> {
        self.waited += waited;
        self.came += bytes as u64;
        if self.waited < self.window {
            return Ok(());
        }
        let least = self.waited.as_secs_f64() * f64::from(RATE);
        if (self.came as f64) < least {
            return Err(Fault::Slow { bytes: self.came, waited: self.waited });
        }
        *self = Self::new(self.window);
        Ok(())
    }
}
