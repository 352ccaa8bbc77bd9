//! The status page: one HTML document with its style and its charts inside, for a phone and a wall, by day and by night.
//!
//! It asks nobody for anything and runs no script ([`policy`]); who wants it to follow asks for `?every=5`. Whatever it shows is
//! escaped where it is written. Nothing here fails or reads a clock.

use std::sync::LazyLock;

use aws_lc_rs::digest;
use base64::{Engine, prelude::BASE64_STANDARD};

use super::{
    chart::{Chart, Join, Scale, Series, Window},
    text::{self, ago, count, escape, rate, round_span, span, span_s},
    view::{ErrorView, Minute, Percentiles, State, Totals, View},
};

const STYLE: &str = include_str!("page/page.css");
/// How often the page may be asked to come again by itself, in seconds.
const EVERY_S: [u64; 2] = [5, 30];
/// Over how many of the last minutes its charts may be asked to go, and what that is called; else over all that is remembered.
const LAST_MINUTES: [(u64, &str); 3] = [(30, "30 min"), (120, "2 h"), (360, "6 h")];
/// The last minutes that are also there as a table.
const TABLE_MINUTES_MAX: usize = 15;
/// A disc, a triangle, a square, a ring: told apart without colours.
const DISC: &str = "<circle cx=\"5\" cy=\"5\" r=\"4.6\"/>";
const TRIANGLE: &str = "<path d=\"M5 .4 9.9 9.6H.1z\"/>";
const SQUARE: &str = "<path d=\"M.8 .8h8.4v8.4H.8z\"/>";
const RING: &str = "<path fill-rule=\"evenodd\" d=\"M5 .4a4.6 4.6 0 1 0 0 9.2a4.6 4.6 0 1 0 0-9.2M5 2.4a2.6 2.6 0 1 1 0 5.2a2.6 2.6 0 1 1 0-5.2\"/>";

/// What somebody who looks would like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// That the page comes again so often, in seconds.
    pub every_s: Option<u64>,
    /// That its charts go over so many of the last minutes.
    pub last_minutes: Option<u64>,
}

impl Wish {
    /// Reads a query, as `every=5&last=30`; what is not on offer is not wished for.
    pub fn read(query: &str) -> Self {
        let value = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')?.parse::<u64>().ok());
        Self {
            every_s: value("every").filter(|seconds| EVERY_S.contains(seconds)),
            last_minutes: value("last").filter(|wished| LAST_MINUTES.iter().any(|(minutes, _)| minutes == wished)),
        }
    }

    /// Where the page is as wished for.
    fn path(self) -> String {
        let wishes = [("every", self.every_s), ("last", self.last_minutes)];
        let wishes: Vec<_> = wishes.into_iter().filter_map(|(name, wish)| Some(format!("{name}={}", wish?))).collect();
        if wishes.is_empty() { "/".into() } else { format!("/?{}", wishes.join("&amp;")) }
    }
}

/// The content security policy of the page: nothing but its own style, by its hash, and an icon that is in it.
pub fn policy() -> &'static str {
    static POLICY: LazyLock<String> = LazyLock::new(|| {
        let hash = BASE64_STANDARD.encode(digest::digest(&digest::SHA256, STYLE.as_bytes()));
        format!("default-src 'none'; style-src 'sha256-{hash}'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
    });
    &POLICY
}

/// The page for this state of things, as somebody wishes it.
pub fn render(view: &View, wish: Wish) -> String {
    let (word, shape, tone) = state(view);
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{word} – replyfleet worker</title>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<link rel=\"icon\" href=\"{}\">\n<style>{STYLE}</style>\n</head>\n<body>\n",
        icon(shape, tone)
    );
    page += &header(view, (word, shape, tone), wish);
    page += "<main>\n";
    page += &notices(view);
    if view.state == State::Starting {
        page += &errors(view);
    } else {
        page += &tiles(view);
        page += &charts(view, wish);
        page += &halves(view);
    }
    page += "</main>\n";
    page += "<footer>\n<p>Counts are this worker’s own, since its start; the queue is the whole fleet’s. Times are UTC.</p>\n<ul>\n";
    for (path, what) in [("status.json", "as JSON"), ("metrics", "for Prometheus"), ("healthz", "whether it moves"), ("readyz", "whether it answers")]
    {
        page += &format!("<li><a href=\"/{path}\">/{path}</a> {what}</li>\n");
    }
    page + "</ul>\n</footer>\n</body>\n</html>\n"
}

