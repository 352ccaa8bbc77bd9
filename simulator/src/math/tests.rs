use std::collections::BTreeMap;

use proptest::prelude::*;

use super::Expression;

/// The values over periods of which the guide's examples are made; a missing one is `None`.
fn series(expression: &str, metrics: &[(&str, &[Option<f64>])]) -> Vec<Option<f64>> {
    let expression = Expression::parse(expression).expect("valid");
    let mut last: BTreeMap<&str, f64> = BTreeMap::new();
    (0..metrics[0].1.len())
        .map(|period| {
            let now: BTreeMap<&str, Option<f64>> = metrics.iter().map(|(id, values)| (*id, values[period])).collect();
            let value = expression.eval_after(&now, &last);
            last.extend(now.iter().filter_map(|(id, value)| Some((*id, (*value)?))));
            value
        })
        .collect()
}

fn one(expression: &str, metrics: &[(&str, Option<f64>)]) -> Option<f64> {
    Expression::parse(expression).expect("valid").eval(&metrics.iter().copied().collect())
}

const NONE: Option<f64> = None;

fn some<const N: usize>(values: [f64; N]) -> [Option<f64>; N] {
    values.map(Some)
}

#[test]
fn comparisons_are_those_of_the_guide() {
    let metrics: [(&str, &[Option<f64>]); 2] = [("metric1", &some([30.0, 20.0, 0.0, 0.0])), ("metric2", &[Some(20.0), NONE, Some(20.0), NONE])];
    assert_eq!(series("(metric1 < metric2)", &metrics), some([0.0, 0.0, 1.0, 0.0]));
    assert_eq!(series("(metric1 >= 30)", &metrics), some([1.0, 0.0, 0.0, 0.0]));
    assert_eq!(series("(metric1 > 15 AND metric2 > 15)", &metrics), some([1.0, 0.0, 0.0, 0.0]));
    assert_eq!(series("metric1 > 15 && metric2 > 15 || metric1 == 0", &metrics), some([1.0, 0.0, 1.0, 1.0]));
}

#[test]
fn if_is_that_of_the_guide() {
    let metric1 = [Some(1.0), Some(1.0), Some(0.0), Some(0.0), NONE];
    let metric2 = [Some(30.0), NONE, Some(0.0), Some(0.0), Some(30.0)];
    let metric3 = [Some(0.0), Some(0.0), Some(20.0), NONE, Some(20.0)];
    let metrics: [(&str, &[Option<f64>]); 3] = [("metric1", &metric1), ("metric2", &metric2), ("metric3", &metric3)];
    assert_eq!(series("IF(metric1, metric2, metric3)", &metrics), [Some(30.0), Some(0.0), Some(20.0), NONE, NONE]);
    assert_eq!(series("IF(metric1, 5, metric3)", &metrics), [Some(5.0), Some(5.0), Some(20.0), NONE, NONE]);
    assert_eq!(series("IF(metric1, metric2, 5)", &metrics), [Some(30.0), Some(0.0), Some(5.0), Some(5.0), NONE]);
    assert_eq!(series("IF(metric1, 5)", &metrics), [Some(5.0), Some(5.0), NONE, NONE, NONE]);
    assert_eq!(series("IF(1, metric2, metric3)", &metrics)[0], Some(30.0));
    assert_eq!(series("IF(-2, metric2)", &metrics)[0], Some(30.0), "any number but 0 is true");
}

#[test]
fn gaps_are_filled_with_a_number_or_the_last_value() {
    let m = [NONE, Some(3.0), NONE, NONE, Some(0.0)];
    let metrics: [(&str, &[Option<f64>]); 1] = [("m", &m)];
    assert_eq!(series("FILL(m, 7)", &metrics), some([7.0, 3.0, 7.0, 7.0, 0.0]));
    assert_eq!(series("FILL(m, REPEAT)", &metrics), [NONE, Some(3.0), Some(3.0), Some(3.0), Some(0.0)]);
}

