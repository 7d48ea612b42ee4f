//! Bodies: verifies the shards of the drives of a walk, block by block, and writes them anew from the others.
//!
//! The file of a shard is replaced, never written in place: its sound blocks may be needed until the new file is whole,
//! its own among them. One in a volume is written where it lies, all at once, and what was sound of it as it was. A
//! body that is removed meanwhile stays until its rebuilding ends, and goes then.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use store::CopyState;

use super::tally::Tally;
use super::walk::{Target, Walk};
use crate::drive::{AlignedBytes, BLOCK_BYTES, ShardReader, ShardWriter};
use crate::index::lookup;
use crate::location::Place;
use crate::member::Member;
use crate::payload::is_silence;
use crate::set::Set;
use crate::shards::{self, CRC_BYTES, ExtentWriter, Pin, block_crc, shard_header};

/// Bytes of a shard read at a time, past the page cache: 512 KiB.
const WINDOW_BYTES: usize = 512 * 1024;

/// How it stands with a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Restored {
    Whole,
    /// Some of it is damaged on more drives than parity makes up for.
    Lost,
    /// No drive has a file of it: it was removed meanwhile.
    Gone,
}

impl Walk<'_> {
    /// Verifies one body on `targets` and rebuilds what is not sound; whether it did, on all of them. `key` names it;
    /// without one it may have been removed.
    pub(super) fn body(&mut self, key: Option<&Bytes>, place: &Place, targets: &[Target]) -> bool {
        let _pin = Pin::new(Arc::clone(&self.set), Arc::clone(&self.pins), place);
        if key.is_some_and(|key| !self.names(key, place)) || !self.set.volumes.has(place) {
            return false;
        }
        let set = Arc::clone(&self.set);
        let mut lacking = Vec::new();
        for target in targets {
            let member = &set.members[target.position];
            if !member.is_written() {
                continue;
            }
            self.count(shards::shard_bytes(place) / targets.len() as u64);
            if !self.is_sound(place, target.position) {
                lacking.push(target.position);
            }
        }
        if self.looking.is_some() {
            self.note_body(key.map(|key| &key[..]), place, &lacking);
            return false;
        }
        if lacking.is_empty() || lacking.len() < self.degree {
            return false;
        }
        let what = format!("body {}", place.id.to_name());
        match self.restore_body(place, &lacking) {
            Restored::Whole => {
                let (left, written): (Vec<usize>, Vec<usize>) =
                    lacking.iter().partition(|position| self.unwritten >> **position & 1 == 1);
                self.note_damage(&written, &what, true);
                self.note_damage(&left, &what, false);
                left.is_empty()
            }
            // Removed, or about to be: the pin keeps it only if the removal had not begun.
            Restored::Gone => false,
            Restored::Lost if key.is_none_or(|key| !self.names(key, place)) => {
                let lacking = lacking.iter().fold(0, |mask, position| mask | 1 << position);
                self.set.bodies.drop_short(lacking);
                false
            }
            Restored::Lost => {
                self.note_damage(&lacking, &what, false);
                let key = key.map(|key| String::from_utf8_lossy(key).into_owned()).unwrap_or_default();
                self.note_lost(format!("{what} of {key}"));
                false
            }
        }
    }

    /// Whether a key names a body.
    fn names(&self, key: &Bytes, place: &Place) -> bool {
        let location = place.to_location();
        let stored = lookup::get(&self.set, key);
        // While the index cannot tell, it may.
        stored.map_or(true, |stored| stored.is_some_and(|stored| stored.locations.contains(&location)))
    }

    /// Whether a drive has the whole shard, every block of it sound on the medium.
    fn is_sound(&mut self, place: &Place, position: usize) -> bool {
        self.copy_of_body(place, position, true) == CopyState::Whole
    }

    /// How a drive holds a shard: whether there is one of its size with its header, or every block of it is sound on
    /// the medium.
    pub(super) fn copy_of_body(&mut self, place: &Place, position: usize, is_deep: bool) -> CopyState {
        let mut file = match ShardFile::open(&self.set, position, place) {
            Ok(Some(file)) => file,
            Ok(None) => return CopyState::Missing,
            Err(_) => return CopyState::Damaged,
        };
        if !is_deep {
            file.window = Some(AlignedBytes::zeroed(BLOCK_BYTES));
        }
        let column = place.column_on(position);
        let header = shard_header(self.set.id, place, column);
        let is_sound = file.size_bytes == shards::shard_bytes(place)
            && file.bytes(0, header.len()).is_some_and(|found| found == header)
            && (!is_deep
                || (0..shards::stripes(place)).all(|stripe| {
                    // Nothing is said of what is not looked at to its end.
                    !self.look_on(shards::block_bytes(place, stripe) as u64)
                        || file.block(place, column, stripe).is_some()
                }));
        if is_sound { CopyState::Whole } else { CopyState::Damaged }
    }

    /// The shards of a body that drives have, by column.
    fn files(&self, place: &Place) -> Vec<Option<ShardFile>> {
        let mut files: Vec<Option<ShardFile>> = self.set.members.iter().map(|_| None).collect();
        for member in self.set.written() {
            let file = ShardFile::open(&self.set, member.position, place).ok().flatten();
            files[place.column_on(member.position)] = file;
        }
        files
    }

    /// Whether what drives have of a body gives back all of it.
    pub(super) fn is_rebuildable(&self, place: &Place) -> bool {
        let mut files = self.files(place);
        (0..shards::stripes(place)).all(|stripe| self.stripe(place, &mut files, stripe).is_some())
    }

    /// Writes the shards that drives lack.
    fn restore_body(&mut self, place: &Place, lacking: &[usize]) -> Restored {
        let set = Arc::clone(&self.set);
        let what = format!("body {}", place.id.to_name());
        let mut files = self.files(place);
        if files.iter().all(Option::is_none) {
            return Restored::Gone;
        }
        let mut writers = Vec::new();
        for position in lacking {
            let header = shard_header(set.id, place, place.column_on(*position));
            let made = ShardBeingWritten::make(&set, *position, place);
            match made.and_then(|mut writer| writer.append(header.to_vec()).map(|()| writer)) {
                Ok(writer) => writers.push(writer),
                Err(error) => self.fail(*position, &what, &error),
            }
        }
        let mut lost = false;
        for stripe in 0..shards::stripes(place) {
            let columns = self.stripe(place, &mut files, stripe);
            lost |= columns.is_none();
            let block_bytes = shards::block_bytes(place, stripe);
            let mut failed = Vec::new();
            for writer in &mut writers {
                let column = place.column_on(writer.position);
                let block = match &columns {
                    Some(columns) => {
                        let crc = block_crc(place.id, column, stripe, &columns[column]);
                        [&crc.to_le_bytes()[..], &columns[column]].concat()
                    }
                    // A hole that says so.
                    None => {
                        let block = vec![0; block_bytes];
                        let crc = !block_crc(place.id, column, stripe, &block);
                        [&crc.to_le_bytes()[..], &block].concat()
                    }
                };
                if let Err(error) = writer.append(block) {
                    failed.push((writer.position, error));
                }
            }
            for (position, error) in failed {
                writers.retain(|writer| writer.position != position);
                self.fail(position, &what, &error);
            }
        }
        for mut writer in writers {
            let position = writer.position;
            // One that is in keeps what it has of a body with holes.
            if lost && set.members[position].is_online() {
                continue;
            }
            match writer.sync() {
                Ok(()) => {
                    Tally::add(&self.tally.bytes_healed, shards::shard_bytes(place));
                    self.tally.touch(&*self.set.clock);
                }
                Err(error) => self.fail(position, &what, &error),
            }
        }
        if lost { Restored::Lost } else { Restored::Whole }
    }

    /// All columns of a stripe; `None` when too few are sound.
    fn stripe(&self, place: &Place, files: &mut [Option<ShardFile>], stripe: u64) -> Option<Vec<Vec<u8>>> {
        let geometry = place.geometry;
        let mut columns = vec![None; geometry.drives()];
        for (column, file) in files.iter_mut().enumerate() {
            if columns.iter().flatten().count() == geometry.data {
                break;
            }
            columns[column] = file.as_mut().and_then(|file| file.block(place, column, stripe));
        }
        self.set.codec.rebuild(&mut columns).then(|| columns.into_iter().flatten().collect())
    }
}

