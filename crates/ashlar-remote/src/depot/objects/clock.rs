//! The clock of a server, from the `Date` of its answers.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use reqwest::header::{DATE, HeaderMap, LAST_MODIFIED};

/// What time it was there, and when it was said.
#[derive(Debug, Default)]
pub(super) struct Clock(Mutex<Option<(Instant, SystemTime)>>);

impl Clock {
    /// Takes the time from an answer.
    pub fn hear(&self, headers: &HeaderMap) {
        if let Some(time) = headers.get(DATE).and_then(|value| parse(value.to_str().ok()?)) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), time));
        }
    }

    /// What time it is there now, if anything was heard.
    pub fn now(&self) -> Option<SystemTime> {
        let heard = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.map(|(when, time)| time + when.elapsed())
    }
}

/// When something was last changed, as an answer says. Where it does not say, it is old: whoever
/// relies on it makes it young.
pub(super) fn modified(headers: &HeaderMap) -> SystemTime {
    (headers.get(LAST_MODIFIED).and_then(|value| parse(value.to_str().ok()?)))
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

/// A time as HTTP writes it.
pub(super) fn parse(text: &str) -> Option<SystemTime> {
    let time = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text.trim()).ok()?;
    let seconds = u64::try_from(time.as_second()).ok()?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

/// A name that nobody else has.
pub(super) fn unique() -> String {
    use std::hash::{BuildHasher as _, Hasher as _, RandomState};
    // The seeds of hashers are the only randomness of the standard library.
    let dice = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", dice(), dice() ^ u64::from(std::process::id()))
}

/// Waits a little, differently long each time, so that those who met do not meet again; longer with
/// each round.
pub(super) fn back_off(round: u32) {
    use std::hash::{BuildHasher as _, Hasher as _, RandomState};
    let most = (20_u64 << round.min(5)).min(500);
    std::thread::sleep(Duration::from_millis(
        5 + RandomState::new().build_hasher().finish() % most,
    ));
}
