//! From gross to net as a chart: a row for each step, its bar beginning where the last one ended. The rows are those of a
//! table, so that the figures are read where the chart is not seen, and nothing gets small on a phone.

use std::fmt::Write as _;

use super::{Step, Totals};

/// Width of a bar's place, in units of its drawing.
const WIDE: i128 = 1_000;

/// One bar: what it is, how much, and from where to where it goes, in parts of [`WIDE`].
struct Bar<'t> {
    title: &'t str,
    amount: super::Amount,
    kind: &'static str,
    from: i128,
    to: i128,
    /// Where the next begins.
    end: i128,
}

/// The chart as table rows.
pub(super) fn rows(totals: &Totals) -> String {
    let mut out = String::new();
    for bar in bars(totals) {
        let Bar { title, amount, kind, from, to, end } = bar;
        let wide = (to - from).max(2);
        let from = from.min(WIDE - wide);
        let _ = writeln!(
            out,
            "<tr class=\"{kind}\"><th scope=\"row\">{title}</th><td class=\"bar\"><svg viewBox=\"0 0 {WIDE} 24\" \
             preserveAspectRatio=\"none\" aria-hidden=\"true\"><rect x=\"{from}\" y=\"4\" width=\"{wide}\" height=\"16\"/>\
             <line x1=\"{end}\" x2=\"{end}\" y1=\"4\" y2=\"24\"/></svg></td><td class=\"n\">{}</td></tr>",
            amount.grouped()
        );
    }
    out
}

fn bars(totals: &Totals) -> Vec<Bar<'static>> {
    let shown = totals.steps.iter().filter(|s| s.sum.minor != 0 || s.step == Step::Charges);
    let (mut at, mut low, mut high) = (0_i128, 0_i128, 0_i128);
    let mut spans = Vec::new();
    for part in shown {
        let from = at;
        at += part.sum.minor;
        (low, high) = (low.min(at), high.max(at));
        let kind = match part.step {
            Step::Charges => "whole",
            _ if part.sum.minor < 0 => "down",
            _ => "up",
        };
        spans.push((part.step.title(), part.sum, kind, from, at, at));
    }
    spans.push(("Net", totals.net, "whole net", 0, at, at));
    let range = (high - low).max(1);
    // Scaled down first where a product would not fit.
    let scale = |minor: i128| {
        let away = minor - low;
        away.checked_mul(WIDE).map_or_else(|| away / (range / WIDE).max(1), |wide| wide / range)
    };
    let bar = |(title, amount, kind, from, to, end): (&'static str, _, _, i128, i128, i128)| Bar {
        title,
        amount,
        kind,
        from: scale(from.min(to)),
        to: scale(from.max(to)),
        end: scale(end),
    };
    spans.into_iter().map(bar).collect()
}
