//! Names of staged bodies: the id of a shard and the location a commit keeps.
//!
//! A location says everything a read needs: which drives hold the body, its size and its geometry. It is
//! `Location` above the engine and means nothing there.

use store::Location;

use crate::quorum::Geometry;

/// Names the shards of one staged body: random, and the epoch that made it, so that what an earlier epoch
/// left behind can be told from what is being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId {
    /// Drawn at random.
    pub random: u64,
    /// The epoch in which it was staged.
    pub epoch: u64,
}

impl ShardId {
    /// 32 hexadecimal digits, the random ones first: they also spread the files over folders.
    pub fn to_name(self) -> String {
        format!("{:016x}{:016x}", self.random, self.epoch)
    }

    /// Reads what [`ShardId::to_name`] wrote.
    pub fn from_name(name: &str) -> Option<ShardId> {
        let (random, epoch) = (name.get(..16)?, name.get(16..)?);
        let id = ShardId {
            random: u64::from_str_radix(random, 16).ok()?,
            epoch: u64::from_str_radix(epoch, 16).ok()?,
        };
        (id.to_name() == name).then_some(id)
    }

    /// The folder it lies in: the first four digits of its name.
    pub fn folder(self) -> u16 {
        u16::try_from(self.random >> 48).expect("sixteen bits are left")
    }

    /// Sixteen bytes, as in shard headers and locations.
    pub(crate) fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.random.to_le_bytes());
        bytes[8..].copy_from_slice(&self.epoch.to_le_bytes());
        bytes
    }
}

/// Where a shard lies in the volumes: at the same place on every drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Extent {
    /// Number of the volume.
    pub volume: u32,
    /// Where it begins, in blocks of 4 KiB.
    pub block: u32,
}

/// A staged body: where it lies and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Names its shards, and the files of one that has no extent.
    pub id: ShardId,
    /// `None` for files.
    pub extent: Option<Extent>,
    /// Size of the body in bytes.
    pub size_bytes: u64,
    /// Data and parity it was written with.
    pub geometry: Geometry,
    /// Bit p is set when the drive of position p held its shard, synced, when it was finished.
    pub holders: u16,
}

/// The first byte of a location whose shards are files.
const IN_FILES: u8 = 1;

/// … and of one whose shards lie in volumes.
const IN_VOLUMES: u8 = 2;

/// Encoded size of what both have, in bytes.
const PLACE_BYTES: usize = 29;

/// … and of an extent behind it.
const EXTENT_BYTES: usize = 8;

impl Place {
    pub(crate) fn to_location(self) -> Location {
        let mut bytes = Vec::with_capacity(PLACE_BYTES + EXTENT_BYTES);
        bytes.push(if self.extent.is_some() { IN_VOLUMES } else { IN_FILES });
        bytes.extend_from_slice(&self.id.to_bytes());
        bytes.extend_from_slice(&self.size_bytes.to_le_bytes());
        bytes.push(u8::try_from(self.geometry.data).expect("a set has at most 16 drives"));
        bytes.push(u8::try_from(self.geometry.parity).expect("a set has at most 16 drives"));
        bytes.extend_from_slice(&self.holders.to_le_bytes());
        if let Some(Extent { volume, block }) = self.extent {
            bytes.extend_from_slice(&volume.to_le_bytes());
            bytes.extend_from_slice(&block.to_le_bytes());
        }
        debug_assert!(bytes.len() <= Location::BYTES_MAX);
        Location(bytes)
    }

    /// `None` when the bytes are not a location of this engine.
    pub(crate) fn from_location(location: &Location) -> Option<Place> {
        let (bytes, rest) = location.0.split_first_chunk::<PLACE_BYTES>()?;
        let extent = match (bytes[0], rest.as_chunks::<4>()) {
            (IN_FILES, ([], [])) => None,
            (IN_VOLUMES, ([volume, block], [])) => {
                Some(Extent { volume: u32::from_le_bytes(*volume), block: u32::from_le_bytes(*block) })
            }
            _ => return None,
        };
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let geometry = Geometry { data: usize::from(bytes[25]), parity: usize::from(bytes[26]) };
        let sound = geometry.data > 0 && geometry.drives() <= Geometry::DRIVES_MAX;
        sound.then(|| Place {
            id: ShardId { random: word(1), epoch: word(9) },
            extent,
            size_bytes: word(17),
            geometry,
            holders: u16::from_le_bytes([bytes[27], bytes[28]]),
        })
    }

    /// The column that lies on the drive of `position`; rotated so that parity spreads over all drives.
    pub(crate) fn column_on(&self, position: usize) -> usize {
        let drives = self.geometry.drives();
        (position + drives - (self.id.random % drives as u64) as usize) % drives
    }

    /// The drive that holds `column`.
    pub(crate) fn drive_of(&self, column: usize) -> usize {
        let drives = self.geometry.drives();
        (column + (self.id.random % drives as u64) as usize) % drives
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_its_location_and_strange_bytes_are_none() {
        let in_files = Place {
            id: ShardId { random: 0x0123_4567_89ab_cdef, epoch: 7 },
            extent: None,
            size_bytes: 5 << 30,
            geometry: Geometry { data: 12, parity: 4 },
            holders: 0xfff7,
        };
        let in_volumes = Place { extent: Some(Extent { volume: 9, block: 0x0001_0203 }), ..in_files };
        for place in [in_files, in_volumes] {
            let location = place.to_location();
            assert_eq!(Place::from_location(&location), Some(place));
            for length in 0..location.0.len() {
                assert_eq!(Place::from_location(&Location(location.0[..length].to_vec())), None);
            }
        }
        let mut other = in_files.to_location();
        other.0[0] = IN_VOLUMES;
        assert_eq!(Place::from_location(&other), None);
        for column in 0..16 {
            assert_eq!(in_files.column_on(in_files.drive_of(column)), column);
        }
    }
}
