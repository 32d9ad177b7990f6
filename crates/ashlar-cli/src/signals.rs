//! Interrupts: the first one stops the build and keeps what finished, the second one ends the
//! program at once.

use std::time::{Duration, Instant};

use ashlar_execute::Cancel;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// After how long programs that fetch (git, apt) are ended: sandboxes end at once.
const PATIENCE: Duration = Duration::from_secs(1);

/// After how long the program ends although something still waits: a server that says nothing.
const LIMIT: Duration = Duration::from_secs(4);

/// Lets SIGINT, SIGTERM and SIGHUP set `cancel`. What finished may still be sent for the time of
/// `sending` before the program ends in any case.
pub fn cancel_on_signals(cancel: &Cancel, sending: Duration) {
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM, SIGHUP]) else {
        // Without handlers a signal ends the program, and the kernel ends the sandboxes.
        return;
    };
    let cancel = cancel.clone();
    std::thread::spawn(move || {
        for signal in signals.forever() {
            if cancel.is_cancelled() {
                end_children();
                std::process::exit(128 + signal);
            }
            cancel.cancel();
            std::thread::spawn(move || {
                std::thread::sleep(PATIENCE);
                // More than once: who fails to fetch may try another way.
                let until = Instant::now() + LIMIT.saturating_sub(PATIENCE);
                while Instant::now() < until {
                    end_children();
                    std::thread::sleep(Duration::from_millis(100));
                }
                std::thread::sleep(sending);
                // Whatever could end in time has ended the program by now.
                end_children();
                eprintln!(
                    "stopped while something was being fetched or sent: everything that finished is \
                     kept, and the next build goes on from there"
                );
                std::process::exit(5);
            });
        }
    });
}

/// Lets SIGINT, SIGTERM and SIGHUP set `cancel`, and nothing else: what runs is told, and waited for.
pub fn cancel_only(cancel: &Cancel) {
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM, SIGHUP]) else {
        // Without handlers a signal ends the program alone.
        return;
    };
    let cancel = cancel.clone();
    std::thread::spawn(move || signals.forever().for_each(|_| cancel.cancel()));
}

/// Ends every process that this one started, and theirs, as far as /proc shows them.
fn end_children() {
    let parents: Vec<(i32, i32)> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            // After the name, which may hold anything, come the state and the parent.
            let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
            Some((pid, parent))
        })
        .collect();
    let mut family = vec![i32::try_from(std::process::id()).unwrap_or_default()];
    let mut at = 0;
    while at < family.len() {
        let above = family[at];
        family.extend(parents.iter().filter(|(_, parent)| *parent == above).map(|(pid, _)| *pid));
        at += 1;
    }
    for pid in family.into_iter().skip(1) {
        if let Some(pid) = rustix::process::Pid::from_raw(pid) {
            // It may have ended by itself.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}
