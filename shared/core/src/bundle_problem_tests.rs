//! Every problem a file can have: its place, its code and its hint.

use super::*;

#[test]
fn problems_in_mappings() {
    for (line, code, hint) in [
        ("ship_to.country: {text: US}", "missing-target", "add `ship_to.line1"),
        ("recipt: order.id", "unknown-target", "`receipt`"),
        ("ship_to.lin1: order.id", "unknown-target", "`line1`"),
        ("receipt: order.nmber", "unknown-source", "`number`"),
        ("receipt: Hello there", "unknown-source", "{text: …}"),
        ("receipt: order.total", "type-clash", "money_major"),
        ("receipt: order.placed", "type-clash", "rfc3339"),
        ("minor: order.total", "type-clash", "minor_units"),
        ("minor: {text: x1}", "type-clash", "digits alone"),
        ("live: {text: NO}", "type-clash", "`true` or `false`"),
        ("receipt: {from: order.id, transform: uper}", "unknown-transform", "`upper`"),
        ("receipt: {from: order.id, transform: date}", "type-clash", "source of that type"),
        ("receipt: {from: order.id, lookup: clarity/status-ot}", "unknown-lookup", "`clarity/status-out`"),
        ("receipt: {from: order.id, text: x}", "wrong-shape", "one of from"),
        ("receipt: {form: order.id}", "wrong-shape", "one of from"),
        ("receipt: {from: order.id, whn: 'true'}", "unknown-key", "`when`"),
        ("receipt: ~", "wrong-shape", "one of from"),
        ("receipt: {from: order.id, when: order.idd != ''}", "unknown-field", "`id`"),
        ("amount.minor: order.count", "unknown-target", "`amount` alone"),
        ("items: order.lines", "type-clash", "each"),
        ("items: {each: order.lines}", "missing-key", "item"),
        ("items: {each: order.lines, fields: {amount: line.quantity}}", "missing-target", "add `code"),
        ("items: {each: order.id, fields: {}}", "type-clash", "leave `each`"),
        ("receipt: {concat: [{from: order.total}]}", "type-clash", "money_major"),
    ] {
        let at = if code == "missing-target" && line.starts_with("ship_to") { 4 } else { 5 };
        is(&alone(&[&pay(line), STATUS_LOOKUP]), ("f0.yaml", at), code, hint);
    }
    let p = alone(&[&pay("ship_to: order.ship_to\n  ship_to.city: order.id")]);
    is(&p, ("f0.yaml", 6), "overlapping-target", "not both");
    let p = alone(&[
        "mapping: m\naction: stripe.capture\nfields:\n  amount: {from: order.total, when: order.count > 1}\n",
    ]);
    is(&p, ("f0.yaml", 4), "required-when", "default");
    is(
        &alone(&["mapping: m\naction: stripe.capture\nfields: {note: order.id}\n"]),
        ("f0.yaml", 3),
        "missing-target",
        "add `amount",
    );
    is(
        &alone(&["mapping: m\naction: stripe.captur\nfields: {}\n"]),
        ("f0.yaml", 2),
        "unknown-action",
        "`stripe.capture`",
    );
    is(&alone(&["mapping: m\nfields: {}\n"]), ("f0.yaml", 1), "missing-key", "action");
    let p = alone(&["mapping: m\naction: stripe.ping\nfor-each: shipmnt\nfields: {}\n"]);
    is(&p, ("f0.yaml", 3), "unknown-object", "`shipment`");
    let color = "lookup: c\nfrom: color\nvalues: {red: Open}\n";
    let p = alone(&[
        "mapping: m\naction: stripe.create_payment\nfields:\n  amount: order.total\n  receipt: {from: order.status, lookup: c}\n",
        color,
    ]);
    is(&p, ("f0.yaml", 5), "lookup-domain", "from: order_status");
    let p = alone(&[
        "mapping: m\naction: clarity.update_order\nfields:\n  status: {from: order.id, lookup: c}\n",
        color,
    ]);
    is(&p, ("f0.yaml", 4), "lookup-domain", "to: clarity_status");
    let p = alone(&["mapping: m\naction: clarity.update_order\nfields:\n  status: {text: Payd}\n"]);
    is(&p, ("f0.yaml", 4), "unknown-member", "`Paid`");
}

