//! The front over real sockets.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use super::*;

/// Answers with what it was given; a topic `slow` waits until it is let go.
#[derive(Default)]
struct Echo {
    entered: Notify,
    go: Notify,
}

#[async_trait]
impl Front for Echo {
    async fn webhook(
        &self,
        connection: &str,
        topic: &str,
        headers: Vec<(String, String)>,
        body: &[u8],
    ) -> Answer {
        if topic == "slow" {
            self.entered.notify_one();
            self.go.notified().await;
        }
        let signature =
            headers.iter().find(|(name, _)| name == "x-signature").map(|(_, value)| value.clone());
        let body = serde_json::json!({
            "connection": connection, "topic": topic, "signature": signature,
            "length": body.len(), "text": String::from_utf8_lossy(body.get(..20).unwrap_or(body)),
        });
        match topic {
            "throttled" => Answer { status: 503, body, retry_after: Some(7) },
            _ => Answer { status: 202, body, retry_after: None },
        }
    }
    fn probed(&self, connection: &str, topic: &str) -> bool {
        (connection, topic) == ("probing", "payments")
    }
    async fn health(&self) -> (bool, serde_json::Value) {
        (true, serde_json::json!({ "ok": true }))
    }
}

struct Running {
    address: SocketAddr,
    echo: Arc<Echo>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
}

async fn start(limits: Limits) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let echo = Arc::new(Echo::default());
    let (stop, stopped) = oneshot::channel::<()>();
    let front: Arc<dyn Front> = echo.clone();
    let task = tokio::spawn(serve(listener, front, limits, async move {
        let _ended = stopped.await;
    }));
    Running { address, echo, stop, task }
}

struct Client(TcpStream);

impl Client {
    async fn to(running: &Running) -> Self {
        Self(TcpStream::connect(running.address).await.unwrap())
    }
    async fn say(&mut self, text: &str) {
        // The server may have closed already; what it answered can still be read.
        let _sent = self.0.write_all(text.as_bytes()).await;
    }
    async fn post(&mut self, path: &str, body: &str) -> Heard {
        let length = body.len();
        self.say(&format!(
            "POST {path} HTTP/1.1\r\nHost: h\r\nX-Signature: s=1\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
        .await;
        self.hear().await
    }
    /// Reads one answer.
    async fn hear(&mut self) -> Heard {
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
                break end + 4;
            }
            if self.0.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return Heard { status: 0, head: String::new(), body: serde_json::Value::Null };
            }
        };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_ascii_lowercase();
        let length: usize = head
            .split("content-length: ")
            .nth(1)
            .and_then(|rest| rest.lines().next()?.parse().ok())
            .unwrap_or(0);
        while bytes.len() < end + length {
            assert_ne!(self.0.read_buf(&mut bytes).await.unwrap(), 0);
        }
        let body = serde_json::from_slice(&bytes[end..end + length]).unwrap_or_default();
        Heard { status: head[9..12].parse().unwrap(), head, body }
    }
    async fn is_closed(&mut self) -> bool {
        self.0.read(&mut [0; 16]).await.map_or(true, |n| n == 0)
    }
}

struct Heard {
    status: u16,
    head: String,
    body: serde_json::Value,
}

