//! Random histories that are right, and what makes them wrong.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::judge::{Answer, Effect, History, Operation, Read, Told, judge};

const KEYS: usize = 4;
const OPERATIONS: usize = 60;
const READS: usize = 40;

/// When everything of a history is over, in microseconds.
const OVER_US: u64 = 100_000;

/// A history as it is when a store tells all, and what the store alone knows.
struct Truth {
    history: History,
    /// Of each operation when it took effect, by its place.
    effects: Vec<Option<u64>>,
}

fn truth(dice: &mut StdRng) -> Truth {
    let mut history = History::default();
    let mut effects = Vec::new();
    for number in 0..OPERATIONS {
        let (operation, effect) = operation(dice, number);
        history.operations.push(operation);
        effects.push(effect);
    }
    let mut truth = Truth { history, effects };
    truth.tell(dice);
    truth.read(dice);
    truth
}

fn operation(dice: &mut StdRng, number: usize) -> (Operation, Option<u64>) {
    let begin_us = dice.random_range(0..OVER_US - 10_000);
    let end_us = begin_us + dice.random_range(2..8_000);
    let effect_us = dice.random_range(begin_us + 1..end_us);
    let (answer, takes_effect) = match dice.random_range(0..10) {
        0 => (Answer::Refused, false),
        fate @ 1..=3 => {
            let settled_us = dice.random_bool(0.7).then_some(end_us);
            (Answer::Silence { settled_us }, fate == 1)
        }
        _ => (Answer::Acknowledged { end_us, request_id: None }, true),
    };
    let etag = Some(format!("etag {number}"));
    let is_write = dice.random_bool(0.7);
    let effect = if is_write {
        Effect::Write { etag, size_bytes: 7 }
    } else {
        Effect::Remove { in_bulk: dice.random_bool(0.3) }
    };
    let key = format!("album/{}", dice.random_range(0..KEYS));
    (
        Operation { key, token: format!("t{number}"), effect, begin_us, answer },
        takes_effect.then_some(effect_us),
    )
}

impl Truth {
    /// What took effect, by key, in order.
    fn lines(&self) -> BTreeMap<&str, Vec<(u64, &Operation)>> {
        let mut lines: BTreeMap<&str, Vec<(u64, &Operation)>> = BTreeMap::new();
        for (operation, effect) in self.history.operations.iter().zip(&self.effects) {
            let line = lines.entry(&operation.key).or_default();
            line.extend(effect.map(|effect_us| (effect_us, operation)));
        }
        // Two of one microsecond took effect in the order of their tokens.
        lines.values_mut().for_each(|line| {
            line.sort_by_key(|(effect_us, operation)| (*effect_us, operation.token.clone()))
        });
        lines
    }

    /// Tells everything in the order of its key, those of different keys in any order, some of it again.
    fn tell(&mut self, dice: &mut StdRng) {
        let mut arrivals: Vec<(u64, Told)> = Vec::new();
        for line in self.lines().into_values() {
            let (mut is_there, mut arrival_us) = (false, 0);
            for (place, (effect_us, operation)) in line.into_iter().enumerate() {
                arrival_us = (effect_us + dice.random_range(0..20_000)).max(arrival_us + 1);
                let told = told(operation, u128::from(effect_us) << 8 | place as u128, is_there);
                is_there = !operation.effect.is_removal();
                if dice.random_bool(0.2) {
                    arrivals.push((arrival_us + dice.random_range(1..20_000), told.clone()));
                }
                arrivals.push((arrival_us, told));
            }
        }
        arrivals.sort_by_key(|(arrival_us, _)| *arrival_us);
        self.history.told = arrivals.into_iter().map(|(_, told)| told).collect();
    }

    fn read(&mut self, dice: &mut StdRng) {
        let mut reads = Vec::new();
        for (key, line) in self.lines() {
            let mut moments: Vec<u64> = (0..READS / KEYS).map(|_| dice.random_range(1..OVER_US)).collect();
            moments.push(OVER_US + 1);
            for moment in moments {
                let last = line.iter().rfind(|(effect_us, _)| *effect_us <= moment);
                let found = last.filter(|(_, operation)| !operation.effect.is_removal());
                let found = found.map(|(_, operation)| operation.token.clone());
                let (begin_us, end_us) = (moment - dice.random_range(0..moment.min(500)), moment + 300);
                let begin_us = if moment > OVER_US { moment } else { begin_us };
                reads.push(Read { key: key.to_owned(), found, begin_us, end_us });
            }
        }
        self.history.reads = reads;
    }

    /// An operation and its place, of those that are such.
    fn one(&self, dice: &mut StdRng, is_such: impl Fn(&Operation, Option<u64>) -> bool) -> Option<usize> {
        let such: Vec<usize> = (0..self.effects.len())
            .filter(|at| is_such(&self.history.operations[*at], self.effects[*at]))
            .collect();
        such.choose(dice).copied()
    }
}

fn told(operation: &Operation, sequencer: u128, is_there: bool) -> Told {
    let (event, etag, size_bytes) = match (&operation.effect, is_there) {
        (Effect::Write { etag, size_bytes }, _) => ("s3:ObjectCreated:Put", etag.clone(), Some(*size_bytes)),
        (Effect::Remove { in_bulk }, is_there) if *in_bulk || is_there => {
            ("s3:ObjectRemoved:Delete", None, None)
        }
        (Effect::Remove { .. }, _) => ("s3:ObjectRemoved:NoOP", None, None),
    };
    let token = Some(operation.token.clone());
    Told {
        key: operation.key.clone(),
        event: event.to_owned(),
        sequencer,
        token,
        request_id: None,
        etag,
        size_bytes,
    }
}

