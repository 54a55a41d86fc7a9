//! E-mail over SMTP.
//!
//! The connection is driven step by step rather than through lettre's transport: whatever fails before the
//! message is handed over was certainly not sent, and the transport's errors do not tell the two apart.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lettre::message::header::ContentType;
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use tillway_core::ids::digest;
use tillway_engine::ports::{Notice, Notify, NotifyError, SecretError, SecretSource};

use super::CUSTOMER;

/// How the connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpTls {
    /// Plain first, then `STARTTLS`, which the server must offer (port 587).
    StartTls,
    /// TLS from the first byte (port 465).
    Tls,
    /// None: only to this machine itself.
    None,
}

impl SmtpTls {
    /// Reads `starttls`, `tls` or `none`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "starttls" => Some(Self::StartTls),
            "tls" => Some(Self::Tls),
            "none" => Some(Self::None),
            _ => None,
        }
    }
}

/// Where and how to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmtpSettings {
    /// The server's name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Encryption.
    pub tls: SmtpTls,
    /// Sender, `Shop <orders@example.com>`.
    pub from: String,
    /// Addresses of staff.
    pub staff: Vec<String>,
    /// Where the secrets `username` and `password` are kept, e.g. `smtp`; without them nobody logs in.
    pub connection: String,
    /// Time for one e-mail.
    pub limit: Duration,
}

/// Why settings cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Sender or a staff address is no address.
    #[error("notify setting {0} is not an e-mail address; write name@example.com or Name <name@example.com>")]
    Address(&'static str),
    /// No encryption beyond this machine.
    #[error("notify setting tls=none is allowed to this machine only, not to {0}; use starttls or tls")]
    Plain(String),
    /// The host's name cannot be used for TLS.
    #[error("notify setting host={0} cannot be used for TLS")]
    Host(String),
}

/// Sends e-mail.
pub struct SmtpNotify {
    settings: SmtpSettings,
    from: Mailbox,
    staff: Vec<Mailbox>,
    tls: Option<TlsParameters>,
    secrets: Arc<dyn SecretSource>,
}

impl SmtpNotify {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn new(settings: SmtpSettings, secrets: Arc<dyn SecretSource>) -> Result<Self, SettingsError> {
        let from = settings.from.parse().map_err(|_| SettingsError::Address("from"))?;
        let staff = settings.staff.iter().map(|a| a.parse().map_err(|_| SettingsError::Address("staff")));
        let staff = staff.collect::<Result<_, _>>()?;
        let tls = match settings.tls {
            SmtpTls::None if is_loopback(&settings.host) => None,
            SmtpTls::None => return Err(SettingsError::Plain(settings.host)),
            SmtpTls::StartTls | SmtpTls::Tls => {
                let tls = TlsParameters::new(settings.host.clone());
                Some(tls.map_err(|_| SettingsError::Host(settings.host.clone()))?)
            }
        };
        Ok(Self { settings, from, staff, tls, secrets })
    }

    fn message(&self, notice: &Notice) -> Result<Message, NotifyError> {
        let refused = |what: &str| NotifyError::Refused(what.to_owned());
        let domain = self.from.email.domain();
        let mut builder = Message::builder()
            .from(self.from.clone())
            // The same notice has the same id, so that who gets it twice can tell.
            .message_id(Some(format!("<{}@{domain}>", digest(&["notice", &notice.id]))))
            .subject(one_line(&notice.subject))
            .header(ContentType::TEXT_PLAIN);
        if notice.audience == CUSTOMER {
            let to = notice.to.as_deref().ok_or_else(|| refused("the notice has no address"))?;
            builder =
                builder.to(to.parse().map_err(|_| refused("the customer's e-mail address is malformed"))?);
        } else {
            for to in &self.staff {
                builder = builder.to(to.clone());
            }
        }
        if notice.audience != CUSTOMER && self.staff.is_empty() {
            return Err(refused("no staff address is configured; set notify.staff"));
        }
        builder.body(notice.text.clone()).map_err(|_| refused("the e-mail cannot be built"))
    }

    async fn credentials(&self) -> Result<Option<Credentials>, NotifyError> {
        match self.secrets.secrets(&self.settings.connection, false).await {
            Ok(secrets) => {
                Ok(secrets.newest("username").zip(secrets.newest("password")).map(|(name, password)| {
                    Credentials::new(name.expose().to_owned(), password.expose().to_owned())
                }))
            }
            Err(SecretError::Missing(_)) => Ok(None),
            Err(error) => Err(NotifyError::NotSent(error.to_string())),
        }
    }

