//! Every interleaving of a small fleet, over the very functions that the ledger decides by: workers that receive one message
//! any number of times, die at any point, stop past their claims, read clocks that are wrong, lose the answers of database and
//! queue, while time goes on and the request gets too old.
//!
//! What holds in all of them: no reply has more copies than tries may be ambiguous; without a fault it has one; what is said
//! to be withheld was never sent; a message leaves the queue only with each reply ended; and nothing can stop before that.
//! Two planted bugs show that the model finds such things.

#![expect(clippy::print_stderr, reason = "how much was looked at is worth knowing")]

use stateright::{Checker, HasDiscoveries, Model, Property};

use super::*;

/// A unit of time: what a claim holds, and half of the most that one may.
const TICK: Duration = Duration::from_secs(HOLD_MAX.as_secs() / 2);
/// From this tick on the request is too old.
const AGE_TICKS: u8 = 2;
/// Definite failures of a next hop.
const NOT_SENT_MAX: u8 = 1;

/// The functions that are looked at.
#[derive(Clone, Copy)]
struct Rules {
    claim: fn(&mut Standing, UnixMillis, Duration, i64) -> Claim,
    give_up: fn(&mut Standing, Withdrawn, UnixMillis) -> ReplyState,
}

struct Fleet {
    workers: usize,
    replies: usize,
    faults_max: u8,
    rules: Rules,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    rows: Vec<Standing>,
    /// What really happened, and nobody knows: copies of each reply.
    copies: Vec<u8>,
    is_queued: bool,
    workers: Vec<Worker>,
    ticks: u8,
    faults: u8,
    not_sent: u8,
}

/// How far a worker is with the message, and with which reply.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Worker {
    Idle,
    At(usize, Vec<ReplyState>),
    Sending(usize, Vec<ReplyState>, Attempt),
    Told(usize, Vec<ReplyState>, Attempt, Try),
    /// It does not know whether it has a claim.
    Doubting(usize, i64),
    /// All is ended; the message is to go.
    Deleting,
}

/// What a clock is wrong by, in ticks.
type Wrong = i8;

#[derive(Clone, Debug, PartialEq)]
enum Action {
    Tick,
    Receive(usize, Wrong),
    Claim(usize, Wrong),
    ClaimWithoutAnswer(usize),
    Withdraw(usize),
    Disown(usize),
    Send(usize, Try, bool),
    Record(usize),
    RecordWithoutAnswer(usize),
    Delete(usize),
    DeleteFails(usize),
    Crash(usize),
}

const RIGHT: Wrong = 0;
const WRONG: [Wrong; 3] = [-1, 1, 9];

impl State {
    fn now(&self, wrong: Wrong) -> UnixMillis {
        let day = Duration::from_secs(86_400);
        let now = UnixMillis(0) + day + TICK * u32::from(self.ticks);
        let by = TICK * u32::from(wrong.unsigned_abs());
        if wrong < 0 { now - by } else { now + by }
    }

    fn is_ended(&self) -> bool {
        self.rows.iter().all(|row| row.state.is_terminal())
    }

    /// Workers whose claim would have run out a tick from now, while they send or are about to record.
    fn would_stop_past_their_claims(&self) -> u8 {
        let later = self.now(RIGHT) + TICK;
        let is_late = |worker: &&Worker| match worker {
            Worker::Sending(index, _, attempt) | Worker::Told(index, _, attempt, _) => {
                self.rows[*index].holder == attempt.holder && self.rows[*index].held_until <= later
            }
            _ => false,
        };
        u8::try_from(self.workers.iter().filter(is_late).count()).unwrap_or(u8::MAX)
    }

    /// The next reply that is not ended, or the end of this worker's way.
    fn go_on(&mut self, worker: usize, seen: Vec<ReplyState>, from: usize) {
        self.workers[worker] = match (from..seen.len()).find(|&index| !seen[index].is_terminal()) {
            Some(index) => Worker::At(index, seen),
            None if seen.iter().all(|state| state.is_terminal()) => Worker::Deleting,
            None => Worker::Idle, // released: it comes again
        };
    }

    fn see(&mut self, worker: usize, index: usize, mut seen: Vec<ReplyState>, state: ReplyState) {
        seen[index] = state;
        self.go_on(worker, seen, index + 1);
    }
}

