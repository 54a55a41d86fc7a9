//! The report as one HTML page: no script, nothing loaded from anywhere, readable in light and dark, on a phone and on
//! paper. What it shows is bounded; the lines themselves are in the CSV.

use std::fmt::Write as _;

use super::amount::{counted, grouped, percent};
use super::text::{escaped, in_url};
use super::{Amount, BatchRow, Item, Report, State, Totals, waterfall, words};
use crate::settle::outcome::Tier;

/// Items the page shows one by one.
pub const MOST_ITEMS: usize = 200;
/// Batches it shows.
pub const MOST_BATCHES: usize = 100;

const STYLE: &str = include_str!("page.css");

/// Where the page's links lead.
#[derive(Debug, Clone, Default)]
pub struct Links {
    /// Address of an explanation, `{key}` in it for what is explained, e.g. `https://pay.example.com/explain/{key}` or, beside
    /// the page, `explain/{key}.html`. Without one, and for anything but the web or a path, the page gives the command.
    pub explain: Option<String>,
    /// The CSV beside the page.
    pub csv: Option<String>,
}

/// The page.
#[must_use]
pub fn html(report: &Report, links: &Links) -> String {
    let title = format!("Settlement of {}", super::text::shown(report.connection.as_str()));
    let mut out = String::from("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    out.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    // Nothing may be loaded and nothing run, whatever a text might hold.
    out.push_str("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">\n");
    out.push_str("<meta name=\"referrer\" content=\"no-referrer\">\n");
    let _ = writeln!(
        out,
        "<title>{}, {}: {}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>",
        escaped(&title),
        report.day,
        report.state.title().to_lowercase()
    );
    let (name, word) = state(report.state);
    let _ = writeln!(
        out,
        "<header>\n<div class=\"head\"><h1>{}, <span>{}</span></h1><span class=\"state {name}\">{word}</span></div>\n\
         <p class=\"headline\">{}</p>\n</header>",
        escaped(&title),
        report.day,
        escaped(&report.headline())
    );
    for notice in &report.notices {
        let _ = writeln!(out, "<p class=\"notice\" role=\"alert\">{}</p>", escaped(&notice.text));
    }
    cards(report, &mut out);
    out.push_str("<div class=\"falls\">\n");
    for totals in &report.currencies {
        fall(totals, &mut out);
    }
    out.push_str("</div>\n");
    items(report, links, &mut out);
    aging(report, &mut out);
    batches(report, &mut out);
    matching(report, &mut out);
    holds(report, &mut out);
    let _ = write!(out, "<footer><p>Looked at on {}.", report.today);
    if let Some(csv) = links.csv.as_deref().and_then(address) {
        let _ = write!(out, " Every line, matched ones too: <a href=\"{}\">CSV</a>.", escaped(csv));
    } else {
        out.push_str(" Every line, matched ones too, is in the CSV.");
    }
    out.push_str("</p></footer>\n</main>\n</body>\n</html>\n");
    out
}

fn state(state: State) -> (&'static str, &'static str) {
    let name = match state {
        State::Closed => "closed",
        State::Open => "open",
        State::Submitted => "submitted",
        State::Refused => "refused",
        State::Waiting => "waiting",
        State::Nothing => "nothing",
    };
    (name, state.title())
}

/// An address of the web or a path beside the page; nothing else is ever a link.
fn address(text: &str) -> Option<&str> {
    let head = text.split(['/', '?', '#']).next().unwrap_or_default();
    let web = ["https://", "http://"].iter().any(|scheme| text.starts_with(scheme));
    (web || !head.contains(':') && !text.starts_with("//")).then_some(text)
}

fn cards(report: &Report, out: &mut String) {
    out.push_str("<section class=\"cards\" aria-label=\"Figures\">\n");
    for totals in &report.currencies {
        let charged = totals.step(super::Step::Charges).grouped();
        let fees =
            totals.fee_rate_basis_points.map_or(String::new(), |rate| format!(", fees {}", percent(rate)));
        let note = format!("of {charged} charged{fees}");
        card(&format!("Net {}", totals.currency), &escaped(&totals.net.grouped()), &note, out);
    }
    let m = &report.matching;
    if let Some(rate) = m.match_rate_basis_points {
        let note = format!(
            "{} of {} matched",
            grouped(m.matched),
            counted(m.matched.saturating_add(m.open), "line")
        );
        let _ = writeln!(
            out,
            "<div class=\"card\"><span>Match rate</span><b>{}</b><span>{note}</span><svg viewBox=\"0 0 10000 6\" \
             preserveAspectRatio=\"none\" aria-hidden=\"true\"><rect class=\"all\" width=\"10000\" height=\"6\"/>\
             <rect class=\"part\" width=\"{rate}\" height=\"6\"/></svg></div>",
            percent(rate)
        );
    }
    let stakes: Vec<String> = report.stakes.iter().map(ToString::to_string).collect();
    let note = if stakes.is_empty() {
        "nothing at stake".to_owned()
    } else {
        format!("{} at stake", stakes.join(", "))
    };
    let count = grouped(report.open_item_count);
    let figure = if report.items.is_empty() { count } else { format!("<a href=\"#items\">{count}</a>") };
    card("Open items", &figure, &note, out);
    out.push_str("</section>\n");
}

/// `figure` is HTML already.
fn card(title: &str, figure: &str, note: &str, out: &mut String) {
    let _ = writeln!(
        out,
        "<div class=\"card\"><span>{}</span><b>{}</b><span>{}</span></div>",
        escaped(title),
        figure,
        escaped(note)
    );
}

fn items(report: &Report, links: &Links, out: &mut String) {
    if report.items.is_empty() {
        return;
    }
    out.push_str("<section id=\"items\">\n<h2>What to look at</h2>\n");
    for item in report.items.iter().take(MOST_ITEMS) {
        one(item, links, out);
    }
    let shown = u64::try_from(report.items.len().min(MOST_ITEMS)).unwrap_or(u64::MAX);
    let more = report.item_count.saturating_sub(shown);
    if more > 0 {
        let command =
            format!("tillway settle open --connection {}", super::text::argument(report.connection.as_str()));
        let _ = writeln!(out, "<p>And {} more: <code>{}</code></p>", grouped(more), escaped(&command));
    }
    out.push_str("</section>\n");
}

fn one(item: &Item, links: &Links, out: &mut String) {
    let settled = if item.matched { " settled" } else { "" };
    let kept = if item.matched { ", matched all the same" } else { "" };
    let _ = writeln!(
        out,
        "<article class=\"item{settled}\"><div class=\"top\"><b>{}</b><span class=\"dim\">{}{kept}, since {}</span>\
         <span class=\"n\">{}</span></div>",
        words::title(item.class),
        words::age(item.age),
        item.since,
        item.amount
    );
    let mut ids: Vec<String> = Vec::new();
    ids.extend(item.order.iter().map(|o| format!("order {o}")));
    ids.extend(item.batch.iter().map(|b| format!("batch {b}")));
    ids.extend(item.expected.iter().map(|e| format!("expected {e}")));
    ids.extend(item.lines.iter().map(|l| format!("line {l}")));
    let _ = writeln!(out, "<div class=\"ids\">{}</div>", escaped(&ids.join(" · ")));
    if let Some(nearest) = &item.nearest {
        let _ = writeln!(out, "<div class=\"ids\">{}</div>", escaped(nearest));
    }
    let _ = write!(out, "<p class=\"do\">{}", escaped(item.action));
    if let Some(command) = item.command() {
        let key = item.explain.as_deref();
        let link =
            links.explain.as_deref().and_then(address).zip(key).map(|(t, k)| t.replace("{key}", &in_url(k)));
        let command = format!("<code>{}</code>", escaped(&command));
        let _ = match link {
            Some(link) => write!(out, " <a href=\"{}\">{command}</a>", escaped(&link)),
            None => write!(out, " {command}"),
        };
    }
    out.push_str("</p></article>\n");
}

fn fall(totals: &Totals, out: &mut String) {
    let code = totals.currency.code();
    let net = totals.net;
    let _ = write!(
        out,
        "<section>\n<h2>From gross to net, {code}</h2>\n<table class=\"fall\"><tbody>\n{}</tbody></table>\n<p class=\"dim\">{}, {}, {}. ",
        waterfall::rows(totals),
        counted(totals.payments, "payment"),
        counted(totals.refunds, "refund"),
        counted(totals.disputes, "dispute")
    );
    if totals.paid_out == net {
        let _ = write!(out, "Net is what was paid out, to the last minor unit.");
    } else {
        let rest = Amount::new(net.minor - totals.paid_out.minor, totals.currency);
        let _ = write!(out, "Paid out {}; {rest} are not known to be paid out yet.", totals.paid_out);
    }
    out.push_str("</p>\n</section>\n");
}

fn aging(report: &Report, out: &mut String) {
    if report.aging.is_empty() {
        return;
    }
    table("By class and age", &["", "#0–3 days", "#4–7", "#8–30", "#older", "#all", "#amount"], out);
    for row in &report.aging {
        let _ = write!(out, "<tr><th scope=\"row\">{}</th>", words::title(row.class));
        for count in [row.days_0_3, row.days_4_7, row.days_8_30, row.older, row.count] {
            let _ = write!(
                out,
                "<td class=\"n\">{}</td>",
                if count == 0 { "–".to_owned() } else { grouped(count) }
            );
        }
        let _ = writeln!(out, "<td class=\"n\">{}</td></tr>", row.amount);
    }
    out.push_str("</tbody></table></div>\n</section>\n");
}

fn batches(report: &Report, out: &mut String) {
    if report.batches.is_empty() {
        return;
    }
    let heads = ["batch", "", "#payments", "#matched", "#explained", "#open", "#net", "#payout", "funded on"];
    table("Batches", &heads, out);
    for row in report.batches.iter().take(MOST_BATCHES) {
        batch(row, out);
    }
    out.push_str("</tbody></table></div>\n");
    let shown = u64::try_from(report.batches.len().min(MOST_BATCHES)).unwrap_or(u64::MAX);
    let more = report.batch_count.saturating_sub(shown);
    if more > 0 {
        let _ = writeln!(out, "<p>And {} more.</p>", grouped(more));
    }
    out.push_str("</section>\n");
}

fn batch(row: &BatchRow, out: &mut String) {
    let (name, word) = state(row.state);
    let _ = write!(out, "<tr><td class=\"id\">{}", escaped(&row.id));
    for refusal in &row.refusals {
        let _ = write!(out, "<br><span class=\"dim\">{}</span>", escaped(refusal));
    }
    let payments: u64 = row.totals.iter().map(|t| t.payments).sum();
    let nets: Vec<String> = row.totals.iter().map(|t| t.net.to_string()).collect();
    let _ = write!(out, "</td><td><span class=\"tag {name}\">{word}</span></td>");
    for count in [payments, row.matched, row.explained, row.open] {
        let _ = write!(out, "<td class=\"n\">{}</td>", grouped(count));
    }
    let _ = writeln!(
        out,
        "<td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}</td></tr>",
        nets.join("<br>"),
        row.payout.map_or_else(|| "not known".to_owned(), |p| p.to_string()),
        row.funded_on.as_deref().unwrap_or("–")
    );
}

fn matching(report: &Report, out: &mut String) {
    let m = &report.matching;
    if m.matched == 0 && m.explained == 0 {
        return;
    }
    table("How lines were matched", &["by", "#lines"], out);
    for tier in Tier::ALL {
        if let Some(count) = m.by_tier.get(tier.name()) {
            let _ = writeln!(
                out,
                "<tr><td>{}</td><td class=\"n\">{}</td></tr>",
                words::by(tier),
                grouped(*count)
            );
        }
    }
    for (count, what) in [
        (m.tolerated, "of these within a tolerance"),
        (m.explained, "explained by a rule, no expectation needed"),
        (m.open, "not matched"),
    ] {
        if count > 0 {
            let _ = writeln!(out, "<tr><td>{what}</td><td class=\"n\">{}</td></tr>", grouped(count));
        }
    }
    out.push_str("</tbody></table></div>\n</section>\n");
}

fn holds(report: &Report, out: &mut String) {
    if report.holds.is_empty() {
        return;
    }
    let heads = ["", "#at the gateway", "#of it awaited", "#in", "#suspense", "#reserve", "#disputed"];
    table("What the books hold", &heads, out);
    for row in &report.holds {
        let _ = write!(
            out,
            "<tr><th scope=\"row\">{}</th><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>",
            row.currency,
            row.clearing.grouped(),
            row.awaited.grouped(),
            counted(row.awaited_count, "booking")
        );
        for amount in [row.suspense, row.reserve, row.disputed] {
            let _ = write!(out, "<td class=\"n\">{}</td>", amount.grouped());
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n");
    let unknown: u64 = report.holds.iter().map(|row| row.unknown_count).sum();
    if unknown > 0 {
        let are = counted(unknown, "effect");
        let _ = writeln!(
            out,
            "<p class=\"dim\">{are} of unknown outcome, not booked: a line that names one proves it.</p>"
        );
    }
    out.push_str("</section>\n");
}

/// Opens a section with a table; `#` begins the heads of columns of figures.
fn table(title: &str, heads: &[&str], out: &mut String) {
    let _ = write!(out, "<section>\n<h2>{title}</h2>\n<div class=\"scroll\"><table><thead><tr>");
    for head in heads {
        let _ = match head.strip_prefix('#') {
            Some(head) => write!(out, "<th class=\"n\" scope=\"col\">{head}</th>"),
            None => write!(out, "<th scope=\"col\">{head}</th>"),
        };
    }
    out.push_str("</tr></thead><tbody>\n");
}
