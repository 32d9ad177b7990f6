//! Interrupts: the first one stops the build and keeps what finished, the second one ends the
//! program at once.

use ashlar_execute::Cancel;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Lets SIGINT, SIGTERM and SIGHUP set `cancel`.
pub fn cancel_on_signals(cancel: &Cancel) {
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM, SIGHUP]) else {
        // Without handlers a signal ends the program, and the kernel ends the sandboxes.
        return;
    };
    let cancel = cancel.clone();
    std::thread::spawn(move || {
        for signal in signals.forever() {
            if cancel.is_cancelled() {
                std::process::exit(128 + signal);
            }
            cancel.cancel();
        }
    });
}
