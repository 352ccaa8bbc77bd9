//! What will happen, by time; at the same millisecond in the order in which it was planned, so that a run is the same each time.

use std::{cmp::Ordering, collections::BinaryHeap};

/// Future events.
pub(crate) struct EventQueue<T> {
    heap: BinaryHeap<Entry<T>>,
    planned: u64,
}

struct Entry<T> {
    at_ms: u64,
    order: u64,
    what: T,
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    /// The earliest is the greatest: a `BinaryHeap` gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at_ms, other.order).cmp(&(self.at_ms, self.order))
    }
}

impl<T> EventQueue<T> {
    /// Nothing is planned.
    pub(crate) fn new() -> EventQueue<T> {
        EventQueue { heap: BinaryHeap::new(), planned: 0 }
    }

    /// Plans an event.
    pub(crate) fn plan(&mut self, at_ms: u64, what: T) {
        self.heap.push(Entry { at_ms, order: self.planned, what });
        self.planned += 1;
    }

    /// When the next event is.
    pub(crate) fn next_at_ms(&self) -> Option<u64> {
        self.heap.peek().map(|entry| entry.at_ms)
    }

    /// Takes the next event, with its time.
    pub(crate) fn take(&mut self) -> Option<(u64, T)> {
        self.heap.pop().map(|entry| (entry.at_ms, entry.what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_in_their_order() {
        let mut events = EventQueue::new();
        for (at, what) in [(5, 'c'), (1, 'a'), (5, 'd'), (2, 'b'), (5, 'e')] {
            events.plan(at, what);
        }
        assert_eq!(events.next_at_ms(), Some(1));
        let order: String = std::iter::from_fn(|| events.take()).map(|(_, what)| what).collect();
        assert_eq!(order, "abcde");
    }
}
