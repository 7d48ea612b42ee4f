//! A folder of drives as one small file: the [`postcard`] encoding of a list of files, each with its name, its length
//! and its runs. A run has the offset where it begins, how often its bytes stand there one after the other, and the
//! bytes. Between runs a file is zero. A name that ends with a slash is that of a folder.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

type Packed = (String, u64, Vec<Run>);
type Run = (u64, u64, Vec<u8>);

/// Bytes that are looked at together: bodies that repeat after so many are packed well.
pub(crate) const UNIT_BYTES: usize = 64;

/// Everything below a folder.
pub(crate) fn pack(folder: &Path) -> Vec<u8> {
    let mut packed = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for path in sorted(&next) {
            let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                packed.push((name + "/", 0, Vec::new()));
                folders.push(path);
            } else {
                let bytes = fs::read(&path).unwrap();
                packed.push((name, bytes.len() as u64, runs_of(&bytes)));
            }
        }
    }
    postcard::to_stdvec(&packed).unwrap()
}

/// Lays everything out below a folder again.
pub(crate) fn unpack(packed: &[u8], folder: &Path) {
    let files: Vec<Packed> = postcard::from_bytes(packed).unwrap();
    for (name, size, runs) in files {
        let path = folder.join(&name);
        if name.ends_with('/') {
            fs::create_dir_all(path).unwrap();
            continue;
        }
        let file = fs::File::create(path).unwrap();
        file.set_len(size).unwrap();
        for (offset, repeats, bytes) in runs {
            let repeated = bytes.repeat(usize::try_from(repeats).unwrap());
            file.write_all_at(&repeated, offset).unwrap();
        }
    }
}

fn sorted(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn runs_of(bytes: &[u8]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (nth, unit) in bytes.chunks(UNIT_BYTES).enumerate() {
        if unit.iter().all(|byte| *byte == 0) {
            continue;
        }
        let at = (nth * UNIT_BYTES) as u64;
        let last = runs.last_mut().filter(|(begin, repeats, run)| begin + repeats * run.len() as u64 == at);
        match last {
            Some((_, repeats, run)) if run == unit => *repeats += 1,
            // The unit before is the first of a new run.
            Some((_, 1, run)) if run.ends_with(unit) => {
                run.truncate(run.len() - UNIT_BYTES);
                runs.push((at - UNIT_BYTES as u64, 2, unit.to_vec()));
            }
            Some((_, 1, run)) => run.extend_from_slice(unit),
            _ => runs.push((at, 1, unit.to_vec())),
        }
    }
    runs
}

#[test]
fn what_is_packed_is_laid_out_again_as_it_was() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut bytes = vec![0; 1_000];
    bytes[100..400].fill(7);
    bytes.extend((0..777_u32).map(|at| (at * at / 3) as u8));
    bytes.extend([0; 3 * UNIT_BYTES + 5]);
    fs::create_dir(from.path().join("d1")).unwrap();
    fs::write(from.path().join("d1/file"), &bytes).unwrap();
    unpack(&pack(from.path()), to.path());
    assert_eq!(fs::read(to.path().join("d1/file")).unwrap(), bytes);
}
