//! Secrets are put and rotated as `tillway secrets` does, and read as functions do.

use std::sync::Arc;

use tillway_aws::keeper::SecretsManagerKeeper;
use tillway_aws::secrets::{CachedSecrets, SecretsManager};
use tillway_connectors::Secret;
use tillway_engine::ports::SecretSource as _;
use tillway_host::clock::SystemClock;
use tillway_host::keeping::{self, SecretKeeper as _};

use super::cloud::{cloud, name};

#[tokio::test]
async fn what_a_person_puts_is_what_functions_read() {
    let Some(cloud) = cloud("what_a_person_puts_is_what_functions_read").await else { return };
    let prefix = name("secrets");
    let (client, id) = (cloud.clients.secrets(), format!("{prefix}/stripe"));
    // As the stack makes it: without a value.
    client.create_secret().name(&id).send().await.unwrap();
    let keeper = SecretsManagerKeeper::new(client.clone(), &prefix);
    let mut secrets = keeper.read("stripe").await.unwrap();
    assert!(secrets.0.is_empty());
    keeping::put(&mut secrets, "stripe", "api_key", Secret::new("k")).unwrap();
    keeping::put(&mut secrets, "stripe", "hook", Secret::new("old")).unwrap();
    keeper.write("stripe", &secrets).await.unwrap();
    keeping::rotate(&mut secrets, "stripe", "hook", Secret::new("new")).unwrap();
    keeper.write("stripe", &secrets).await.unwrap();
    assert_eq!(keeper.read("stripe").await.unwrap(), secrets);
    let versions = keeper.versions("stripe").await.unwrap().join("\n");
    assert!(versions.contains("AWSCURRENT") && versions.contains("AWSPREVIOUS"), "{versions}");

    let source = CachedSecrets::new(Box::new(SecretsManager(client)), &prefix, Arc::new(SystemClock));
    let read = source.secrets("stripe", false).await.unwrap();
    assert_eq!(read, secrets);
    assert_eq!((read.all("hook").len(), read.newest("hook").unwrap().expose()), (2, "new"));

    for said in [keeper.read("shop").await.err(), keeper.write("shop", &secrets).await.err()] {
        let said = said.unwrap().to_string();
        assert!(
            said.contains(&format!("no secret {prefix}/shop")) && said.contains("StripeConnection"),
            "{said}"
        );
    }
}
