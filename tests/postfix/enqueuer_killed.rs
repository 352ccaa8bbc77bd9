//! `kill -9` of the enqueuer after the queue took the mail and before Postfix heard so: Postfix hands it over again, and
//! it is answered once.

use replyfleet_tests::world::{Backing, Intake, Mail, Plan, World};

use crate::common::{assert_both_replies, assert_nothing_is_left};

/// The first run is killed as it enters the system call that would have ended it with status 0.
const KILLED_AT_ITS_FIRST_EXIT: &str = r#"
if mkdir "$W/wrapped/first" 2>/dev/null; then
    exec strace -f -o /dev/null -e trace=exit_group -e inject=exit_group:signal=KILL "$ENQUEUE" "$@"
fi
exec "$ENQUEUE" "$@"
"#;

fn a_killed_enqueuer_causes_no_bounce_and_no_second_answer(backing: Backing) {
    let Some(world) = World::start(&Plan { instead_of_enqueuer: Some(KILLED_AT_ITS_FIRST_EXIT), ..Plan::on(backing) }) else { return };
    world.send(&Mail::request("1@client.example.org"));
    world.wait_for_handover(1);
    assert_eq!(world.times_in_log("status=deferred"), 1);
    let queued = world.queued();
    assert_eq!(queued.len(), 2, "taken twice");
    assert_eq!(queued[0].facts.request_key, queued[1].facts.request_key);
    let _worker = world.start_worker();
    assert_both_replies(&world.replies(2), "1@client.example.org");
    assert_nothing_is_left(&world);
    assert_eq!(world.at_the_sink().len(), 2, "answered once");
}

#[test]
fn a_killed_enqueuer_causes_no_bounce_and_no_second_answer_on_the_embedded_default() {
    a_killed_enqueuer_causes_no_bounce_and_no_second_answer(Backing::Embedded);
}

#[test]
fn a_killed_enqueuer_causes_no_bounce_and_no_second_answer_on_sqs() {
    a_killed_enqueuer_causes_no_bounce_and_no_second_answer(Backing::Aws);
}

/// The first service is killed as it enters the system call that would have said that the queue has the mail: after
/// greeting, LHLO and the commands of the mail, which Postfix sends in one piece, its fourth. Then there is a second.
const KILLED_AT_ITS_FIRST_YES: &str = r#"
if mkdir "$W/wrapped/first" 2>/dev/null; then
    strace -f -o /dev/null -e trace=sendto -e inject=sendto:signal=KILL:when=4 "$ENQUEUE" "$@"
fi
exec "$ENQUEUE" "$@"
"#;

#[test]
fn a_killed_service_causes_no_bounce_and_no_second_answer() {
    let plan = Plan { intake: Intake::Lmtp, instead_of_enqueuer: Some(KILLED_AT_ITS_FIRST_YES), ..Plan::on(Backing::Embedded) };
    let Some(world) = World::start(&plan) else { return };
    world.send(&Mail::request("1@client.example.org"));
    world.wait_for_handover(1);
    assert!(world.times_in_log("status=deferred (lost connection with") >= 1);
    let queued = world.queued();
    assert_eq!(queued.len(), 2, "taken twice");
    assert_eq!(queued[0].facts.request_key, queued[1].facts.request_key);
    let _worker = world.start_worker();
    assert_both_replies(&world.replies(2), "1@client.example.org");
    assert_nothing_is_left(&world);
    assert_eq!(world.at_the_sink().len(), 2, "answered once");
}
