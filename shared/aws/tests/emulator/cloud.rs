//! Tables, queues and buckets in the emulator, each of its own for each test.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType,
};
use aws_sdk_sqs::types::QueueAttributeName;
use futures_util::future::BoxFuture;
use tillway_aws::claims::{Claims, S3Claims};
use tillway_aws::clients::Clients;
use tillway_aws::queue::SqsQueue;
use tillway_aws::shelf::S3Shelf;
use tillway_aws::store::DynamoStore;
use tillway_core::time::Millis;
use tillway_host::clock::SystemClock;
use tillway_host::entropy::OsEntropy;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// How often a message is handed out before it is dead.
pub(crate) const MAX_RECEIVES: u32 = 4;

/// The emulator.
#[derive(Clone)]
pub(crate) struct Cloud {
    pub(crate) clients: Arc<Clients>,
}

/// The emulator, or why the test is skipped.
pub(crate) async fn cloud(test: &str) -> Option<Cloud> {
    let Ok(endpoint) = std::env::var("TILLWAY_TEST_AWS") else {
        println!("{test} is skipped: TILLWAY_TEST_AWS names no emulator (see shared/aws/tests/emulator.py)");
        return None;
    };
    Some(at(endpoint).await)
}

/// The emulator at an address.
async fn at(endpoint: String) -> Cloud {
    Cloud { clients: Arc::new(Clients::emulated(&endpoint, "eu-west-1", "test", "test").unwrap()) }
}

/// The emulator behind a line that loses the next answer when it is told to: what was asked was done, and
/// nobody hears of it.
pub(crate) async fn losing(test: &str) -> Option<(Cloud, Arc<AtomicBool>)> {
    cloud(test).await?;
    let target = std::env::var("TILLWAY_TEST_AWS").unwrap().trim_start_matches("http://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let lose = Arc::new(AtomicBool::new(false));
    let losing = lose.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&target).await.unwrap();
            tokio::spawn(line(client, server, losing.clone()));
        }
    });
    Some((at(format!("http://{address}")).await, lose))
}

async fn line(client: TcpStream, server: TcpStream, lose: Arc<AtomicBool>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let asking = tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
    let mut buffer = vec![0; 65_536];
    while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
        // An answer that has begun is to a request that was done.
        if lose.swap(false, Ordering::SeqCst) || to_client.write_all(&buffer[..read]).await.is_err() {
            break;
        }
    }
    asking.abort();
}

/// Puts the emulator's clock forward; `None`: it cannot be.
pub(crate) fn clock(test: &str) -> Option<impl Fn(Millis) -> BoxFuture<'static, ()> + Sync> {
    let Ok(path) = std::env::var("TILLWAY_TEST_AWS_CLOCK") else {
        println!(
            "{test} is skipped: TILLWAY_TEST_AWS_CLOCK names no file; in real time it takes half an hour"
        );
        return None;
    };
    Some(move |length: Millis| -> BoxFuture<'static, ()> {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let ahead: i64 = text.trim().parse().unwrap_or(0);
        // Written beside and moved, so that nobody reads half of it.
        let beside = format!("{path}.new");
        std::fs::write(&beside, (ahead + length.0 / 1000).to_string()).unwrap();
        std::fs::rename(&beside, &path).unwrap();
        Box::pin(async {})
    })
}

/// A name that nobody had.
pub(crate) fn name(kind: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let nth = NEXT.fetch_add(1, Ordering::SeqCst);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    format!("t{now}-{}-{kind}{nth}", std::process::id())
}

fn key(name: &str, kind: KeyType) -> KeySchemaElement {
    KeySchemaElement::builder().attribute_name(name).key_type(kind).build().unwrap()
}

fn index(name: &str, hash: &str, range: &str) -> GlobalSecondaryIndex {
    GlobalSecondaryIndex::builder()
        .index_name(name)
        .key_schema(key(hash, KeyType::Hash))
        .key_schema(key(range, KeyType::Range))
        .projection(Projection::builder().projection_type(ProjectionType::KeysOnly).build())
        .build()
        .unwrap()
}

impl Cloud {
    /// An empty table as the template makes it.
    pub(crate) async fn store(&self) -> DynamoStore {
        self.table().await.0
    }

