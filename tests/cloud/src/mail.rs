//! Where customers are told: a mail server on loopback that takes whatever comes, and keeps the subjects.

use std::sync::{Arc, Mutex};

use tillway_tests::outside::lock;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// The server.
pub struct Mail {
    /// Its port.
    pub port: u16,
    subjects: Arc<Mutex<Vec<String>>>,
}

impl Mail {
    /// Listens on a free port until the test ends.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let subjects = Arc::new(Mutex::new(Vec::new()));
        let kept = subjects.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, kept.clone()));
            }
        });
        Self { port, subjects }
    }

    /// Subjects of all mails so far.
    #[must_use]
    pub fn subjects(&self) -> Vec<String> {
        lock(&self.subjects).clone()
    }
}

/// One connection. What breaks off is the client's to try again.
async fn serve(mut stream: TcpStream, kept: Arc<Mutex<Vec<String>>>) -> std::io::Result<()> {
    let (read, mut write) = stream.split();
    let mut lines = BufReader::new(read).lines();
    let mut text = None::<String>;
    write.write_all(b"220 mail\r\n").await?;
    while let Some(line) = lines.next_line().await? {
        let answer = match (&mut text, line.get(..4).unwrap_or_default().to_ascii_uppercase().as_str()) {
            (Some(subject), _) if line == "." => {
                lock(&kept).push(std::mem::take(subject));
                text = None;
                "250 taken"
            }
            (Some(subject), _) => {
                if let Some(said) = line.strip_prefix("Subject: ") {
                    said.clone_into(subject);
                }
                continue;
            }
            (None, "EHLO") => "250-mail\r\n250-AUTH PLAIN\r\n250 8BITMIME",
            (None, "AUTH") => "235 in",
            (None, "DATA") => {
                text = Some(String::new());
                "354 go on"
            }
            (None, "QUIT") => "221 bye",
            (None, _) => "250 ok",
        };
        write.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
    Ok(())
}
