//! An order under a configuration that was deployed over the running stack.

use tillway_cloud_tests::{Cloud, look};

/// An order's total, minor units.
const TOTAL: i64 = 4712;

/// With the other configuration deployed over the running stack: authorized now, taken when it is shipped.
pub(crate) async fn captured_on_shipment(cloud: &mut Cloud) {
    cloud.rest().await;
    cloud.capture_on_shipment().await;
    cloud.place("S-1", "pm_card_visa");
    cloud.until_known("S-1", "authorized").await;
    assert_eq!(cloud.payment("S-1").captured, 0);
    let now = cloud.now();
    cloud.shop().ship(now, "S-1", None).unwrap();
    cloud.until("it is taken", |c| c.payment("S-1").captured == TOTAL).await;
    cloud.until_known("S-1", "paid").await;
    cloud.charged_once("S-1", TOTAL);
    assert_eq!(cloud.status("S-1"), "Shipped", "a fulfilment status is never overwritten");
    assert_eq!(look::balance(cloud.stack.engine(), "S-1", "gateway_clearing").await, TOTAL);
}
