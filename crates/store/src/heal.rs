//! What an engine's healing reports of itself, for operators: progress, counters, what is short.

/// Healing, repair and scrubbing of one set. Counters begin when the set is opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealReport {
    /// Paths of the drives that are being healed: they hold part of what they should.
    pub healing: Vec<String>,
    /// Objects of the set: everything that has a key.
    pub objects: u64,
    /// Objects of which a drive lacks its part. Zero says that everything is whole on every drive.
    pub objects_short: u64,
    /// Of the heal that runs: objects that were looked at, of [`HealReport::objects`].
    pub objects_done: u64,
    /// Of the heal that runs: bytes that were looked at on the drives being healed.
    pub bytes_done: u64,
    /// Objects of which a part was rebuilt.
    pub objects_healed: u64,
    /// Bytes that were rebuilt and written.
    pub bytes_healed: u64,
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
