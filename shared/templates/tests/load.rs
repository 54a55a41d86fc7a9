//! The templates are checked like any merchant's files.

use tillway_core::bundle::Bundle;

#[test]
fn every_template_loads_without_a_problem() {
    let vocabulary = tillway_engine::vocabulary::vocabulary(&[
        &tillway_connectors::stripe::Stripe,
        &tillway_connectors::clarity::Clarity,
    ]);
    let loaded = Bundle::load(&tillway_templates::sources(), &[], &vocabulary);
    if let Err(problems) = &loaded {
        for problem in problems {
            println!("{problem}");
        }
    }
    assert!(loaded.is_ok());
}
