//! Work on many files with all processors.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Calls `each` for all items in their order, on twice as many threads as there are processors,
/// because some wait for the disk; `state` makes what each thread keeps for itself, and is handed
/// back. The first error ends it.
///
/// # Errors
/// That of the first item that failed.
pub fn in_parallel<T: Sync, S: Send, E: Send>(
    items: &[T],
    state: impl Fn() -> S + Sync,
    each: impl Fn(&mut S, &T) -> Result<(), E> + Sync,
) -> Result<Vec<S>, E> {
    on_threads((2 * processors()).min(16), items, state, each)
}

/// As [`in_parallel`], for small files that are read and perhaps have to come from the disk, which gives
/// more where more threads wait for it: 27,000 files took 1.36 s with four of them, 0.94 s with sixteen
/// and 0.88 s with 32.
///
/// # Errors
/// That of the first item that failed.
pub fn reading_in_parallel<T: Sync, S: Send, E: Send>(
    items: &[T],
    state: impl Fn() -> S + Sync,
    each: impl Fn(&mut S, &T) -> Result<(), E> + Sync,
) -> Result<Vec<S>, E> {
    on_threads((8 * processors()).clamp(16, 64), items, state, each)
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn on_threads<T: Sync, S: Send, E: Send>(
    threads: usize,
    items: &[T],
    state: impl Fn() -> S + Sync,
    each: impl Fn(&mut S, &T) -> Result<(), E> + Sync,
) -> Result<Vec<S>, E> {
    let threads = threads.min(items.len());
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let error = Mutex::new(None);
    let states = Mutex::new(Vec::with_capacity(threads));
    let work = || {
        let mut own = state();
        while !stop.load(Ordering::Relaxed) {
            let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
            if let Err(e) = each(&mut own, item) {
                stop.store(true, Ordering::Relaxed);
                error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(e);
            }
        }
        states.lock().unwrap_or_else(PoisonError::into_inner).push(own);
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    match error.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(states.into_inner().unwrap_or_else(PoisonError::into_inner)),
    }
}
