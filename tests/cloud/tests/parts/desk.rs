//! The command on the stack, with the providers to talk to: `tillway webhooks register --aws`.

use std::collections::BTreeMap;

use serde_json::json;
use tillway_cloud_tests::Cloud;
use tillway_core::time::Millis;
use tillway_tests::world::{GATEWAY, SHOP};

/// Where the stack would be reached; the sandboxes know the local address beside it.
const URL: &str = "https://till.example.com";

/// Endpoints are made once, their secrets lie in Secrets Manager, and a webhook that one of them signed is taken.
pub(crate) async fn webhooks_are_registered_once_and_taken(cloud: &Cloud) {
    cloud.rest().await;
    let mut said = String::new();
    let mut run = async |args: &[&str]| {
        let out = cloud.command(args).await;
        said.push_str(&out);
        out
    };
    for (connection, endpoints, first) in [(GATEWAY, 4, "payments"), (SHOP, 2, "orders")] {
        let register = ["webhooks", "register", "--url", URL, "--connection", connection];
        let before = values(&run(&["secrets", "list", connection]).await);
        let made = run(&register).await;
        assert_eq!(made.matches("is made").count(), endpoints, "{made}");
        assert!(
            made.contains(&format!("tillway/dev/{connection}")),
            "the place of the secrets is named: {made}"
        );
        assert!(made.contains(&format!("{URL}/webhooks/{connection}/{first}")), "{made}");
        assert_eq!(values(&run(&["secrets", "list", connection]).await), before + endpoints);
        let again = run(&register).await;
        assert_eq!(again.matches("is as it should be").count(), endpoints, "{again}");
        assert!(!again.contains("is made"), "{again}");
        let listed = run(&["webhooks", "list", "--connection", connection]).await;
        assert_eq!(listed.matches(&format!("on  {URL}/")).count(), endpoints, "{listed}");
        // Only those of the endpoints are left.
        let keep = endpoints.to_string();
        run(&["secrets", "retire", connection, "webhook_secret", "--keep", &keep]).await;
    }
    // What the functions have read is read again after a while.
    cloud.clock.forward(Millis::mins(6));
    let (received_before, refused_before) = (received(cloud).await, cloud.refused().await);
    cloud.place("W-1", "pm_card_visa");
    cloud.until_known("W-1", "authorized").await;
    cloud.rest().await;
    let (received, refused) = (received(cloud).await, cloud.refused().await);
    assert_eq!(refused, refused_before, "no webhook was refused");
    for connection in [GATEWAY, SHOP] {
        let (before, after) = (received_before.get(connection), received.get(connection));
        assert!(after > before, "webhooks of {connection} under its endpoints' secrets are taken");
    }
    for canary in tillway_cloud_tests::canaries() {
        assert!(!said.contains(canary), "a secret was shown");
    }
    // A name may end there, as in the explanation of what a signing secret looks like; a value goes on.
    let shown = |part: &str| part.chars().take_while(char::is_ascii_alphanumeric).count() > 8;
    assert!(!said.split("whsec_").skip(1).any(shown), "a signing secret was shown");
}

/// How many webhooks were accepted, by connection.
async fn received(cloud: &Cloud) -> BTreeMap<String, u64> {
    let metrics = cloud.stack.ask(json!({ "do": "metrics" })).await;
    let counted = metrics["received"].as_object().cloned().unwrap_or_default();
    counted.into_iter().map(|(connection, n)| (connection, n.as_u64().unwrap_or(0))).collect()
}

/// How many values of `webhook_secret` a list of secrets tells.
fn values(listed: &str) -> usize {
    let line = listed.lines().find(|line| line.contains("webhook_secret")).unwrap();
    let mut words = line.split_whitespace().skip_while(|word| *word != "webhook_secret").skip(1);
    words.next().unwrap().parse().unwrap()
}