/// A shard being written, by errands.
struct ShardBeingWritten {
    set: Arc<Set>,
    place: Place,
    position: usize,
    /// `None` when its drive did not answer, or failed.
    writer: Option<Box<dyn ShardWriter>>,
}

impl ShardBeingWritten {
    fn make(set: &Arc<Set>, position: usize, place: &Place) -> io::Result<ShardBeingWritten> {
        let id = place.id;
        let writer: Box<dyn ShardWriter> = match place.extent {
            Some(extent) => Box::new(ExtentWriter::new(&set.members[position], extent)),
            None => set.patiently(position, move |member| member.drive()?.replace_shard(id))?,
        };
        Ok(ShardBeingWritten { set: Arc::clone(set), place: *place, position, writer: Some(writer) })
    }

    fn append(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        self.write(move |writer| writer.append(&bytes))
    }

    fn sync(&mut self) -> io::Result<()> {
        self.write(|writer| writer.sync())
    }

    fn write(
        &mut self,
        run: impl FnOnce(&mut dyn ShardWriter) -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        let mut writer = self.writer.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let written = self.set.patiently(self.position, move |_| {
            run(&mut *writer)?;
            Ok(writer)
        });
        if written.as_ref().is_err_and(is_silence) {
            self.set.volumes.haunt(&self.place);
        }
        self.writer = Some(written?);
        Ok(())
    }
}

