//! Each fault by itself, in the smallest history that has it.

use crate::judge::{Answer, Effect, History, Operation, Read, Told, Verdict, judge};

/// A history in words: one call a line.
#[derive(Default)]
struct Story(History);

impl Story {
    fn put(mut self, token: &str, begin_us: u64, answer: Answer) -> Story {
        let effect = Effect::Write { etag: Some(token.to_owned()), size_bytes: 3 };
        self.0.operations.push(operation(token, effect, begin_us, answer));
        self
    }

    fn delete(mut self, token: &str, begin_us: u64, answer: Answer) -> Story {
        self.0.operations.push(operation(token, Effect::Remove { in_bulk: false }, begin_us, answer));
        self
    }

    fn told(self, event: &str, token: &str, sequencer: u128) -> Story {
        let is_put = event == "ObjectCreated:Put";
        self.told_as(Told {
            key: "album/rose".to_owned(),
            event: format!("s3:{event}"),
            sequencer,
            token: Some(token.to_owned()),
            request_id: None,
            etag: is_put.then(|| token.to_owned()),
            size_bytes: is_put.then_some(3),
        })
    }

    fn told_as(mut self, told: Told) -> Story {
        self.0.told.push(told);
        self
    }

    fn told_put(self, token: &str, sequencer: u128) -> Story {
        self.told("ObjectCreated:Put", token, sequencer)
    }

    fn read(mut self, begin_us: u64, end_us: u64, found: Option<&str>) -> Story {
        let found = found.map(str::to_owned);
        self.0.reads.push(Read { key: "album/rose".to_owned(), found, begin_us, end_us });
        self
    }

    /// Lost, phantom, out of order.
    fn findings(&self) -> [usize; 3] {
        let verdict = self.verdict();
        [verdict.lost.len(), verdict.phantom.len(), verdict.out_of_order.len()]
    }

    fn verdict(&self) -> Verdict {
        judge(&self.0)
    }
}

fn operation(token: &str, effect: Effect, begin_us: u64, answer: Answer) -> Operation {
    Operation { key: "album/rose".to_owned(), token: token.to_owned(), effect, begin_us, answer }
}

fn acknowledged(end_us: u64) -> Answer {
    Answer::Acknowledged { end_us, request_id: None }
}

fn settled(at_us: u64) -> Answer {
    Answer::Silence { settled_us: Some(at_us) }
}

const OPEN: Answer = Answer::Silence { settled_us: None };
const CLEAN: [usize; 3] = [0, 0, 0];
const LOST: [usize; 3] = [1, 0, 0];
const PHANTOM: [usize; 3] = [0, 1, 0];
const OUT_OF_ORDER: [usize; 3] = [0, 0, 1];

/// A put, an overwrite, a delete, all acknowledged and told.
fn three() -> Story {
    Story::default()
        .put("a", 0, acknowledged(10))
        .put("b", 20, acknowledged(30))
        .delete("c", 40, acknowledged(50))
        .told_put("a", 1)
        .told_put("b", 2)
        .told("ObjectRemoved:Delete", "c", 3)
        .read(12, 14, Some("a"))
        .read(25, 45, Some("b"))
        .read(60, 61, None)
}

#[test]
fn what_was_acknowledged_and_told_in_order_is_clean_and_counted() {
    let verdict = three().put("d", 70, Answer::Refused).put("e", 71, OPEN).verdict();
    assert!(verdict.is_clean(), "{verdict:#?}");
    assert_eq!((verdict.acknowledged, verdict.refused, verdict.unanswered), (3, 1, 1));
    assert_eq!((verdict.announced, verdict.announced_unanswered, verdict.duplicates), (3, 0, 0));
}

#[test]
fn an_acknowledged_change_without_a_record_is_lost() {
    for lost in 0..3 {
        let mut story = three();
        story.0.told.remove(lost);
        assert_eq!(story.findings(), LOST, "record {lost}");
    }
}

#[test]
fn a_record_of_nothing_that_was_sent_is_a_phantom() {
    assert_eq!(three().told_put("x", 4).findings(), PHANTOM);
}

#[test]
fn a_record_of_an_event_nobody_asked_for_is_a_phantom() {
    assert_eq!(
        three().told("ObjectAccessed:Get", "a", 4).findings()[1],
        2,
        "its kind, and a second record of it"
    );
}

#[test]
fn a_record_of_a_refused_operation_is_a_phantom() {
    assert_eq!(three().put("d", 70, Answer::Refused).told_put("d", 4).findings(), PHANTOM);
}

#[test]
fn a_record_of_other_content_is_a_phantom() {
    let mut story = three();
    story.0.told[0].etag = Some("other".to_owned());
    assert_eq!(story.findings(), PHANTOM);
    let mut story = three();
    story.0.told[1].size_bytes = Some(4);
    assert_eq!(story.findings(), PHANTOM);
    let story = Story::default().put("a", 0, acknowledged(10)).told("ObjectRemoved:Delete", "a", 1);
    assert_eq!(story.findings()[1], 1);
}

