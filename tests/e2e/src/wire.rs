//! HTTP by hand over a socket: what a real client would not send can be sent too.

use std::net::SocketAddr;
use std::time::Duration;

use tillway_core::http::Request;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longest wait for an answer.
const LIMIT: Duration = Duration::from_secs(10);

/// Sends a request to a path of a server and answers status and body. `None`: no answer.
pub async fn exchange(to: SocketAddr, method: &str, path: &str, request: &Request) -> Option<(u16, String)> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\n");
    for (name, value) in &request.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", request.body.len()));
    let talk = async {
        let mut stream = TcpStream::connect(to).await.ok()?;
        stream.write_all(head.as_bytes()).await.ok()?;
        // A server that refuses an announced length may close before it read all of it.
        let _ = stream.write_all(&request.body).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let text = String::from_utf8_lossy(&answer).into_owned();
        let status = text.split(' ').nth(1)?.parse().ok()?;
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned();
        Some((status, body))
    };
    tokio::time::timeout(LIMIT, talk).await.ok()?
}
