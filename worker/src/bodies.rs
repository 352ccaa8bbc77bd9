//! The rendered bodies: one for each response, language, and set of files as a provider wants them called, and no more.
//!
//! What is not used any more, since the catalogue or a file is another by now, goes by itself; replies in flight keep theirs.

use std::{sync::Arc, time::Duration};

use moka::sync::Cache;

use crate::{
    attachments::Content,
    catalogue::{Response, Translation},
    compose::{
        Body,
        render::{File, render},
    },
};

/// Bodies at hand. Their texts are small, and their files are shared.
const BODIES_MAX: u64 = 10_000;
/// After this long without a reply, a body is rendered again for the next one.
const UNUSED_FOR: Duration = Duration::from_secs(600);

/// What makes one body another.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    response: String,
    language: String,
    /// Name and SHA-256 of each.
    files: Vec<(String, Arc<str>)>,
}

/// The cache of bodies.
pub(crate) struct Bodies(Cache<Key, Arc<Body>>);

impl Default for Bodies {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(BODIES_MAX).time_to_idle(UNUSED_FOR).build())
    }
}

impl Bodies {
    /// The body for `response` and its `translation`, with `files` under their names. Rendering takes some milliseconds a
    /// megabyte, once; those who want the same body meanwhile wait for it.
    pub(crate) fn get(&self, response: &Response, translation: Option<&Translation>, files: &[(String, Content)]) -> Arc<Body> {
        let key = Key {
            response: response.digest.clone(),
            language: translation.map(|translation| translation.lang.as_str().to_owned()).unwrap_or_default(),
            files: files.iter().map(|(name, content)| (name.clone(), Arc::clone(&content.sha256))).collect(),
        };
        self.0.get_with(key, || {
            let file = |(name, content): &(String, Content)| File { name: name.clone(), content: Arc::clone(&content.encoded) };
            Arc::new(render(response, translation, &files.iter().map(file).collect::<Vec<_>>()))
        })
    }
}