#[test]
fn problems_in_lookups() {
    for (text, line, code, hint) in [
        ("lookup: l\nfrom: order_status\nvalues:\n  open: a\n", 4, "lookup-not-total", "every member"),
        (
            "lookup: l\nfrom: order_status\nvalues:\n  open: a\n  paid: b\n  payed: c\n",
            6,
            "unknown-member",
            "`paid`",
        ),
        ("lookup: l\nfrom: text\nto: color\nvalues:\n  a: rd\n", 5, "unknown-member", "`red`"),
        ("lookup: l\nfrom: order_statu\nvalues: {}\n", 2, "unknown-enumeration", "`order_status`"),
        ("lookup: l\nfrom: color\nvalues: {red: a}\ndefault: x\n", 4, "lookup-default", "from: text"),
        (
            "lookup: l\nfrom: text\nignore-case: true\nvalues:\n  A: x\n  a: y\n",
            6,
            "duplicate-value",
            "one of the two",
        ),
        ("lookup: l\nfrom: text\nvalues:\n  A: x\n  A: y\n", 5, "duplicate-key", "one of the two"),
        ("lookup: l\nvalues: {}\n", 1, "missing-key", "from: text"),
        ("lookup: l\nfrom: text\nvalues: {}\ndefalt: x\n", 4, "unknown-key", "`default`"),
        ("lookup: l\nfrom: text\nvalues: {}\nignore-case: NO\n", 4, "wrong-shape", "`true` or `false`"),
    ] {
        is(&alone(&[text]), ("f0.yaml", line), code, hint);
    }
    let text = "lookup: l\nfrom: text\nignore-case: true\nvalues: {NO: Norway, 0123: zero}\ndefault: else\n";
    let bundle = Bundle::load(&sources(&[text]), &[], &vocab()).unwrap();
    let lookup = bundle.lookup("l").unwrap();
    assert_eq!(
        [lookup.get(" no "), lookup.get("0123"), lookup.get("123")],
        [Some("Norway"), Some("zero"), Some("else")]
    );
}

#[test]
fn problems_in_flows() {
    let ping = "do: stripe.ping";
    for (steps, line, code, hint) in [
        ("a: {do: stripe.pin}", 3, "unknown-action", "actions of stripe: stripe.create_payment"),
        ("a: {do: paypal.pay}", 3, "unknown-action", ""),
        ("a: {about: x}", 3, "missing-do", "do:"),
        (&format!("a: {{{ping}, neds: [b]}}"), 3, "unknown-key", "`needs`"),
        (&format!("alpha: {{{ping}}}\n  b: {{{ping}, needs: [alpa]}}"), 4, "unknown-need", "`alpha`"),
        (&format!("a: {{{ping}, needs: [b]}}\n  b: {{{ping}, needs: [a]}}"), 3, "cycle", "take one"),
        (&format!("a: {{{ping}, needs: a}}"), 3, "cycle", "take one"),
        (
            &format!("a: {{{ping}, if: 'false'}}\n  b: {{{ping}, needs: [a]}}"),
            4,
            "unreachable-step",
            "own `if`",
        ),
        (&format!("a: {{{ping}, needs-any: []}}"), 3, "unreachable-step", "leave it out"),
        (&format!("a: {{{ping}, for-each: shipmnt}}"), 3, "unknown-object", "`shipment`"),
        (
            &format!("a: {{{ping}, for-each: shipment}}\n  b: {{{ping}, for-each: refund, needs: [a]}}"),
            4,
            "needs-other-object",
            "use `if`",
        ),
        (
            &format!("a: {{{ping}, for-each: shipment}}\n  b: {{{ping}, needs: [a]}}"),
            4,
            "needs-other-object",
            "for-each",
        ),
        (&format!("a: {{{ping}, await: authorised, within: 1d}}"), 3, "unknown-await", "`authorized`"),
        (&format!("a: {{{ping}, within: 1d}}"), 3, "within-alone", "waits for"),
        (&format!("a: {{{ping}, await: paid}}"), 3, "await-open", "within"),
        (&format!("a: {{{ping}, await: paid, within: 2 weeks}}"), 3, "bad-length", "7d"),
        (&format!("a: {{{ping}, serial: true}}"), 3, "serial-alone", "wait"),
        (&format!("a: {{{ping}, before: 1d}}"), 3, "before-alone", "time"),
        (&format!("a: {{{ping}, after: order.id}}"), 3, "after-no-time", "time"),
        (&format!("a: {{{ping}, after: order.placd}}"), 3, "unknown-field", "`placed`"),
        (&format!("a: {{{ping}, on: {{refused: ignore}}}}"), 3, "unknown-choice", "park"),
        (&format!("a: {{{ping}, on: {{timeout: park}}}}"), 3, "timeout-alone", "leave"),
        (&format!("a:\n    {ping}\n    if: order.tokn != ''"), 5, "unknown-field", "`token`"),
        (&format!("a:\n    {ping}\n    if: order.id"), 5, "condition-type", "compare"),
        (&format!("a:\n    {ping}\n    if: order.status == 'payd'"), 5, "unknown-member", "`paid`"),
        ("a: {do: stripe.capture}", 3, "missing-with", "mapping"),
        ("a: {do: stripe.capture, with: stripe/captur}", 3, "unknown-mapping", "`stripe/capture`"),
        (
            "a: {do: stripe.create_payment, with: stripe/capture, for-each: shipment}",
            3,
            "mapping-action",
            "none",
        ),
        ("a: {do: stripe.capture, with: stripe/capture}", 3, "mapping-for-each", "same `for-each`"),
        (&format!("'a b': {{{ping}}}"), 3, "bad-name", "letters"),
    ] {
        let problem = alone(&[&format!("flow: f\nsteps:\n  {steps}\n"), CAPTURE_MAPPING]);
        if code == "unknown-action" {
            assert_eq!((problem.line, problem.code), (line, code), "{problem}");
            assert!(problem.hint.contains(hint), "{problem}");
        } else {
            is(&problem, ("f0.yaml", line), code, hint);
        }
    }
    let p = alone(&[
        "flow: f\nsteps:\n  a: {do: stripe.ping, needs: [b]}\n  b: {do: stripe.ping, needs: [c]}\n  c: {do: stripe.ping, needs: [b]}\n",
    ]);
    assert_eq!((p.line, p.what.as_str()), (4, "steps need each other in a circle: b needs c needs b"));
    is(&alone(&["flow: f\n"]), ("f0.yaml", 1), "missing-key", "`steps:`");
    is(&alone(&["flw: f\n"]), ("f0.yaml", 1), "unknown-document", "mapping");
    is(&alone(&["flow: 'f f'\nsteps: {}\n"]), ("f0.yaml", 1), "bad-name", "letters");
}

