//! Tests of the directory drive on the file system of the tests.

use super::*;
use crate::drive::AlignedBytes;

#[test]
fn a_second_opening_of_one_directory_is_refused_until_the_first_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let first = DirectoryDrive::open(folder.path()).unwrap();
    let second = DirectoryDrive::open(folder.path());
    assert_eq!(second.err().map(|error| error.kind()), Some(io::ErrorKind::WouldBlock));
    drop(first);
    DirectoryDrive::open(folder.path()).unwrap();
}

#[test]
fn what_is_written_to_a_segment_is_read_back_by_both_descriptors() {
    let folder = tempfile::tempdir().unwrap();
    let drive = DirectoryDrive::open(folder.path()).unwrap();
    drive.claim().unwrap();
    let segment = drive.create_segment(0, 65536).unwrap();
    let mut block = AlignedBytes::zeroed(BLOCK_BYTES);
    block.fill(9);
    segment.write_at(8192, &block).unwrap();

    let mut buffered = vec![0; 3];
    segment.read_at(8192, &mut buffered).unwrap();
    let mut medium = AlignedBytes::zeroed(BLOCK_BYTES);
    segment.read_medium_at(8192, &mut medium).unwrap();

    assert_eq!((buffered, medium[4095], segment.size_bytes()), (vec![9; 3], 9, 65536));
}

/// Bytes that this thread has the medium read meanwhile: `proc_pid_io(5)`.
fn read_bytes(run: impl FnOnce()) -> u64 {
    let count = || {
        let said = fs::read_to_string("/proc/thread-self/io").unwrap_or_default();
        said.lines().find_map(|line| line.strip_prefix("read_bytes: ")?.parse().ok()).unwrap_or(0_u64)
    };
    let before = count();
    run();
    count() - before
}

/// Rule 22. Of each kind of file: what is verified comes from the medium every time, also when memory has it, and what
/// is served comes from there once.
#[test]
fn what_is_verified_comes_from_the_medium_every_time_and_what_is_served_from_memory() {
    let folder = tempfile::tempdir().unwrap();
    let drive = DirectoryDrive::open(folder.path()).unwrap();
    drive.claim().unwrap();
    let id = ShardId { random: 7, epoch: 1 };
    let mut writing = drive.create_shard(id).unwrap();
    writing.append(&[2; 10_000]).unwrap();
    writing.sync().unwrap();
    drive.replace("manifest", &[1; 8192]).unwrap();
    let shard = drive.open_shard(id).unwrap().unwrap();
    let segment = drive.create_segment(0, 65536).unwrap();
    let block = || AlignedBytes::zeroed(BLOCK_BYTES);
    segment.write_at(0, &block()).unwrap();
    let past_the_cache = || {
        let file = open_direct(&drive.segment_path(0), false).unwrap();
        file.read_exact_at(&mut block(), 0).unwrap();
    };
    if drive.mode() != Mode::Direct || read_bytes(past_the_cache) == 0 {
        // A file system without such reads, or one whose reads nobody counts.
        return;
    }
    let served: [&dyn Fn(); 3] =
        [&|| segment.read_at(0, &mut block()).unwrap(), &|| shard.read_at(0, &mut block()).unwrap(), &|| {
            assert!(drive.load("manifest").unwrap().is_some())
        }];
    let verified: [&dyn Fn(); 3] = [
        &|| segment.read_medium_at(0, &mut block()).unwrap(),
        &|| assert_eq!(shard.read_medium_at(0, &mut block()).unwrap(), BLOCK_BYTES),
        &|| assert!(drive.load_medium("manifest").unwrap().is_some()),
    ];
    for (serve, verify) in served.into_iter().zip(verified) {
        serve();
        assert_eq!(read_bytes(serve), 0);
        assert!(read_bytes(verify) >= BLOCK_BYTES as u64);
        assert!(read_bytes(verify) >= BLOCK_BYTES as u64);
    }
}

/// What is written at `/dev/full` finds no space.
fn full_at(path: &Path) {
    std::os::unix::fs::symlink("/dev/full", path).unwrap();
}

