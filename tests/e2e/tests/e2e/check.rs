//! `check`, and a merchant's own files over the templates: good ones work, bad ones are told by file, line,
//! what and a hint.

use tillway_tests::child::Place;
use tillway_tests::temp::Temp;
use tillway_tests::world::{Setup, World};

use crate::TILLWAY;

const DESCRIPTION: &str = "mapping: stripe/create-payment
extends: stripe/create-payment
fields:
  description: { concat: [\"Own words for \", { from: order.number }] }
";
const STEP: &str = "flow: stripe-clarity
extends: stripe-clarity
steps:
  decline-customer:
    if: \"false\"
";

#[tokio::test]
async fn an_override_of_one_field_and_of_one_step_is_used_by_a_running_order() {
    let files = vec![
        ("flows/words.yaml".to_owned(), DESCRIPTION.to_owned()),
        ("flows/quiet.yaml".to_owned(), STEP.to_owned()),
    ];
    let own = World::with(Setup { overrides: files, ..Setup::default() }).await;
    let plain = World::start().await;
    for w in [&own, &plain] {
        w.place("A-1", Some("pm_card_visa"));
        w.place("A-2", Some("pm_card_chargeDeclined"));
        w.until_status("A-1", "Paid").await;
        w.until_status("A-2", "Payment Failed").await;
        w.quiet().await;
    }
    let description = |w: &World| {
        let payment = w.payment("A-1").payment;
        w.stripe().object(&payment).unwrap()["description"].as_str().map(str::to_owned)
    };
    assert_eq!(description(&own).as_deref(), Some("Own words for A-1"));
    assert_eq!(description(&plain).as_deref(), Some("Order A-1"));
    let told = |w: &World, audience: &str| w.notices.sent().iter().filter(|n| n.audience == audience).count();
    assert_eq!((told(&plain, "customer"), told(&plain, "staff")), (1, 1));
    assert_eq!((told(&own, "customer"), told(&own, "staff")), (0, 1), "only that one step is changed");
    // The version an order runs on is shown, and is another one.
    assert_ne!(own.explain("A-1").await.flow, plain.explain("A-1").await.flow);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_passes_good_files_and_serve_uses_the_same() {
    let place = Place::open(TILLWAY, "", "").await;
    place.folder.write("flows/words.yaml", DESCRIPTION);
    place.folder.write("flows/quiet.yaml", STEP);
    let flows = place.folder.path().join("flows");
    let said = place.run(&["check", flows.to_str().unwrap()]).await.ok();
    assert!(
        said.contains("flow stripe-clarity is sound") && said.contains("2 file(s), no problems"),
        "{said}"
    );
    let said = place.run(&["check", place.folder.path().to_str().unwrap()]).await.ok();
    assert!(said.contains("2 connection(s) and 1 pair(s) are sound"), "{said}");
    place.folder.write("flows/bad.yaml", "flow: stripe-clarity\n");
    for args in [vec!["check", flows.to_str().unwrap()], vec!["check", place.folder.path().to_str().unwrap()]]
    {
        let said = place.run(&args).await.failed();
        assert!(said.contains("bad.yaml:1:1") && said.contains("hint: "), "{said}");
    }
    let said = place.on_data(&["serve", "--listen", "127.0.0.1:0"]).await.failed();
    assert!(said.contains("bad.yaml:1:1"), "nothing unchecked is run: {said}");
}

struct Bad {
    name: &'static str,
    text: String,
    line: usize,
    code: &'static str,
    /// Said in the problem or its hint: what to do about it.
    says: &'static str,
}

fn flow(steps: &str) -> String {
    format!("flow: own\nsteps:\n{steps}")
}

fn bad_files() -> Vec<Bad> {
    let bad = |name, text: String, line, code, says| Bad { name, text, line, code, says };
    let deep = |n: usize| format!("lookup: deep\nfrom: text\nvalues: {}{}\n", "[".repeat(n), "]".repeat(n));
    let deep_cel = |n: usize| {
        flow(&format!(
            "  a:\n    do: clarity.read_order\n    with: clarity/read-order\n    if: \"{}order.known{}\"\n",
            "(".repeat(n),
            ")".repeat(n)
        ))
    };
    vec![
        bad("unknown action", flow("  a:\n    do: stripe.captur\n"), 4, "unknown-action", "stripe.capture"),
        bad(
            "unknown field of a step",
            flow("  a:\n    do: clarity.read_order\n    with: clarity/read-order\n    neds: [b]\n"),
            6,
            "unknown-key",
            "`needs`",
        ),
        bad(
            "unknown source field",
            "mapping: own\naction: clarity.read_order\nfields:\n  order_id: order.idd\n".into(),
            4,
            "unknown-source",
            "id",
        ),
        bad(
            "unknown target field",
            "mapping: own\naction: clarity.read_order\nfields:\n  order_id: order.id\n  ordr: order.id\n"
                .into(),
            5,
            "unknown-target",
            "order_id",
        ),
        bad(
            "unknown field inside CEL",
            flow(
                "  a:\n    do: clarity.read_order\n    with: clarity/read-order\n    if: order.known && order.totl.minor > 0\n",
            ),
            6,
            "unknown-field",
            "`total`",
        ),
        bad(
            "missing required target",
            "mapping: own\naction: stripe.create_payment\nfields:\n  amount: order.total\n".into(),
            4,
            "missing-target",
            "order_id",
        ),
        bad(
            "type clash",
            "mapping: own\naction: clarity.read_order\nfields:\n  order_id: order.total\n".into(),
            4,
            "type-clash",
            "money_major",
        ),
        bad(
            "cycle",
            flow(
                "  a:\n    do: clarity.read_order\n    with: clarity/read-order\n    needs: [b]\n  b:\n    do: clarity.read_order\n    \
                 with: clarity/read-order\n    needs: [a]\n",
            ),
            6,
            "cycle",
            "a needs b needs a",
        ),
        bad(
            "unreachable step",
            flow(
                "  a:\n    do: clarity.read_order\n    with: clarity/read-order\n    if: 'false'\n  b:\n    do: clarity.read_order\n    \
                 with: clarity/read-order\n    needs: [a]\n",
            ),
            10,
            "unreachable-step",
            "`if`",
        ),
        bad(
            "untotal lookup",
            "lookup: own\nfrom: capture\nvalues:\n  authorization: x\n  shipment: y\n".into(),
            4,
            "lookup-not-total",
            "manual",
        ),
        bad(
            "bad CEL",
            flow("  a:\n    do: clarity.read_order\n    with: clarity/read-order\n    if: order.known &&\n"),
            6,
            "condition-syntax",
            "conditions are CEL",
        ),
        bad(
            "a condition of another type",
            flow("  a:\n    do: clarity.read_order\n    with: clarity/read-order\n    if: order.number > 5\n"),
            6,
            "condition-type",
            "quotes",
        ),
        bad("nesting too deep", deep(30), 3, "yaml-depth", "take levels out"),
        bad("nesting far too deep", deep(2_000), 3, "yaml-depth", "take levels out"),
        bad("nesting too deep inside CEL", deep_cel(40), 6, "condition-syntax", "simplify or split it"),
        bad("a condition too long to look into", deep_cel(3_000), 6, "condition-syntax", "split it"),
        bad(
            "a need that is no step",
            flow("  a:\n    do: clarity.read_order\n    with: clarity/read-order\n    needs: [zz]\n"),
            6,
            "unknown-need",
            "known: a",
        ),
        bad(
            "an unknown awaited fact",
            flow("  a:\n    do: clarity.read_order\n    with: clarity/read-order\n    await: ordr\n    within: 2m\n"),
            6,
            "unknown-await",
            "`order`",
        ),
        bad(
            "an override of nothing",
            "mapping: stripe/create-payment\nextends: stripe/create-paymnt\nfields:\n  description: order.number\n".into(),
            2,
            "unknown-base",
            "`stripe/create-payment`",
        ),
        bad(
            "an override of a step that is none",
            "flow: stripe-clarity\nextends: stripe-clarity\nsteps:\n  decline-custmer:\n    if: 'false'\n".into(),
            4,
            "missing-do",
            "`decline-customer`",
        ),
        bad(
            "duplicate key",
            flow("  a:\n    do: clarity.read_order\n    with: clarity/read-order\n    do: stripe.capture\n"),
            6,
            "duplicate-key",
            "first in line 4",
        ),
        bad("not YAML", "flow: [own\nsteps: }\n".into(), 2, "yaml-syntax", "brackets"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_bad_file_is_told_by_file_line_and_hint() {
    let place = Place::open(TILLWAY, "", "").await;
    let mut wrong = Vec::new();
    for bad in bad_files() {
        let folder = Temp::new("bad");
        let file = folder.write("bad.yaml", &bad.text);
        let ran = place.run(&["check", folder.path().to_str().unwrap()]).await;
        let at = format!("{}:{}:", file.display(), bad.line);
        let named = format!("error[{}]", bad.code);
        let fine = ran.code == Some(1)
            && ran.err.contains(&at)
            && ran.err.contains(&named)
            && ran.err.contains(bad.says)
            && ran.err.contains("hint: ")
            && ran.err.contains("problem(s)");
        if !fine {
            wrong.push(format!(
                "{}: wanted {at} {named} {}; exit {:?}\n{}{}",
                bad.name, bad.says, ran.code, ran.out, ran.err
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connectors_prints_what_each_can_do() {
    let place = Place::open(TILLWAY, "", "").await;
    let all = place.run(&["connectors"]).await.ok();
    let readme = include_str!("../../../../README.md");
    assert!(readme.contains(all.trim()), "README shows another table than this:\n{all}");
    let one = place.run(&["connectors", "stripe"]).await.ok();
    assert!(one.contains("| refund | `refund` |") && !one.contains("clarity"), "{one}");
    let said = place.run(&["connectors", "strip"]).await.failed();
    assert!(said.contains("stripe, clarity, cybersource"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn masking_in_production_is_refused_before_anything_starts() {
    let place = Place::open(TILLWAY, "", "").await;
    let config = "production: true\nmasking: on\nconnections:\n  stripe: { system: stripe }\n";
    let folder = Temp::new("masked");
    folder.write("tillway.yaml", config);
    let said = place.run(&["check", folder.path().to_str().unwrap()]).await.failed();
    assert!(said.contains("tillway.yaml:2") && said.contains("made-up names"), "{said}");
}