impl Model for Fleet {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            rows: vec![Standing::NEW; self.replies],
            copies: vec![0; self.replies],
            is_queued: true,
            workers: vec![Worker::Idle; self.workers],
            ticks: 0,
            faults: 0,
            not_sent: 0,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let may_fail = state.faults < self.faults_max;
        let is_time_needed = state.ticks < AGE_TICKS || state.rows.iter().any(|row| row.is_held(state.now(RIGHT)));
        if is_time_needed && state.faults + state.would_stop_past_their_claims() <= self.faults_max {
            actions.push(Action::Tick);
        }
        let clocks: &[Wrong] = if may_fail { &[RIGHT, WRONG[0], WRONG[1], WRONG[2]] } else { &[RIGHT] };
        for (worker, at) in state.workers.iter().enumerate() {
            if may_fail && *at != Worker::Idle {
                actions.push(Action::Crash(worker));
            }
            match at {
                Worker::Idle if state.is_queued => actions.extend(clocks.iter().map(|&wrong| Action::Receive(worker, wrong))),
                Worker::Idle => {}
                Worker::At(..) => {
                    actions.extend(clocks.iter().map(|&wrong| Action::Claim(worker, wrong)));
                    actions.push(Action::Withdraw(worker));
                    if may_fail {
                        actions.push(Action::ClaimWithoutAnswer(worker));
                    }
                }
                Worker::Doubting(..) => actions.push(Action::Disown(worker)),
                Worker::Sending(..) => {
                    actions.extend([Action::Send(worker, Try::Sent, true), Action::Send(worker, Try::Refused, false)]);
                    if state.not_sent < NOT_SENT_MAX {
                        actions.push(Action::Send(worker, Try::NotSent, false));
                    }
                    if may_fail {
                        actions.extend([Action::Send(worker, Try::Ambiguous, true), Action::Send(worker, Try::Ambiguous, false)]);
                    }
                }
                Worker::Told(..) => {
                    actions.push(Action::Record(worker));
                    if may_fail {
                        actions.push(Action::RecordWithoutAnswer(worker));
                    }
                }
                Worker::Deleting => {
                    actions.push(Action::Delete(worker));
                    if may_fail {
                        actions.push(Action::DeleteFails(worker));
                    }
                }
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        let take = |state: &mut State, worker: usize| std::mem::replace(&mut state.workers[worker], Worker::Idle);
        match action {
            Action::Tick => {
                state.faults += state.would_stop_past_their_claims();
                state.ticks += 1;
            }
            Action::Receive(worker, wrong) => {
                state.faults += u8::from(wrong != RIGHT);
                let now = state.now(wrong);
                let is_too_old = i16::from(state.ticks) + i16::from(wrong) >= i16::from(AGE_TICKS);
                if is_too_old && !state.is_ended() {
                    for row in &mut state.rows {
                        (self.rules.give_up)(row, Withdrawn::Expired, now);
                    }
                }
                let seen: Vec<_> = state.rows.iter().map(|row| row.state).collect();
                let from = if is_too_old { seen.len() } else { 0 };
                state.go_on(worker, seen, from);
            }
            Action::Claim(worker, wrong) => {
                let Worker::At(index, seen) = take(&mut state, worker) else { return None };
                state.faults += u8::from(wrong != RIGHT);
                let (now, holder) = (state.now(wrong), holder(worker, &state.rows[index]));
                match (self.rules.claim)(&mut state.rows[index], now, TICK, holder) {
                    Claim::Granted(attempt) => state.workers[worker] = Worker::Sending(index, seen, attempt),
                    Claim::Settled(ended) => state.see(worker, index, seen, ended),
                    Claim::Held(_) => state.see(worker, index, seen, ReplyState::Claimed),
                }
            }
            Action::ClaimWithoutAnswer(worker) => {
                let Worker::At(index, _) = take(&mut state, worker) else { return None };
                state.faults += 1;
                let (now, holder) = (state.now(RIGHT), holder(worker, &state.rows[index]));
                (self.rules.claim)(&mut state.rows[index], now, TICK, holder);
                state.workers[worker] = Worker::Doubting(index, holder);
            }
            Action::Disown(worker) => {
                let Worker::Doubting(index, holder) = take(&mut state, worker) else { return None };
                disown(&mut state.rows[index], holder);
            }
            Action::Withdraw(worker) => {
                let Worker::At(index, seen) = take(&mut state, worker) else { return None };
                let now = state.now(RIGHT);
                let ended = (self.rules.give_up)(&mut state.rows[index], Withdrawn::Refused, now);
                state.see(worker, index, seen, ended);
            }
            Action::Send(worker, result, has_left) => {
                let Worker::Sending(index, seen, attempt) = take(&mut state, worker) else { return None };
                state.copies[index] += u8::from(has_left);
                state.faults += u8::from(result == Try::Ambiguous);
                state.not_sent += u8::from(result == Try::NotSent);
                state.workers[worker] = Worker::Told(index, seen, attempt, result);
            }
            Action::Record(worker) => {
                let Worker::Told(index, seen, attempt, result) = take(&mut state, worker) else { return None };
                let now = record(&mut state.rows[index], attempt, result);
                state.see(worker, index, seen, now);
            }
            Action::RecordWithoutAnswer(worker) => {
                // It stays where it is, and records again.
                let Worker::Told(index, _, attempt, result) = state.workers[worker].clone() else { return None };
                state.faults += 1;
                record(&mut state.rows[index], attempt, result);
            }
            Action::Delete(worker) => {
                state.is_queued = false;
                state.workers[worker] = Worker::Idle;
            }
            Action::DeleteFails(worker) | Action::Crash(worker) => {
                state.faults += 1;
                state.workers[worker] = Worker::Idle;
            }
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(BOUNDED, |_, state: &State| state.copies.iter().all(|&copies| i32::from(copies) <= AMBIGUOUS_TRIES_MAX)),
            Property::always("without a fault there is one copy at most", |_, state: &State| {
                state.faults > 0 || state.copies.iter().all(|&copies| copies <= 1)
            }),
            Property::always("sent means that a copy left", |_, state: &State| {
                state.rows.iter().zip(&state.copies).all(|(row, &copies)| row.state != ReplyState::Sent || copies > 0)
            }),
            Property::always("without a fault, what ended is sent once or surely not", |_, state: &State| {
                state.faults > 0
                    || state.rows.iter().zip(&state.copies).all(|(row, &copies)| match row.state {
                        ReplyState::Sent => copies == 1,
                        ReplyState::Uncertain => false,
                        _ => true,
                    })
            }),
            Property::always(WITHHELD, |_, state: &State| {
                let is_withheld = |row: &Standing| matches!(row.state, ReplyState::Refused | ReplyState::Expired | ReplyState::TooBig);
                state.rows.iter().zip(&state.copies).all(|(row, &copies)| !is_withheld(row) || copies == 0)
            }),
            Property::always("a message leaves the queue only with each reply ended", |_, state: &State| state.is_queued || state.is_ended()),
            Property::always("nothing stops before the end", |model: &Fleet, state: &State| {
                let mut actions = Vec::new();
                model.actions(state, &mut actions);
                let is_moving = actions.into_iter().any(|action| model.next_state(state, action).is_some());
                is_moving || (!state.is_queued && state.is_ended())
            }),
            Property::eventually("each reply ends", |_, state: &State| state.is_ended()),
            Property::sometimes("two copies happen", |model: &Fleet, state: &State| model.faults_max == 0 || state.copies.contains(&2)),
            Property::sometimes("uncertain happens", |model: &Fleet, state: &State| {
                model.faults_max == 0 || state.rows.iter().any(|row| row.state == ReplyState::Uncertain)
            }),
            Property::sometimes("expired happens", |_, state: &State| state.rows.iter().all(|row| row.state == ReplyState::Expired)),
            Property::sometimes("sent happens", |_, state: &State| state.rows.iter().all(|row| row.state == ReplyState::Sent) && !state.is_queued),
        ]
    }
}

const BOUNDED: &str = "no reply has more copies than tries may be ambiguous";
const WITHHELD: &str = "what is said to be withheld was never sent";

/// A number that no other claim has.
fn holder(worker: usize, row: &Standing) -> i64 {
    i64::from(row.attempts) * 10 + i64::try_from(worker).unwrap_or_default() + 1
}

fn rules() -> Rules {
    Rules { claim, give_up }
}

#[test]
fn no_interleaving_of_a_small_fleet_breaks_the_bounds() {
    for (workers, replies, faults_max) in [(3, 1, 0), (2, 2, 0), (3, 1, 2), (2, 1, 3), (2, 2, 1)] {
        let checked = Fleet { workers, replies, faults_max, rules: rules() }.checker().threads(2).spawn_bfs().join();
        eprintln!(
            "{workers} workers, {replies} replies, {faults_max} faults: {} states, {} steps deep",
            checked.unique_state_count(),
            checked.max_depth()
        );
        checked.assert_properties();
    }
}

/// Which rule a fleet with these rules is found to break first.
fn found(rules: Rules, broken: &'static str) -> usize {
    let stop = HasDiscoveries::AnyOf([broken].into());
    let checked = Fleet { workers: 3, replies: 1, faults_max: 2, rules }.checker().threads(2).finish_when(stop).spawn_bfs().join();
    let path = checked.discovery(broken).unwrap_or_else(|| panic!("{broken}: not found to be broken"));
    let actions = path.into_actions();
    eprintln!("{broken}: broken by {actions:?}");
    actions.len()
}

#[test]
fn the_model_finds_a_claim_that_forgets_the_abandoned_one() {
    fn forgetful(row: &mut Standing, now: UnixMillis, hold: Duration, holder: i64) -> Claim {
        let before = row.ambiguous;
        let claim = claim(row, now, hold, holder);
        row.ambiguous = before;
        claim
    }
    assert!(found(Rules { claim: forgetful, ..rules() }, BOUNDED) > 5);
}

#[test]
fn the_model_finds_an_end_that_denies_what_may_have_left() {
    fn denying(row: &mut Standing, why: Withdrawn, now: UnixMillis) -> ReplyState {
        let was_ended = row.state.is_terminal() || row.is_held(now);
        let state = give_up(row, why, now);
        if was_ended || !state.is_terminal() { state } else { row.end(ReplyState::Expired) }
    }
    assert!(found(Rules { give_up: denying, ..rules() }, WITHHELD) > 3);
}
