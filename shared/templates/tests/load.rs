//! The templates are checked like any merchant's files.

use tillway_core::bundle::Bundle;

#[test]
fn every_template_loads_without_a_problem() {
    let vocabulary = tillway_engine::vocabulary::vocabulary(&[
        &tillway_connectors::stripe::Stripe,
        &tillway_connectors::clarity::Clarity,
        &tillway_connectors::cybersource::Cybersource,
    ]);
    let loaded = Bundle::load(&tillway_templates::sources(), &[], &vocabulary);
    if let Err(problems) = &loaded {
        for problem in problems {
            println!("{problem}");
        }
    }
    assert!(loaded.is_ok());
}

#[test]
fn a_configuration_without_an_address_to_come_back_to_is_refused_with_its_line() {
    let load = |pair: &str| {
        let text = format!(
            "connections:\n  shop: {{ system: clarity, base_url: \"https://shop.example.com/api/v1\" }}\n  gate: {{ \
             system: stripe }}\npairs:\n  main:\n    flow: stripe-clarity\n    shop: shop\n    gateway: gate\n{pair}"
        );
        let (templates, notices) = (tillway_templates::sources(), tillway_templates::notices());
        let found = tillway_engine::settings::load("t.yaml", &text, &templates, &[], notices).err();
        found.unwrap_or_default().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let said = load("    initiates: tillway\n");
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("t.yaml:9:") && said[0].contains("missing-return-url"), "{said:?}");
    assert!(load("    return_url: https://shop.example.com/back\n").is_empty());
    assert!(load("    initiates: shop\n").is_empty());
}