#[test]
fn one_operation_told_as_two_changes_is_a_phantom() {
    assert_eq!(three().told("ObjectRemoved:Delete", "c", 4).findings(), PHANTOM);
}

#[test]
fn records_of_a_key_that_change_places_are_out_of_order() {
    let mut story = three();
    story.0.told.swap(1, 2);
    assert_eq!(story.findings(), OUT_OF_ORDER);
}

#[test]
fn sequencers_against_the_order_of_answers_are_out_of_order_and_those_of_overlapping_operations_are_not() {
    let swapped = |begin_us| {
        Story::default()
            .put("a", 0, acknowledged(10))
            .put("b", begin_us, acknowledged(30))
            .told_put("b", 1)
            .told_put("a", 2)
    };
    assert_eq!(swapped(11).findings(), OUT_OF_ORDER);
    assert_eq!(swapped(10).findings(), CLEAN);
}

#[test]
fn a_sequencer_of_two_changes_is_out_of_order() {
    let story = Story::default()
        .put("a", 0, acknowledged(10))
        .put("b", 5, acknowledged(10))
        .told_put("a", 1)
        .told_put("b", 1);
    assert_eq!(story.findings(), OUT_OF_ORDER);
}

#[test]
fn duplicates_are_counted_and_late_ones_apart_and_neither_is_a_finding() {
    let verdict = three().told("ObjectRemoved:Delete", "c", 3).told_put("a", 1).verdict();
    assert!(verdict.is_clean(), "{verdict:#?}");
    assert_eq!((verdict.duplicates, verdict.late_duplicates, verdict.announced), (2, 1, 3));
}

/// An acknowledged put, then one without an answer before 30.
fn unanswered(answer: Answer) -> Story {
    Story::default().put("a", 0, acknowledged(10)).put("b", 20, answer).told_put("a", 1)
}

#[test]
fn an_unanswered_change_may_have_happened_and_been_told_or_not_have_happened_and_not_been_told() {
    assert_eq!(unanswered(settled(30)).told_put("b", 2).read(40, 41, Some("b")).findings(), CLEAN);
    assert_eq!(unanswered(settled(30)).read(40, 41, Some("a")).findings(), CLEAN);
}

#[test]
fn an_unanswered_change_that_happened_and_was_not_told_is_lost() {
    assert_eq!(unanswered(settled(30)).read(40, 41, Some("b")).findings(), LOST);
    assert_eq!(unanswered(OPEN).read(25, 41, Some("b")).findings(), LOST);
}

#[test]
fn an_unanswered_change_that_was_told_and_did_not_happen_is_a_phantom_once_it_can_no_longer_happen() {
    assert_eq!(unanswered(settled(30)).told_put("b", 2).read(40, 41, Some("a")).findings(), PHANTOM);
    assert_eq!(unanswered(settled(30)).told_put("b", 2).read(25, 41, Some("a")).findings(), CLEAN);
    assert_eq!(unanswered(OPEN).told_put("b", 2).read(40, 41, Some("a")).findings(), CLEAN);
}

#[test]
fn an_unanswered_delete_that_happened_and_was_not_told_is_lost() {
    let story = Story::default().put("a", 0, acknowledged(10)).delete("b", 20, settled(30)).told_put("a", 1);
    assert_eq!(story.read(40, 41, None).findings(), LOST);
    let story = Story::default().put("a", 0, acknowledged(10)).delete("b", 20, settled(30)).told_put("a", 1);
    let story = story.delete("c", 40, acknowledged(50)).told("ObjectRemoved:NoOP", "c", 2);
    assert_eq!(story.findings(), LOST, "the next delete found nothing");
    let story = story.delete("d", 60, acknowledged(70)).told("ObjectRemoved:NoOP", "d", 3);
    assert_eq!(story.findings(), LOST, "a delete after it cannot have removed what it did not find");
}

#[test]
fn an_unanswered_delete_that_was_told_and_did_not_happen_is_a_phantom() {
    let story = Story::default().put("a", 0, acknowledged(10)).delete("b", 20, settled(30)).told_put("a", 1);
    assert_eq!(story.told("ObjectRemoved:Delete", "b", 2).read(40, 41, Some("a")).findings(), PHANTOM);
}

#[test]
fn an_object_that_is_gone_though_nothing_says_so_is_told_and_not_there() {
    let story = Story::default().put("a", 0, acknowledged(10)).told_put("a", 1);
    assert_eq!(story.read(40, 41, None).findings(), PHANTOM);
}

#[test]
fn a_refused_operation_that_happened_is_lost() {
    let story = Story::default().put("a", 0, Answer::Refused).read(40, 41, Some("a"));
    assert_eq!(story.findings(), LOST);
}

#[test]
fn a_delete_that_says_it_found_nothing_contradicts_an_object_before_it() {
    let story = Story::default().put("a", 0, acknowledged(10)).delete("b", 20, acknowledged(30));
    assert_eq!(story.told_put("a", 1).told("ObjectRemoved:NoOP", "b", 2).findings(), PHANTOM);
}

