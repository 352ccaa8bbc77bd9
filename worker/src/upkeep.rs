//! What a worker looks at again and again beside its messages: whether replies of all domains are signed that shall be, and
//! what caches need not hold any more. Whatever is wrong is said once; nothing here stops a reply.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use crate::respond::Responder;

/// How often caches are tidied.
const TIDY_EVERY: Duration = Duration::from_secs(600);

/// Who looks, and at what.
pub(crate) struct Upkeep {
    pub(crate) responder: Arc<Responder>,
    /// How often the signing is looked at: as often as there can be a new catalogue. A key may also begin or end.
    pub(crate) look_every: Duration,
}

impl Upkeep {
    /// Looks for ever.
    pub(crate) async fn keep(self) {
        tokio::join!(self.watch_signing(), self.tidy());
    }

    async fn watch_signing(&self) {
        let mut unsigned = Unsigned::default();
        loop {
            let Responder { composer, catalogue, clock, .. } = &*self.responder;
            match unsigned.news(composer.unsigned_domains(&catalogue.current(), clock.now())) {
                None => {}
                Some(domains) if domains.is_empty() => tracing::info!("replies of all domains are signed that are set to be"),
                Some(domains) => tracing::warn!(
                    domains,
                    "replies from these domains leave unsigned: no key in [[signing.keys]] signs for them today; see `replyfleet check`"
                ),
            }
            tokio::time::sleep(self.look_every).await;
        }
    }

    async fn tidy(&self) {
        loop {
            self.responder.composer.keep_only(&self.responder.catalogue.current()).await;
            tokio::time::sleep(TIDY_EVERY).await;
        }
    }
}

/// The domains whose replies left unsigned when it was looked last.
#[derive(Default)]
struct Unsigned(BTreeSet<String>);

impl Unsigned {
    /// The domains of now in one line, if they are others than the last time.
    fn news(&mut self, now: BTreeSet<String>) -> Option<String> {
        let is_new = now != self.0;
        self.0 = now;
        is_new.then(|| self.0.iter().map(String::as_str).collect::<Vec<_>>().join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsigned_domains_are_told_once_and_again_when_they_change() {
        let mut unsigned = Unsigned::default();
        for (now, want) in [
            (&[][..], None),
            (&["a.example"], Some("a.example")),
            (&["a.example"], None),
            (&["a.example", "b.example"], Some("a.example b.example")),
            (&["b.example"], Some("b.example")),
            (&[], Some("")),
            (&[], None),
        ] {
            assert_eq!(unsigned.news(now.iter().map(|domain| (*domain).to_owned()).collect()).as_deref(), want, "{now:?}");
        }
    }
}
