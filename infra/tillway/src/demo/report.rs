//! The table at the end, and the same as one JSON document.

use serde_json::{Value, json};
use tillway_core::money::Money;

use super::gateway::System;
use super::promises::{Books, Promise};
use super::run::End;
use super::scenarios::Scenario;
use super::story::Line;

/// One order's row.
#[derive(Debug)]
pub struct Row {
    /// Order id.
    pub order: String,
    /// Clarity's status.
    pub clarity: String,
    /// What the gateway did.
    pub gateway: String,
    /// Tillway's status.
    pub tillway: String,
    /// What waits for a person.
    pub parked: Vec<String>,
    /// How it had to end.
    pub must: Option<End>,
    /// What is not so.
    pub wrong: Vec<String>,
}

/// One scenario's outcome.
#[derive(Debug)]
pub struct Outcome {
    /// Which.
    pub scenario: Scenario,
    /// Its orders.
    pub rows: Vec<Row>,
    /// Why it broke off.
    pub failed: Option<String>,
    /// What happened.
    pub lines: Vec<Line>,
}

impl Outcome {
    /// Whether everything ended as it must.
    pub fn ok(&self) -> bool {
        self.failed.is_none() && self.rows.iter().all(|r| r.must.is_some() && r.wrong.is_empty())
    }
}

fn widths(rows: &[[String; 7]]) -> [usize; 7] {
    let mut widths = [0; 7];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    widths
}

/// The table of the scenarios of one gateway.
pub fn table(system: &System, outcomes: &[&Outcome]) -> Vec<String> {
    let head = ["scenario", "order", "Clarity", system.name, "Tillway", "parked", ""];
    let mut rows = vec![head.map(str::to_owned)];
    for outcome in outcomes {
        let verdict = if outcome.ok() { "ok" } else { "FAILED" };
        for (n, row) in outcome.rows.iter().enumerate() {
            let name = if n == 0 { outcome.scenario.name } else { "" };
            rows.push([
                name.to_owned(),
                row.order.clone(),
                row.clarity.clone(),
                row.gateway.clone(),
                row.tillway.clone(),
                row.parked.join(" "),
                verdict.to_owned(),
            ]);
        }
        if outcome.rows.is_empty() {
            let none = String::new;
            rows.push([
                outcome.scenario.name.to_owned(),
                none(),
                none(),
                none(),
                none(),
                none(),
                verdict.to_owned(),
            ]);
        }
    }
    let widths = widths(&rows);
    let line = |row: &[String; 7]| {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    let mut out: Vec<String> = rows.iter().map(line).collect();
    out.insert(1, "─".repeat(out.iter().map(|l| l.chars().count()).max().unwrap_or(0)));
    for outcome in outcomes.iter().filter(|o| !o.ok()) {
        out.push(String::new());
        out.push(format!("FAILED {}: {}", outcome.scenario.name, outcome.scenario.title));
        out.extend(outcome.failed.iter().map(|why| format!("  {why}")));
        for row in outcome.rows.iter().filter(|r| !r.wrong.is_empty()) {
            out.push(format!("  {}: {}", row.order, row.wrong.join("; ")));
        }
    }
    out
}

/// The books.
pub fn books(books: &Books) -> Vec<String> {
    let mut out: Vec<String> = books.balance.to_string().lines().map(str::to_owned).collect();
    out.push(String::new());
    for (gateway, booked, truth) in &books.clearing {
        let name = gateway.system.name;
        let connection = &gateway.connection;
        out.push(format!("{connection}: clearing without dispute fees {booked}, {name}'s truth {truth}"));
    }
    out
}

/// The promises.
pub fn promises(promises: &[Promise]) -> Vec<String> {
    let mut out = Vec::new();
    for (n, promise) in promises.iter().enumerate() {
        let verdict = if promise.kept { "ok" } else { "BROKEN" };
        out.push(format!("{}. {} ── {verdict}", n.saturating_add(1), promise.promise));
        out.extend(promise.broken.iter().map(|b| format!("   BROKEN: {b}")));
        out.extend(promise.how.iter().map(|h| format!("   {h}")));
    }
    out
}

fn row_json(system: &System, row: &Row) -> Value {
    json!({
        "order": row.order,
        "clarity": row.clarity,
        system.key: row.gateway,
        "tillway": row.tillway,
        "parked": row.parked,
        "must": row.must.as_ref().map(End::json),
        "wrong": row.wrong,
    })
}

/// All of it as one document.
pub fn json(
    seed: u64,
    systems: &[&System],
    outcomes: &[Outcome],
    books: &Books,
    kept: &[Promise],
    ok: bool,
) -> Value {
    let scenarios: Vec<Value> = outcomes
        .iter()
        .map(|o| {
            json!({
                "scenario": o.scenario.name,
                "title": o.scenario.title,
                "pair": o.scenario.merchant,
                "flow": o.scenario.system().pair,
                "ok": o.ok(),
                "failed": o.failed,
                "orders": o.rows.iter().map(|row| row_json(o.scenario.system(), row)).collect::<Vec<_>>(),
                "happened": o.lines,
            })
        })
        .collect();
    let mut balance = serde_json::Map::new();
    for ((currency, role), sum) in &books.balance.0 {
        let accounts = balance.entry(currency.code()).or_insert_with(|| json!({}));
        if let Some(accounts) = accounts.as_object_mut() {
            let minor = i64::try_from(*sum).unwrap_or(i64::MAX);
            accounts.insert(role.name().to_owned(), json!(minor));
        }
    }
    let money = |m: &Money| json!({ "minor": m.minor, "currency": m.currency.code() });
    let clearing: Vec<Value> = books
        .clearing
        .iter()
        .map(|(gateway, booked, truth)| {
            let (connection, key) = (&gateway.connection, gateway.system.key);
            json!({ "connection": connection, "booked": money(booked), key: money(truth) })
        })
        .collect();
    json!({
        "pairs": systems.iter().map(|s| s.pair).collect::<Vec<_>>(),
        "seed": seed,
        "ok": ok,
        "scenarios": scenarios,
        "trial_balance": balance,
        "clearing": clearing,
        "promises": kept,
    })
}