    /// Everything up to, and without, the message.
    async fn connect(&self, credentials: Option<Credentials>) -> Result<AsyncSmtpConnection, SmtpError> {
        let hello = ClientId::default();
        let from_start = self.tls.clone().filter(|_| self.settings.tls == SmtpTls::Tls);
        let server = (self.settings.host.as_str(), self.settings.port);
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(server, None, &hello, from_start, None).await?;
        if self.settings.tls == SmtpTls::StartTls
            && let Some(tls) = self.tls.clone()
        {
            connection.starttls(tls, &hello).await?;
        }
        if let Some(credentials) = credentials {
            connection.auth(DEFAULT_MECHANISMS, &credentials).await?;
        }
        Ok(connection)
    }
}

#[async_trait]
impl Notify for SmtpNotify {
    async fn notify(&self, notice: Notice) -> Result<(), NotifyError> {
        let message = self.message(&notice)?;
        let credentials = self.credentials().await?;
        let connecting = tokio::time::timeout(self.settings.limit, self.connect(credentials)).await;
        let mut connection = connecting
            .map_err(|_| NotifyError::NotSent("the mail server did not answer in time".into()))?
            .map_err(|error| NotifyError::NotSent(told(&error)))?;
        let bytes = message.formatted();
        let sending =
            tokio::time::timeout(self.settings.limit, connection.send(message.envelope(), &bytes)).await;
        match sending {
            Ok(Ok(_accepted)) => {
                // Accepted is accepted, whatever the farewell brings.
                let _farewell = tokio::time::timeout(Duration::from_secs(1), connection.quit()).await;
                Ok(())
            }
            Ok(Err(error)) if error.is_permanent() => Err(NotifyError::Refused(told(&error))),
            // A client error is lettre's own refusal before it says anything (an address the server cannot take).
            Ok(Err(error)) if error.is_client() => Err(NotifyError::Refused(told(&error))),
            Ok(Err(error)) if error.is_transient() => Err(NotifyError::NotSent(told(&error))),
            Ok(Err(error)) => Err(NotifyError::Unknown(told(&error))),
            Err(_elapsed) => Err(NotifyError::Unknown("the mail server did not answer in time".into())),
        }
    }
}

