//! A set of faulty drives, and a look at their frames.

use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::TryStreamExt;
use store::{
    Batch, BucketName, Change, ChangeKind, DriveState, Engine, EngineError, Entry, Location, Mutation,
    PartitionId, Precondition, Put, Sequence, StageHint, SystemClock,
};
use tidings_drives::testing::{FaultyDrive, Power};
use tidings_drives::{Given, Healing, LocalEngine, OpenError};

pub(crate) const SET: PartitionId = PartitionId(0);

/// Opens the drives that are there, under the default parity. A drive that is out stays out: what is tested is what
/// the set makes of it, before any healing.
pub(crate) fn open(drives: &[FaultyDrive], present: &[usize]) -> Result<Arc<LocalEngine>, OpenError> {
    let healing = Healing { look_every: Duration::from_secs(3600), ..Healing::default() };
    LocalEngine::open_healing(given(drives, present), None, Arc::new(SystemClock), healing)
}

/// The drives as they are given, those of `present` as they are found and the others absent.
pub(crate) fn given(drives: &[FaultyDrive], present: &[usize]) -> Vec<Given> {
    drives
        .iter()
        .enumerate()
        .map(|(position, drive)| if present.contains(&position) { drive.given() } else { drive.absent() })
        .collect()
}

pub(crate) fn open_all(drives: &[FaultyDrive]) -> Result<Arc<LocalEngine>, OpenError> {
    open(drives, &(0..drives.len()).collect::<Vec<_>>())
}

/// Segments of 256 KiB: a history fills several, and a state is read in little time.
pub(crate) fn with_small_segments(drives: Vec<FaultyDrive>) -> Vec<FaultyDrive> {
    drives.into_iter().map(|drive| drive.with_segments_of(256 * 1024)).collect()
}

/// Drives whose gates open when a test ends, however it ends: an engine that stops waits for the frames before them.
pub(crate) struct Gated(pub Vec<FaultyDrive>);

impl Deref for Gated {
    type Target = [FaultyDrive];

    fn deref(&self) -> &[FaultyDrive] {
        &self.0
    }
}

impl Drop for Gated {
    fn drop(&mut self) {
        self.0.iter().for_each(|drive| drive.gate_frames(false));
    }
}

/// All drives as they are found when power returns.
pub(crate) fn restarted(drives: &[FaultyDrive]) -> Vec<FaultyDrive> {
    let power = Power::steady();
    drives.iter().map(|drive| drive.restarted(&power)).collect()
}

/// A set of `count` drives on which `keys` were committed one by one, each a batch of its own, and that then
/// stopped without a seal.
pub(crate) async fn drives_with(count: usize, keys: &[&str], size: usize) -> Vec<FaultyDrive> {
    let drives = FaultyDrive::machine(count, &Power::steady());
    let engine = open_all(&drives).unwrap();
    for (seed, key) in keys.iter().enumerate() {
        put(&engine, key, body(size, seed)).await.unwrap();
    }
    stopped_without_a_seal(&drives, engine).await
}

/// The drives of a set that stops when every drive has the last commit, before anything says so.
pub(crate) async fn stopped_without_a_seal(
    drives: &[FaultyDrive],
    engine: Arc<LocalEngine>,
) -> Vec<FaultyDrive> {
    all_written(drives).await;
    drop(engine);
    // A slow machine comes to the seal before the end.
    for drive in drives {
        while frames(drive).pop().is_some_and(|frame| !frame.commits) {
            lose(drive, 1);
        }
    }
    restarted(drives)
}

/// Waits until every drive has its frames: an acknowledgement waits for the quorum alone.
pub(crate) async fn all_written(drives: &[FaultyDrive]) {
    wait_until(|| {
        let lasts: Vec<Option<u64>> =
            drives.iter().map(|drive| frames(drive).pop().map(|frame| frame.batch)).collect();
        lasts.iter().all(|last| last.is_some() && *last == lasts[0])
    })
    .await;
}

/// Scrubs all the time, as fast as it can.
pub(crate) fn always_scrubbing(look_every: Duration) -> Healing {
    Healing {
        look_every,
        pause_max: Duration::from_millis(100),
        scrub_within: Duration::ZERO,
        scrub_bytes_per_second_min: 1 << 30,
        orphans_after: Duration::ZERO,
        ..Healing::default()
    }
}

/// Waits for a condition, at most a minute.
pub(crate) async fn wait_until(condition: impl Fn() -> bool) {
    wait_until_or(condition, || "what was waited for did not happen".to_owned()).await;
}

/// Waits likewise, and says at the end of the minute what `otherwise` does.
pub(crate) async fn wait_until_or(condition: impl Fn() -> bool, otherwise: impl Fn() -> String) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "{}", otherwise());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub(crate) fn body(size: usize, seed: usize) -> Bytes {
    (0..size).map(|at| (at * 31 + seed * 7 + at / 251) as u8).collect()
}

/// A put of a key together with the change that tells of it.
pub(crate) fn put_batch(key: &str, payload: Bytes) -> Batch {
    let put = Put { key: Bytes::copy_from_slice(key.as_bytes()), payload, ..Put::default() };
    Batch { mutations: vec![Mutation::Put(put)], changes: vec![change(key)], ..Batch::default() }
}