/// The state in a word or three, its shape, and its tone.
fn state(view: &View) -> (&'static str, &'static str, &'static str) {
    match view.state {
        _ if !view.is_alive => ("Stuck", SQUARE, "bad"),
        State::Starting => ("Starting", RING, "care"),
        State::Blocked => ("Cannot answer", SQUARE, "bad"),
        State::Stopping => ("Stopping", RING, "care"),
        State::Answering if view.breakers.is_empty() => ("Answering", DISC, "good"),
        State::Answering => ("Answering in part", TRIANGLE, "care"),
    }
}

/// The state for the browser's tab, as an image in the address itself.
fn icon(shape: &str, tone: &str) -> String {
    let fill = match tone {
        "good" => "%2318a058",
        "care" => "%23d48806",
        _ => "%23d9362b",
    };
    let shape = shape.replace('<', "%3C").replace('>', "%3E").replace('"', "'");
    format!("data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 10 10' fill='{fill}'%3E{shape}%3C/svg%3E")
}

fn header(view: &View, (word, shape, tone): (&str, &str, &str), wish: Wish) -> String {
    let worker = match view.worker.get(..8) {
        Some(worker) => format!("worker {} · ", escape(worker)),
        None => String::new(),
    };
    let up = span(view.at_ms.saturating_sub(view.started_ms));
    let often = [(None, "off".to_owned())].into_iter().chain(EVERY_S.map(|seconds| (Some(seconds), format!("every {seconds} s"))));
    let often = often.map(|(every_s, name)| choice(Wish { every_s, ..wish }, wish, &name));
    format!(
        "<header>\n<div><h1>replyfleet</h1> <p class=\"state {tone}\"><svg viewBox=\"0 0 10 10\" aria-hidden=\"true\">{shape}</svg>{word}</p> \
         <p class=\"quiet\">{worker}runs for {up} · version {}</p></div>\n\
         <div><p><time datetime=\"{}\">{} UTC</time></p>\n<nav aria-label=\"Refresh\"><ul><li class=\"quiet\">Refresh</li>{}</ul></nav></div>\n</header>\n",
        escape(&view.version),
        text::machine(view.at_ms),
        text::date_and_clock(view.at_ms),
        often.collect::<String>()
    )
}

/// A link to the page as `other` would have it, marked if that is how it is.
fn choice(other: Wish, wish: Wish, name: &str) -> String {
    let current = if other == wish { " aria-current=\"true\"" } else { "" };
    format!("<li><a href=\"{}\"{current}>{name}</a></li>", other.path())
}

/// What somebody should know before he reads on.
fn notices(view: &View) -> String {
    let mut notices: Vec<(bool, String)> = Vec::new();
    if !view.is_alive {
        notices
            .push((true, "<strong>The loop does not move.</strong> systemd’s watchdog, if there is one, ends the worker and starts another.".into()));
    }
    match view.state {
        State::Starting => {
            let what = view.waits_for.as_deref().map(|what| format!("It waits for {}, and tries again by itself.", escape(what)));
            let what = what.unwrap_or_else(|| "It opens queue, store, catalogue and database.".into());
            notices.push((view.waits_for.is_some(), format!("<strong>Not ready yet.</strong> {what}")));
        }
        State::Blocked => {
            let text = "<strong>Nothing can be answered now.</strong> What every answer needs is away. Mail stays in the queue until it is back.";
            notices.push((true, text.into()));
        }
        State::Stopping => notices.push((false, format!("<strong>It stops.</strong> Messages still in hand: {}.", count(view.in_hand as u64)))),
        State::Answering => {}
    }
    for breaker in &view.breakers {
        let (name, reason) = (escape(&breaker.name), escape(&words(&breaker.reason)));
        let time = round_span(view.at_ms.saturating_sub(breaker.since_ms));
        notices.push((true, format!("<strong>{name} is away</strong> ({reason}) for {time}. It is asked again and again whether it is back.")));
    }
    if view.is_shedding {
        notices.push((false, "<strong>Answers go without attachments</strong> because the queue is long.".into()));
    }
    if notices.is_empty() {
        return String::new();
    }
    let item = |(is_bad, text): (bool, String)| format!("<li{}>{text}</li>\n", if is_bad { " class=\"is-bad\"" } else { "" });
    format!("<ul class=\"notices\">\n{}</ul>\n", notices.into_iter().map(item).collect::<String>())
}

