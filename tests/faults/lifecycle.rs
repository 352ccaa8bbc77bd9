//! Row 33, on a machine that its Auto Scaling group ends: the worker drains, completes the hook and ends with 0. A metadata service
//! that is away disturbs nobody.

use replyfleet_tests::{
    autoscaling::AutoScaling,
    metadata::Metadata,
    ministack::free_port,
    wait_for,
    web::{Answer, serve},
};

use crate::bed::{Bed, PATIENCE};

const BASE: &str = "database.url = \"sqlite:DIR/ledger.db\"\nsend.SES = { kind = \"maildir\", dir = \"DIR/replies\" }";
const STATE: &str = "autoscaling/target-lifecycle-state";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_on_a_machine_that_is_ended_drains_and_completes_the_hook() {
    for (group_setting, tag) in [("group = \"workers\",", ""), ("", "workers")] {
        let group = AutoScaling::start();
        let metadata = Metadata::start(&[("instance-id", "i-0123")]);
        if !tag.is_empty() {
            metadata.set("tags/instance/aws:autoscaling:groupName", tag);
        }
        let aws = format!("aws = {{ region = \"us-east-1\", endpoint_url = \"{}\", imds_endpoint_url = \"{}\" }}", group.url, metadata.url);
        let bed = Bed::new(&format!("{BASE}\n{aws}\ntermination = {{ {group_setting} hook = \"drain\" }}"));
        let mut worker = bed.start_ready();
        bed.put(1).await;
        bed.wait_until_empty();
        metadata.set(STATE, "InService");
        bed.put(2).await;
        bed.wait_until_empty();
        metadata.set(STATE, "Terminated");
        assert!(worker.wait(PATIENCE).success(), "{}", worker.log());
        assert_eq!(bed.answered("replies").len(), 2);
        assert!(group.has_completed("i-0123", "drain"));
        let completions = group.calls("CompleteLifecycleAction");
        assert!(completions.iter().all(|call| call["AutoScalingGroupName"] == "workers"), "{completions:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_metadata_service_that_is_away_or_wrong_disturbs_nobody() {
    let broken = serve(|_| Answer::new(500, "no"));
    for metadata in [format!("http://127.0.0.1:{}", free_port()), broken] {
        let aws = format!("aws = {{ region = \"us-east-1\", endpoint_url = \"http://127.0.0.1:9\", imds_endpoint_url = \"{metadata}\" }}");
        let bed = Bed::new(&format!("{BASE}\n{aws}\ntermination = {{ hook = \"drain\", group = \"workers\" }}"));
        let worker = bed.start_ready();
        bed.put(1).await;
        wait_for("the answer", PATIENCE, || (bed.answered("replies").len() == 1).then_some(()));
        worker.stop();
    }
}
