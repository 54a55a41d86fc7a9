//! `tillway secrets` and `tillway webhooks` on one machine, between the sandboxes.

use std::process::Stdio;

use tillway_tests::child::{Place, Ran};
use tillway_tests::world::{
    API_KEY, CLIENT_SECRET, GATEWAY, GATEWAY_HOOK, MASTER_KEY, SHOP, SHOP_HOOK, new_order,
};
use tokio::io::AsyncWriteExt as _;

use crate::TILLWAY;

/// Runs a command with this on its standard input, and the place's configuration.
async fn with_input(place: &Place, args: &[&str], input: &str) -> Ran {
    let config = place.folder.path().join("tillway.yaml");
    let mut command = tokio::process::Command::new(TILLWAY);
    command.args(args).arg("--config").arg(config).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // One that is refused at once reads nothing.
    let _unread = child.stdin.take().unwrap().write_all(input.as_bytes()).await;
    Ran::from(child.wait_with_output().await.unwrap())
}

/// Values that stand in the secrets file, in order.
fn values(place: &Place, name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(place.folder.path().join("secrets")).unwrap();
    let lines = text.lines().filter_map(|l| l.split_once(" = "));
    lines.filter(|(n, _)| *n == name).map(|(_, v)| v.to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_put_rotated_retired_and_never_shown() {
    let place = Place::open(TILLWAY, "", "").await;
    let mut said = String::new();
    let mut run = async |args: &[&str], input: &str, goes: bool| {
        let ran = with_input(&place, args, input).await;
        assert_eq!(ran.code == Some(0), goes, "{args:?}: {} {}", ran.out, ran.err);
        let all = format!("{}{}", ran.out, ran.err);
        said.push_str(&all);
        all
    };
    let hook = format!("{GATEWAY}.webhook_secret");
    let list = run(&["secrets", "list"], "", true).await;
    for line in ["master_key", "webhook_secret", "client_secret", "1 value", "none"] {
        assert!(list.contains(line), "{line} is not in {list}");
    }
    run(&["secrets", "rotate", GATEWAY, "webhook_secret"], "whsec_canary_new\n", true).await;
    assert_eq!(values(&place, &hook), ["whsec_canary_new", GATEWAY_HOOK]);
    assert!(run(&["secrets", "list", GATEWAY], "", true).await.contains("2 values"));
    assert!(run(&["secrets", "retire", GATEWAY, "webhook_secret"], "", true).await.contains("1 value(s)"));
    assert_eq!(values(&place, &hook), ["whsec_canary_new"]);
    run(&["secrets", "put", SHOP, "username", "password"], "canary-user\ncanary-word\n", true).await;
    assert_eq!(values(&place, &format!("{SHOP}.password")), ["canary-word"]);
    assert_eq!(values(&place, &format!("{SHOP}.webhook_secret")), [SHOP_HOOK], "others stay");
    run(&["secrets", "put", "tillway", "master_key"], MASTER_KEY, true).await;
    assert_eq!(values(&place, "tillway.master_key"), [MASTER_KEY], "put again as it is");
    let other = "ab".repeat(32);
    // What cannot be is refused, with what to do, and changes nothing.
    for (args, input, hint) in [
        (&["secrets", "put", "tillway", "master_key"][..], other.as_str(), "neither replaced nor rotated"),
        (&["secrets", "put", GATEWAY, "apikey"], "canary", "did you mean `api_key`?"),
        (&["secrets", "put", GATEWAY, "sk_canary_as_an_argument_of_all_things"], "", "no name of a secret"),
        (&["secrets", "put", "stripes", "api_key"], "canary", "there is no connection"),
        (&["secrets", "put", GATEWAY, "api_key"], "", "0 lines came"),
        (&["secrets", "put", GATEWAY, "api_key"], " \ncanary\n", "send one each"),
        (&["secrets", "rotate", GATEWAY, "webhook_secret"], "whsec_canary_new", "newest value already"),
    ] {
        let why = run(args, input, false).await;
        assert!(why.contains(hint), "{hint} is not in {why}");
    }
    // A build of the workspace knows `--aws` and lacks a region here; the command's own does not know it.
    let why = run(&["secrets", "put", GATEWAY, "api_key", "--aws", "tillway-dev"], "canary", false).await;
    assert!(why.contains("set AWS_REGION") || why.contains("--features aws"), "{why}");
    assert_eq!(values(&place, &format!("{GATEWAY}.api_key")), [API_KEY]);
    for canary in ["canary", MASTER_KEY, SHOP_HOOK] {
        assert!(!said.contains(canary), "{canary} was shown: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks_are_registered_once_and_their_secrets_go_into_the_store() {
    let place = Place::open(TILLWAY, "", "").await;
    let mut said = String::new();
    let mut run = async |args: &[&str]| {
        let ran = with_input(&place, args, "").await;
        assert_eq!(ran.code, Some(0), "{args:?}: {} {}", ran.out, ran.err);
        said.push_str(&ran.out);
        said.push_str(&ran.err);
        ran.out
    };
    let register = ["webhooks", "register", "--url", "https://till.example.com"];
    let (stripe, shop) = (format!("{GATEWAY}.webhook_secret"), format!("{SHOP}.webhook_secret"));
    let dry = run(&[&register[..], &["--dry-run"]].concat()).await;
    assert_eq!(dry.matches("would be made").count(), 6, "{dry}");
    for left in ["billing, customers (--topic)", "inventory (--topic)"] {
        assert!(
            dry.contains(&format!("left out, as nothing but a record would be kept yet: {left}")),
            "{dry}"
        );
    }
    let unknown = with_input(&place, &[&register[..], &["--topic", "invoices"]].concat(), "").await;
    assert!(
        unknown.failed().contains("--topic invoices: there is no such topic; there are billing, customers")
    );
    assert_eq!(run(&["webhooks", "list"]).await.matches("none").count(), 2);
    assert_eq!(values(&place, &stripe), [GATEWAY_HOOK]);

    let topics = ["--topic", "customers", "--topic", "billing", "--topic", "inventory"];
    let made = run(&[&register[..], &topics].concat()).await;
    assert_eq!(made.matches("is made").count(), 9, "{made}");
    assert!(made.contains("https://till.example.com/webhooks/stripe/disputes"), "{made}");
    assert!(made.contains("secrets retire stripe webhook_secret --keep 6"), "{made}");
    assert_eq!((values(&place, &stripe).len(), values(&place, &shop).len()), (7, 4));
    let list = run(&["webhooks", "list"]).await;
    assert_eq!(list.matches("on  https://till.example.com/").count(), 9, "{list}");
    // What is there stays there, asked for or not.
    let again = run(&register).await;
    assert_eq!(again.matches("is as it should be").count(), 9, "{again}");

    // The endpoints' own secrets suffice.
    for (connection, keep) in [(GATEWAY, "6"), (SHOP, "3")] {
        run(&["secrets", "retire", connection, "webhook_secret", "--keep", keep]).await;
    }
    assert!(!values(&place, &stripe).contains(&GATEWAY_HOOK.to_owned()));
    let serving = place.serve().await;
    let now = place.now();
    place.shop().place_order(now, new_order("A-1", "USD", Some("pm_card_visa"))).unwrap();
    place.until_status("A-1", "Paid").await;
    assert!(serving.terminate().await.success());

    // A secret that was lost is noticed at Stripe by its mark; at the shop, which keeps no marks, it is told.
    let newest = values(&place, &stripe).remove(0);
    let file = place.folder.path().join("secrets");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace(&format!("{stripe} = {newest}\n"), "")).unwrap();
    let mended = run(&register).await;
    assert_eq!(mended.matches("is made anew").count(), 1, "{mended}");
    assert_eq!(mended.matches("is as it should be").count(), 8, "{mended}");
    assert_eq!(values(&place, &stripe).len(), 6);
    let replaced = run(&[&register[..], &["--replace", "--connection", SHOP]].concat()).await;
    assert_eq!(replaced.matches("is made anew: asked for").count(), 3, "{replaced}");
    assert_eq!(run(&["webhooks", "list"]).await.matches("on  https").count(), 9, "the old ones are gone");

    let steps = run(&["webhooks", "steps", "--url", "https://till.example.com"]).await;
    assert!(steps.contains("charge.succeeded") && steps.contains("webhook_secret"), "{steps}");
    let (used, not) = steps.rsplit_once("leave them out unless you want one").unwrap();
    assert!(used.contains("/payouts  (") && not.contains("/billing  ("), "{steps}");
    let refused = with_input(&place, &["webhooks", "register", "--url", "http://till.example.com"], "").await;
    assert!(refused.failed().contains("--url"));
    let text = std::fs::read_to_string(&file).unwrap();
    let kept: Vec<&str> = text.lines().filter_map(|l| Some(l.split_once(" = ")?.1)).collect();
    for secret in kept.into_iter().chain([GATEWAY_HOOK, CLIENT_SECRET]).filter(|s| *s != "tillway") {
        assert!(!said.contains(secret), "a secret was shown: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_refuses_the_key_does_not_hold_up_the_others() {
    let place = Place::open(TILLWAY, "", "").await;
    let put = ["secrets", "put", GATEWAY, "api_key"];
    let _said = with_input(&place, &put, "rk_canary_without_rights\n").await.ok();
    let args = ["webhooks", "register", "--url", "https://till.example.com"];
    let ran = with_input(&place, &args, "").await;
    assert_eq!(ran.out.matches("is made").count(), 2, "{}", ran.out);
    assert!(ran.err.contains("stripe: the provider refuses the connection's credentials"), "{}", ran.err);
    assert!(!format!("{}{}", ran.out, ran.err).contains("canary"));
    let why = ran.failed();
    assert!(why.contains("not done: stripe"), "{why}");
}
