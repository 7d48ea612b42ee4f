//! A drive joins while the others write: every order in which it returns, what is rebuilt on it and what is written to
//! all completes or fails, and the voters write or one of them fails.
//!
//! The orders are found by carrying them out: after each step it is seen what waits, and the next run takes the next
//! way that no run took yet. Whatever the order, what a joining drive holds counts for nothing before a decision makes
//! it a voter: commits are answered exactly when the quorum of the others has written them, a crash loses nothing that
//! was answered, and without one of the voters nothing is written. In the end the drive is a voter, and any two drives
//! hold everything.

#![allow(clippy::print_stdout, reason = "a run tells how much it looked at")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use store::{EngineError, SystemClock};
use tidings_drives::testing::{FaultyDrive, Power};
use tidings_drives::{Healing, LocalEngine, Patience};

use crate::orders::{Answer, send};
use crate::support::{
    all_written, body, get, offline, open, open_all, put, restarted, told, wait_until, with_small_segments,
};

const VOTERS: usize = 3;
const JOINER: usize = 3;
/// Enough of them that a drive, which is given a place between two and let in between the next two, joins before the
/// last.
const KEYS: [&str; 3] = ["first", "second", "third"];

/// What is found where the drive was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Joiner {
    /// The drive, without what was written since.
    Stale,
    /// The drive, which missed nothing.
    Returning,
    /// A blank one.
    Emptied,
    /// The drive, in whose place another one was since.
    Replaced,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The next voter writes the frame it has.
    Voter,
    /// It fails to.
    VoterFails,
    /// The drive is back.
    Return,
    /// The drive writes the first frame that waits for it: a new one, or one that is rebuilt.
    Joiner,
    /// It fails to.
    JoinerFails,
}

/// A run, and the ways it took.
struct Run {
    drives: Vec<FaultyDrive>,
    engine: Arc<LocalEngine>,
    answers: Vec<Answer>,
    /// Frames that the voters have written, over both batches.
    written: usize,
    /// The drive returns when they have written so many.
    returns_at: usize,
    returned: bool,
    /// A step failed: one is enough for a run.
    failed: bool,
    frozen: bool,
    steps: Vec<Step>,
    crashes: u64,
    /// The seed of what one key had before.
    old: usize,
}

fn eager(drives: &[FaultyDrive], present: &[usize]) -> Arc<LocalEngine> {
    let healing = Healing { look_every: Duration::from_millis(2), ..Healing::default() };
    let given = crate::support::given(drives, present);
    let engine = LocalEngine::open_healing(given, None, Arc::new(SystemClock), healing).unwrap();
    // A frame waits at its gate while crashes are looked at, on a busy machine for longer than a drive may take.
    let ample = Duration::from_secs(600);
    engine.set_patience(Patience { frame: ample, write: ample, ..Patience::DEFAULT });
    engine
}

/// Whether the decision on a drive names the one that joined as a voter: as tabled in `docs/formats.md`.
fn names_as_voter(drive: &FaultyDrive) -> bool {
    drive.bytes("format")[161 + 25 * JOINER + 16] == 1
}

/// Four drives of which the last one is away, and what is at its path is as it should be when it returns.
async fn without_one(joiner: Joiner) -> (Vec<FaultyDrive>, Arc<LocalEngine>) {
    let mut drives = with_small_segments(FaultyDrive::machine(4, &Power::steady()));
    let mut engine = eager(&drives, &[0, 1, 2, 3]);
    put(&engine, "old", body(20_000, 8)).await.unwrap();
    all_written(&drives).await;
    match joiner {
        Joiner::Stale | Joiner::Emptied => drives[JOINER].take_away(),
        Joiner::Returning => {
            drives[JOINER].take_away();
            wait_until(|| offline(&engine) == ["d4"]).await;
        }
        Joiner::Replaced => {
            engine.shutdown().await;
            drop(engine);
            let old = restarted(&drives).pop().unwrap();
            drives = restarted(&drives);
            drives[JOINER].blank_out();
            engine = eager(&drives, &[0, 1, 2, 3]);
            wait_until(|| offline(&engine).is_empty()).await;
            engine.shutdown().await;
            drop(engine);
            drives = restarted(&drives);
            drives[JOINER] = old;
            drives[JOINER].take_away();
            engine = eager(&drives, &[0, 1, 2]);
        }
    }
    wait_until(|| offline(&engine) == ["d4"]).await;
    if joiner != Joiner::Returning {
        put(&engine, "old", body(20_000, 9)).await.unwrap();
    }
    if joiner == Joiner::Emptied {
        drives[JOINER].blank_out();
    }
    (drives, engine)
}