fn tiles(view: &View) -> String {
    let last = &view.last_minute;
    let unknown = || "unknown".to_owned();
    let queue = view.queue.as_ref();
    let times = &last.processing_time;
    let busy = percent(last.busy_fraction);
    let tiles = [
        (
            "Waiting",
            queue.map_or_else(unknown, |queue| count(queue.visible)),
            queue.map(|queue| format!("{} delayed, {} in flight", count(queue.delayed), count(queue.in_flight))).unwrap_or_default(),
        ),
        (
            "Oldest waits for",
            match queue {
                Some(queue) => queue.oldest_s.map_or_else(|| if queue.visible == 0 { "–".into() } else { unknown() }, span_s),
                None => unknown(),
            },
            match queue {
                Some(queue) if queue.visible == 0 => "nothing waits".into(),
                Some(_) => "nobody has it yet".into(),
                None => String::new(),
            },
        ),
        (
            "In hand",
            format!("{} <span class=\"unit\">of {}</span>", count(view.in_hand as u64), count(view.slots as u64)),
            format!("{busy} of the slots’ time"),
        ),
        (
            "Answered a minute",
            rate(last.per_minute(last.answered)),
            format!("{} came, {} replies", rate(last.per_minute(last.received)), rate(last.per_minute(last.sent))),
        ),
        ("Half are answered within", times.p50.map_or_else(|| "–".into(), span), of_the_last(last, times)),
        (
            "99 of 100 within",
            times.p99.map_or_else(|| "–".into(), span),
            times.p95.map_or_else(|| "no answer to time".into(), |p95| format!("95 of 100 within {}", span(p95))),
        ),
    ];
    let tile = |(name, value, note): (&str, String, String)| format!("<div><dt>{name}</dt><dd class=\"value\">{value}</dd><dd>{note}</dd></div>\n");
    format!(
        "<section aria-labelledby=\"now\">\n<h2 id=\"now\">Now</h2>\n<dl class=\"tiles\">\n{}</dl>\n</section>\n",
        tiles.into_iter().map(tile).collect::<String>()
    )
}

fn of_the_last(last: &Minute, times: &Percentiles) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a minute or so")]
    let seconds = last.seconds.round() as u64;
    format!("{} in the last {seconds} s", count(times.count))
}

fn charts(view: &View, wish: Wish) -> String {
    let minutes = &view.minutes;
    let oldest = minutes.first().map_or(view.at_ms, |minute| minute.at_ms);
    let wished = wish.last_minutes.map(|minutes| view.at_ms.saturating_sub(minutes * 60_000));
    let window = Window::reaching(wished.unwrap_or(oldest), view.at_ms);
    let long = [(None, "all")].into_iter().chain(LAST_MINUTES.map(|(minutes, name)| (Some(minutes), name)));
    let long: String = long.map(|(last_minutes, name)| choice(Wish { last_minutes, ..wish }, wish, name)).collect();
    let line = |name, class, join, value: &dyn Fn(&Minute) -> Option<f64>| Series { name, class, points: window.points(minutes, join, value) };
    let mean = |name, class, value: fn(&Minute) -> f64| line(name, class, Join::Mean, &|minute| Some(value(minute)));
    let highest = |value: fn(&Minute) -> Option<f64>| vec![line("", "one", Join::Highest, &value)];
    let time = |name, class, of: fn(&Percentiles) -> Option<u64>| line(name, class, Join::Highest, &|minute| of(&minute.processing_time).map(number));
    let charts = [
        Chart {
            id: "mails",
            title: "Requests",
            unit: "a minute",
            scale: Scale::Count,
            series: vec![
                mean("answered", "one", |minute| minute.per_minute(minute.answered)),
                mean("came", "two", |minute| minute.per_minute(minute.received)),
            ],
            window,
        },
        Chart {
            id: "times",
            title: "Processing time",
            unit: "from the MX to the last reply",
            scale: Scale::SpanByTens,
            series: vec![time("p50", "one", |times| times.p50), time("p95", "two", |times| times.p95), time("p99", "three", |times| times.p99)],
            window,
        },
        Chart {
            id: "sent",
            title: "Replies",
            unit: "accepted a minute",
            scale: Scale::Count,
            series: vec![mean("", "one", |minute| minute.per_minute(minute.sent))],
            window,
        },
        Chart {
            id: "waiting",
            title: "Waiting",
            unit: "messages in the queue",
            scale: Scale::Count,
            series: highest(|minute| minute.depth.map(number)),
            window,
        },
        Chart {
            id: "oldest",
            title: "Oldest waiting",
            unit: "time in the queue",
            scale: Scale::Span,
            series: highest(|minute| minute.oldest_s.map(|seconds| number(seconds) * 1e3)),
            window,
        },
        Chart {
            id: "busy",
            title: "Busy",
            unit: "share of the slots’ time",
            scale: Scale::Share,
            series: vec![mean("", "one", |minute| minute.busy_fraction)],
            window,
        },
    ];
    let words = capitalised(&window.words());
    let charts: String = charts.iter().map(Chart::render).collect();
    format!(
        "<section aria-labelledby=\"hours\">\n<div class=\"head\"><h2 id=\"hours\">{words} <span class=\"quiet note\">{}</span></h2>\n\
         <nav aria-label=\"How far back the charts go\"><ul><li class=\"quiet\">Show</li>{long}</ul></nav></div>\n<div class=\"charts\">\n{charts}</div>\n{}</section>\n",
        window.point_words(),
        last_minutes(minutes)
    )
}

