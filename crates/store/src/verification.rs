//! What a look at every copy of everything found.

use crate::schema;

/// Everything a set of drives holds, and what of it is short. Nothing was changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// Keys whose copies were looked at: objects, versions, parts of uploads, and what belongs to buckets and settings.
    pub keys: u64,
    /// Frames of the journal.
    pub frames: u64,
    /// Bodies that lie in shards.
    pub bodies: u64,
    /// Bytes read back from the drives.
    pub bytes: u64,
    /// Drives that could not be looked at, with the reason: everything is short of its part on them.
    pub absent: Vec<(String, String)>,
    /// Frames and bodies that some drive lacks or has damaged, and that parity makes up for.
    pub short: u64,
    /// Frames and bodies that more drives lack than parity makes up for.
    pub lost: u64,
    /// The first [`Verification::FINDINGS_MAX`] of them.
    pub findings: Vec<Finding>,
}

/// A frame or a body that is not whole on every drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is, for people.
    pub what: String,
    /// What lives in it, by the names people know ([`name_of`]), at most [`Finding::NAMES_MAX`]; nothing where a frame
    /// holds no current value.
    pub names: Vec<String>,
    /// Drives that lack it or have it damaged.
    pub drives: Vec<String>,
    /// Whether too few of the others have it.
    pub is_lost: bool,
}

impl Verification {
    /// Findings that are kept; more are counted.
    pub const FINDINGS_MAX: usize = 10_000;

    /// Whether every drive holds all that it should.
    pub fn is_whole(&self) -> bool {
        self.short == 0 && self.lost == 0 && self.absent.is_empty()
    }

    /// Notes something that is not whole.
    pub fn find(&mut self, finding: Finding) {
        if finding.is_lost {
            self.lost += 1;
        } else {
            self.short += 1;
        }
        if self.findings.len() < Verification::FINDINGS_MAX {
            self.findings.push(finding);
        }
    }
}

impl Finding {
    /// Names that are told.
    pub const NAMES_MAX: usize = 100;
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
    fn what_is_lost_counts_apart_from_what_is_short_and_findings_are_bounded() {
        let mut verification = Verification::default();
        assert!(verification.is_whole());
        for number in 0..=Verification::FINDINGS_MAX {
            let is_lost = number == 0;
            let what = format!("batch {number}");
            verification.find(Finding { what, names: Vec::new(), drives: vec!["d1".into()], is_lost });
        }
        assert_eq!((verification.short, verification.lost), (Verification::FINDINGS_MAX as u64, 1));
        assert_eq!(verification.findings.len(), Verification::FINDINGS_MAX);
        assert!(!verification.is_whole());
    }
}
