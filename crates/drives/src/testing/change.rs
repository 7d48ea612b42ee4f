//! What an engine does to a drive, as values: so that it can be torn, recorded and done again.

use std::sync::Arc;

use super::medium::{Content, File, Medium};

/// Bytes that a medium writes whole or not at all.
pub(super) const SECTOR_BYTES: usize = 512;

/// One call that changes a drive.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// Durable when it returned; while it is under way, any of its sectors may be there.
    Write { name: String, offset: u64, bytes: Arc<[u8]> },
    /// The file is the new one or the old one; durable when it returned.
    Replace { name: String, bytes: Arc<[u8]> },
    /// The file is there with its size or is not; durable when it returned. One that is there stays as it is.
    MakeSegment { name: String, size_bytes: u64 },
    /// The file has the one name or the other; durable when it returned. One that is not there stays so.
    Rename { name: String, to: String },
    /// Zeroes afterwards; while it is under way, any of its sectors may be.
    Punch { name: String, offset: u64, length: u64 },
    /// The name is durable after a sync.
    MakeShard { name: String },
    /// Any of its sectors may be there until a sync that began later returned.
    Append { name: String, offset: u64, bytes: Arc<[u8]> },
    /// Makes what was appended and the name durable.
    Sync { name: String },
    /// The file may come back as long as its folder is not synced, which nobody asks for.
    Remove { name: String },
    /// Somebody empties the drive, or puts a blank one in its place: nothing that was under way on it comes after.
    Empty,
}

impl Change {
    /// Whether less than all of it may happen: it has sectors.
    pub(super) fn sectors(&self) -> usize {
        match self {
            Change::Write { bytes, .. } | Change::Append { bytes, .. } => bytes.len().div_ceil(SECTOR_BYTES),
            Change::Punch { length, .. } => {
                usize::try_from(*length).expect("an extent fits memory").div_ceil(SECTOR_BYTES)
            }
            _ => 0,
        }
    }

    /// Does it to what a running machine sees. `is_kept` says of each sector whether it gets there.
    pub(super) fn apply(&self, medium: &mut Medium, is_kept: impl Fn(usize) -> bool) {
        let files = &mut medium.files;
        match self {
            Change::Write { name, offset, bytes } => {
                let file = files.entry(name.clone()).or_default();
                file.named = true;
                file.note_written(*offset, bytes.len());
                write_sectors(&mut file.current, *offset, bytes, &is_kept);
                write_sectors(&mut file.durable, *offset, bytes, &is_kept);
            }
            Change::Replace { name, bytes } => {
                let mut content = Content::default();
                content.write(0, bytes);
                let file = File { current: content.clone(), durable: content, named: true, rotten: None };
                files.insert(name.clone(), file);
            }
            Change::MakeSegment { name, size_bytes } => {
                let file = files.entry(name.clone()).or_default();
                file.current.size = file.current.size.max(*size_bytes);
                file.durable.size = file.current.size;
                file.named = true;
            }
            Change::Rename { name, to } => {
                if let Some(file) = files.remove(name) {
                    files.insert(to.clone(), file);
                }
            }
            Change::Punch { name, offset, length } => {
                let file = files.entry(name.clone()).or_default();
                let zeroes = vec![0; self.sectors() * SECTOR_BYTES];
                for content in [&mut file.current, &mut file.durable] {
                    write_sectors(content, *offset, &zeroes, &is_kept);
                    content.punch(*offset, *length);
                }
            }
            Change::MakeShard { name } => {
                files.insert(name.clone(), File::default());
            }
            Change::Append { name, offset, bytes } => {
                if let Some(file) = files.get_mut(name) {
                    write_sectors(&mut file.current, *offset, bytes, &is_kept);
                }
            }
            Change::Sync { name } => {
                if let Some(file) = files.get_mut(name) {
                    file.durable = file.current.clone();
                    file.named = true;
                }
            }
            Change::Remove { name } => {
                files.remove(name);
            }
            Change::Empty => *medium = Medium { life: medium.life + 1, ..Medium::default() },
        }
    }

    /// The file it changes.
    pub(super) fn name(&self) -> &str {
        match self {
            Change::Write { name, .. }
            | Change::Replace { name, .. }
            | Change::MakeSegment { name, .. }
            | Change::Rename { name, .. }
            | Change::Punch { name, .. }
            | Change::MakeShard { name }
            | Change::Append { name, .. }
            | Change::Sync { name }
            | Change::Remove { name } => name,
            Change::Empty => "",
        }
    }
}

fn write_sectors(content: &mut Content, offset: u64, bytes: &[u8], is_kept: &impl Fn(usize) -> bool) {
    for (nth, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
        if is_kept(nth) {
            content.write(offset + (nth * SECTOR_BYTES) as u64, sector);
        }
    }
}