#[tokio::test]
async fn a_webhook_arrives_byte_for_byte_and_the_connection_stays() {
    let running = start(Limits::default()).await;
    let mut client = Client::to(&running).await;
    for _ in 0..3 {
        let heard = client.post("/webhooks/stripe-main/payments?x=1", "{\"a\": 1 }").await;
        assert_eq!(heard.status, 202);
        assert_eq!(heard.body["connection"], "stripe-main");
        assert_eq!(heard.body["topic"], "payments");
        assert_eq!(heard.body["signature"], "s=1");
        assert_eq!(heard.body["text"], "{\"a\": 1 }");
        assert!(heard.head.contains("content-type: application/json"), "{}", heard.head);
    }
    let heard = client.post("/webhooks/a/throttled", "").await;
    assert_eq!(heard.status, 503);
    assert!(heard.head.contains("retry-after: 7"), "{}", heard.head);
    client.say("GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let heard = client.hear().await;
    assert_eq!((heard.status, &heard.body["ok"]), (200, &true.into()));
}

#[tokio::test]
async fn escapes_are_resolved_and_what_came_twice_is_joined() {
    let running = start(Limits::default()).await;
    let mut client = Client::to(&running).await;
    client
        .say(
            "POST /webhooks/%61/b%2Dc HTTP/1.1\r\nHost: h\r\nX-Signature: one\r\nx-more: 1\r\nX-SIGNATURE: two\r\n\
             Content-Length: 0\r\n\r\n",
        )
        .await;
    let heard = client.hear().await;
    assert_eq!((heard.body["connection"].as_str(), heard.body["topic"].as_str()), (Some("a"), Some("b-c")));
    assert_eq!(heard.body["signature"], "one,two");
}

#[tokio::test]
async fn other_addresses_and_methods_are_told_so() {
    let running = start(Limits::default()).await;
    let mut client = Client::to(&running).await;
    for path in [
        "/",
        "/webhooks",
        "/webhooks/a",
        "/webhooks/a/",
        "/webhooks/a/b/c",
        "/webhooks/a/%2f",
        "/webhooks/a%2Fb",
        "/webhooks%2Fa/b",
        "/webhooks/a/%2561",
        "/healthz/x",
    ] {
        let heard = client.post(path, "").await;
        assert_eq!((heard.status, &heard.body["error"]["code"]), (404, &"not_found".into()), "{path}");
    }
    client.say("GET /webhooks/a/b HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let heard = client.hear().await;
    assert_eq!(heard.status, 405);
    assert!(heard.head.contains("allow: post"), "{}", heard.head);
    assert_eq!(client.post("/healthz", "").await.status, 405);
}

#[tokio::test]
async fn a_providers_probe_is_answered_where_it_probes() {
    let running = start(Limits::default()).await;
    let mut client = Client::to(&running).await;
    client.say("GET /webhooks/probing/payments HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let heard = client.hear().await;
    assert_eq!((heard.status, &heard.body["status"]), (200, &"probe".into()));
    client.say("GET /webhooks/probing/refunds HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert_eq!(client.hear().await.status, 405);
}

#[tokio::test]
async fn a_large_body_is_refused_announced_or_not() {
    let running = start(Limits { body: 1000, ..Limits::default() }).await;
    let mut client = Client::to(&running).await;
    assert_eq!(client.post("/webhooks/a/b", &"x".repeat(1000)).await.body["length"], 1000);
    client.say("POST /webhooks/a/b HTTP/1.1\r\nHost: h\r\nContent-Length: 1001\r\n\r\n").await;
    let heard = client.hear().await;
    assert_eq!((heard.status, &heard.body["error"]["code"]), (413, &"too_large".into()));
    assert!(client.is_closed().await);
    let mut client = Client::to(&running).await;
    client.say("POST /webhooks/a/b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    for _ in 0..3 {
        client.say(&format!("190\r\n{}\r\n", "x".repeat(400))).await;
    }
    assert_eq!(client.hear().await.status, 413);
}

#[tokio::test]
async fn a_slow_sender_is_cut_off() {
    let running = start(Limits { read: Duration::from_millis(100), ..Limits::default() }).await;
    let mut headers = Client::to(&running).await;
    headers.say("POST /webhooks/a/b HTTP/1.1\r\nHos").await;
    let mut body = Client::to(&running).await;
    body.say("POST /webhooks/a/b HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc").await;
    let heard = body.hear().await;
    assert_eq!((heard.status, &heard.body["error"]["code"]), (408, &"timeout".into()));
    assert!(body.is_closed().await);
    let heard = tokio::time::timeout(Duration::from_secs(20), headers.hear()).await;
    assert!(matches!(heard.expect("still open").status, 0 | 408));
}

#[tokio::test]
async fn too_many_at_work_are_turned_away() {
    let running = start(Limits { in_flight: 1, retry_after: 3, ..Limits::default() }).await;
    let mut slow = Client::to(&running).await;
    slow.say("POST /webhooks/a/slow HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n").await;
    running.echo.entered.notified().await;
    let mut client = Client::to(&running).await;
    let heard = client.post("/webhooks/a/b", "x").await;
    assert_eq!(heard.status, 503);
    assert!(heard.head.contains("retry-after: 3"), "{}", heard.head);
    client.say("GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert_eq!(client.hear().await.status, 200, "health is answered however busy it is");
    running.echo.go.notify_one();
    assert_eq!(slow.hear().await.status, 202);
    assert_eq!(
        client.post("/webhooks/a/b", "x").await.status,
        202,
        "the connection was kept and there is room"
    );
}

#[tokio::test]
async fn too_many_connections_are_turned_away() {
    let running = start(Limits { connections: 1, ..Limits::default() }).await;
    let mut first = Client::to(&running).await;
    assert_eq!(first.post("/webhooks/a/b", "x").await.status, 202);
    let mut second = Client::to(&running).await;
    let heard = second.post("/webhooks/a/b", "x").await;
    assert_eq!(heard.status, 503);
    assert!(heard.head.contains("retry-after: 5"), "{}", heard.head);
    assert!(second.is_closed().await);
    assert_eq!(first.post("/webhooks/a/b", "x").await.status, 202);
}

#[tokio::test]
async fn shutting_down_lets_work_end() {
    let running = start(Limits::default()).await;
    let mut idle = Client::to(&running).await;
    assert_eq!(idle.post("/webhooks/a/b", "x").await.status, 202);
    let mut slow = Client::to(&running).await;
    slow.say("POST /webhooks/a/slow HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n").await;
    running.echo.entered.notified().await;
    running.stop.send(()).unwrap();
    assert!(idle.is_closed().await);
    assert!(!running.task.is_finished());
    running.echo.go.notify_one();
    assert_eq!(slow.hear().await.status, 202);
    running.task.await.unwrap().unwrap();
    assert!(TcpStream::connect(running.address).await.is_err());
}