/// A shard, read in order and past the page cache, by errands.
struct ShardFile {
    set: Arc<Set>,
    position: usize,
    reader: Arc<dyn ShardReader>,
    size_bytes: u64,
    /// What was read last, and from where on.
    window: Option<AlignedBytes>,
    start: u64,
    length: usize,
}

impl ShardFile {
    /// `None` where there is none.
    fn open(set: &Arc<Set>, position: usize, place: &Place) -> io::Result<Option<ShardFile>> {
        let place = *place;
        let open = move |member: &Member| {
            let Some(reader) = shards::open_shard(member, &place)? else {
                return Ok(None);
            };
            let size_bytes = reader.size_bytes()?;
            Ok(Some((reader, size_bytes)))
        };
        let found = set.patiently(position, open)?;
        Ok(found.map(|(reader, size_bytes)| ShardFile {
            set: Arc::clone(set),
            position,
            reader,
            size_bytes,
            window: None,
            start: 0,
            length: 0,
        }))
    }

    /// Bytes of the file, at most a window less a block; `None` where they cannot be read.
    fn bytes(&mut self, offset: u64, length: usize) -> Option<&[u8]> {
        let end = offset + length as u64;
        if offset < self.start || end > self.start + self.length as u64 {
            self.start = offset - offset % BLOCK_BYTES as u64;
            self.length = 0;
            let (reader, start) = (Arc::clone(&self.reader), self.start);
            let mut window = self.window.take().unwrap_or_else(|| AlignedBytes::zeroed(WINDOW_BYTES));
            let read = self.set.patiently(self.position, move |_| {
                let length = reader.read_medium_at(start, &mut window)?;
                Ok((window, length))
            });
            let (window, length) = read.ok()?;
            (self.window, self.length) = (Some(window), length);
        }
        let at = usize::try_from(offset - self.start).ok()?;
        self.window.as_ref()?[..self.length].get(at..at + length)
    }

    /// A block, if it is sound.
    fn block(&mut self, place: &Place, column: usize, stripe: u64) -> Option<Vec<u8>> {
        let length = shards::block_bytes(place, stripe);
        let bytes = self.bytes(shards::block_offset(stripe), CRC_BYTES + length)?;
        let (crc, block) = bytes.split_first_chunk::<CRC_BYTES>()?;
        (block_crc(place.id, column, stripe, block) == u64::from_le_bytes(*crc)).then(|| block.to_vec())
    }
}
