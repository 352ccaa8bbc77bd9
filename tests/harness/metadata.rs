//! An instance metadata service (IMDSv2) of a test's own: nothing without a token, which a PUT with a time to live gives (EC2
//! User Guide, "Use the Instance Metadata Service").

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use crate::web::{Answer, Request, serve};

const TOKEN: &str = "token-of-the-test";
const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";

/// A running service.
pub struct Metadata {
    /// Where it listens.
    pub url: String,
    values: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Metadata {
    /// Starts one that has these values, by their paths below `/latest/meta-data/`.
    pub fn start(values: &[(&str, &str)]) -> Self {
        let values = values.iter().map(|(path, value)| ((*path).to_owned(), (*value).to_owned())).collect();
        let values: Arc<Mutex<BTreeMap<String, String>>> = Arc::new(Mutex::new(values));
        let shown = Arc::clone(&values);
        Self { url: serve(move |request| answer(request, &shown.lock().unwrap())), values }
    }

    /// Sets a value.
    ///
    /// # Panics
    /// If the service panicked.
    pub fn set(&self, path: &str, value: &str) {
        self.values.lock().unwrap().insert(path.into(), value.into());
    }
}

fn answer(request: &Request, values: &BTreeMap<String, String>) -> Answer {
    match (request.method.as_str(), request.path.as_str()) {
        ("PUT", "/latest/api/token") => match request.headers.get(TTL).and_then(|seconds| seconds.parse::<u32>().ok()) {
            Some(seconds @ 1..=21_600) => Answer::new(200, TOKEN).with(TTL, seconds.to_string()),
            _ => Answer::new(400, ""),
        },
        ("GET", _) if request.headers.get("x-aws-ec2-metadata-token").map(String::as_str) != Some(TOKEN) => Answer::new(401, ""),
        ("GET", path) => {
            let path = path.replace("%3A", ":");
            let value = path.strip_prefix("/latest/meta-data/").and_then(|path| values.get(path));
            value.map_or_else(|| Answer::new(404, ""), |value| Answer::new(200, value.as_str()))
        }
        _ => Answer::new(405, ""),
    }
}
