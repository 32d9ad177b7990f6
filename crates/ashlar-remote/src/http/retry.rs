//! What is worth another attempt, after how long, and when to give up: the same for everything that
//! goes over a network.

use std::error::Error;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

use ashlar_store::{RemoteError, Watch};

/// How an attempt failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The next attempt may go well: no connection, a cut or stalled one, 408, 425, 429, 500, 502,
    /// 503, 504.
    Transient {
        /// What happened.
        source: Box<dyn Error + Send + Sync>,
        /// When the other side wants to be asked again.
        after: Option<Duration>,
    },
    /// The next attempt would fail in the same way.
    Lasting(RemoteError),
}

impl Failure {
    /// Something that may go well the next time.
    pub fn transient(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Transient { source: source.into(), after: None }
    }
}

impl From<RemoteError> for Failure {
    fn from(error: RemoteError) -> Self {
        Self::Lasting(error)
    }
}

/// How often and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    /// How many attempts without any progress.
    pub attempts: u32,
    /// The wait after the first failure; each further one is twice as long.
    pub first: Duration,
    /// The longest wait that is not asked for by the other side.
    pub longest: Duration,
    /// No attempt begins later than this after the first one, or after the last progress.
    pub total: Duration,
}

impl Policy {
    /// Five attempts, with waits of about 0.2, 0.4, 0.8 and 1.6 s between them.
    pub fn within(total: Duration) -> Self {
        Self {
            attempts: 5,
            first: Duration::from_millis(200),
            longest: Duration::from_secs(5),
            total,
        }
    }
}

/// The attempts at one thing.
#[derive(Debug)]
pub(crate) struct Patience {
    policy: Policy,
    place: String,
    failed: u32,
    since: Instant,
}

/// All attempts failed.
#[derive(Debug, thiserror::Error)]
#[error("{last} (after {attempts} {})", if *attempts == 1 { "attempt" } else { "attempts" })]
pub(crate) struct GivenUp {
    /// How many there were since the last progress.
    pub attempts: u32,
    /// How the last one failed.
    pub last: Box<dyn Error + Send + Sync>,
}

impl Patience {
    /// Before the first attempt.
    pub fn new(policy: Policy, place: &str) -> Self {
        Self { policy, place: place.to_owned(), failed: 0, since: Instant::now() }
    }

    /// Something went forward: what comes now is tried as often as if it were the beginning.
    pub fn progress(&mut self) {
        self.failed = 0;
        self.since = Instant::now();
    }

    /// From now on as patient as this.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// Something moves, though nothing that had not been there before.
    pub fn alive(&mut self) {
        self.since = Instant::now();
    }

    /// Waits until it is time for the next attempt.
    ///
    /// # Errors
    /// When there is none: the failure is lasting, there were enough, or `watch` says stop.
    pub fn after(
        &mut self,
        failure: Failure,
        watch: Option<&Watch<'_>>,
    ) -> Result<(), RemoteError> {
        let (source, told) = match failure {
            Failure::Lasting(error) => return Err(error),
            Failure::Transient { source, after } => (source, after),
        };
        self.failed += 1;
        let wait = told.map_or_else(|| self.back_off(), |told| told.max(self.back_off() / 2));
        if self.failed >= self.policy.attempts || self.since.elapsed() + wait > self.policy.total {
            return Err(RemoteError::Unreachable {
                place: self.place.clone(),
                source: Box::new(GivenUp { attempts: self.failed, last: source }),
            });
        }
        pause(wait, watch)
    }

    /// Twice as long after each failure, and between half of it and all of it, so that those who
    /// failed together do not come again together.
    fn back_off(&self) -> Duration {
        let doublings = self.failed.saturating_sub(1).min(16);
        let full = self.policy.first.saturating_mul(1 << doublings).min(self.policy.longest);
        // The seed of a hasher is the only randomness of the standard library.
        let dice = RandomState::new().build_hasher().finish() % 1024;
        full / 2 + full.mul_f64(dice as f64 / 2048.0)
    }
}

/// Tries until it goes well, fails for good, or has been tried enough. The attempt is told how many
/// there were before it.
///
/// # Errors
/// As [`Patience::after`].
pub(crate) fn run<T>(
    policy: Policy,
    place: &str,
    watch: Option<&Watch<'_>>,
    mut attempt: impl FnMut(u32) -> Result<T, Failure>,
) -> Result<T, RemoteError> {
    let mut patience = Patience::new(policy, place);
    for number in 0.. {
        match attempt(number) {
            Ok(done) => return Ok(done),
            Err(failure) => patience.after(failure, watch)?,
        }
    }
    Err(RemoteError::Stopped)
}

/// Sleeps, in steps so short that being stopped is noticed.
fn pause(wait: Duration, watch: Option<&Watch<'_>>) -> Result<(), RemoteError> {
    let until = Instant::now() + wait;
    loop {
        if watch.is_some_and(|watch| !(watch.go_on)()) {
            return Err(RemoteError::Stopped);
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(Duration::from_millis(50)));
    }
}

/// The statuses that are worth another attempt. 501, 505 and 507 are not: they say what will stay.
pub(crate) fn is_transient(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

/// What `Retry-After` says: seconds, or a date.
pub(crate) fn retry_after(value: &str) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
    let left = at.duration_since(jiff::Timestamp::now());
    Some(Duration::try_from(left).unwrap_or_default())
}
