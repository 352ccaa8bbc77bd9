//! `replyfleet queue`.

use crate::installation::Installation;

#[test]
fn queue_shows_reasons_and_never_content() {
    let world = Installation::after_a_start();
    let (status, said) = world.run(&["queue"]);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("unreadable_envelope") && said.contains("25 B") && !said.contains("no envelope"), "{said}");
    let (_, json) = world.run(&["queue", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["visible"], &json["parked"][0]["reason"]), (&0.into(), &"unreadable_envelope".into()));
}
