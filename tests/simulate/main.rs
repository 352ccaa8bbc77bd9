//! The simulator obeys what is deployed: the template in `ami/` is deployed on an emulator of AWS, and what the services then say is compared with
//! what the simulator reads. And the program that people run.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]
#![forbid(unsafe_code)]

mod deployed;
mod picture;
mod program;

use std::collections::BTreeMap;

use replyfleet_simulator::template::{DEPLOYED, PROFILE, Template};
use replyfleet_tests::{ministack::Ministack, repository, skipped};

/// Where the template lies.
const TEMPLATE: &str = "ami/scaling.yaml";

/// What a stack of `ami/scaling.yaml` needs, for a stack of this name, and what a test wants besides.
fn parameters(stack: &str, more: &[(&str, &str)]) -> BTreeMap<String, String> {
    let needed = [
        ("LaunchTemplateId", "lt-0123456789abcdef0"),
        ("LaunchTemplateVersion", "1"),
        ("SubnetIds", "subnet-1,subnet-2"),
        ("AlertTopicArn", "arn:aws:sns:us-east-1:000000000000:people"),
        ("GroupName", stack),
    ];
    needed.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn the_simulator_obeys_what_cloudformation_deploys() {
    let ministack = match Ministack::shared() {
        Ok(ministack) => ministack,
        Err(no_world) => return skipped(&no_world.0),
    };
    let changed = [
        ("WorkersMin", "3"),
        ("WorkersMax", "17"),
        ("WarmupSeconds", "41"),
        ("DrainSecondsMax", "123"),
        ("MailQueueHook", "yes"),
        ("MetricNamespace", "mine"),
        ("HostMetricNamespace", "CWAgent"),
    ];
    let cases: [(&str, &[(&str, &str)]); 4] = [("recommended", &[]), ("faithful", &[]), ("recommended", &changed), ("faithful", &changed)];
    for (number, (profile, more)) in cases.into_iter().enumerate() {
        let stack = format!("workers-{number}");
        let mut parameters = parameters(&stack, more);
        parameters.insert(PROFILE.into(), profile.into());
        let deployed = deployed::deploy(&ministack.endpoint(), &stack, &repository().join(TEMPLATE), &parameters);
        let read = Template::parse(DEPLOYED).and_then(|template| template.scaling(&parameters)).unwrap();
        assert_eq!(read.group, deployed.group, "{profile}");
        assert_eq!(read.policies, deployed.policies, "{profile}");
        assert_eq!(read.alarms, deployed.alarms, "{profile}");
        assert!(!read.alarms.is_empty() && !read.policies.is_empty(), "{profile}: nothing was compared");
    }
}

#[test]
fn the_program_holds_the_template_of_the_repository() {
    assert_eq!(DEPLOYED, std::fs::read_to_string(repository().join(TEMPLATE)).unwrap());
}
