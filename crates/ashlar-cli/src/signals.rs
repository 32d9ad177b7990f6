//! Interrupts: the first one stops the build and keeps what finished, the second one ends the
//! program at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ashlar_execute::Cancel;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// After how long programs that fetch (git, apt) are ended: sandboxes end at once.
const PATIENCE: Duration = Duration::from_secs(1);

/// For how long they are ended: who fails to fetch may try another way.
const INSISTENCE: Duration = Duration::from_secs(3);

/// Lets SIGINT, SIGTERM and SIGHUP set `cancel`. What finished may still be sent for the time of
/// `sending` before the program ends in any case, even though something still waits: a server that
/// says nothing.
pub fn cancel_on_signals(cancel: &Cancel, sending: Duration) {
    cancel_with_grace(cancel, Duration::ZERO, sending);
}

/// As [`cancel_on_signals`], where commands have some time to end by themselves.
pub fn cancel_with_grace(cancel: &Cancel, grace: Duration, sending: Duration) {
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
                std::thread::sleep(grace + PATIENCE);
                let until = Instant::now() + INSISTENCE;
                while Instant::now() < until {
                    end_children();
                    std::thread::sleep(Duration::from_millis(100));
                }
                std::thread::sleep(sending);
                // Whatever could end in time has ended the program by now.
                end("stopped while something was being fetched or sent");
            });
        }
    });
}

/// Ends the program some time after a budget is over, whatever it still waits for: what is asked
/// ends before. `begun` says whether there is anything that could be left half sent.
pub fn end_after(deadline: Instant, last: Instant, begun: &Arc<AtomicBool>) {
    let begun = Arc::clone(begun);
    std::thread::spawn(move || {
        std::thread::sleep((deadline + PATIENCE).saturating_duration_since(Instant::now()));
        if !begun.load(Ordering::SeqCst) {
            end("out of time before anything was begun");
        }
        let last = last + PATIENCE + INSISTENCE;
        std::thread::sleep(last.saturating_duration_since(Instant::now()));
        end("out of time while something was being fetched or sent");
    });
}

fn end(why: &str) {
    end_children();
    eprintln!("{why}: everything that finished is kept, and the next build goes on from there");
    std::process::exit(5);
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
