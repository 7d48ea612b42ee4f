//! What the machine can do without a server: hashing, encoding, and the drives as the journal uses them.

use std::fs::File;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::fs::{Mode, OFlags};
use rustix::io::{ReadWriteFlags, pwritev2};
use tidings_drives::columns::Codec;
use tidings_drives::{Geometry, LocalEngine, Options as EngineOptions};
use tidings_s3::digest::{BodyDigest, Md5Pool, UploadDigest};
use tidings_store::{Batch, Engine as _, Mutation, PartitionId, Put, SystemClock};

use crate::Outcome;
use crate::options::{LARGE, Options};
use crate::requests::Body;
use crate::table::{LARGE_PUT_LIMIT, Report};

/// Drives of the sets measured.
const DRIVES: usize = 4;

/// Data and parity columns of four drives.
const GEOMETRY: Geometry = Geometry { data: 2, parity: 2 };

/// How long one limit is measured.
const PERIOD: Duration = Duration::from_millis(1500);

/// What a direct write is aligned to, in bytes.
const ALIGNMENT: usize = 4096;

/// Length of the files that are appended to again and again, in bytes: 64 MiB.
const FILE_BYTES: usize = 64 << 20;

/// How much of a large body is hashed, encoded and written at once, in bytes: 1 MiB.
const PIECE_BYTES: usize = 1 << 20;

/// Large bodies at once.
const LARGE_AT_ONCE: usize = 4;

/// Bodies whose MD5 is computed at once, where that alone is measured.
const POOLED_BODIES: usize = 16;

/// Writers of the commits of 1 KiB.
const WRITERS: u64 = 64;

/// Measures all limits but the echo server's.
///
/// # Errors
///
/// What the system says.
pub(crate) async fn measure(options: &Options, report: &mut Report) -> Outcome<()> {
    let folder = tempfile::Builder::new().prefix("tidings-limits").tempdir_in(&options.folder)?;
    let per_s = |bytes: f64| bytes / f64::from(1 << 20);
    report.figure("MD5 of 1 KiB bodies, one thread", md5_rate(1 << 10), "a second");
    report.figure("MD5 of 64 MiB bodies, one thread", per_s(md5_rate(LARGE) * LARGE as f64), "MiB/s");
    report.figure("MD5 of 64 MiB bodies, 16 at once in lock step", per_s(md5_pool_rate()?), "MiB/s");
    report.figure("encode 2+2, columns of 64 KiB, one thread", per_s(encode_rate()), "MiB/s");
    for (name, bytes) in [
        ("raw append of 4 KiB to each of 4 files, direct and synced", 4 << 10),
        ("raw append of 64 KiB to each of 4 files, direct and synced", 64 << 10),
    ] {
        report.figure(name, append_rate(folder.path(), bytes)?, "rounds a second");
    }
    report.figure(LARGE_PUT_LIMIT, per_s(large_rate(folder.path())?), "MiB/s");
    let (rate, cpu_us) = commit_rate(folder.path().join("set"))?;
    report.figure("commits of 1 KiB through the journal, 64 writers", rate, "a second");
    report.figure("… and the processor time of one", cpu_us, "µs");
    Ok(())
}

/// Repeats a thing until the period is over: how often a second.
fn rate_of(mut thing: impl FnMut()) -> f64 {
    let began = Instant::now();
    let mut count = 0_u32;
    while began.elapsed() < PERIOD {
        thing();
        count += 1;
    }
    f64::from(count) / began.elapsed().as_secs_f64()
}

/// Bodies of this size a second, hashed as the server hashes one body that comes alone.
fn md5_rate(size_bytes: usize) -> f64 {
    let body = Body::noise(size_bytes);
    rate_of(|| {
        let mut digest = BodyDigest::new(false, None);
        digest.update(body.bytes());
        std::hint::black_box(digest.finish());
    })
}

/// Bytes a second of bodies hashed side by side, as the server hashes concurrent uploads.
fn md5_pool_rate() -> Outcome<f64> {
    let body = Body::noise(LARGE);
    let pool = Md5Pool::of_all_cores();
    let began = Instant::now();
    let counts: Result<Vec<usize>, String> = side_by_side(POOLED_BODIES, || {
        let mut count = 0;
        while began.elapsed() < PERIOD {
            let digest = UploadDigest::new(&pool, None);
            waiting()?.block_on(async {
                let mut digest = digest;
                for piece in pieces(body.bytes()) {
                    digest.update(piece).await;
                }
                std::hint::black_box(digest.finish().await);
            });
            count += 1;
        }
        Ok(count)
    });
    let bodies: usize = counts?.into_iter().sum();
    Ok(bodies as f64 * LARGE as f64 / began.elapsed().as_secs_f64())
}

