//! What the contract does not say: claim checks, secrets, the topic, and a plain write that meets itself.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tillway_aws::alerts::{SnsTopic, Topic as _};
use tillway_aws::secrets::{CachedSecrets, SecretsManager};
use tillway_aws::shelf::S3Shelf;
use tillway_core::time::Millis;
use tillway_engine::ports::{
    Guard, Key, NewItem, OutMessage, Queue as _, SecretError, SecretSource as _, Shelf as _, Store as _,
    StoreError, Write,
};
use tillway_host::clock::SystemClock;

use super::cloud::{cloud, losing, name};

fn message(body: Vec<u8>) -> OutMessage {
    OutMessage { group: None, dedup: None, body, delay: Millis(0) }
}

#[tokio::test]
async fn a_large_body_goes_beside_the_queue_and_leaves_with_its_message() {
    let Some(cloud) = cloud("claim checks").await else { return };
    let claims = cloud.claims().await;
    let queue = cloud.queues(&["q"], claims.clone()).await;
    let (large, small) = (vec![7_u8; 400_000], vec![8_u8; 1000]);
    let sent =
        queue.send("q", vec![message(large.clone()), message(small.clone()), message(large.clone())]).await;
    assert_eq!(sent, Ok(vec![true; 3]));
    let mut taken = Vec::new();
    while taken.len() < 3 {
        taken.extend(queue.receive("q", 10, Millis::mins(1)).await.unwrap());
    }
    let mut sizes: Vec<usize> = taken.iter().map(|m| m.body.len()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [1000, 400_000, 400_000]);
    let keys: Vec<String> =
        taken.iter().filter_map(|m| m.receipt.split_once('\n')).map(|(_, key)| key.to_owned()).collect();
    assert_eq!(keys.len(), 2);
    queue.delete("q", taken.into_iter().map(|m| m.receipt).collect()).await.unwrap();
    for key in keys {
        assert_eq!(claims.get(&key).await, Ok(None));
    }
    assert_eq!(queue.depth("q").await, Ok(0));
}

#[tokio::test]
async fn a_document_thrown_away_lies_beside_for_a_restored_table() {
    let Some(cloud) = cloud("documents thrown away").await else { return };
    let (client, bucket) = (cloud.clients.s3(), cloud.bucket().await);
    let shelf = S3Shelf::new(cloud.clients.bucket(&bucket));
    for name in ["c/1-1/book", "c/1@2026-11-28@acme_us", "c/a b+c%2F?versionId=x", "c/\u{e4}"] {
        shelf.put(name, name.as_bytes().to_vec()).await.unwrap();
        // Once more is no fault, and what was kept stays.
        for _ in 0..2 {
            assert_eq!(shelf.delete(name).await, Ok(()), "{name}");
        }
        assert_eq!(shelf.get(name).await, Ok(None), "{name}");
        let gone = client.get_object().bucket(&bucket).key(format!("settlement-gone/{name}")).send().await;
        let body = gone.unwrap().body.collect().await.unwrap();
        assert_eq!(body.into_bytes(), name.as_bytes(), "{name}");
    }
}

#[tokio::test]
async fn secrets_are_read_and_missing_ones_named() {
    let Some(cloud) = cloud("secrets").await else { return };
    let (client, prefix) = (cloud.clients.secrets(), name("tillway"));
    for (connection, text) in [("stripe-main", "{\"api_key\":\"canary\"}"), ("broken", "canary")] {
        let create = client.create_secret().name(format!("{prefix}/{connection}")).secret_string(text);
        create.send().await.unwrap();
    }
    let reader = Box::new(SecretsManager(client));
    let source = CachedSecrets::new(reader, prefix.clone(), Arc::new(SystemClock));
    let found = source.secrets("stripe-main", false).await.unwrap();
    assert_eq!(found.newest("api_key").unwrap().expose(), "canary");
    let missing = source.secrets("nobody", false).await;
    assert_eq!(missing, Err(SecretError::Missing(format!("{prefix}/nobody"))));
    let Err(SecretError::Refused(said)) = source.secrets("broken", true).await else { panic!("accepted") };
    assert!(said.contains(&format!("{prefix}/broken")) && !said.contains("canary"), "{said}");
}