/// What may be said of an error: servers quote addresses in theirs.
fn told(error: &SmtpError) -> String {
    match error.status() {
        Some(code) => format!("the mail server answered {code}"),
        None if error.is_tls() => "the mail server's certificate or encryption was not accepted".into(),
        None if error.is_response() => "the mail server's answer cannot be read".into(),
        None if error.is_client() => {
            "the mail server lacks what is needed (STARTTLS, login or UTF-8 addresses)".into()
        }
        None => "the connection to the mail server failed".into(),
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn one_line(text: &str) -> String {
    text.split(|c: char| c.is_control()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;

    use super::*;

    /// What the fake server does when it comes to a command.
    #[derive(Clone, Copy, Default)]
    struct Script {
        auth: Option<&'static str>,
        rcpt: Option<&'static str>,
        /// Answer to the message; `Some("")` hangs up without one.
        done: Option<&'static str>,
    }

    /// Serves one connection; gives everything the client said.
    async fn server(script: Script) -> (u16, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (read, mut write) = stream.split();
            let mut lines = BufReader::new(read).lines();
            let mut said = Vec::new();
            let mut in_message = false;
            write.write_all(b"220 fake\r\n").await.unwrap();
            while let Ok(Some(line)) = lines.next_line().await {
                let verb = line.get(..4).unwrap_or("").to_ascii_uppercase();
                let answer = match (in_message, line.as_str(), verb.as_str()) {
                    (true, ".", _) => {
                        in_message = false;
                        match script.done {
                            Some("") => return said,
                            other => other.unwrap_or("250 taken"),
                        }
                    }
                    (true, _, _) => "",
                    (_, _, "EHLO") => "250-fake\r\n250-AUTH PLAIN\r\n250 8BITMIME",
                    (_, _, "AUTH") => script.auth.unwrap_or("235 in"),
                    (_, _, "RCPT") => script.rcpt.unwrap_or("250 ok"),
                    (_, _, "DATA") => {
                        in_message = true;
                        "354 go on"
                    }
                    (_, _, "QUIT") => "221 bye",
                    _ => "250 ok",
                };
                said.push(line);
                if !answer.is_empty() {
                    write.write_all(format!("{answer}\r\n").as_bytes()).await.unwrap();
                }
            }
            said
        });
        (port, task)
    }

    fn settings(port: u16) -> SmtpSettings {
        SmtpSettings {
            host: "127.0.0.1".into(),
            port,
            tls: SmtpTls::None,
            from: "Shop <orders@shop.example>".into(),
            staff: vec!["ops@shop.example".into(), "Two <two@shop.example>".into()],
            connection: "smtp".into(),
            limit: Duration::from_secs(5),
        }
    }

    fn secrets() -> Arc<dyn SecretSource> {
        crate::notify::secrets("smtp", &[("username", "me"), ("password", "canary")])
    }

    fn notice(audience: &str, to: Option<&str>) -> Notice {
        Notice {
            id: "order-1/refunded".into(),
            audience: audience.into(),
            to: to.map(Into::into),
            subject: "Your refund\r\nBcc: x@evil.example".into(),
            text: "Ten dollars came back.\n.\nThanks".into(),
        }
    }

    async fn send(script: Script, notice: Notice) -> (Result<(), NotifyError>, Vec<String>) {
        let (port, task) = server(script).await;
        let outcome = SmtpNotify::new(settings(port), secrets()).unwrap().notify(notice).await;
        (outcome, task.await.unwrap())
    }

    #[tokio::test]
    async fn a_customer_gets_one_e_mail() {
        let (outcome, said) = send(Script::default(), notice("customer", Some("jane@example.com"))).await;
        assert_eq!(outcome, Ok(()));
        let said = said.join("\n");
        assert!(said.contains("AUTH PLAIN") && said.contains("MAIL FROM:<orders@shop.example>"), "{said}");
        assert_eq!(said.matches("RCPT TO:").count(), 1);
        assert!(said.contains("RCPT TO:<jane@example.com>"), "{said}");
        assert!(
            said.contains(&format!("Message-ID: <{}@shop.example>", digest(&["notice", "order-1/refunded"])))
        );
        assert!(!said.contains("\nBcc:"), "a header was smuggled in: {said}");
        assert!(said.contains("\n..\n"), "the message ended early: {said}");
    }

    #[tokio::test]
    async fn staff_get_theirs_at_the_configured_addresses() {
        let (outcome, said) = send(Script::default(), notice("staff", None)).await;
        assert_eq!(outcome, Ok(()));
        let said = said.join("\n");
        assert!(
            said.contains("RCPT TO:<ops@shop.example>") && said.contains("RCPT TO:<two@shop.example>"),
            "{said}"
        );
    }

    #[tokio::test]
    async fn answers_tell_what_became_of_it() {
        let to = || notice("customer", Some("jane@example.com"));
        let login = Script { auth: Some("535 jane@example.com has a wrong password"), ..Script::default() };
        let (outcome, _) = send(login, to()).await;
        assert_eq!(outcome, Err(NotifyError::NotSent("the mail server answered 535".into())));
        let nobody = Script { rcpt: Some("550 no jane@example.com here"), ..Script::default() };
        assert_eq!(
            send(nobody, to()).await.0,
            Err(NotifyError::Refused("the mail server answered 550".into()))
        );
        let later = Script { done: Some("451 later"), ..Script::default() };
        assert_eq!(
            send(later, to()).await.0,
            Err(NotifyError::NotSent("the mail server answered 451".into()))
        );
        let silent = Script { done: Some(""), ..Script::default() };
        assert!(matches!(send(silent, to()).await.0, Err(NotifyError::Unknown(_))));
    }

    #[tokio::test]
    async fn no_server_means_not_sent() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let way = SmtpNotify::new(settings(port), secrets()).unwrap();
        assert!(matches!(way.notify(notice("staff", None)).await, Err(NotifyError::NotSent(_))));
        // Without a single byte to any server:
        for to in [None, Some("not an address")] {
            assert!(matches!(way.notify(notice("customer", to)).await, Err(NotifyError::Refused(_))));
        }
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        let beyond = SmtpSettings { host: "mail.example.com".into(), ..settings(25) };
        assert!(matches!(SmtpNotify::new(beyond.clone(), secrets()).err(), Some(SettingsError::Plain(_))));
        assert!(SmtpNotify::new(SmtpSettings { tls: SmtpTls::StartTls, ..beyond }, secrets()).is_ok());
        let nobody = SmtpSettings { from: "shop".into(), ..settings(25) };
        assert_eq!(SmtpNotify::new(nobody, secrets()).err(), Some(SettingsError::Address("from")));
        assert_eq!(SmtpTls::parse("starttls"), Some(SmtpTls::StartTls));
        assert_eq!(SmtpTls::parse("yes"), None);
    }
}