#[test]
fn arithmetic_has_the_usual_precedence() {
    for (expression, value) in [
        ("m + 2 * 3", 16.0),
        ("(m + 2) * 3", 36.0),
        ("m - 2 - 3", 5.0),
        ("m / 5 / 2", 1.0),
        ("-m * 2 + 1", -19.0),
        ("m * -2", -20.0),
        ("2 * m ^ 2", 200.0),
        ("m > 5 + 4 AND m < 11", 1.0),
        ("m == 10 OR m == 1 AND m == 2", 1.0),
        ("1.5e1 + m", 25.0),
        (".5*m", 5.0),
        ("ABS(-m) + CEIL(m / 4) + FLOOR(m / 4)", 15.0),
        ("m != 10", 0.0),
        ("m <= 10", 1.0),
    ] {
        assert_eq!(one(expression, &[("m", Some(10.0))]), Some(value), "{expression}");
    }
}

#[test]
fn what_is_missing_is_zero_beside_a_series_and_missing_beside_a_number() {
    let metrics = [("a", Some(4.0)), ("b", NONE), ("c", NONE)];
    assert_eq!(one("a + b", &metrics), Some(4.0));
    assert_eq!(one("b - a", &metrics), Some(-4.0));
    assert_eq!(one("b + c", &metrics), NONE);
    assert_eq!(one("b + 1", &metrics), NONE);
    assert_eq!(one("b < 5", &metrics), NONE);
    assert_eq!(one("a / b", &metrics), NONE, "a division by nothing is one by 0, which is dropped");
    assert_eq!(one("a / 0", &metrics), NONE);
    assert_eq!(one("nowhere + 1", &metrics), NONE);
}

#[test]
fn lists_are_joined_period_by_period() {
    let metrics = [("a", Some(4.0)), ("b", NONE), ("c", Some(2.0)), ("d", NONE)];
    assert_eq!(one("MIN([a, b, c])", &metrics), Some(2.0));
    assert_eq!(one("MAX([a, b, c])", &metrics), Some(4.0));
    assert_eq!(one("SUM([a, b, c])", &metrics), Some(6.0));
    assert_eq!(one("AVG([a, b, c])", &metrics), Some(2.0));
    assert_eq!(one("MAX([b, d])", &metrics), NONE);
    assert_eq!(one("MAX([a * 2, 100])", &metrics), Some(100.0));
}

#[test]
fn ids_are_those_in_it() {
    let expression = Expression::parse("IF(busy < 0.8, FILL(oldest, REPEAT), MAX([busy, waiting]))").expect("valid");
    assert_eq!(expression.ids().into_iter().collect::<Vec<_>>(), ["busy", "oldest", "waiting"]);
}

#[test]
fn errors_say_where_and_what() {
    for (expression, position, part) in [
        ("", 1, "found the end"),
        ("m +", 4, "found the end"),
        ("m 5", 3, "found 5"),
        ("(m", 3, "wanted ), found the end"),
        ("IF(m, 1", 8, "wanted ), found the end"),
        ("m & 1", 3, "'&'"),
        ("1.2.3 * m", 1, "1.2.3"),
        ("RATE(m)", 1, "RATE is not simulated"),
        ("1 + AVG(m)", 9, "only AVG([m1, m2])"),
        ("FILL(m, LINEAR)", 9, "LINEAR) is not simulated"),
        ("FILL(m+1, REPEAT)", 6, "metric only"),
        ("ä", 1, "'ä'"),
        ("m ä", 3, "'ä'"),
        ("5 + 5", 1, "names no metric"),
        ("if(m, 1)", 3, "found ("),
    ] {
        let error = Expression::parse(expression).expect_err("no error");
        assert_eq!(error.position, position, "{expression}: {error}");
        assert!(error.text.contains(part), "{expression}: {error}");
    }
}

#[test]
fn deep_nesting_is_an_error_and_no_overflow() {
    let deep = format!("{}m{}", "(".repeat(1_000), ")".repeat(1_000));
    assert!(Expression::parse(&deep).expect_err("no error").text.contains("deep"));
    let minuses = format!("{}m", "-".repeat(1_001));
    assert_eq!(one(&minuses, &[("m", Some(1.0))]), Some(-1.0));
    let sum = vec!["m"; 2_000].join("+");
    assert!(Expression::parse(&sum).expect_err("no error").text.contains("long"));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[-a-zA-Z0-9_.+*/^()\\[\\],<>=!&| \"ä]{0,60}") {
        if let Ok(expression) = Expression::parse(&text) {
            let now = expression.ids().into_iter().map(|id| (id, Some(1.0))).collect();
            expression.eval(&now);
        }
    }
}