#[test]
fn a_delete_that_says_it_removed_something_shows_the_loss_of_an_unanswered_put() {
    let story = Story::default().put("a", 0, settled(10)).delete("b", 20, acknowledged(30));
    assert_eq!(story.told("ObjectRemoved:Delete", "b", 2).findings(), LOST);
}

#[test]
fn an_unanswered_change_that_others_followed_explains_nothing_after_them() {
    let story = || Story::default().put("a", 0, settled(10)).put("b", 20, acknowledged(30)).told_put("b", 1);
    let removed = |story: Story, token, begin_us: u64, sequencer| {
        let story = story.delete(token, begin_us, acknowledged(begin_us + 5));
        story.told("ObjectRemoved:Delete", token, sequencer)
    };
    assert_eq!(removed(removed(story(), "c", 40, 2), "d", 50, 3).findings(), PHANTOM);
    let gone = Story::default().delete("a", 0, settled(10)).put("b", 20, acknowledged(30)).told_put("b", 1);
    assert_eq!(gone.read(40, 41, None).findings(), PHANTOM);
}

/// A put and a delete that overlap, told as if the delete had come first.
fn overlapping(event: &str) -> Story {
    Story::default()
        .put("a", 0, acknowledged(30))
        .delete("b", 10, acknowledged(40))
        .told(event, "b", 1)
        .told_put("a", 2)
}

#[test]
fn what_another_order_of_overlapping_operations_explains_is_out_of_order_and_neither_lost_nor_a_phantom() {
    assert_eq!(overlapping("ObjectRemoved:NoOP").read(50, 51, Some("a")).findings(), CLEAN);
    // The delete came last, by what it removed or by what a read found.
    assert_eq!(overlapping("ObjectRemoved:Delete").findings(), OUT_OF_ORDER);
    assert_eq!(overlapping("ObjectRemoved:NoOP").read(50, 51, None).findings(), OUT_OF_ORDER);
    let put_last = Story::default().put("a", 0, acknowledged(30)).delete("b", 10, acknowledged(40));
    let put_last = put_last.told_put("a", 1).told("ObjectRemoved:NoOP", "b", 2);
    assert_eq!(put_last.findings(), OUT_OF_ORDER);
}

#[test]
fn of_two_puts_that_overlap_the_one_a_read_finds_was_last() {
    let puts = || {
        let story = Story::default().put("a", 0, acknowledged(30)).put("b", 10, acknowledged(40));
        story.told_put("a", 1).told_put("b", 2)
    };
    assert_eq!(puts().read(50, 51, Some("b")).findings(), CLEAN);
    assert_eq!(puts().read(50, 51, Some("a")).findings(), OUT_OF_ORDER);
    // One that ended before the other began cannot have been last.
    let one_by_one = Story::default().put("a", 0, acknowledged(5)).put("b", 10, acknowledged(40));
    assert_eq!(one_by_one.told_put("a", 1).told_put("b", 2).read(50, 51, Some("a")).findings(), PHANTOM);
}

#[test]
fn a_bulk_delete_says_nothing_of_what_was_there() {
    let mut story = Story::default().delete("a", 20, acknowledged(30)).told("ObjectRemoved:Delete", "a", 1);
    assert_eq!(story.findings(), PHANTOM);
    story.0.operations[0].effect = Effect::Remove { in_bulk: true };
    assert_eq!(story.findings(), CLEAN);
}

/// As a server tells that puts into its records nothing of what the client sent.
fn anonymous(sequencer: u128, etag: &str, request_id: Option<&str>) -> Told {
    Told {
        key: "album/rose".to_owned(),
        event: "s3:ObjectCreated:Put".to_owned(),
        sequencer,
        token: None,
        request_id: request_id.map(str::to_owned),
        etag: Some(etag.to_owned()),
        size_bytes: Some(3),
    }
}

#[test]
fn without_tokens_records_are_known_by_request_id_and_without_those_by_key_and_etag() {
    let id = |id: &str| Answer::Acknowledged { end_us: 10, request_id: Some(id.to_owned()) };
    let story = || Story::default().put("a", 0, id("1")).put("b", 5, id("2"));
    let told = story().told_as(anonymous(1, "a", Some("1"))).told_as(anonymous(2, "b", Some("2")));
    assert_eq!(told.findings(), CLEAN);
    assert_eq!(story().told_as(anonymous(1, "a", Some("1"))).findings(), LOST);
    let foreign = told.told_as(anonymous(3, "a", Some("3")));
    assert_eq!(foreign.findings(), PHANTOM);

    let told = story().told_as(anonymous(1, "a", None)).told_as(anonymous(2, "b", None));
    assert_eq!(told.findings(), CLEAN);
    let again = told.told_as(anonymous(2, "b", None));
    assert_eq!((again.findings(), again.verdict().duplicates), (CLEAN, 1));
    assert_eq!(again.told_as(anonymous(3, "b", None)).findings(), PHANTOM);
}