/// The newest minutes of the charts as a table.
fn last_minutes(minutes: &[Minute]) -> String {
    if minutes.is_empty() {
        return "<p class=\"quiet below\">The first minute is not over yet.</p>\n".into();
    }
    let cell = |text: String| format!("<td class=\"number\">{text}</td>");
    let optional = |value: Option<u64>, word: fn(u64) -> String| cell(value.map_or_else(|| "–".into(), word));
    let rows = minutes.iter().rev().take(TABLE_MINUTES_MAX).map(|minute| {
        let times = &minute.processing_time;
        let cells = [
            cell(count(minute.received)),
            cell(count(minute.answered)),
            cell(count(minute.sent)),
            optional(times.p50, span),
            optional(times.p95, span),
            optional(times.p99, span),
            optional(minute.depth, count),
            optional(minute.oldest_s, span_s),
            cell(percent(minute.busy_fraction)),
        ];
        format!("<tr><th scope=\"row\">{}</th>{}</tr>\n", text::clock(minute.at_ms), cells.concat())
    });
    let names = ["came", "answered", "replies", "p50", "p95", "p99", "waiting", "oldest", "busy"];
    let names: String = names.map(|name| format!("<th scope=\"col\" class=\"number\">{name}</th>")).concat();
    format!(
        "<details><summary>The last minutes as a table</summary>\n<div class=\"scroll\" role=\"region\" aria-label=\"The last minutes\" tabindex=\"0\">\n\
         <table><thead><tr><th scope=\"col\">until</th>{names}</tr></thead>\n<tbody>\n{}</tbody></table>\n</div></details>\n",
        rows.collect::<String>()
    )
}

fn halves(view: &View) -> String {
    format!(
        "<div class=\"halves\">\n<div class=\"stack\">\n{}{}</div>\n<div class=\"stack\">\n{}{}</div>\n</div>\n",
        ends(&view.last_hour, &view.totals),
        errors(view),
        sent(view),
        facts(view)
    )
}

/// How messages ended, by outcome and why.
fn ends(hour: &Totals, all: &Totals) -> String {
    let head = "<section class=\"sheet\" aria-labelledby=\"ends\">\n<h2 id=\"ends\">How messages ended</h2>\n";
    if all.ended.is_empty() {
        return format!("{head}<p class=\"quiet\">None has ended since the start.</p>\n</section>\n");
    }
    let of_hour = |outcome: &str, why: &str| hour.ended.iter().find(|end| end.outcome == outcome && end.why == why).map_or(0, |end| end.count);
    let total: u64 = hour.ended.iter().map(|end| end.count).sum();
    let mut rows: Vec<_> = all.ended.iter().map(|end| (of_hour(&end.outcome, &end.why), end)).collect();
    rows.sort_by_key(|(recent, end)| std::cmp::Reverse((*recent, end.count)));
    let rows = rows.into_iter().map(|(recent, end)| {
        let why = if end.why.is_empty() { String::new() } else { format!(" <span class=\"quiet\">{}</span>", escape(&words(&end.why))) };
        format!(
            "<tr><th scope=\"row\">{}{why}</th><td class=\"number\">{}</td><td class=\"share\">{}</td><td class=\"number\">{}</td></tr>\n",
            escape(&words(&end.outcome)),
            count(recent),
            bar(recent, total),
            count(end.count)
        )
    });
    format!(
        "{head}<table><thead><tr><th scope=\"col\">outcome</th><th scope=\"col\" class=\"number\">last hour</th><th scope=\"col\" class=\"share\">share of it</th>\
         <th scope=\"col\" class=\"number\">since start</th></tr></thead>\n<tbody>\n{}</tbody></table>\n</section>\n",
        rows.collect::<String>()
    )
}