/// Makes a history wrong in one way; `None` when this one has nothing to make wrong in that way.
type Mutation = fn(&mut Truth, &mut StdRng) -> Option<()>;

const MUTATIONS: [(&str, Mutation); 8] = [
    ("an acknowledged operation is not told", |truth, dice| {
        let at = truth.one(dice, |operation, _| matches!(operation.answer, Answer::Acknowledged { .. }))?;
        untell(truth, at);
        Some(())
    }),
    ("an unanswered operation that a read saw is not told", |truth, dice| {
        let seen: Vec<String> = truth.history.reads.iter().filter_map(|read| read.found.clone()).collect();
        let at = truth.one(dice, |operation, effect| {
            let is_unanswered = matches!(operation.answer, Answer::Silence { .. });
            is_unanswered && effect.is_some() && seen.contains(&operation.token)
        })?;
        untell(truth, at);
        Some(())
    }),
    ("an unanswered write that did not happen is told, and a read after it saw none of it", |truth, dice| {
        let at = truth.one(dice, |operation, effect| {
            let is_settled = matches!(operation.answer, Answer::Silence { settled_us: Some(_) });
            is_settled && effect.is_none() && !operation.effect.is_removal()
        })?;
        let told = told(&truth.history.operations[at], u128::from(2 * OVER_US) << 8, true);
        truth.history.told.push(told);
        Some(())
    }),
    ("a refused operation is told", |truth, dice| {
        let at = truth.one(dice, |operation, _| operation.answer == Answer::Refused)?;
        let told = told(&truth.history.operations[at], u128::from(2 * OVER_US) << 8, true);
        truth.history.told.push(told);
        Some(())
    }),
    ("something is told that nobody asked for", |truth, dice| {
        let mut told = truth.history.told.choose(dice)?.clone();
        told.token = Some("nobody's".to_owned());
        truth.history.told.push(told);
        Some(())
    }),
    ("an operation is told as two changes", |truth, dice| {
        let mut told = truth.history.told.choose(dice)?.clone();
        told.sequencer = u128::from(2 * OVER_US) << 8;
        truth.history.told.push(told);
        Some(())
    }),
    ("two records of a key arrive in the wrong order", |truth, dice| {
        let told = &truth.history.told;
        let is_first = |at: usize| told[..at].iter().all(|before| before.token != told[at].token);
        let firsts: Vec<usize> = (0..told.len()).filter(|at| is_first(*at)).collect();
        let pairs: Vec<(usize, usize)> = firsts
            .iter()
            .filter_map(|one| {
                let next = firsts.iter().find(|other| *other > one && told[**other].key == told[*one].key);
                next.map(|next| (*one, *next))
            })
            .collect();
        let (one, other) = *pairs.choose(dice)?;
        truth.history.told.swap(one, other);
        Some(())
    }),
    ("two operations that followed one another have each other's sequencer", |truth, dice| {
        let acknowledged =
            |at: &usize| matches!(truth.history.operations[*at].answer, Answer::Acknowledged { .. });
        let all: Vec<usize> = (0..OPERATIONS).filter(acknowledged).collect();
        let operations = &truth.history.operations;
        let follows =
            |one: &Operation, other: &Operation| one.key == other.key && one.end_us() < other.begin_us;
        let pairs: Vec<(usize, usize)> = all
            .iter()
            .flat_map(|one| all.iter().map(move |other| (*one, *other)))
            .filter(|(one, other)| follows(&operations[*one], &operations[*other]))
            .collect();
        let (one, other) = *pairs.choose(dice)?;
        let tokens = [operations[one].token.clone(), operations[other].token.clone()];
        exchange(&mut truth.history.told, &tokens);
        Some(())
    }),
];

fn untell(truth: &mut Truth, at: usize) {
    let token = truth.history.operations[at].token.clone();
    truth.history.told.retain(|told| told.token.as_ref() != Some(&token));
}

/// Gives two operations each other's sequencers, and lets all arrive in the new order.
fn exchange(told: &mut [Told], tokens: &[String; 2]) {
    let sequencer = |told: &[Told], token: &String| {
        told.iter().find(|told| told.token.as_ref() == Some(token)).map(|told| told.sequencer)
    };
    let (Some(one), Some(other)) = (sequencer(told, &tokens[0]), sequencer(told, &tokens[1])) else { return };
    for told in &mut *told {
        match &told.token {
            Some(token) if *token == tokens[0] => told.sequencer = other,
            Some(token) if *token == tokens[1] => told.sequencer = one,
            _ => {}
        }
    }
    told.sort_by_key(|told| told.sequencer);
}

proptest! {
    #[test]
    fn a_random_history_of_a_store_that_tells_all_is_clean(seed: u64) {
        let verdict = judge(&truth(&mut StdRng::seed_from_u64(seed)).history);
        prop_assert!(verdict.is_clean(), "{verdict:#?}");
    }

    #[test]
    fn a_random_history_with_one_fault_is_not_clean(seed: u64, kind in 0..MUTATIONS.len()) {
        let dice = &mut StdRng::seed_from_u64(seed);
        let mut truth = truth(dice);
        let (what, mutation) = MUTATIONS[kind];
        prop_assume!(mutation(&mut truth, dice).is_some());
        prop_assert!(!judge(&truth.history).is_clean(), "{what}: {:#?}", truth.history);
    }
}