#[tokio::test]
async fn an_alert_reaches_its_topic() {
    let Some(cloud) = cloud("alerts").await else { return };
    let client = cloud.clients.sns();
    let arn = client.create_topic().name(name("alerts")).send().await.unwrap().topic_arn.unwrap();
    let topic = SnsTopic { client: client.clone(), arn };
    assert_eq!(topic.publish("[critical] parked (test)".into(), "look".into()).await, Ok(()));
    let nowhere = SnsTopic { client, arn: "arn:aws:sns:eu-west-1:000000000000:nowhere".into() };
    assert!(nowhere.publish("x".into(), "canary".into()).await.is_err_and(|said| !said.contains("canary")));
}

#[tokio::test]
async fn a_write_alone_and_a_transaction_of_one_key_count_together() {
    let Some(cloud) = cloud("writes alone").await else { return };
    let store = cloud.store().await;
    let put = |sk: &str, guard| {
        let key = Key::new("p", sk);
        Write::Put(NewItem { key, body: b"x".to_vec(), due: None, list: None, expires: None }, guard)
    };
    store.transact(vec![put("a", Guard::Absent)]).await.unwrap();
    store.transact(vec![put("a", Guard::Rev(1)), put("b", Guard::Absent)]).await.unwrap();
    store.transact(vec![put("a", Guard::Rev(2))]).await.unwrap();
    assert_eq!(store.transact(vec![put("a", Guard::Rev(2))]).await, Err(StoreError::Conflict(0)));
    let found = store.get(&[Key::new("p", "a"), Key::new("p", "a")]).await.unwrap();
    assert_eq!(
        found.iter().flatten().map(|item| item.rev).collect::<Vec<_>>(),
        [3, 3],
        "asked twice, told twice"
    );
    // Requests that are checks alone: places are the caller's.
    let checks =
        vec![Write::Check(Key::new("p", "z"), Guard::Any), Write::Check(Key::new("p", "a"), Guard::Absent)];
    assert_eq!(store.transact(checks).await, Err(StoreError::Conflict(1)));
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_no_conflict_with_itself() {
    let Some((cloud, lose)) = losing("lost answers").await else { return };
    let store = cloud.store().await;
    let put = |sk: &str, guard| {
        let key = Key::new("p", sk);
        Write::Put(NewItem { key, body: b"x".to_vec(), due: None, list: None, expires: None }, guard)
    };
    let cases = [
        ("alone, new", vec![put("a", Guard::Absent)]),
        ("alone, again", vec![put("a", Guard::Rev(1))]),
        ("together", vec![put("a", Guard::Rev(2)), put("b", Guard::Absent)]),
        ("a delete", vec![Write::Delete(Key::new("p", "b"), Guard::Rev(1))]),
        ("alone, after a transaction", vec![put("a", Guard::Rev(3))]),
    ];
    for (case, writes) in cases {
        lose.store(true, Ordering::SeqCst);
        assert_eq!(store.transact(writes).await, Ok(()), "{case}");
        assert!(!lose.load(Ordering::SeqCst), "{case}: no answer was lost");
    }
    let found = store.get(&[Key::new("p", "a"), Key::new("p", "b")]).await.unwrap();
    assert_eq!(found.iter().map(|i| i.as_ref().map(|i| i.rev)).collect::<Vec<_>>(), [Some(4), None]);
    // Another's write is a conflict all the same.
    lose.store(true, Ordering::SeqCst);
    assert_eq!(store.transact(vec![put("a", Guard::Rev(3))]).await, Err(StoreError::Conflict(0)));
}
