//! Which operations without an answer the end of a server settles.

use crate::log::Down;

#[test]
fn the_end_of_a_process_settles_all_that_was_given_up_before_the_next_one_was_started() {
    let down = Down { dead_us: 100, start_us: 100 };
    assert!(down.settles(10, 99));
    assert!(!down.settles(10, 100) && !down.settles(110, 120));
}

#[test]
fn a_command_settles_what_was_asked_for_before_it_and_not_what_the_next_server_may_have_taken() {
    let command = Down { start_us: 100, dead_us: 200 };
    assert!(command.settles(10, 50) && command.settles(10, 150));
    assert!(!command.settles(110, 150), "asked for while the command ran");
    assert!(!command.settles(10, 250), "given up after it");
}
