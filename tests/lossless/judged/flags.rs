//! What the flags of the checker ask for.

use crate::options::Options;
use crate::rows;

fn parsed(line: &str) -> Result<Options, String> {
    Options::parse(line.split_whitespace().map(str::to_owned))
}

fn rows_of(line: &str) -> Vec<&'static str> {
    rows::wanted(&parsed(line).unwrap()).into_iter().map(|row| row.name).collect()
}

fn refusal_of(line: &str) -> String {
    parsed(line).unwrap_err()
}

const GIVEN: &str = "--endpoint http://127.0.0.1:9000/ --sink 127.0.0.1:9100 --arn arn:minio:sqs::1:webhook";

#[test]
fn a_given_server_is_judged_in_the_rows_that_can_be_played_from_outside() {
    let of_target = ["target-away", "target-slow", "target-fails", "target-cuts"];
    assert_eq!(rows_of(GIVEN), [&["calm"], &of_target[..]].concat());
    let killed = format!("{GIVEN} --restart-command ./restart.sh");
    assert_eq!(rows_of(&killed), [&["calm", "killed"], &of_target[..]].concat());
    // Only a command that is told the signal can stop it otherwise than by killing it.
    let stopped = format!("{GIVEN} --restart-command ./restart-$SIGNAL");
    assert_eq!(rows_of(&stopped), [&["calm", "killed", "stopped"], &of_target[..]].concat());
    assert_eq!(rows_of(&format!("{killed} --row killed")), ["killed"]);
}

#[test]
fn a_given_server_has_the_usual_keys_and_an_endpoint_without_a_slash() {
    let foreign = parsed(GIVEN).unwrap().foreign.unwrap();
    assert_eq!(
        [foreign.endpoint, foreign.access_key, foreign.secret_key],
        ["http://127.0.0.1:9000", "minioadmin", "minioadmin"]
    );
}

#[test]
fn without_a_server_ours_is_judged_also_as_one_that_a_command_restarts() {
    let rows = rows_of("");
    assert!(["calm", "by-command", "power"].iter().all(|name| rows.contains(name)), "{rows:?}");
    assert_eq!(rows_of("--row power --seed 7 --long"), ["power"]);
}

#[test]
fn what_cannot_be_done_is_refused_in_a_sentence_that_names_it() {
    for (line, sentence) in [
        ("--rows calm", "there is no flag --rows; try --help"),
        ("--seed", "--seed needs a value"),
        ("--writers many", "--writers takes a number, not many"),
        ("--endpoint http://127.0.0.1:9000", "a server that runs already needs --sink too; try --help"),
        ("--restart-command true", "a server that runs already needs --endpoint too; try --help"),
        (
            "--endpoint https://store --sink 127.0.0.1:1 --arn a",
            "--endpoint takes http://HOST:PORT, not https://store",
        ),
        (
            "--endpoint http://store:1 --sink http://127.0.0.1:1 --arn a",
            "--sink takes HOST:PORT, not http://127.0.0.1:1",
        ),
    ] {
        assert_eq!(refusal_of(line), sentence);
    }
    let of_target = "target-away, target-slow, target-fails, target-cuts";
    assert_eq!(
        refusal_of(&format!("{GIVEN} --row power")),
        format!("there is no row power with these flags, but calm, {of_target}")
    );
}