    /// The same, with the table's name.
    pub(crate) async fn table(&self) -> (DynamoStore, String) {
        let table = name("table");
        let types = [("pk", 'S'), ("sk", 'S'), ("shard", 'N'), ("at", 'N'), ("list", 'S'), ("sort", 'S')];
        let defined = types.map(|(name, kind)| {
            let kind = if kind == 'S' { ScalarAttributeType::S } else { ScalarAttributeType::N };
            AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build().unwrap()
        });
        let client = self.clients.dynamodb();
        client
            .create_table()
            .table_name(&table)
            .set_attribute_definitions(Some(defined.to_vec()))
            .key_schema(key("pk", KeyType::Hash))
            .key_schema(key("sk", KeyType::Range))
            .global_secondary_indexes(index("due", "shard", "at"))
            .global_secondary_indexes(index("list", "list", "sort"))
            .billing_mode(BillingMode::PayPerRequest)
            .send()
            .await
            .unwrap();
        (self.over(&table), table)
    }

    /// A store over a table that is there, as another process has it.
    pub(crate) fn over(&self, table: &str) -> DynamoStore {
        DynamoStore::new(self.clients.dynamodb(), table, Arc::new(SystemClock), Arc::new(OsEntropy))
    }

    /// Sort keys and bytes of bodies as they lie in a table.
    pub(crate) async fn raw(&self, table: &str) -> Vec<(String, usize)> {
        let answer = self.clients.dynamodb().scan().table_name(table).send().await.unwrap();
        let read = |item: &std::collections::HashMap<String, aws_sdk_dynamodb::types::AttributeValue>| {
            (item["sk"].as_s().unwrap().clone(), item["body"].as_b().unwrap().as_ref().len())
        };
        answer.items().iter().map(read).collect()
    }

    /// An empty bucket.
    pub(crate) async fn bucket(&self) -> String {
        let (client, bucket) = (self.clients.s3(), name("claims"));
        let place = aws_sdk_s3::types::CreateBucketConfiguration::builder()
            .location_constraint(aws_sdk_s3::types::BucketLocationConstraint::EuWest1)
            .build();
        client.create_bucket().bucket(&bucket).create_bucket_configuration(place).send().await.unwrap();
        bucket
    }

    /// A bucket for claim checks.
    pub(crate) async fn claims(&self) -> Arc<dyn Claims> {
        Arc::new(S3Claims::new(self.clients.bucket(self.bucket().await), Arc::new(OsEntropy)))
    }

    /// A bucket for documents.
    pub(crate) async fn shelf(&self) -> S3Shelf {
        S3Shelf::new(self.clients.bucket(self.bucket().await))
    }

    async fn create(&self, name: &str, dead_letters: Option<&str>) -> String {
        let client = self.clients.sqs();
        let mut create = client.create_queue().queue_name(name);
        if name.ends_with(".fifo") {
            create = create.attributes(QueueAttributeName::FifoQueue, "true");
        }
        if let Some(url) = dead_letters {
            let ask = client.get_queue_attributes().queue_url(url);
            let told = ask.attribute_names(QueueAttributeName::QueueArn).send().await.unwrap();
            let arn = told.attributes.unwrap()[&QueueAttributeName::QueueArn].clone();
            let policy =
                format!("{{\"deadLetterTargetArn\":\"{arn}\",\"maxReceiveCount\":\"{MAX_RECEIVES}\"}}");
            create = create.attributes(QueueAttributeName::RedrivePolicy, policy);
        }
        create.send().await.unwrap().queue_url.unwrap()
    }

    /// Empty queues of these names, each with its dead letters.
    pub(crate) async fn queues(&self, names: &[&str], claims: Arc<dyn Claims>) -> SqsQueue {
        let mut urls = BTreeMap::new();
        for queue in names {
            let fifo = if queue.ends_with(".fifo") { ".fifo" } else { "" };
            let dead = self.create(&format!("{}{fifo}", name("dead")), None).await;
            urls.insert(
                (*queue).to_owned(),
                self.create(&format!("{}{fifo}", name("queue")), Some(&dead)).await,
            );
            urls.insert(dead_queue(queue), dead);
        }
        SqsQueue::new(self.clients.sqs(), urls, claims, Arc::new(OsEntropy))
    }
}

/// The dead-letter queue of a queue.
pub(crate) fn dead_queue(queue: &str) -> String {
    match queue.strip_suffix(".fifo") {
        Some(name) => format!("{name}-dead.fifo"),
        None => format!("{queue}-dead"),
    }
}
