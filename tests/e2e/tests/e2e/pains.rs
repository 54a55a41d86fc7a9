//! What people in this field suffer from (DESIGN section 10): each pain is a test of its name.

use tillway_tests::world::World;

#[tokio::test]
async fn smoke() {
    let w = World::start().await;
    w.place("A-1", Some("pm_card_visa"));
    w.until_status("A-1", "Paid").await;
    w.charged_once("A-1", 4712);
}