pub(crate) fn change(key: &str) -> Change {
    Change {
        sequence: Sequence::ZERO,
        time_ms: 0,
        kind: ChangeKind::Put,
        bucket: BucketName::new("album").unwrap(),
        key: key.into(),
        version: None,
        object: None,
        origin: None,
        targets: Vec::new(),
        rules: Vec::new(),
    }
}

pub(crate) async fn put(engine: &LocalEngine, key: &str, payload: Bytes) -> Result<Sequence, EngineError> {
    engine.commit(SET, put_batch(key, payload)).await.map(|committed| committed.sequence)
}

pub(crate) async fn put_new(
    engine: &LocalEngine,
    key: &'static str,
    payload: Bytes,
) -> Result<Sequence, EngineError> {
    let absent = Precondition::Absent(Bytes::from_static(key.as_bytes()));
    let batch = Batch { preconditions: vec![absent], ..put_batch(key, payload) };
    engine.commit(SET, batch).await.map(|committed| committed.sequence)
}

pub(crate) async fn get(engine: &LocalEngine, key: &str) -> Result<Option<Bytes>, EngineError> {
    Ok(engine.get(SET, key.as_bytes()).await?.map(|entry: Entry| entry.payload))
}

/// The keys that changes tell of, in order.
pub(crate) async fn told(engine: &LocalEngine) -> Vec<String> {
    let changes = engine.changes(SET, Sequence::ZERO, 10_000).await.unwrap();
    assert!(changes.is_sorted_by(|one, other| one.sequence < other.sequence));
    changes.into_iter().map(|change| change.key.clone()).collect()
}

pub(crate) async fn stage(engine: &LocalEngine, body: &Bytes) -> Result<Location, EngineError> {
    let mut stage = engine.stage(SET, StageHint::default()).await?;
    stage.write(body.clone()).await?;
    stage.finish().await
}

/// Whether a staged body lies in a volume: only then its location says where.
pub(crate) fn is_in_volume(location: &Location) -> bool {
    location.0[0] == 2
}

/// Waits until bodies that are staged go into volumes: that is when stock was taken, and a volume made.
pub(crate) async fn fill_volumes(engine: &LocalEngine) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let location = stage(engine, &body(140_000, 0)).await.unwrap();
        let filled = is_in_volume(&location);
        engine.reclaim(location).await.unwrap();
        if filled {
            return;
        }
        assert!(Instant::now() < deadline, "no body went into a volume");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub(crate) async fn read(engine: &LocalEngine, location: &Location, size: u64) -> Result<Bytes, EngineError> {
    let pieces: Vec<Bytes> = engine.read(location, 0..size).await?.try_collect().await?;
    Ok(pieces.concat().into())
}

pub(crate) fn offline(engine: &LocalEngine) -> Vec<String> {
    let report = engine.report();
    report
        .drives
        .into_iter()
        .filter(|drive| drive.state != DriveState::Online)
        .map(|drive| drive.path)
        .collect()
}

/// A frame on a drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FrameSeen {
    pub file: String,
    pub offset: usize,
    pub batch: u64,
    /// Whether it holds commits, and is no seal or first frame of an epoch.
    pub commits: bool,
    pub meta_bytes: usize,
    pub column_bytes: usize,
    /// Bytes to where the next one may begin.
    pub slot_bytes: usize,
}

impl FrameSeen {
    /// Bytes of header, metadata and column.
    pub(crate) fn bytes(&self) -> usize {
        256 + self.meta_bytes + self.column_bytes
    }

    /// Bytes it takes on its drive.
    pub(crate) fn written_bytes(&self) -> usize {
        self.bytes().next_multiple_of(4096)
    }
}

/// The frames of a drive's first segment, in order.
pub(crate) fn frames(drive: &FaultyDrive) -> Vec<FrameSeen> {
    frames_of(drive, 0)
}

/// The frames of a segment, in order; offsets as tabled in `docs/formats.md`.
pub(crate) fn frames_of(drive: &FaultyDrive, segment: u32) -> Vec<FrameSeen> {
    let file = format!("log/{segment:08}.seg");
    let bytes = drive.bytes(&file);
    let short = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    (0..bytes.len())
        .step_by(4096)
        .filter(|offset| &bytes[*offset..*offset + 8] == b"TIDINGSB")
        .map(|offset| FrameSeen {
            file: file.clone(),
            offset,
            batch: u64::from_le_bytes(bytes[offset + 80..offset + 88].try_into().unwrap()),
            commits: bytes[offset + 24] == 0,
            meta_bytes: short(offset + 44),
            column_bytes: short(offset + 12),
            slot_bytes: short(offset + 40),
        })
        .collect()
}

/// Takes the last `count` frames off a drive, as if it had never been written them.
pub(crate) fn lose(drive: &FaultyDrive, count: usize) {
    for frame in frames(drive).iter().rev().take(count) {
        drive.damage(&frame.file, frame.offset as u64, &vec![0; frame.bytes()]);
    }
}

/// Leaves of the last frame of a drive its first sector alone.
pub(crate) fn tear(drive: &FaultyDrive) {
    let frame = frames(drive).pop().unwrap();
    drive.damage(&frame.file, frame.offset as u64 + 512, &vec![0; frame.bytes() - 512]);
}
