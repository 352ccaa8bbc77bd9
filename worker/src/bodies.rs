//! The rendered bodies: one for each response, language, and set of files as a provider wants them called, and no more.
//!
//! What is not used any more, since the catalogue or a file is another by now, goes by itself; replies in flight keep theirs.

use std::{sync::Arc, time::Duration};

use moka::sync::Cache;
use tokio::task::spawn_blocking;

use crate::{
    attachments::Content,
    catalogue::{Response, Translation},
    compose::{
        Body,
        render::{File, render},
    },
};

/// The bytes of all bodies at hand. A file that several of them share counts for each.
const BYTES_MAX: u64 = 1 << 30;
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

/// The cache of bodies; the clones of one are the same cache.
#[derive(Clone)]
pub(crate) struct Bodies(Cache<Key, Arc<Body>>);

/// What makes a body, as the catalogue has it.
pub(crate) type Text<'a> = (&'a Response, Option<&'a Translation>);

impl Default for Bodies {
    fn default() -> Self {
        let bytes = |_: &Key, body: &Arc<Body>| u32::try_from(body.len()).unwrap_or(u32::MAX);
        Self(Cache::builder().weigher(bytes).max_capacity(BYTES_MAX).time_to_idle(UNUSED_FOR).build())
    }
}

impl Bodies {
    /// The body for this text without files.
    pub(crate) fn text(&self, text: Text<'_>) -> Arc<Body> {
        self.0.get_with(key(text, &[]), || rendered(text, &[], false))
    }

    /// The body for this text with `files` under their names, and with its base64 at hand if the sender needs that
    /// (`is_base64_needed`; of one text always the same). Hashing and encoding take some milliseconds a megabyte, once, and
    /// hold up no other task; those who want the same body meanwhile wait for it.
    pub(crate) async fn with_files(&self, text: Text<'_>, files: &[(String, Content)], is_base64_needed: bool) -> Arc<Body> {
        if files.is_empty() {
            return self.text(text);
        }
        let key = key(text, files);
        if let Some(body) = self.0.get(&key) {
            return body;
        }
        let (bodies, owned) = (self.clone(), (text.0.clone(), text.1.cloned(), files.to_vec()));
        let rendering = spawn_blocking(move || {
            let (response, translation, files) = owned;
            bodies.0.get_with(key, || rendered((&response, translation.as_ref()), &files, is_base64_needed))
        });
        // A runtime that stops may give it up; then it is rendered here.
        rendering.await.unwrap_or_else(|_| rendered(text, files, is_base64_needed))
    }

    /// Lets go of what was not used for long, which else happens beside the next use only.
    pub(crate) fn tidy(&self) {
        self.0.run_pending_tasks();
    }
}

fn key((response, translation): Text<'_>, files: &[(String, Content)]) -> Key {
    Key {
        response: response.digest.clone(),
        language: translation.map(|translation| translation.lang.as_str().to_owned()).unwrap_or_default(),
        files: files.iter().map(|(name, content)| (name.clone(), Arc::clone(&content.sha256))).collect(),
    }
}

fn rendered((response, translation): Text<'_>, files: &[(String, Content)], is_base64_needed: bool) -> Arc<Body> {
    let file = |(name, content): &(String, Content)| File { name: name.clone(), content: Arc::clone(&content.encoded) };
    let body = render(response, translation, &files.iter().map(file).collect::<Vec<_>>());
    if is_base64_needed {
        body.segments().iter().for_each(|segment| drop(segment.base64().clone()));
    }
    Arc::new(body)
}

#[cfg(test)]
mod tests {
    use replyfleet::keyed::sha256_hex;

    use super::*;
    use crate::{
        catalogue::{Catalogue, SendMethod},
        compose::render::encoded,
    };

    fn catalogue() -> Catalogue {
        Catalogue::parse(r#"[{"email_addr": "get@example.com", "body": "links", "send_method": "SES"}]"#, &[SendMethod::Ses]).expect("valid")
    }

    fn file(content: &[u8]) -> (String, Content) {
        ("a.bin".into(), Content { encoded: Arc::new(encoded(content)), sha256: sha256_hex(content).into() })
    }

    #[tokio::test]
    async fn a_body_is_rendered_once_and_again_for_another_file() {
        let (bodies, catalogue) = (Bodies::default(), catalogue());
        let text = (&catalogue.responses()[0], None);
        let one = bodies.with_files(text, &[file(b"one")], false).await;
        assert!(Arc::ptr_eq(&one, &bodies.with_files(text, &[file(b"one")], false).await));
        let two = bodies.with_files(text, &[file(b"two")], false).await;
        assert!(!Arc::ptr_eq(&one, &two) && one.hash() != two.hash());
        let without = bodies.with_files(text, &[], false).await;
        assert!(Arc::ptr_eq(&without, &bodies.text(text)) && without.len() < one.len());
    }

    #[tokio::test]
    async fn what_a_sender_needs_is_at_hand_with_the_body() {
        let (bodies, catalogue) = (Bodies::default(), catalogue());
        let text = (&catalogue.responses()[0], None);
        for is_needed in [true, false] {
            let file = file(if is_needed { b"one" } else { b"two" });
            bodies.with_files(text, std::slice::from_ref(&file), is_needed).await;
            assert_eq!(file.1.encoded.has_base64(), is_needed);
        }
    }

    #[tokio::test]
    async fn other_tasks_go_on_while_large_files_are_hashed() {
        let (bodies, catalogue) = (Bodies::default(), catalogue());
        let is_done = std::cell::Cell::new(false);
        let rendering = async {
            bodies.with_files((&catalogue.responses()[0], None), &[file(&vec![b'x'; 8 << 20])], true).await;
            is_done.set(true);
        };
        // On this runtime's one thread it is polled second.
        let other = async { assert!(!is_done.get(), "it waited for all of it") };
        tokio::join!(rendering, other);
    }
}