impl Run {
    async fn begin(joiner: Joiner, returns_at: usize) -> Run {
        let (drives, engine) = without_one(joiner).await;
        wait_until(|| {
            let lasts = drives[..VOTERS].iter().map(|drive| crate::support::frames(drive).len());
            lasts.collect::<std::collections::BTreeSet<_>>().len() == 1
        })
        .await;
        drives.iter().for_each(|drive| drive.gate_frames(true));
        let mut run = Run {
            drives,
            engine,
            answers: Vec::new(),
            written: 0,
            returns_at,
            returned: false,
            failed: false,
            frozen: false,
            steps: Vec::new(),
            crashes: 0,
            old: if joiner == Joiner::Returning { 8 } else { 9 },
        };
        run.send_next().await;
        run.settle().await;
        run
    }

    async fn send_next(&mut self) {
        let (seed, engine) = (self.answers.len(), Arc::clone(&self.engine));
        self.answers.push(send(async move { put(&engine, KEYS[seed], body(20_000, seed)).await }).await);
    }

    fn acknowledged(&self) -> usize {
        self.written / VOTERS
    }

    /// What can be next. While a batch is under way no drive is let in, so it returns at the beginning of one.
    fn options(&self) -> Vec<Step> {
        let mut options = Vec::new();
        if self.frozen {
            return options;
        }
        if !self.returned && self.written == self.returns_at {
            return vec![Step::Return];
        }
        if self.written < VOTERS * KEYS.len() {
            options.push(Step::Voter);
            if !self.failed && self.returned {
                options.push(Step::VoterFails);
            }
        }
        if self.returned && self.drives[JOINER].waiting().is_some() {
            options.push(Step::Joiner);
            if !self.failed {
                options.push(Step::JoinerFails);
            }
        }
        options
    }

    async fn take(&mut self, step: Step) {
        self.steps.push(step);
        self.failed |= matches!(step, Step::VoterFails | Step::JoinerFails);
        match step {
            Step::Voter => {
                self.drives[self.written % VOTERS].decide(true);
                self.written += 1;
            }
            Step::VoterFails => {
                self.drives[self.written % VOTERS].decide(false);
                self.frozen = true;
            }
            Step::Return => {
                self.returned = true;
                self.drives[JOINER].bring_back();
            }
            Step::Joiner => self.drives[JOINER].decide(true),
            Step::JoinerFails => self.drives[JOINER].decide(false),
        }
        self.settle().await;
        // The joiner is asked for something new by a step of its own, or between two batches.
        let is_between = self.written.is_multiple_of(VOTERS);
        if self.returned && !self.frozen && (is_between || step != Step::Voter) {
            self.give_the_joiner_a_moment().await;
        }
    }

