use proptest::prelude::*;

use super::*;

fn traffic(shape: Shape, horizon_s: u32) -> Traffic {
    Traffic { shape, base: 5.0, factor: 20.0, surge_at_s: 600, horizon_s }
}

#[test]
fn every_shape_has_a_name_and_is_found_by_it() {
    for shape in SHAPES {
        assert_eq!(Shape::from_word(shape.word()), Some(shape));
    }
    assert_eq!(Shape::from_word("sinus"), None);
}

#[test]
fn shapes_are_quiet_before_their_surge_and_reach_their_peak() {
    for shape in [Shape::Step, Shape::Tv, Shape::TwoHumps, Shape::RetryStorm] {
        let rates = traffic(shape, 14_400).rates();
        assert_eq!(rates.len(), 14_400);
        assert!(rates[..600].iter().all(|rate| *rate == 5.0), "{shape:?}");
        let peak = rates.iter().copied().fold(0.0, f64::max);
        assert!((99.9..=100.0).contains(&peak), "{shape:?}: {peak}");
    }
    assert!(traffic(Shape::Steady, 60).rates().iter().all(|rate| *rate == 5.0));
}

#[test]
fn a_surge_rises_within_a_minute_and_halves_in_ten() {
    let rates = traffic(Shape::Tv, 3_600).rates();
    assert!(rates[660] > 95.0, "{}", rates[660]);
    let above = |second: usize| rates[second] - 5.0;
    assert!((above(645 + 600) / above(645) - 0.5).abs() < 0.001);
    assert!((above(645 + 1_200) / above(645) - 0.25).abs() < 0.001);
}

#[test]
fn a_second_hump_and_retries_come_on_top() {
    let humps = traffic(Shape::TwoHumps, 9_000).rates();
    assert!(humps[600 + 3_599] < 8.0 && humps[600 + 3_660] > 50.0);
    let storm = traffic(Shape::RetryStorm, 9_000).rates();
    let tv = traffic(Shape::Tv, 9_000).rates();
    assert!(storm[600 + 910] > tv[600 + 910] + 1.0 || storm[600 + 1_810] > tv[600 + 1_810] + 10.0);
    assert_eq!(storm[600 + 1_700], tv[600 + 1_700], "between two waves there is the surge alone");
}

#[test]
fn a_day_is_least_at_four_in_the_night_and_most_twelve_hours_later() {
    let rates = Traffic { shape: Shape::Diurnal, base: 5.0, factor: 3.0, surge_at_s: 0, horizon_s: 86_400 }.rates();
    assert!((rates[4 * 3_600] - 5.0).abs() < 1e-9);
    assert!((rates[16 * 3_600] - 15.0).abs() < 1e-9);
    assert!((rates[10 * 3_600] - 10.0).abs() < 1e-9);
}

#[test]
fn the_measured_day_goes_through_what_was_measured() {
    let measured = Traffic { shape: Shape::Measured, base: 60.0, factor: Shape::Measured.usual_factor(), surge_at_s: 0, horizon_s: 50_401 };
    let rates = measured.rates();
    let clock = |hour: usize, minute: usize| rates[(hour - 10) * 3_600 + minute * 60];
    for (hour, minute, rate) in
        [(12, 25, 160.0), (12, 32, 367.0), (12, 38, 597.0), (12, 42, 756.0), (12, 49, 779.0), (17, 45, 1_020.0), (20, 10, 1_200.0), (24, 0, 1_660.0)]
    {
        assert!((clock(hour, minute) - rate).abs() < 1e-6, "{hour}:{minute}: {}", clock(hour, minute));
    }
    assert_eq!(measured.surge_s(), Some(8_700));
    assert_eq!(Traffic { horizon_s: 3_600, ..measured }.surge_s(), None, "the surge is not reached");
}

#[test]
fn a_file_is_read_and_its_gaps_are_filled() {
    assert_eq!(csv("time_s,rate\n0,2\n2,4\n4,0\n"), Ok(vec![2.0, 3.0, 4.0, 2.0, 0.0]));
    assert_eq!(csv("\u{feff}\"time\";\"rate\"\r\n# a note\r\n\r\n100;1\r\n101;2\r\n"), Ok(vec![1.0, 2.0]));
    assert_eq!(csv("2026-11-21T12:25:00Z,0\n2026-11-21T13:25:04+01:00,4"), Ok(vec![0.0, 1.0, 2.0, 3.0, 4.0]));
    assert_eq!(csv("2024-02-28 23:59:59,0\n2024-03-01 00:00:01,0").expect("valid").len(), 86_400 + 3, "2024 has a 29th of February");
    assert_eq!(csv("1969-12-31T23:59:59Z,7\n0.0,7"), Ok(vec![7.0, 7.0]), "time stamps are seconds since 1970");
}

#[test]
fn a_file_that_is_none_says_which_line_and_why() {
    for (text, line, part) in [
        ("", 1, "fewer than two"),
        ("0,1\n", 1, "fewer than two"),
        ("0,1\n5\n", 2, "no two columns"),
        ("0,1\n5,many\n", 2, "no rate"),
        ("0,1\n\nyesterday,1\n", 3, "no time"),
        ("5,1\n5,1\n", 2, "sort"),
        ("0,1\n1,-3\n", 2, "from 0"),
        ("0,1\n1,NaN\n", 2, "from 0"),
        ("0,1\ninf,3\n", 2, "no time"),
        ("0,1\n99999999,3\n", 2, "month"),
        ("a,b\nc,d\n", 2, "fewer than two"),
        ("0,1\n2026-13-01T00:00:00Z,3\n", 2, "no time"),
        ("0,1\n2026-1ä-01T00:00:00Z,3\n", 2, "no time"),
    ] {
        let error = csv(text).expect_err("no error");
        assert_eq!(error.line, line, "{text:?}: {error}");
        assert!(error.text.contains(part), "{text:?}: {error}");
    }
}

proptest! {
    #[test]
    fn no_file_makes_it_panic(text in "[-0-9a-zT:.,;\"\n ä]{0,80}") {
        let _ = csv(&text);
    }

    #[test]
    fn no_rate_is_below_zero(factor in 1.0..50.0_f64, at in 0_u32..4_000, shape in 0_usize..7) {
        let traffic = Traffic { shape: SHAPES[shape], base: 1.0, factor, surge_at_s: at, horizon_s: 4_000 };
        prop_assert!(traffic.rates().iter().all(|rate| (0.999..=factor + 0.001).contains(rate)));
    }
}