/// Does a thing on so many threads at once; what each of them gave.
fn side_by_side<T: Send>(
    count: usize,
    thing: impl Fn() -> Result<T, String> + Sync,
) -> Result<Vec<T>, String> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|_| scope.spawn(&thing)).collect();
        threads.into_iter().map(|thread| thread.join().map_err(|_| "a thread panicked".to_owned())?).collect()
    })
}

/// A runtime for a thread that waits for the pool.
fn waiting() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_current_thread().build().map_err(|error| error.to_string())
}

/// A body in pieces of [`PIECE_BYTES`], none copied.
fn pieces(body: &Bytes) -> impl Iterator<Item = Bytes> + '_ {
    (0..body.len()).step_by(PIECE_BYTES).map(|at| body.slice(at..body.len().min(at + PIECE_BYTES)))
}

/// Bytes of data encoded a second.
fn encode_rate() -> f64 {
    let codec = Codec::new(GEOMETRY);
    let column_bytes = 64 << 10;
    let mut columns = vec![vec![7_u8; column_bytes]; DRIVES];
    rate_of(|| codec.encode(std::hint::black_box(&mut columns))) * (GEOMETRY.data * column_bytes) as f64
}

/// A file written directly where the file system can, each write synced before it returns.
struct Raw {
    file: File,
    buffer: Vec<u8>,
    begins: usize,
    offset: usize,
}

impl Raw {
    /// A file whose bytes are written once already, as the journal's segments are.
    fn create(path: &Path, write_bytes: usize) -> Outcome<Raw> {
        let flags = OFlags::CREATE | OFlags::WRONLY;
        let opened = rustix::fs::open(path, flags | OFlags::DIRECT, Mode::from_raw_mode(0o600));
        let opened = opened.or_else(|_| rustix::fs::open(path, flags, Mode::from_raw_mode(0o600)))?;
        let buffer = vec![7_u8; PIECE_BYTES + ALIGNMENT];
        let begins = buffer.as_ptr().align_offset(ALIGNMENT);
        let mut raw = Raw { file: File::from(opened), buffer, begins, offset: 0 };
        for _ in 0..FILE_BYTES / PIECE_BYTES {
            raw.write(PIECE_BYTES, ReadWriteFlags::empty())?;
        }
        raw.file.sync_all()?;
        debug_assert!(FILE_BYTES.is_multiple_of(write_bytes), "writes fill the file");
        Ok(raw)
    }

    /// Writes the next bytes; at the end of the file it begins anew.
    fn write(&mut self, bytes: usize, flags: ReadWriteFlags) -> Outcome<()> {
        let piece = &self.buffer[self.begins..self.begins + bytes];
        let written = pwritev2(&self.file, &[IoSlice::new(piece)], self.offset as u64, flags)?;
        if written != bytes {
            return Err("a short write".into());
        }
        self.offset = (self.offset + bytes) % FILE_BYTES;
        Ok(())
    }
}

/// Rounds a second in which every one of four files got so many bytes more, all synced.
fn append_rate(folder: &Path, bytes: usize) -> Outcome<f64> {
    let files: Outcome<Vec<Raw>> =
        (0..DRIVES).map(|number| Raw::create(&folder.join(format!("append{number}")), bytes)).collect();
    let files = files?;
    let barrier = Barrier::new(DRIVES);
    let rates: Vec<Outcome<f64>> = std::thread::scope(|scope| {
        let threads: Vec<_> = files
            .into_iter()
            .map(|mut file| {
                let barrier = &barrier;
                scope.spawn(move || -> Result<f64, String> {
                    // All do as many rounds: as many as the first ones promise to fit the period.
                    let mut rounds = 200;
                    let mut began = Instant::now();
                    for stage in 0..2 {
                        began = Instant::now();
                        for _ in 0..rounds {
                            file.write(bytes, ReadWriteFlags::DSYNC).map_err(|error| error.to_string())?;
                            barrier.wait();
                        }
                        if stage == 0 {
                            rounds = 4_000;
                        }
                    }
                    Ok(f64::from(rounds) / began.elapsed().as_secs_f64())
                })
            })
            .collect();
        threads.into_iter().map(|thread| Ok(thread.join().map_err(|_| "a writer panicked")??)).collect()
    });
    rates.into_iter().next().unwrap_or_else(|| Err("there are no drives".into()))
}