    /// Waits until a frame waits for the drive that joins, or it is a voter; not for long, for it may be neither.
    async fn give_the_joiner_a_moment(&self) {
        let moment = Instant::now() + Duration::from_millis(50);
        while self.drives[JOINER].waiting().is_none() && !self.is_voter() && Instant::now() < moment {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Waits until the voters have what they should and every answer is there that should be, and no other. Behind the
    /// commit that is under way another one is sent, for the next batch.
    async fn settle(&mut self) {
        if self.frozen {
            return;
        }
        let acknowledged = self.acknowledged();
        let open = acknowledged < KEYS.len();
        let waits = |drive: usize| open && drive >= self.written % VOTERS;
        let is_settled = || {
            let waiting = |drive: usize| self.drives[drive].waiting().is_some();
            let answered = self.answers.iter().take_while(|answer| answer.is_finished()).count();
            (0..VOTERS).all(|drive| waiting(drive) == waits(drive)) && answered == acknowledged
        };
        let deadline = Instant::now() + Duration::from_secs(60);
        while !is_settled() {
            let answered: Vec<bool> = self.answers.iter().map(Answer::is_finished).collect();
            assert!(Instant::now() < deadline, "{:?}: {answered:?}", self.steps);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if self.answers.len() < KEYS.len().min(acknowledged + 2) {
            self.send_next().await;
        }
    }

    fn is_voter(&self) -> bool {
        offline(&self.engine).is_empty() && self.engine.heal_report().healing.is_empty()
    }

    /// A crash now, with none of the frames that wait on the medium, those of the voters, that of the drive that joins,
    /// or all of them; and found with all drives or without a voter.
    async fn crash(&mut self) {
        let found = restarted(&self.drives);
        // A decision may be on its way to the drives.
        let may_vote = found[..VOTERS].iter().any(names_as_voter);
        let waiting: Vec<(usize, _)> = self
            .drives
            .iter()
            .enumerate()
            .filter_map(|(position, drive)| Some((position, drive.waiting()?)))
            .collect();
        let groups = waiting.iter().fold(0, |groups, (drive, _)| groups | 1 << u32::from(*drive == JOINER));
        for landed in (0..4_u32).filter(|landed| landed & !groups == 0) {
            let drives = restarted(&found);
            for (drive, frame) in &waiting {
                let group = u32::from(*drive == JOINER);
                if landed >> group & 1 == 1 {
                    drives[*drive].damage(&frame.file, frame.offset, &frame.bytes);
                }
            }
            self.look(&open_all(&drives).unwrap(), landed).await;
            let engine = open(&restarted(&drives), &[1, 2, 3]).unwrap();
            let writable = engine.report().writable;
            assert!(!writable || may_vote, "{:?}, landed {landed:b}: it counts and is no voter", self.steps);
            if writable {
                self.look(&engine, landed).await;
            }
            self.crashes += 2;
        }
    }

    async fn look(&self, engine: &LocalEngine, landed: u32) {
        let at = format!("{:?}, landed {landed:b}", self.steps);
        let told: Vec<String> = told(engine).await.into_iter().filter(|key| key != "old").collect();
        assert!(told == KEYS[..told.len()] && told.len() >= self.acknowledged(), "{at}: {told:?}");
        for (seed, key) in KEYS[..told.len()].iter().enumerate() {
            assert!(get(engine, key).await == Ok(Some(body(20_000, seed))), "{at}: {key}");
        }
    }

    /// Lets everything go its way: the drive is a voter in the end, and any two drives hold everything.
    async fn end(self) -> u64 {
        let Run { drives, engine, answers, steps, crashes, old, .. } = self;
        drives[JOINER].bring_back();
        drives.iter().for_each(|drive| drive.gate_frames(false));
        let mut sure = Vec::new();
        for (key, answer) in KEYS.into_iter().zip(answers) {
            match answer.await.unwrap() {
                Ok(_) => sure.push(key),
                Err(EngineError::OutcomeUnknown { .. } | EngineError::WriteQuorum { .. }) => {}
                Err(error) => panic!("{steps:?}: {error}"),
            }
        }
        wait_until(|| engine.report().writable && offline(&engine).is_empty()).await;
        put(&engine, "after", body(100, 1)).await.unwrap();
        let left = told(&engine).await;
        assert!(sure.iter().all(|key| left.iter().any(|told| told == key)), "{steps:?}: {left:?}");
        engine.shutdown().await;
        drop(engine);
        for pair in [[0, 3], [1, 3], [2, 3], [0, 1]] {
            let engine = open(&restarted(&drives), &pair).unwrap();
            assert_eq!(told(&engine).await, left, "{steps:?}, {pair:?}");
            for (seed, key) in
                KEYS.into_iter().enumerate().filter(|(_, key)| left.iter().any(|told| told == key))
            {
                let found = get(&engine, key).await;
                let length = found.as_ref().map(|found| found.as_ref().map(bytes::Bytes::len));
                assert!(found == Ok(Some(body(20_000, seed))), "{steps:?}, {pair:?}: {key} {length:?}");
            }
            assert!(get(&engine, "old").await == Ok(Some(body(20_000, old))), "{steps:?}, {pair:?}");
        }
        crashes
    }
}

/// Carries out the ways in depth-first order: each of them as the number of the option taken, and of how many.
async fn explore(joiner: Joiner, returns_at: usize) -> (u64, u64) {
    let (mut runs, mut crashes) = (0, 0);
    let mut ways: Vec<(usize, usize)> = Vec::new();
    loop {
        let known = ways.len();
        let mut run = Run::begin(joiner, returns_at).await;
        let mut at = 0;
        loop {
            let options = run.options();
            if options.is_empty() {
                break;
            }
            if at == ways.len() {
                ways.push((0, options.len()));
            }
            // A drive that was not as far as the last time has fewer.
            let step = options[ways[at].0.min(options.len() - 1)];
            run.take(step).await;
            at += 1;
            if at >= known && !run.frozen {
                run.crash().await;
            }
        }
        ways.truncate(at);
        crashes += run.end().await;
        runs += 1;
        while ways.last().is_some_and(|(way, of)| way + 1 >= *of) {
            ways.pop();
        }
        match ways.last_mut() {
            Some((way, _)) => *way += 1,
            None => return (runs, crashes),
        }
    }
}

#[test]
fn in_every_order_in_which_a_drive_joins_it_counts_for_nothing_before_it_is_a_voter_and_holds_all_when_it_is()
{
    let started = Instant::now();
    std::thread::scope(|scope| {
        for joiner in [Joiner::Stale, Joiner::Returning, Joiner::Emptied, Joiner::Replaced] {
            for returns_at in (0..KEYS.len()).map(|batch| batch * VOTERS) {
                // Most of a run is waiting.
                scope.spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    let (runs, crashes) = runtime.block_on(explore(joiner, returns_at));
                    println!("{joiner:?}, behind {returns_at} frames: {runs} orders, {crashes} crashes");
                    assert!(runs > 1, "{runs} orders are too few");
                });
            }
        }
    });
    println!("in {:.1} s", started.elapsed().as_secs_f64());
}

/// A drive that fails a write of its healing and is back at once has joined anew, also when nothing was committed
/// meanwhile: what was written to it before is looked at again.
#[tokio::test(flavor = "multi_thread")]
async fn a_drive_that_fails_while_it_is_healed_and_joins_again_at_once_is_healed_from_the_start() {
    const COUNT: usize = 60;
    let drives = FaultyDrive::machine(4, &Power::steady());
    // A step of healing takes 50 ms: it is out and back in one.
    let healing =
        Healing { look_every: Duration::from_millis(1), bytes_per_second: 20 << 20, ..Healing::default() };
    let given = crate::support::given(&drives, &[0, 1, 2, 3]);
    let engine = LocalEngine::open_healing(given, None, Arc::new(SystemClock), healing).unwrap();
    drives[JOINER].take_away();
    put(&engine, "0", body(100_000, 0)).await.unwrap();
    wait_until(|| offline(&engine) == ["d4"]).await;
    for number in 1..COUNT {
        put(&engine, &number.to_string(), body(100_000, number)).await.unwrap();
    }
    drives[JOINER].blank_out();
    drives[JOINER].gate_frames(true);
    drives[JOINER].bring_back();
    wait_until(|| drives[JOINER].waiting().is_some()).await;
    drives[JOINER].decide(false);
    drives[JOINER].gate_frames(false);
    wait_until(|| offline(&engine).is_empty() && engine.heal_report().healing.is_empty()).await;
    engine.shutdown().await;
    drop(engine);
    let engine = open(&restarted(&drives), &[0, JOINER]).unwrap();
    for number in 0..COUNT {
        let found = get(&engine, &number.to_string()).await;
        assert!(found == Ok(Some(body(100_000, number))), "{number}");
    }
}
