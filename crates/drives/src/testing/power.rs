//! The power of one machine, and how it goes.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::change::Change;
use super::timeline::{Timeline, Underway};

/// The power of one machine.
#[derive(Debug)]
pub struct Power {
    steps: AtomicU64,
    limit: AtomicU64,
    lost: AtomicBool,
    pub(super) seed: u64,
    timeline: Option<Arc<Timeline>>,
}

/// What becomes of a step.
#[derive(PartialEq, Eq)]
pub(super) enum Step {
    Done,
    /// Power goes while it is under way; the number decides what is left of it.
    Cut(u64),
}

impl Power {
    /// Power that never fails.
    pub fn steady() -> Arc<Power> {
        Power::losing_power_after(u64::MAX, 0)
    }

    /// Power that fails during the step after `steps` whole ones; `seed` decides what is left of it.
    pub fn losing_power_after(steps: u64, seed: u64) -> Arc<Power> {
        Arc::new(Power {
            steps: AtomicU64::new(0),
            limit: AtomicU64::new(steps),
            lost: AtomicBool::new(false),
            seed,
            timeline: None,
        })
    }

    /// Power that never fails; everything done to the drives is written down.
    pub fn recorded(timeline: &Arc<Timeline>) -> Arc<Power> {
        Arc::new(Power {
            steps: AtomicU64::new(0),
            limit: AtomicU64::new(u64::MAX),
            lost: AtomicBool::new(false),
            seed: 0,
            timeline: Some(Arc::clone(timeline)),
        })
    }

    /// Whether it failed.
    pub fn was_lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst)
    }

    /// Steps so far.
    pub fn steps(&self) -> u64 {
        self.steps.load(Ordering::SeqCst)
    }

    /// Lets it fail at the next step.
    pub fn cut(&self) {
        self.cut_after(0);
    }

    /// Lets it fail during the step after `steps` more whole ones: among those of several drives that write at once.
    pub fn cut_after(&self, steps: u64) {
        self.limit.store(self.steps() + steps, Ordering::SeqCst);
    }

    pub(super) fn step(&self) -> io::Result<Step> {
        self.check()?;
        let step = self.steps.fetch_add(1, Ordering::SeqCst);
        if step < self.limit.load(Ordering::SeqCst) {
            return Ok(Step::Done);
        }
        if self.lost.swap(true, Ordering::SeqCst) {
            return Err(off());
        }
        Ok(Step::Cut(mix(self.seed ^ mix(step))))
    }

    pub(super) fn record_begin(&self, drive: &str, change: &Change) -> Option<Underway> {
        self.timeline.as_ref().map(|timeline| timeline.begin(drive, change))
    }

    pub(super) fn check(&self) -> io::Result<()> {
        if self.was_lost() { Err(off()) } else { Ok(()) }
    }
}

pub(super) fn off() -> io::Error {
    io::Error::other("the power is off")
}

/// Splits one number into many: the finalizer of splitmix64.
pub(super) fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}
