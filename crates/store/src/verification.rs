//! What a look at every copy of everything found, and what it tells while it goes on.
//!
//! Findings are told, not kept: what a verification needs of memory does not grow with them.

use serde::{Deserialize, Serialize};

use crate::schema;

/// How much a set of drives holds, and how much of it is short. Nothing was changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// Keys whose copies were looked at: objects, versions, parts of uploads, and what belongs to buckets and settings.
    pub keys: u64,
    /// Frames of the journal.
    pub frames: u64,
    /// Bodies that lie in shards.
    pub bodies: u64,
    /// Bytes read back from the drives.
    pub bytes: u64,
    /// Drives that could not be looked at: everything is short of its part on them.
    pub absent: Vec<Absent>,
    /// Frames and bodies that some drive lacks or has damaged, and that parity makes up for.
    pub short: u64,
    /// Frames and bodies that more drives lack than parity makes up for.
    pub lost: u64,
}

/// What a verification tells while it goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// A drive that cannot be looked at; told first.
    Absent(Absent),
    /// How far it is, after every mebibyte or so.
    Progress(Progress),
    /// Something that is not whole on every drive, when it was found.
    Finding(Finding),
}

/// A drive that cannot be looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Absent {
    /// Its path.
    pub drive: String,
    /// Why, a clause.
    pub reason: String,
}

/// How far a verification is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Bytes read back so far.
    pub bytes: u64,
    /// Keys looked at so far, after all frames.
    pub keys: u64,
    /// Keys there are.
    pub keys_total: u64,
    /// Frames and bodies that are short or lost so far.
    pub findings: u64,
}

/// A frame or a body that is not whole on every drive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What it is, for people.
    pub what: String,
    /// What lives in it, by the names people know ([`name_of`]), as many as a frame of at most 1 MiB has; nothing where
    /// it holds no current value.
    pub names: Vec<String>,
    /// Drives that lack it or have it damaged.
    pub drives: Vec<String>,
    /// Whether too few of the others have it.
    pub is_lost: bool,
}

/// Looks at every copy of everything and tells what it sees, until that answers `false`; blocks, for as long as the
/// drives take. An error is a clause for operators: not everything was looked at.
pub type Verify = dyn Fn(&mut dyn FnMut(Seen) -> bool) -> Result<Verification, String> + Send + Sync;

impl Verification {
    /// Whether every drive holds all that it should.
    pub fn is_whole(&self) -> bool {
        self.short == 0 && self.lost == 0 && self.absent.is_empty()
    }

    /// Counts something that is not whole.
    pub fn count(&mut self, finding: &Finding) {
        match finding.is_lost {
            true => self.lost += 1,
            false => self.short += 1,
        }
    }

    /// Takes in what was found on other drives.
    pub fn add(&mut self, other: Verification) {
        self.keys += other.keys;
        self.frames += other.frames;
        self.bodies += other.bodies;
        self.bytes += other.bytes;
        self.absent.extend(other.absent);
        self.short += other.short;
        self.lost += other.lost;
    }
}

/// What an engine's key is to people: `album/rose.jpg` for an object, else the table and the name.
pub fn name_of(key: &[u8]) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let Some((table, rest)) = key.split_first() else {
        return String::new();
    };
    let mut pieces = rest.splitn(2, |byte| *byte == 0);
    let (bucket, rest) = (text(pieces.next().unwrap_or_default()), pieces.next().unwrap_or_default());
    match table {
        b'o' => match rest.len().checked_sub(schema::PLACE_BYTES + 1) {
            Some(name) => format!("{bucket}/{}", text(&rest[..name])),
            None => text(key),
        },
        b'u' => match rest.len().checked_sub(schema::UPLOAD_ID_BYTES + 1) {
            Some(name) => format!("upload of {bucket}/{}", text(&rest[..name])),
            None => text(key),
        },
        b'p' => match rest.split_last_chunk::<4>() {
            Some((_, number)) => format!("part {} of an upload in {bucket}", u32::from_be_bytes(*number)),
            None => text(key),
        },
        b'b' => format!("bucket {bucket}"),
        b'c' => format!("cursor {bucket}"),
        b's' => format!("setting {bucket}"),
        _ => text(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{BucketName, ObjectKey, UploadId};

    #[test]
    fn keys_have_the_names_people_know() {
        let bucket = BucketName::new("album").unwrap();
        let key = ObjectKey::new("red/rose.jpg").unwrap();
        let named = [
            (schema::object_key(&bucket, &key), "album/red/rose.jpg"),
            (schema::upload_key(&bucket, &key, UploadId(7)), "upload of album/red/rose.jpg"),
            (schema::part_key(&bucket, UploadId(7), 12), "part 12 of an upload in album"),
            (schema::bucket_key(&bucket), "bucket album"),
            (schema::cursor_key("1:kafka"), "cursor 1:kafka"),
            (schema::setting_key("config"), "setting config"),
        ];
        for (key, name) in named {
            assert_eq!(name_of(&key), name);
        }
        assert_eq!(name_of(b"o"), "o");
    }

    #[test]
    fn what_is_lost_counts_apart_from_what_is_short_and_an_absent_drive_is_not_whole() {
        let mut verification = Verification::default();
        assert!(verification.is_whole());
        for is_lost in [true, false, false] {
            let drives = vec!["d1".to_owned()];
            verification.count(&Finding { what: "batch 7".to_owned(), names: Vec::new(), drives, is_lost });
        }
        assert_eq!((verification.short, verification.lost), (2, 1));
        assert!(!verification.is_whole());

        let absent = vec![Absent { drive: "d4".to_owned(), reason: "gone".to_owned() }];
        let mut sum = Verification { keys: 3, bytes: 9, ..Verification::default() };
        sum.add(Verification { keys: 4, absent, ..Verification::default() });
        assert_eq!((sum.keys, sum.bytes, sum.is_whole()), (7, 9, false));
    }
}
