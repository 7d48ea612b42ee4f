//! What is looked at on a drive before a set is opened: once, on all drives at a time, under a deadline.
//!
//! Nothing is written here. A drive that was opened is locked, so what was seen stays true until the set has it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::assemble::{Given, Reopen};
use crate::drive::Drive;
use crate::errand;
use crate::error::OpenError;
use crate::format::{FORMAT_FILE, FORMAT_VERSION, Found, Identity};
use crate::manifest::{self, MANIFEST_FILE, Manifest};

/// Names in the root of a drive without identity that are no one's data.
const IGNORED_NAMES: [&str; 2] = ["lost+found", "format.new"];

/// A drive and what was seen on it.
pub(crate) struct Asked {
    /// Where it is, for people.
    pub path: String,
    /// How it is opened again.
    pub reopen: Reopen,
    /// Or why it could not be opened or read.
    pub drive: io::Result<(Arc<dyn Drive>, Looked)>,
}

/// What was seen on a drive.
#[derive(Default)]
pub(crate) struct Looked {
    /// The names in its root.
    names: Vec<String>,
    format: Option<Vec<u8>>,
    /// It has no `format` but a manifest: one was under way when the directory was emptied.
    has_manifest: bool,
}

/// What that is.
pub(crate) enum Content {
    Blank,
    /// A `format` of which neither copy is sound.
    Damaged,
    /// A drive of this version of tidings; of which set is yet to be seen.
    Ours(Box<Identity>),
}

impl Asked {
    /// Asks all drives at once. One that says nothing within `patience` is as one that is not there: the set is opened
    /// without it, and it is healed when it answers.
    pub(crate) fn all(given: Vec<Given>, patience: Duration) -> Vec<Asked> {
        let (known, drives): (Vec<_>, Vec<_>) =
            given.into_iter().map(|given| ((given.path, given.reopen), given.drive)).unzip();
        let look = |drive: io::Result<Arc<dyn Drive>>| {
            let drive = drive?;
            let looked = Looked::at(&*drive)?;
            Ok((drive, looked))
        };
        let answers = errand::run_on_each(drives, patience, look);
        known.into_iter().zip(answers).map(|((path, reopen), drive)| Asked { path, reopen, drive }).collect()
    }
}

impl Looked {
    /// Looks at a drive; blocks.
    ///
    /// # Errors
    ///
    /// What the drive says.
    pub(crate) fn at(drive: &dyn Drive) -> io::Result<Looked> {
        let names = drive.contents()?;
        let format = drive.load(FORMAT_FILE)?;
        let has_manifest = format.is_none() && holds_manifest(drive);
        Ok(Looked { names, format, has_manifest })
    }

    /// Whether it holds no one's data.
    pub(crate) fn is_bare(&self) -> bool {
        self.names.iter().all(|name| IGNORED_NAMES.contains(&name.as_str()))
    }

    /// What it is.
    ///
    /// # Errors
    ///
    /// A refusal of the start: it is of a newer version, or someone else's.
    pub(crate) fn content(&self, path: &str) -> Result<Content, OpenError> {
        if let Some(file) = &self.format {
            return match Identity::decode(file) {
                Found::Sound(identity) => Ok(Content::Ours(identity)),
                Found::Damaged => Ok(Content::Damaged),
                Found::Newer(found) => {
                    Err(OpenError::NewerFormat { path: path.into(), found, known: FORMAT_VERSION })
                }
            };
        }
        if self.names.iter().any(|name| name == ".minio.sys") {
            return Err(OpenError::MinioDrive { path: path.into() });
        }
        let is_ours = |name: &str| name == MANIFEST_FILE && self.has_manifest;
        let is_foreign = |name: &&String| !IGNORED_NAMES.contains(&name.as_str()) && !is_ours(name);
        match self.names.iter().find(is_foreign) {
            Some(found) => Err(OpenError::Foreign { path: path.into(), found: found.clone() }),
            None => Ok(Content::Blank),
        }
    }
}

/// Whether the file of that name is a manifest.
fn holds_manifest(drive: &dyn Drive) -> bool {
    let file = drive.load(MANIFEST_FILE).ok().flatten();
    file.is_some_and(|file| matches!(Manifest::decode(&file), manifest::Found::Sound(_)))
}