/// Bytes a second of bodies that are hashed, encoded and written to four files each, without any HTTP.
fn large_rate(folder: &Path) -> Outcome<f64> {
    let body = Body::noise(LARGE);
    let pool = Md5Pool::of_all_cores();
    let all: Outcome<Vec<Vec<Raw>>> = (0..LARGE_AT_ONCE)
        .map(|upload| {
            let path = |number| folder.join(format!("large{upload}-{number}"));
            (0..DRIVES).map(|number| Raw::create(&path(number), PIECE_BYTES)).collect()
        })
        .collect();
    let files = Mutex::new(all?);
    let began = Instant::now();
    let uploads = side_by_side(LARGE_AT_ONCE, || {
        let mine = files.lock().map_err(|error| error.to_string())?.pop();
        let mine = mine.ok_or("there are files for each upload")?;
        waiting()?.block_on(large_uploads(mine, body.bytes(), &pool, began))
    })?;
    let bytes = uploads.into_iter().sum::<usize>() as f64 * LARGE as f64;
    Ok(bytes / began.elapsed().as_secs_f64())
}

/// Uploads of one thread until the period is over, twice as long for a second whole body.
async fn large_uploads(
    mut files: Vec<Raw>,
    body: &Bytes,
    pool: &Md5Pool,
    began: Instant,
) -> Result<usize, String> {
    let codec = Codec::new(GEOMETRY);
    let column_bytes = PIECE_BYTES / GEOMETRY.data;
    let mut columns = vec![vec![0_u8; column_bytes]; DRIVES];
    let mut uploads = 0;
    while began.elapsed() < PERIOD * 2 {
        let mut digest = UploadDigest::new(pool, None);
        for piece in pieces(body) {
            for (column, data) in columns.iter_mut().zip(piece.chunks(column_bytes)) {
                column.copy_from_slice(data);
            }
            digest.update(piece).await;
            codec.encode(&mut columns);
            for file in &mut files {
                file.write(column_bytes, ReadWriteFlags::empty()).map_err(|error| error.to_string())?;
            }
        }
        for file in &files {
            file.file.sync_data().map_err(|error| error.to_string())?;
        }
        std::hint::black_box(digest.finish().await);
        uploads += 1;
    }
    Ok(uploads)
}

/// Commits of 1 KiB objects through the engine, without HTTP: how many a second, and the processor time of one
/// in microseconds.
fn commit_rate(folder: PathBuf) -> Outcome<(f64, f64)> {
    let measured = std::thread::spawn(move || -> Result<(f64, f64), String> {
        let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
        let drives = (1..=DRIVES).map(|number| folder.join(format!("d{number}"))).collect();
        let options = EngineOptions { drives, parity: None, clock: Arc::new(SystemClock) };
        let engine = LocalEngine::open(options).map_err(|error| error.to_string())?;
        let process = crate::server::Process(std::process::id());
        let told = |error: Box<dyn std::error::Error>| error.to_string();
        let cpu_s = process.cpu_seconds().map_err(told)?;
        let began = Instant::now();
        let commits = runtime.block_on(commits(&engine, began))?;
        let (took_s, count) = (began.elapsed().as_secs_f64(), f64::from(commits));
        let cpu_s = process.cpu_seconds().map_err(told)? - cpu_s;
        runtime.block_on(engine.shutdown());
        Ok((count / took_s, cpu_s * 1e6 / count))
    });
    Ok(measured.join().map_err(|_| "the engine panicked")??)
}

async fn commits(engine: &Arc<LocalEngine>, began: Instant) -> Result<u32, String> {
    let payload = Body::noise(1 << 10).bytes().clone();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (engine, payload) = (Arc::clone(engine), payload.clone());
            tokio::spawn(async move {
                let mut count = 0_u32;
                while began.elapsed() < PERIOD {
                    let key = Bytes::from(format!("o{writer}/{count}"));
                    let put = Put { key, payload: payload.clone(), ..Put::default() };
                    let batch = Batch { mutations: vec![Mutation::Put(put)], ..Batch::default() };
                    engine.commit(PartitionId(0), batch).await.map_err(|error| error.to_string())?;
                    count += 1;
                }
                Ok::<u32, String>(count)
            })
        })
        .collect();
    let mut count = 0;
    for writer in writers {
        count += writer.await.map_err(|error| error.to_string())??;
    }
    Ok(count)
}
