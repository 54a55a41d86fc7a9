//! What a pair says about routing: rules, what segments are made of, how counts age.

use super::counts::Settings;
use super::segment::Part;
use crate::check::{Problem, did_you_mean};
use crate::expr::{EvalError, Expr};
use crate::scope::{Scope, View};
use crate::time::Millis;
use crate::yaml::Node;

/// One rule. The first whose condition holds names the candidates.
#[derive(Debug, Clone)]
pub struct Rule {
    /// When it holds; without one it always does.
    pub when: Option<Expr>,
    /// Its routes: one is taken without a draw.
    pub routes: Vec<String>,
    /// Whether a soft decline may be tried on another of them; none: as the pair says.
    pub retry: Option<bool>,
}

/// A pair's routing.
#[derive(Debug, Clone)]
pub struct Routing {
    /// All routes of the gateway's connection.
    pub routes: Vec<String>,
    /// Rules in order; where none holds, all routes are candidates.
    pub rules: Vec<Rule>,
    /// What segments are made of.
    pub by: Vec<Part>,
    /// Whether a soft decline may be tried on another route.
    pub retry: bool,
    /// How counts age and routes are left out.
    pub settings: Settings,
}

impl Routing {
    /// Over these routes, nothing said about them.
    #[must_use]
    pub fn over(routes: Vec<String>) -> Self {
        let by = vec![Part::Currency, Part::Brand, Part::Amount];
        Self { routes, rules: Vec::new(), by, retry: false, settings: Settings::default() }
    }

    /// Whether it reads what is known of a person.
    #[must_use]
    pub fn is_personal(&self) -> bool {
        let asks = self.rules.iter().filter_map(|r| r.when.as_ref()).any(Expr::is_personal);
        asks || self.by.contains(&Part::Country)
    }

    /// The candidates for an order: number of the rule from 1, its routes, and whether a soft decline may be tried again.
    ///
    /// # Errors
    /// A condition that cannot be evaluated.
    pub fn candidates(&self, view: &View<'_>) -> Result<(Option<u32>, &[String], bool), EvalError> {
        for (n, rule) in (1_u32..).zip(&self.rules) {
            if rule.when.as_ref().map_or(Ok(true), |when| when.eval_in(view))? {
                return Ok((Some(n), &rule.routes, rule.retry.unwrap_or(self.retry)));
            }
        }
        Ok((None, &self.routes, self.retry))
    }

    /// Reads `routing:` of a pair. `scope` is what conditions may name, `routes` what the gateway's connection has.
    pub fn read(node: &Node, routes: Vec<String>, scope: &Scope, problems: &mut Vec<Problem>) -> Self {
        let mut routing = Self::over(routes);
        node.map("a table with rules", problems);
        node.only_keys(&KEYS, problems);
        if let Some(node) = node.get("rules") {
            routing.read_rules(node, scope, problems);
        }
        if let Some(retry) = node.get("retry_soft_declines").and_then(|n| switch(n, problems)) {
            routing.retry = retry;
        }
        if let Some(node) = node.get("segments") {
            routing.by = parts(node, problems);
        }
        let settings = &mut routing.settings;
        for (key, length) in [("half_life", &mut settings.half_life), ("pause", &mut settings.pause)] {
            let Some(node) = node.get(key) else { continue };
            match node.as_text().and_then(Millis::parse).filter(|l| *l >= Millis::mins(1)) {
                Some(parsed) => *length = parsed,
                None => {
                    let hint = "write at least a minute, as 15m, 36h or 7d";
                    problems.push(node.problem("bad-length", format!("{key} is no such length"), hint));
                }
            }
        }
        for (key, count, most) in
            [("leave_out_after", &mut settings.leave_out_after, 50), ("one_in", &mut settings.one_in, 1000)]
        {
            let Some(node) = node.get(key) else { continue };
            match node.as_text().and_then(|t| t.parse().ok()).filter(|n| (1..=most).contains(n)) {
                Some(parsed) => *count = parsed,
                None => {
                    let hint = format!("write a whole number from 1 to {most}");
                    problems.push(node.problem("bad-number", format!("{key} is no such number"), hint));
                }
            }
        }
        routing
    }

    fn read_rules(&mut self, node: &Node, scope: &Scope, problems: &mut Vec<Problem>) {
        let items = node.list("a list of rules", problems);
        for (n, item) in items.iter().enumerate() {
            item.map("a rule with `routes`", problems);
            item.only_keys(&["when", "routes", "retry_soft_declines"], problems);
            let when = item.get("when").and_then(|at| {
                let text = at.text("a condition", problems)?;
                Expr::compile(text, scope, &at.at).map_err(|found| problems.extend(found)).ok()
            });
            if item.get("when").is_none() && n.saturating_add(1) < items.len() {
                let hint = "give it a `when`, or put it last";
                problems.push(item.problem(
                    "unreachable-rule",
                    "this rule always holds, and others follow",
                    hint,
                ));
            }
            let mut routes: Vec<String> = Vec::new();
            let Some(at) = item.get("routes") else {
                problems.push(item.problem(
                    "missing-key",
                    "a rule names no routes",
                    "add `routes: [merchant id, …]`",
                ));
                continue;
            };
            for at in at.list("a merchant id", problems) {
                let Some(name) = at.text("a merchant id", problems) else { continue };
                if !self.routes.iter().any(|known| known == name) {
                    let what = format!("`{name}` is no merchant id of the gateway's connection");
                    problems.push(at.problem("unknown-route", what, did_you_mean(name, &self.routes)));
                } else if !routes.iter().any(|known| known == name) {
                    routes.push(name.to_owned());
                }
            }
            if routes.is_empty() {
                problems.push(at.problem(
                    "missing-key",
                    "a rule names no routes",
                    "name at least one merchant id",
                ));
            }
            let retry = item.get("retry_soft_declines").and_then(|n| switch(n, problems));
            self.rules.push(Rule { when, routes, retry });
        }
    }
}

const KEYS: [&str; 7] =
    ["rules", "retry_soft_declines", "segments", "half_life", "leave_out_after", "pause", "one_in"];

fn switch(node: &Node, problems: &mut Vec<Problem>) -> Option<bool> {
    match node.as_text() {
        Some("yes" | "true") => Some(true),
        Some("no" | "false") => Some(false),
        _ => {
            problems.push(node.problem("bad-option", "expected `yes` or `no`", "write yes or no"));
            None
        }
    }
}

fn parts(node: &Node, problems: &mut Vec<Problem>) -> Vec<Part> {
    let names = Part::NAMES.map(|(name, _)| name);
    let mut out = Vec::new();
    for at in node.list("a part of a segment", problems) {
        let Some(name) = at.text("a part of a segment", problems) else { continue };
        match Part::NAMES.iter().find(|(known, _)| *known == name) {
            Some((_, part)) => out.push(*part),
            None => {
                let what = format!("`{name}` is no part of a segment");
                problems.push(at.problem("unknown-part", what, did_you_mean(name, names)));
            }
        }
    }
    out
}