#[test]
fn every_problem_is_reported_and_not_only_the_first() {
    let flow =
        "flow: f\nsteps:\n  a: {do: stripe.pin, if: order.idd == 1}\n  b: {do: stripe.ping, needs: [x]}\n";
    let mapping = "mapping: m\naction: stripe.capture\nfields: {amout: order.id, note: order.total}\n";
    let problems = Bundle::load(&sources(&[flow, mapping]), &[], &vocab()).unwrap_err();
    let codes: Vec<_> = problems.iter().map(|p| (p.file.as_str(), p.line, p.code)).collect();
    assert_eq!(
        codes,
        [
            ("f0.yaml", 3, "unknown-action"),
            ("f0.yaml", 3, "unknown-field"),
            ("f0.yaml", 4, "unknown-need"),
            ("f1.yaml", 3, "missing-target"),
            ("f1.yaml", 3, "unknown-target"),
            ("f1.yaml", 3, "type-clash"),
        ]
    );
}

#[test]
fn problems_of_overrides_point_to_the_part_they_come_from() {
    for (own, file, line, code, hint) in [
        (
            "mapping: stripe/pay\nextends: stripe/pay\nfields:\n  locale: order.totl\n",
            "own0.yaml",
            4,
            "unknown-source",
            "total",
        ),
        ("mapping: stripe/pay\nextends: stripe/pay\nfields:\n  amount: ~\n", "own0.yaml", 4, "x", ""),
        (
            "mapping: stripe/pay\nextends: stripe/pay\nfields:\n  locle: ~\n",
            "own0.yaml",
            4,
            "nothing-to-remove",
            "`locale`",
        ),
        (
            "mapping: stripe/pay\naction: stripe.ping\nfields: {}\n",
            "own0.yaml",
            1,
            "duplicate-document",
            "extends: stripe/pay",
        ),
        ("mapping: m\nextends: stripe/py\n", "own0.yaml", 2, "unknown-base", "`stripe/pay`"),
        ("flow: shop\nextends: shop\nsteps:\n  payment: {remove: true}\n", "f0.yaml", 7, "x", ""),
        ("flow: shop\nextends: shop\nsteps:\n  capure: {within: 1d}\n", "own0.yaml", 4, "x", ""),
    ] {
        let problems = load(&[own]).map(|_| ()).unwrap_err();
        let found = problems.iter().any(|p| {
            (p.file.as_str(), p.line) == (file, line)
                && (code == "x" || p.code == code)
                && p.hint.contains(hint)
        });
        // A missing required field stands at `fields`, which is the template's.
        let missing = problems.iter().any(|p| p.code == "missing-target");
        assert!(found || missing, "{own}: {problems:#?}");
    }
    let capture =
        load(&["flow: shop\nextends: shop\nsteps:\n  capure: {within: 1d}\n"]).map(|_| ()).unwrap_err();
    assert!(capture.iter().any(|p| p.code == "missing-do" && p.hint.contains("`capture`")), "{capture:?}");
}
