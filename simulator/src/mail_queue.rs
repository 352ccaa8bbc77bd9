//! The queue: mails in the order of their arrival, as a standard SQS queue nearly keeps it. A mail whose worker died shows again when
//! its visibility timeout ends, and then comes before younger mail; one that was received too often is parked.

use std::collections::VecDeque;

/// A mail, as far as its wait matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mail {
    /// When our MX took it, in milliseconds.
    pub(crate) arrived_ms: u32,
    /// How often it was received.
    pub(crate) receives: u8,
    /// A reply of it was accepted already; the worker died before it could delete the message.
    pub(crate) is_answered: bool,
}

/// What waits.
#[derive(Default)]
pub(crate) struct MailQueue {
    waiting: VecDeque<Mail>,
    /// Mails that show again later: their worker died.
    hidden: Vec<Mail>,
    sent: u64,
}

impl MailQueue {
    /// A new mail.
    pub(crate) fn arrive(&mut self, at_ms: u64) {
        self.sent += 1;
        self.waiting.push_back(Mail { arrived_ms: at_ms as u32, receives: 0, is_answered: false });
    }

    /// A worker gives a mail back that it received: it shows at once.
    pub(crate) fn release(&mut self, mail: Mail) {
        self.waiting.push_front(mail);
    }

    /// A mail's worker died: it shows again when [`MailQueue::show`] is called.
    pub(crate) fn hide(&mut self, mail: Mail) {
        self.hidden.push(mail);
    }

    /// A hidden mail's visibility timeout ended.
    pub(crate) fn show(&mut self, mail: Mail) {
        if let Some(place) = self.hidden.iter().position(|hidden| *hidden == mail) {
            self.hidden.swap_remove(place);
        }
        self.waiting.push_front(mail);
    }

    /// Receives the first mail, which counts as a receive; a mail with more than `receives_max` goes to the dead letters instead (`Err`).
    pub(crate) fn receive(&mut self, receives_max: u32) -> Option<Result<Mail, Mail>> {
        let mut mail = self.waiting.pop_front()?;
        mail.receives = mail.receives.saturating_add(1);
        Some(if u32::from(mail.receives) > receives_max { Err(mail) } else { Ok(mail) })
    }

    /// How many new ones came since this was last asked.
    pub(crate) fn sent(&mut self) -> u64 {
        std::mem::take(&mut self.sent)
    }

    /// How many wait and show.
    pub(crate) fn depth(&self) -> u64 {
        self.waiting.len() as u64
    }

    /// Is there nothing to receive?
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// For how long the first mail has been on its way, in milliseconds; 0 if there is none.
    pub(crate) fn oldest_ms(&self, now_ms: u64) -> u64 {
        self.waiting.front().map_or(0, |mail| now_ms.saturating_sub(u64::from(mail.arrived_ms)))
    }

    /// What will show again.
    pub(crate) fn hidden(&self) -> impl Iterator<Item = &Mail> {
        self.hidden.iter()
    }

    /// What waits.
    pub(crate) fn mails(&self) -> impl Iterator<Item = &Mail> {
        self.waiting.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_of_a_dead_worker_comes_first_and_too_many_receives_park_it() {
        let mut queue = MailQueue::default();
        queue.arrive(10);
        queue.arrive(20);
        let first = queue.receive(2).expect("a mail").expect("not parked");
        assert_eq!((first.arrived_ms, first.receives), (10, 1));
        queue.hide(first);
        assert_eq!((queue.depth(), queue.hidden().count(), queue.oldest_ms(50)), (1, 1, 30));
        queue.show(first);
        assert_eq!((queue.depth(), queue.hidden().count(), queue.oldest_ms(50)), (2, 0, 40));
        let again = queue.receive(2).expect("a mail").expect("not parked");
        queue.release(again);
        assert!(queue.receive(2).expect("a mail").is_err(), "its third receive");
        assert_eq!(queue.receive(2).expect("a mail").expect("not parked").arrived_ms, 20);
        assert_eq!(queue.receive(2), None);
    }
}
