//! Taking stock: which extents of the volumes are free is what no key names.
//!
//! It is done once after a start, when a body first asks for an extent or gives one
//! back, or when space is short. Until then bodies are
//! files, and what is free in volumes stays allocated.

use super::Heal;
use super::pace::Ended;

impl Heal {
    pub(super) fn take_stock(&self) -> Result<(), Ended> {
        if !self.set.volumes.wants_stock(self.set.is_short()) {
            return Ok(());
        }
        self.set.volumes.begin_stock();
        let mut named = Vec::new();
        self.each_body(|place| named.extend(place.extent.is_some().then_some(place)))?;
        let bodies = named.len();
        // Who pins a body after this finds out whether it still has its extent.
        if self.pins.with_pinned(|read| self.set.volumes.end_stock(named, read)) {
            tracing::debug!(bodies, "It is known what is free in the volumes.");
        }
        Ok(())
    }
}
