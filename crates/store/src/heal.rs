//! What an engine's healing reports of itself, for operators: progress, counters, what is short.

/// Healing, repair and scrubbing of one set. Counters begin when the set is opened.
///
/// What is short is what is known to be: what a drive lost without telling is found by reads and by the scrub, and by a
/// verification.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealReport {
    /// Paths of the drives that are being healed: they hold part of what they should.
    pub healing: Vec<String>,
    /// When the heal that runs began, nanoseconds since 1970.
    pub began_ns: u64,
    /// How far the heal that runs is, on all the drives that are being healed.
    pub progress: Share,
    /// Of the heal that runs: bytes that were looked at on each of the drives being healed.
    pub bytes_done: u64,
    /// Of the heal that runs: objects that the drives being healed hold their parts of. They are short all the same
    /// until the drives take part again.
    pub objects_done: u64,
    /// Objects of the set: everything that has a key.
    pub objects: u64,
    /// Objects of which a drive lacks its part. Zero says that everything is whole on every drive.
    pub objects_short: u64,
    /// By number of drives, from none to as many as there is parity: objects that outlive the loss of so many more
    /// and of no more. What is missing of [`HealReport::objects`] cannot be read.
    pub redundancy: Vec<u64>,
    /// Objects that healing and scrubbing looked at.
    pub objects_seen: u64,
    /// Objects of which a part was rebuilt, with those that were replaced since.
    pub objects_healed: u64,
    /// Bytes that were rebuilt and written.
    pub bytes_healed: u64,
    /// How far the round of the scrub is; whole between two rounds.
    pub scrub: Share,
    /// When a round of the scrub last went over everything, also before the set was opened, seconds since 1970; zero if
    /// none ever did.
    pub scrubbed_s: u64,
    /// Bytes that were read back from the drives and verified by scrubbing.
    pub bytes_scrubbed: u64,
    /// Scrubs that went over everything.
    pub scrubs: u64,
    /// Parts found missing or damaged on a drive that should hold them.
    pub damages_found: u64,
    /// Of those, how many were rebuilt.
    pub damages_repaired: u64,
    /// Files of bodies removed that no key names.
    pub orphans_removed: u64,
    /// Drives that were brought up and take part again.
    pub drives_healed: u64,
    /// Nanoseconds since 1970 of the last time something was healed or scrubbed; zero before.
    pub last_activity_ns: u64,
    /// Parts that more drives have damaged than parity makes up for. They are refused, never served.
    pub lost: u64,
    /// The first hundred of them.
    pub lost_names: Vec<String>,
}

/// How much of something is done, in batches of the journal and keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// What is done.
    pub done: u64,
    /// What there is to do.
    pub total: u64,
}

impl Share {
    /// From 0 to 1; of nothing all is done.
    #[expect(clippy::cast_precision_loss, reason = "a share of some 2^53 is as good as exact")]
    pub fn ratio(self) -> f64 {
        if self.total == 0 { 1.0 } else { self.done.min(self.total) as f64 / self.total as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::Share;

    #[test]
    fn a_share_is_between_nothing_and_all() {
        let ratio = |done, total| Share { done, total }.ratio();
        assert_eq!([ratio(0, 4), ratio(1, 4), ratio(5, 4), ratio(0, 0)], [0.0, 0.25, 1.0, 1.0]);
    }
}