#[test]
fn a_small_file_on_a_drive_without_space_is_replaced_in_place_and_one_that_is_not_there_finds_no_space() {
    let folder = tempfile::tempdir().unwrap();
    let drive = DirectoryDrive::open(folder.path()).unwrap();
    drive.claim().unwrap();
    drive.replace("identity", &[1; 8192]).unwrap();
    for name in ["identity", "manifest"] {
        full_at(&folder.path().join(format!("{name}.new")));
    }
    drive.replace("identity", &[2; 8192]).unwrap();
    assert_eq!(drive.load("identity").unwrap(), Some(vec![2; 8192]));
    assert_eq!(drive.load_medium("identity").unwrap(), Some(vec![2; 8192]));
    // Neither one that is not there nor one of another size has a place to take.
    for (name, bytes) in [("manifest", &[1; 8192][..]), ("identity", &[3; 16384])] {
        let error = drive.replace(name, bytes).unwrap_err();
        assert!(is_full(&error), "{name}: {error}");
    }
}

#[test]
fn a_drive_without_space_is_taken_into_use_and_written_in_the_way_that_works_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    DirectoryDrive::open(folder.path()).unwrap().claim().unwrap();
    full_at(&folder.path().join("log/probe"));
    let drive = DirectoryDrive::open(folder.path()).unwrap();
    drive.claim().unwrap();
    assert!(drive.mode() == Mode::Flushed);
    // The next time there may be some.
    assert!(!folder.path().join("log/probe").exists());
}

#[test]
fn a_retired_file_that_is_taken_into_use_while_files_are_listed_is_no_fault() {
    let folder = tempfile::tempdir().unwrap();
    let drive = DirectoryDrive::open(folder.path()).unwrap();
    drive.claim().unwrap();
    drive.create_segment(1, 65536).unwrap();
    let (segment, retired) = (drive.segment_path(1), drive.retired_path(1));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                fs::rename(&segment, &retired).unwrap();
                fs::rename(&retired, &segment).unwrap();
            }
        });
        let listed = (0..20_000).try_for_each(|_| drive.segments().map(|_| ()));
        done.store(true, Ordering::Relaxed);
        listed.unwrap();
    });
}

#[test]
fn a_retired_segment_is_no_segment_until_its_file_is_reused_under_another_number() {
    let folder = tempfile::tempdir().unwrap();
    let drive = DirectoryDrive::open(folder.path()).unwrap();
    drive.claim().unwrap();
    let mut block = AlignedBytes::zeroed(BLOCK_BYTES);
    block.fill(9);
    for number in [3, 11] {
        drive.create_segment(number, 65536).unwrap().write_at(4096, &block).unwrap();
    }
    drive.retire_segment(3).unwrap();
    drive.retire_segment(3).unwrap();
    assert!(drive.open_segment(3).unwrap().is_none());
    assert_eq!(drive.segments().unwrap(), SegmentFiles { numbers: vec![11], retired: vec![(3, 65536)] });
    let mut kept = vec![0; 4096];
    drive.reuse_segment(3, 12).unwrap().read_at(4096, &mut kept).unwrap();
    assert_eq!(kept, vec![9; 4096]);
    drive.retire_segment(11).unwrap();
    drive.remove_retired(11).unwrap();
    drive.remove_retired(11).unwrap();
    assert_eq!(drive.segments().unwrap(), SegmentFiles { numbers: vec![12], retired: vec![] });
}

#[test]
fn what_is_punched_out_of_a_volume_takes_no_space_until_it_is_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let drive = DirectoryDrive::open(folder.path()).unwrap();
    drive.claim().unwrap();
    let volume = drive.create_volume(7, 1 << 20).unwrap();
    let taken_bytes = || fs::metadata(drive.volume_path(7)).unwrap().blocks() * 512;
    assert!(taken_bytes() >= 1 << 20);
    let mut block = AlignedBytes::zeroed(BLOCK_BYTES);
    block.fill(9);
    volume.write_at(0, &block).unwrap();
    volume.punch(BLOCK_BYTES as u64, (1 << 20) - BLOCK_BYTES as u64).unwrap();
    assert!(taken_bytes() <= 2 * BLOCK_BYTES as u64, "{} bytes", taken_bytes());
    volume.write_at(65_536, &block).unwrap();
    let mut read = vec![0; 3];
    volume.read_at(65_536, &mut read).unwrap();
    assert_eq!((read, volume.size_bytes()), (vec![9; 3], 1 << 20));
    assert!(drive.open_volume(8).unwrap().is_none());
}
