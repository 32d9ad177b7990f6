//! Which moment each kept time becomes.

use std::time::Duration;

use ashlar_object::{MOMENT, Meta, Node, Time, Tree};
use rustix::time::{ClockId, clock_gettime};

use super::Times;

/// Nanoseconds between two ranks: more than what any file system in use and any program that
/// reads times as floating point numbers rounds away.
const STEP: i64 = 1_000;

/// The present time.
pub(super) fn now() -> Time {
    read(ClockId::Realtime)
}

/// The present time as the kernel writes it into files: behind by up to a step of its clock.
fn by_files() -> Time {
    read(ClockId::RealtimeCoarse)
}

fn read(clock: ClockId) -> Time {
    let now = clock_gettime(clock);
    Time { seconds: now.tv_sec, nanos: u32::try_from(now.tv_nsec).unwrap_or_default() }
}

/// The time that a tree has for an entry.
pub(super) fn kept(meta: &Meta) -> Option<Time> {
    meta.extra.as_ref().and_then(|extra| extra.mtime)
}

/// The moments of one placing.
#[derive(Debug)]
pub(super) struct Moments {
    begin: Time,
    /// The distinct kept times, sorted; empty when all get the same.
    ranks: Vec<Time>,
}

impl Moments {
    /// To be called before anything is looked at.
    pub fn begin(tree: &Tree, times: Times) -> Self {
        if times == Times::Fresh {
            return Self { begin: now(), ranks: Vec::new() };
        }
        let mut ranks = vec![Time { seconds: MOMENT, nanos: 0 }];
        tree.walk(|entry| match entry.node {
            Node::File(file) => ranks.extend(kept(&file.meta)),
            Node::Symlink(link) => ranks.extend(kept(&link.meta)),
            Node::Fifo(meta) => ranks.extend(kept(meta)),
            Node::Dir(dir) => ranks.extend(kept(dir.meta())),
            Node::Whiteout => {}
        });
        ranks.sort_unstable();
        ranks.dedup();
        Self { begin: now(), ranks }
    }

    /// The moment for a kept time; `None` for the present as the kernel sees it.
    pub fn of(&self, kept: Option<Time>) -> Option<Time> {
        if self.ranks.is_empty() {
            return None;
        }
        let kept = kept.unwrap_or(Time { seconds: MOMENT, nanos: 0 });
        let rank = self.ranks.partition_point(|time| *time < kept);
        Some(self.at(rank))
    }

    /// The first rank is one step after the beginning: newer than what was there.
    fn at(&self, rank: usize) -> Time {
        let steps = i64::try_from(rank).unwrap_or(i64::MAX / STEP - 1).saturating_add(1);
        let nanos = steps.saturating_mul(STEP).saturating_add(i64::from(self.begin.nanos));
        let seconds = self.begin.seconds.saturating_add(nanos.div_euclid(1_000_000_000));
        Time { seconds, nanos: u32::try_from(nanos.rem_euclid(1_000_000_000)).unwrap_or_default() }
    }

    /// Waits until files made from now on are not older than the last moment: a step of the
    /// kernel's clock at most, and nothing at all after a placing that took longer.
    pub fn wait(&self) {
        let Some(last) = self.ranks.len().checked_sub(1).map(|rank| self.at(rank)) else { return };
        while by_files() < last {
            std::thread::sleep(Duration::from_micros(500));
        }
    }
}
