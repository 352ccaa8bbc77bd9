//! Rows 26 and 27: the worker dies after SES took a reply and before it heard so. That reply may come twice; the other one of
//! the same request, which goes by SMTP, comes once. And neither sender's failure touches the other's reply.

use std::collections::BTreeMap;

use replyfleet_tests::{
    arrivals::Arrival,
    faults::{Fault, Rule},
    wait_for,
};

use crate::{
    clouded::TwoSenders,
    running::{DEADLINE, Running},
};

/// How many copies of each reply came, by Message-ID.
fn copies(arrivals: Vec<Arrival>) -> Vec<usize> {
    let mut copies: BTreeMap<String, usize> = BTreeMap::new();
    arrivals.into_iter().for_each(|arrival| *copies.entry(arrival.message_id + &arrival.tag).or_default() += 1);
    copies.into_values().collect()
}

#[test]
fn a_worker_that_dies_after_ses_said_200_repeats_that_reply_once_and_the_other_never() {
    let world = TwoSenders::new();
    world.installation.take("someone@example.org", "4XyZ1z");
    world.ses.faults().add(Rule::new("SendEmail", Fault::ActThenHang).times(1));
    let worker = Running::start(&world.installation);
    wait_for("SES to have the reply", DEADLINE, || (world.ses.arrivals().len() == 1).then_some(()));
    drop(worker); // by SIGKILL
    let successor = Running::start(&world.installation);
    successor.wait_for_ends("answered", "", 1);
    assert_eq!((copies(world.ses.arrivals()), copies(world.smtp.arrivals())), (vec![2], vec![1]));
}

#[test]
fn one_senders_failure_does_not_keep_the_other_reply() {
    for (is_ses, name) in [(true, "SES"), (false, "SMTP")] {
        let world = TwoSenders::new();
        let refusal = |status, code: &str| Fault::Answer { status, code: code.into() };
        if is_ses {
            world.ses.faults().add(Rule::new("SendEmail", refusal(503, "ServiceUnavailable")).times(1));
        } else {
            world.smtp.faults().add(Rule::new("RCPT", refusal(451, "4.3.0 later")).times(1));
        }
        world.installation.take("someone@example.org", "4XyZ1z");
        let worker = Running::start(&world.installation);
        worker.wait_for_ends("retry", "sender", 1);
        let arrived = (world.ses.arrivals().len(), world.smtp.arrivals().len());
        assert_eq!(arrived, if is_ses { (0, 1) } else { (1, 0) }, "{name} fails");
        worker.wait_for_ends("answered", "", 1);
        assert_eq!((world.ses.arrivals().len(), world.smtp.arrivals().len()), (1, 1), "{name} failed");
    }
}
