//! Closed forms and queueing theory.

use super::*;

#[test]
fn in_overload_the_backlog_grows_by_what_is_not_served() {
    // 3 machines of 5 slots at 1 s each serve 15 a second; 20 arrive.
    let plan = Plan { machine: slots(5, Latency::Constant(1_000.0)), ..Plan::new(fixed(3), vec![20.0; 3_600], 1) };
    let run = simulate(&plan);
    assert_conserved(&run);
    let (rate, served) = (20.0, 15.0);
    for point in run.series.iter().filter(|point| point.at_ms >= 600_000) {
        let seconds = (point.at_ms + crate::run::POINT_MS) as f64 / 1_000.0;
        let expected = (rate - served) * seconds;
        // Poisson's spread of the arrivals, three standard deviations and a half.
        let spread = 3.5 * (rate * seconds).sqrt() + 15.0;
        assert!((point.backlog as f64 - expected).abs() < spread, "after {seconds} s: {} and not {expected} +- {spread}", point.backlog);
        assert_eq!(point.answered, 150, "the machines are never idle");
    }
    // Who arrives at t waits until all before him are served: t * (20 / 15 - 1), and his own second.
    let last = run.series.last().expect("points");
    let expected = 3_600.0 * (1.0 - served / rate) * 1_000.0;
    assert!((last.wait_p50_ms.expect("answers") as f64 - expected).abs() < expected * 0.05, "{last:?}");
}

#[test]
fn when_cpu_binds_the_machine_carries_its_cores_over_the_mails_cost() {
    let machine = Machine { slots: 200, cores: 2.0, cpu_ms: 40.0, latency: Latency::Constant(100.0), ..Machine::default() };
    let run = simulate(&Plan { machine, ..Plan::new(fixed(1), vec![80.0; 900], 1) });
    let answered: u32 = run.series.iter().skip(30).map(|point| point.answered).sum();
    let rate = f64::from(answered) / ((run.series.len() - 30) as f64 * 10.0);
    assert!((rate - 50.0).abs() < 0.5, "2 cores / 40 ms are 50 a second, not {rate}");
    assert!(run.fleet.idle_share < 0.02, "{:?}", run.fleet);
}

/// Erlang's C formula: the probability that a mail waits at all, with `servers` and an offered load of `load`.
fn erlang_c(servers: u32, load: f64) -> f64 {
    // Erlang B by its recursion, which does not overflow.
    let blocked = (1..=servers).fold(1.0, |blocked, server| load * blocked / (f64::from(server) + load * blocked));
    let use_of_servers = load / f64::from(servers);
    blocked / (1.0 - use_of_servers * (1.0 - blocked))
}

#[test]
fn erlangs_formula_has_its_known_values() {
    assert!((erlang_c(1, 0.7) - 0.7).abs() < 1e-12, "one server: who waits is who finds it busy");
    assert!((erlang_c(2, 1.0) - 1.0 / 3.0).abs() < 1e-12);
}

#[test]
fn the_mean_wait_is_that_of_an_m_m_c_queue() {
    for (machines, slots_each, utilisation) in [(1, 1, 0.7), (2, 4, 0.8), (5, 2, 0.9), (3, 5, 0.85)] {
        let (servers, mean_s) = (machines * slots_each, 0.5);
        let rate = f64::from(servers) * utilisation / mean_s;
        let load = rate * mean_s;
        let expected_ms = 1_000.0 * erlang_c(servers, load) * mean_s / (f64::from(servers) - load);
        let seeds = 6;
        let means: Vec<f64> = (0..seeds)
            .map(|seed| {
                let machine = slots(slots_each, Latency::Exponential(mean_s * 1_000.0));
                let run = simulate(&Plan { machine, ..Plan::new(fixed(machines), vec![rate; 15_000], seed) });
                assert_conserved(&run);
                run.queue_wait_histogram.mean()
            })
            .collect();
        let mean = means.iter().sum::<f64>() / means.len() as f64;
        assert!((mean - expected_ms).abs() < expected_ms * 0.08 + 1.0, "M/M/{servers} at {utilisation}: {mean} ms, not {expected_ms}: {means:?}");
    }
}

#[test]
fn littles_law_holds() {
    let machine = slots(10, Latency::Exponential(800.0));
    let run = simulate(&Plan { machine, ..Plan::new(fixed(2), vec![22.0; 20_000], 5) });
    let in_system = run.series.iter().map(|point| point.backlog as f64).sum::<f64>() / run.series.len() as f64;
    let expected = 22.0 * run.wait_histogram.mean() / 1_000.0;
    assert!((in_system - expected).abs() < expected * 0.05, "L = {in_system}, lambda W = {expected}");
}

#[test]
fn the_idle_share_is_what_the_load_leaves() {
    let machine = slots(10, Latency::Constant(1_000.0));
    let run = simulate(&Plan { machine, ..Plan::new(fixed(4), vec![12.0; 3_600], 5) });
    assert!((run.fleet.idle_share - 0.7).abs() < 0.01, "12 of 40 are busy: {:?}", run.fleet);
    assert!((run.fleet.machine_hours - 4.0).abs() < 1e-9);
}
