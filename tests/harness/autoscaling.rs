//! EC2 Auto Scaling of a test's own, as far as a machine that ends speaks with it: every call is answered well and remembered.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use crate::web::{Answer, serve};

/// A call: `Action`, `InstanceId` and all other parameters.
pub type Call = BTreeMap<String, String>;

/// A running service.
pub struct AutoScaling {
    /// Where it listens.
    pub url: String,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Default for AutoScaling {
    fn default() -> Self {
        Self::start()
    }
}

impl AutoScaling {
    /// Starts one.
    pub fn start() -> Self {
        let calls: Arc<Mutex<Vec<Call>>> = Arc::default();
        let seen = Arc::clone(&calls);
        let url = serve(move |request| {
            let body = String::from_utf8_lossy(&request.body).into_owned();
            let call: Call = body.split('&').filter_map(|part| part.split_once('=')).map(|(key, value)| (key.into(), value.into())).collect();
            let action = call.get("Action").cloned().unwrap_or_default();
            seen.lock().unwrap().push(call);
            let body = format!("<{action}Response><{action}Result/><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></{action}Response>");
            Answer::new(200, body).with("Content-Type", "text/xml")
        });
        Self { url, calls }
    }

    /// The calls of this action.
    ///
    /// # Panics
    /// If the service panicked.
    pub fn calls(&self, action: &str) -> Vec<Call> {
        self.calls.lock().unwrap().iter().filter(|call| call.get("Action").is_some_and(|name| name == action)).cloned().collect()
    }

    /// Whether this instance's hook of this name was completed, so that the group goes on.
    pub fn has_completed(&self, instance: &str, hook: &str) -> bool {
        let is = |call: &Call, key: &str, value: &str| call.get(key).is_some_and(|found| found == value);
        self.calls("CompleteLifecycleAction")
            .iter()
            .any(|call| is(call, "InstanceId", instance) && is(call, "LifecycleHookName", hook) && is(call, "LifecycleActionResult", "CONTINUE"))
    }
}