/// A part of a whole, as a bar that says its share to those who do not see it.
fn bar(part: u64, whole: u64) -> String {
    let share = if whole == 0 { 0.0 } else { number(part) / number(whole) };
    // What is there at all is seen.
    let width = if part == 0 { 0.0 } else { (share * 100.0).max(1.0) };
    format!(
        "<svg viewBox=\"0 0 100 8\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{}\"><rect class=\"all\" width=\"100\" height=\"8\"/>\
         <rect width=\"{width:.1}\" height=\"8\"/></svg>",
        percent(share)
    )
}

fn sent(view: &View) -> String {
    let head = "<section class=\"sheet\" aria-labelledby=\"replies\">\n<h2 id=\"replies\">Replies that left</h2>\n";
    if view.totals.response_sent.is_empty() {
        return format!("{head}<p class=\"quiet\">None since the start.</p>\n</section>\n");
    }
    let rows = view.totals.response_sent.iter().map(|sent| {
        let recent = view.last_hour.response_sent.iter().find(|other| other.method == sent.method).map_or(0, |sent| sent.count);
        let numbers = [recent, sent.count].map(|number| format!("<td class=\"number\">{}</td>", count(number))).concat();
        format!("<tr><th scope=\"row\">{}</th>{numbers}</tr>\n", escape(&sent.method))
    });
    format!(
        "{head}<table><thead><tr><th scope=\"col\">way</th><th scope=\"col\" class=\"number\">last hour</th>\
         <th scope=\"col\" class=\"number\">since start</th></tr></thead>\n<tbody>\n{}</tbody></table>\n</section>\n",
        rows.collect::<String>()
    )
}

/// What is in force: breakers, switches, catalogue.
fn facts(view: &View) -> String {
    let breakers = match view.breakers.as_slice() {
        [] => "nothing is away".to_owned(),
        away => {
            let each = away
                .iter()
                .map(|breaker| format!("{} ({}), {}", escape(&breaker.name), escape(&words(&breaker.reason)), ago(view.at_ms, breaker.since_ms)));
            each.collect::<Vec<_>>().join("<br>")
        }
    };
    let switches = match view.switches.as_slice() {
        [] => "all on".to_owned(),
        set => set.iter().map(|setting| escape(&setting.replacen('=', " ", 1))).collect::<Vec<_>>().join("<br>"),
    };
    let catalogue = match &view.catalogue {
        Some(catalogue) => format!("version {}, confirmed {} ago", escape(&catalogue.version), span_s(catalogue.age_s)),
        None => "not looked at yet".into(),
    };
    let attachments = if view.is_shedding { "given up while the queue is long" } else { "as switched" };
    let fact = |(name, value): (&str, String)| format!("<dt>{name}</dt><dd class=\"wide\">{value}</dd>\n");
    let facts = [("Breakers", breakers), ("Switches", switches), ("Attachments", attachments.into()), ("Catalogue", catalogue)];
    let worker = [("Worker", escape(&view.worker)), ("Started", ago(view.at_ms, view.started_ms))];
    format!(
        "<section class=\"sheet\" aria-labelledby=\"facts\">\n<h2 id=\"facts\">In force</h2>\n<dl class=\"facts\">\n{}</dl>\n</section>\n",
        facts.into_iter().chain(worker).map(fact).collect::<String>()
    )
}

fn errors(view: &View) -> String {
    let head = "<section class=\"sheet\" aria-labelledby=\"errors\">\n<h2 id=\"errors\">Last warnings and errors</h2>\n";
    if view.errors.is_empty() {
        return format!("{head}<p class=\"quiet\">None since the start.</p>\n</section>\n");
    }
    let line = |error: &ErrorView| {
        let (tone, shape, word) = if error.level == "ERROR" { ("bad", SQUARE, "Error") } else { ("care", TRIANGLE, "Warning") };
        let times = if error.count > 1 { format!("{} times, last ", count(error.count)) } else { String::new() };
        format!(
            "<li><span class=\"state {tone}\"><svg viewBox=\"0 0 10 10\" aria-hidden=\"true\">{shape}</svg>{word}</span> \
             <span class=\"wide\">{}</span> <span class=\"times\">{times}{}</span></li>\n",
            escape(&error.text),
            ago(view.at_ms, error.at_ms)
        )
    };
    format!("{head}<ol class=\"errors\">\n{}</ol>\n</section>\n", view.errors.iter().map(line).collect::<String>())
}

/// A word of the metrics as people write it.
fn words(word: &str) -> String {
    word.replace('_', " ")
}

fn capitalised(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(rest).collect()
}

fn percent(share: f64) -> String {
    match share * 100.0 {
        0.0 => "0 %".into(),
        percent if percent < 1.0 => "under 1 %".into(),
        percent => format!("{percent:.0} %"),
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts and milliseconds, far below 2^53")]
fn number(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests;
