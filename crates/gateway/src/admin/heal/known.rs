//! The sequences that are known: one for each path, and none that overlaps another.
//!
//! # Bounds
//!
//! At most [`KNOWN_MAX`]. One that has ended is known for [`KEPT_MS`] more, so that its client hears of the end, or
//! until its place is needed. While all of them run another one is refused.

use std::sync::Arc;

use parking_lot::Mutex;

use s3::{ErrorCode, Refusal};
use tidings_s3 as s3;

use super::sequence::Sequence;
use super::{Scope, time};

/// Sequences at a time, each with a thread of its own while it runs.
const KNOWN_MAX: usize = 16;

/// How long one that has ended is known, in milliseconds: ten minutes.
const KEPT_MS: u64 = 10 * 60 * 1000;

/// The sequences of a server.
#[derive(Default)]
pub(in crate::admin) struct Sequences {
    known: Mutex<Vec<Arc<Sequence>>>,
}

impl Sequences {
    /// Lets a sequence begin, by force in place of the one of its path.
    pub(super) fn start(
        &self,
        sequence: Sequence,
        is_forced: bool,
        now_ms: u64,
    ) -> Result<Arc<Sequence>, Refusal> {
        let mut known = self.known.lock();
        forget_ended(&mut known, now_ms);
        let has_its_path = |other: &Arc<Sequence>| other.scope == sequence.scope;
        let mut running = known.iter().filter(|other| !other.is_over());
        if let Some(other) = running.clone().find(|other| has_its_path(other) && !is_forced) {
            return Err(already_runs(other));
        }
        if let Some(other) =
            running.find(|other| !has_its_path(other) && other.scope.overlaps(&sequence.scope))
        {
            let reason = format!("The path overlaps with that of a heal that runs: {}.", other.scope);
            return Err(Refusal::with(ErrorCode::XMinioHealOverlappingPaths, reason));
        }
        for other in known.extract_if(.., |other| has_its_path(other)) {
            other.stop("another one was begun in its place by force");
        }
        if known.len() == KNOWN_MAX {
            let ended = known.iter().enumerate().filter_map(|(at, other)| Some((other.ended_ms()?, at)));
            let Some((_, first)) = ended.min() else {
                let reason = format!("{KNOWN_MAX} heals run already, as many as may.");
                return Err(Refusal::with(ErrorCode::OperationAborted, reason));
            };
            known.remove(first);
        }
        let sequence = Arc::new(sequence);
        known.push(Arc::clone(&sequence));
        Ok(sequence)
    }

    /// The sequence of a path, for who has its token.
    pub(super) fn of(&self, scope: &Scope, token: &str, now_ms: u64) -> Result<Arc<Sequence>, Refusal> {
        let mut known = self.known.lock();
        forget_ended(&mut known, now_ms);
        let sequence = known.iter().find(|sequence| sequence.scope == *scope);
        let sequence = sequence.ok_or(ErrorCode::XMinioHealNoSuchProcess)?;
        if sequence.token != token {
            return Err(ErrorCode::XMinioHealInvalidClientToken.into());
        }
        Ok(Arc::clone(sequence))
    }

    /// Stops the sequence of a path, if one runs.
    pub(super) fn stop(&self, scope: &Scope, now_ms: u64) -> Option<Arc<Sequence>> {
        let mut known = self.known.lock();
        forget_ended(&mut known, now_ms);
        let sequence = known.iter().find(|sequence| sequence.scope == *scope && !sequence.is_over())?;
        sequence.stop("an administrator stopped it");
        Some(Arc::clone(sequence))
    }
}

fn forget_ended(known: &mut Vec<Arc<Sequence>>, now_ms: u64) {
    known.retain(|sequence| sequence.ended_ms().is_none_or(|ended| now_ms < ended.saturating_add(KEPT_MS)));
}

fn already_runs(sequence: &Sequence) -> Refusal {
    let (client, at, token) = (&sequence.client, time(sequence.started_ms), &sequence.token);
    let reason = format!(
        "A heal of this path runs already, begun from {client} at {at} with the token {token}: force-start ends it and \
         begins another."
    );
    Refusal::with(ErrorCode::XMinioHealAlreadyRunning, reason)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{ErrorCode, KEPT_MS, KNOWN_MAX, Refusal, Scope, Sequence, Sequences};
    use crate::admin::heal::Settings;

    fn start(
        known: &Sequences,
        path: &str,
        is_forced: bool,
        now_ms: u64,
    ) -> Result<Arc<Sequence>, ErrorCode> {
        let (scope, settings) = (Scope::parse(path).unwrap(), Settings::default());
        let sequence = Sequence::new(scope, settings, "127.0.0.1".to_owned(), now_ms);
        known.start(sequence, is_forced, now_ms).map_err(|Refusal { code, .. }| code)
    }

    fn ask(known: &Sequences, path: &str, token: &str, now_ms: u64) -> Option<ErrorCode> {
        known.of(&Scope::parse(path).unwrap(), token, now_ms).err().map(|refusal| refusal.code)
    }

    #[test]
    fn one_path_has_one_sequence_and_none_overlaps_another() {
        let known = Sequences::default();
        let first = start(&known, "album/red", false, 0).unwrap();
        assert_eq!(start(&known, "album/red", false, 0).err(), Some(ErrorCode::XMinioHealAlreadyRunning));
        assert_eq!(start(&known, "album", true, 0).err(), Some(ErrorCode::XMinioHealOverlappingPaths));
        start(&known, "album/blue", false, 0).unwrap();

        let second = start(&known, "album/red", true, 0).unwrap();
        assert!(first.is_over() && !second.is_over());
        let refused = ask(&known, "album/red", &first.token, 0);
        assert_eq!(refused, Some(ErrorCode::XMinioHealInvalidClientToken));
        assert_eq!(ask(&known, "album/red", &second.token, 0), None);
        assert_eq!(ask(&known, "album", &second.token, 0), Some(ErrorCode::XMinioHealNoSuchProcess));

        let scope = Scope::parse("album/red").unwrap();
        assert_eq!(known.stop(&scope, 0).map(|stopped| stopped.token.clone()), Some(second.token.clone()));
        assert!(known.stop(&scope, 0).is_none());
        start(&known, "album/red", false, 0).unwrap();
    }

    #[test]
    fn one_that_has_ended_is_known_for_a_time_and_gives_its_place_to_others() {
        let known = Sequences::default();
        let first = start(&known, "album", false, 0).unwrap();
        first.end(Ok(()), 1000);
        assert_eq!(ask(&known, "album", &first.token, 1000 + KEPT_MS - 1), None);
        let gone = ask(&known, "album", &first.token, 1000 + KEPT_MS);
        assert_eq!(gone, Some(ErrorCode::XMinioHealNoSuchProcess));

        let path = |number: usize| format!("bucket-{number}");
        let run: Vec<_> =
            (0..KNOWN_MAX).map(|number| start(&known, &path(number), false, 0).unwrap()).collect();
        assert_eq!(start(&known, "album", false, 0).err(), Some(ErrorCode::OperationAborted));
        run[5].end(Ok(()), 1000);
        start(&known, "album", false, 1000).unwrap();
        assert_eq!(ask(&known, &path(5), &run[5].token, 1000), Some(ErrorCode::XMinioHealNoSuchProcess));
        assert_eq!(ask(&known, &path(4), &run[4].token, 1000), None);
    }
}
