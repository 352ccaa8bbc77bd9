//! The fake as a process of its own: its services work, and its knobs turn, from outside.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use aws_sdk_sqs::{Client, error::ProvideErrorMetadata};
use replyfleet_tests::{
    fake::Control,
    faults::{Fault, Rule},
    ministack::{free_port, load_aws},
    program,
    proxy::Mode,
    wait_for,
};
use serde_json::json;

fn end(mut fake: Child) {
    drop(fake.stdin.take());
    let status = wait_for("the fake's end", Duration::from_secs(10), || fake.try_wait().unwrap());
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn a_fake_in_another_process_is_controlled_by_its_socket_and_ends_with_its_input() {
    let dir = tempfile::tempdir().unwrap();
    let (socket, ports) = (dir.path().join("control"), [free_port(), free_port(), free_port(), free_port()]);
    let address = |index: usize| format!("127.0.0.1:{}", ports[index]);
    let mut command = Command::new(program("replyfleet-fake"));
    command.arg("--control").arg(&socket).args(["--sqs", &address(0), "--queue", "requests", "--ses", &address(1), "--smtp", &address(2)]);
    command.args(["--proxy", &format!("sqs={}={}", address(3), address(0))]).stdin(Stdio::piped());
    let fake = command.spawn().unwrap();
    let control = Control::at(&socket);

    let client = Client::new(load_aws(format!("http://{}", address(3))).await.config());
    let url = format!("http://{}/000000000000/requests", address(0));
    let send = async || {
        let sent = client.send_message().queue_url(&url).message_body("x").send().await;
        sent.map(drop).map_err(|error| error.code().unwrap_or("no answer").to_owned())
    };
    assert_eq!(send().await, Ok(()));
    control.add("sqs", &Rule::new("SendMessage", Fault::Answer { status: 503, code: "ServiceUnavailable".into() }));
    assert_eq!(send().await, Err("ServiceUnavailable".into()));
    control.clear("sqs");
    control.set("sqs", &Mode { is_refusing: true, ..Mode::default() });
    control.ask("POST", "proxy/sqs/reset", &json!({})); // the SDK keeps a connection
    assert_eq!(send().await, Err("no answer".into()));
    control.set("sqs", &Mode::default());
    assert_eq!(send().await, Ok(()));

    let figures = control.ask("GET", "sqs/figures", &json!({}));
    assert_eq!(figures["queues"]["requests"], json!({"visible": 2, "in_flight": 0, "delayed": 0}));
    assert_eq!(figures["happened"], json!({"SendMessage 503 ServiceUnavailable": 1}));
    assert_eq!(control.ask("GET", "sqs/messages/requests", &json!({})), json!(["x", "x"]));
    control.ask("PUT", "ses/account", &json!({"is_sending_enabled": false, "send_rate_max": 1.0, "day_max": 10.0}));
    for service in ["ses", "smtp"] {
        assert_eq!(control.ask("GET", &format!("{service}/figures"), &json!({}))["arrivals"], json!([]));
    }
    end(fake);
}
