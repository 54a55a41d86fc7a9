//! [`Queue`] over SQS.
//!
//! | port | SQS |
//! |---|---|
//! | `send` | SendMessageBatch; several where the bodies are too large for one |
//! | `receive` | ReceiveMessage without waiting |
//! | `delete` | DeleteMessageBatch, then the claim checks |
//! | `release` | ChangeMessageVisibility |
//! | `depth` | GetQueueAttributes: visible, hidden and delayed |
//!
//! Bodies are base64. One longer than [`INLINE`] is kept in S3 and the message is `claim:` and its key. Receipts are
//! SQS's, with the key of the claim check behind a line break. Groups and deduplication ids that SQS would refuse
//! (longer than 128, or other characters than it knows) are replaced by a hash of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::{
    DeleteMessageBatchRequestEntry, Message, MessageSystemAttributeName, QueueAttributeName,
    SendMessageBatchRequestEntry,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tillway_core::ids::digest;
use tillway_core::time::Millis;
use tillway_engine::ports::{Entropy, InMessage, MAX_MESSAGE, OutMessage, Queue, QueueError};

use crate::claims::Claims;
use crate::trouble;

/// Longest text that goes into a message, base64 as it is; what is longer becomes a claim check.
pub const INLINE: usize = 200 * 1024;
/// Most text of one SendMessageBatch: below the limit that SQS had before it took 1 MiB.
const BATCH: usize = 250_000;
/// Most messages of one call.
const MOST: usize = 10;
const MAX_DELAY: Millis = Millis::mins(15);
/// Longest time a message can be hidden.
const MAX_HIDDEN: i32 = 43_200;
/// Begins the text of a claim check; no base64 begins so.
const CLAIM: &str = "claim:";

/// The body behind a message's text.
#[derive(PartialEq, Eq)]
pub enum Opened {
    /// The body, and the claim check it lay behind.
    Body(Vec<u8>, Option<String>),
    /// Its claim check is gone: the message was dealt with before.
    Gone(String),
}

/// Reads the text of a message.
///
/// # Errors
/// [`QueueError::Unavailable`] where the body cannot be fetched, [`QueueError::Invalid`] where the text is
/// none of ours.
pub async fn open(claims: &dyn Claims, text: &str) -> Result<Opened, QueueError> {
    if let Some(key) = text.strip_prefix(CLAIM) {
        return Ok(match claims.get(key).await? {
            Some(body) => Opened::Body(body, Some(key.to_owned())),
            None => Opened::Gone(key.to_owned()),
        });
    }
    let body =
        STANDARD.decode(text).map_err(|_| QueueError::Invalid("a message that is not base64".into()))?;
    Ok(Opened::Body(body, None))
}

/// [`Queue`] over SQS.
pub struct SqsQueue {
    client: Client,
    /// Addresses by the engine's names.
    urls: BTreeMap<String, String>,
    claims: Arc<dyn Claims>,
    entropy: Arc<dyn Entropy>,
}

impl SqsQueue {
    /// Over the queues at these addresses, by the names the engine knows them under.
    pub fn new(
        client: Client,
        urls: BTreeMap<String, String>,
        claims: Arc<dyn Claims>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self { client, urls, claims, entropy }
    }

    fn url(&self, queue: &str) -> Result<&str, QueueError> {
        let known = self.urls.get(queue).map(String::as_str);
        known.ok_or_else(|| QueueError::Invalid(format!("this function was given no queue {queue}")))
    }

    /// The text of a message: the body, or the claim check under which it was put away.
    async fn wrap(&self, body: &[u8]) -> Result<String, QueueError> {
        if body.len().div_ceil(3).saturating_mul(4) <= INLINE {
            return Ok(STANDARD.encode(body));
        }
        Ok(format!("{CLAIM}{}", self.claims.put(body.to_vec()).await?))
    }

    async fn send_batch(
        &self,
        queue: &str,
        url: &str,
        entries: Vec<SendMessageBatchRequestEntry>,
    ) -> Result<Vec<usize>, QueueError> {
        let sent = self.client.send_message_batch().queue_url(url).set_entries(Some(entries)).send().await;
        let answer = sent.map_err(|e| unavailable(queue, &e))?;
        for failed in answer.failed() {
            tracing::warn!(queue, code = failed.code(), "a message was not accepted");
        }
        Ok(answer.successful().iter().filter_map(|s| s.id().parse().ok()).collect())
    }

    async fn unwrap(
        &self,
        queue: &str,
        url: &str,
        message: Message,
    ) -> Result<Option<InMessage>, QueueError> {
        let attribute = |name| message.attributes.as_ref().and_then(|a| a.get(&name)).cloned();
        let receives = attribute(MessageSystemAttributeName::ApproximateReceiveCount);
        let group = attribute(MessageSystemAttributeName::MessageGroupId);
        let receives = receives.and_then(|n| n.parse().ok()).unwrap_or(1);
        let receipt = message.receipt_handle.unwrap_or_default();
        match open(self.claims.as_ref(), message.body.as_deref().unwrap_or_default()).await? {
            Opened::Body(body, None) => Ok(Some(InMessage { receipt, group, body, receives })),
            Opened::Body(body, Some(claim)) => {
                Ok(Some(InMessage { receipt: format!("{receipt}\n{claim}"), group, body, receives }))
            }
            Opened::Gone(_) => {
                tracing::warn!(queue, code = "claim_gone", "a message that was dealt with came again");
                let delete = self.client.delete_message().queue_url(url).receipt_handle(receipt);
                delete.send().await.map_err(|e| unavailable(queue, &e))?;
                Ok(None)
            }
        }
    }
}

fn unavailable<E: ProvideErrorMetadata, R>(queue: &str, error: &SdkError<E, R>) -> QueueError {
    QueueError::Unavailable(format!("{queue}: {}", trouble::describe(error)))
}

/// Whole seconds, rounded up: nothing comes early.
fn seconds(length: Millis, most: i32) -> i32 {
    i32::try_from(length.0.saturating_add(999).div_euclid(1000)).unwrap_or(most).clamp(0, most)
}

/// What SQS takes as a group or a deduplication id.
fn name(text: &str) -> String {
    // A hash begins with `~`, so that no text is another's hash but by being one.
    let plain = !text.is_empty() && text.len() <= 128 && text.bytes().all(|b| b.is_ascii_graphic());
    if plain && !text.starts_with('~') { text.to_owned() } else { format!("~{}", digest(&[text])) }
}

/// Cuts a batch where its texts together get too long for one call.
fn calls(lengths: &[usize]) -> Vec<std::ops::Range<usize>> {
    let mut out = Vec::new();
    let (mut start, mut sum) = (0, 0_usize);
    for (place, length) in lengths.iter().enumerate() {
        sum = sum.saturating_add(*length);
        if sum > BATCH && place > start {
            out.push(start..place);
            (start, sum) = (place, *length);
        }
    }
    if start < lengths.len() {
        out.push(start..lengths.len());
    }
    out
}

fn check(queue: &str, messages: &[OutMessage]) -> Result<(), QueueError> {
    let invalid = |what: String| Err(QueueError::Invalid(format!("{queue}: {what}")));
    if messages.len() > MOST {
        return invalid(format!("{} messages, at most {MOST}", messages.len()));
    }
    for message in messages {
        if message.body.len() > MAX_MESSAGE {
            return invalid(format!("a message of {} bytes, at most {MAX_MESSAGE}", message.body.len()));
        }
        if message.delay > MAX_DELAY {
            return invalid(format!("a delay of {}, at most {MAX_DELAY}", message.delay));
        }
        if queue.ends_with(".fifo") && message.group.is_none() {
            return invalid("a message without a group".to_owned());
        }
    }
    Ok(())
}

#[async_trait]
impl Queue for SqsQueue {
    async fn send(&self, queue: &str, messages: Vec<OutMessage>) -> Result<Vec<bool>, QueueError> {
        check(queue, &messages)?;
        let url = self.url(queue)?;
        let fifo = queue.ends_with(".fifo");
        let mut entries = Vec::with_capacity(messages.len());
        for (place, message) in messages.iter().enumerate() {
            let mut entry = SendMessageBatchRequestEntry::builder()
                .id(place.to_string())
                .message_body(self.wrap(&message.body).await?);
            if fifo {
                let mut drawn = [0_u8; 16];
                let dedup = message.dedup.as_deref().map(name).unwrap_or_else(|| {
                    self.entropy.fill(&mut drawn);
                    hex::encode(drawn)
                });
                let group = message.group.as_deref().map(name);
                entry = entry.set_message_group_id(group).message_deduplication_id(dedup);
            } else if message.delay.0 > 0 {
                entry = entry.delay_seconds(seconds(message.delay, 900));
            }
            let entry = entry.build().map_err(|_| QueueError::Invalid(format!("{queue}: a message")))?;
            entries.push(entry);
        }
        let lengths: Vec<usize> = entries.iter().map(|e| e.message_body().len()).collect();
        let mut accepted = vec![false; messages.len()];
        let mut entries = entries.into_iter();
        for (nth, call) in calls(&lengths).into_iter().enumerate() {
            let batch: Vec<_> = entries.by_ref().take(call.len()).collect();
            match self.send_batch(queue, url, batch).await {
                Ok(places) => {
                    for place in places {
                        if let Some(accepted) = accepted.get_mut(place) {
                            *accepted = true;
                        }
                    }
                }
                Err(error) if nth == 0 => return Err(error),
                // The rest would overtake what was not accepted.
                Err(_) => break,
            }
        }
        Ok(accepted)
    }

    async fn receive(
        &self,
        queue: &str,
        max: usize,
        visibility: Millis,
    ) -> Result<Vec<InMessage>, QueueError> {
        let url = self.url(queue)?;
        let answer = self
            .client
            .receive_message()
            .queue_url(url)
            .max_number_of_messages(i32::try_from(max.clamp(1, MOST)).unwrap_or(1))
            .visibility_timeout(seconds(visibility, MAX_HIDDEN))
            .wait_time_seconds(0)
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .message_system_attribute_names(MessageSystemAttributeName::MessageGroupId)
            .send()
            .await
            .map_err(|e| unavailable(queue, &e))?;
        let mut out = Vec::new();
        for message in answer.messages.unwrap_or_default() {
            out.extend(self.unwrap(queue, url, message).await?);
        }
        Ok(out)
    }

    async fn delete(&self, queue: &str, receipts: Vec<String>) -> Result<(), QueueError> {
        let url = self.url(queue)?;
        for receipts in receipts.chunks(MOST) {
            let handle = |r: &String| r.split_once('\n').map_or(r.as_str(), |(handle, _)| handle).to_owned();
            let entry = |(place, receipt): (usize, &String)| {
                let entry = DeleteMessageBatchRequestEntry::builder().id(place.to_string());
                entry.receipt_handle(handle(receipt)).build()
            };
            let entries = receipts.iter().enumerate().map(entry).collect::<Result<Vec<_>, _>>();
            let entries = entries.map_err(|_| QueueError::Invalid(format!("{queue}: a receipt")))?;
            let sent =
                self.client.delete_message_batch().queue_url(url).set_entries(Some(entries)).send().await;
            let answer = sent.map_err(|e| unavailable(queue, &e))?;
            let mut kept = Vec::new();
            for failed in answer.failed() {
                if !failed.sender_fault() {
                    return Err(QueueError::Unavailable(format!("{queue}: a message was not deleted")));
                }
                // An old receipt: whoever has the new one deletes the message and its claim check.
                kept.push(failed.id().to_owned());
            }
            for (place, receipt) in receipts.iter().enumerate() {
                if let Some((_, claim)) = receipt.split_once('\n')
                    && !kept.contains(&place.to_string())
                    && let Err(error) = self.claims.delete(claim).await
                {
                    // The bucket's lifecycle removes it.
                    tracing::warn!(queue, code = "claim_left", "{error}");
                }
            }
        }
        Ok(())
    }

    async fn release(&self, queue: &str, receipt: &str, delay: Millis) -> Result<(), QueueError> {
        let handle = receipt.split_once('\n').map_or(receipt, |(handle, _)| handle);
        let change = self.client.change_message_visibility().queue_url(self.url(queue)?);
        let change = change.receipt_handle(handle).visibility_timeout(seconds(delay, MAX_HIDDEN));
        change.send().await.map(|_| ()).map_err(|e| unavailable(queue, &e))
    }

    async fn depth(&self, queue: &str) -> Result<usize, QueueError> {
        let counted = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
            QueueAttributeName::ApproximateNumberOfMessagesDelayed,
        ];
        let ask = self.client.get_queue_attributes().queue_url(self.url(queue)?);
        let answer = ask.set_attribute_names(Some(counted.to_vec())).send().await;
        let answer = answer.map_err(|e| unavailable(queue, &e))?;
        let told = answer.attributes.unwrap_or_default();
        let of = |name| told.get(name).and_then(|n| n.parse::<usize>().ok()).unwrap_or(0);
        Ok(counted.iter().map(of).fold(0, usize::saturating_add))
    }
}

#[cfg(test)]
mod tests {
    use tillway_host::entropy::OsEntropy;

    use super::*;
    use crate::clients::Clients;
    use crate::testing::MemoryClaims;

    #[test]
    fn names_that_sqs_would_refuse_become_hashes() {
        assert_eq!(name("stripe-main:evt_1:0"), "stripe-main:evt_1:0");
        for odd in ["A 1", "Ä-1", "", "~x", &"x".repeat(129)] {
            let hashed = name(odd);
            assert!(hashed.starts_with('~') && hashed.len() <= 128 && hashed.is_ascii(), "{odd}: {hashed}");
        }
        assert_ne!(name("A 1"), name("A 2"));
        assert_eq!(name(&name("A 1")).len(), name("A 1").len());
    }

    /// What is exactly as long as a message may be goes in it; what is a byte longer goes into the bucket. Either comes back as it was.
    #[tokio::test]
    async fn a_byte_more_than_a_message_holds_is_a_claim_check() {
        let claims = Arc::new(MemoryClaims::default());
        let sqs = Clients::emulated("http://127.0.0.1:9", "us-east-1", "none", "none").unwrap().sqs();
        let queue = SqsQueue::new(sqs, BTreeMap::new(), claims.clone(), Arc::new(OsEntropy));
        let kept = || claims.0.lock().unwrap().len();
        // Three bytes are four characters of base64.
        let longest = INLINE / 4 * 3;
        let whole: Vec<u8> = (0..=longest).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let (fits, over) = (&whole[..longest], &whole[..]);
        let text = queue.wrap(fits).await.unwrap();
        assert_eq!((text.len(), kept()), (INLINE, 0), "in the message");
        assert!(matches!(open(claims.as_ref(), &text).await, Ok(Opened::Body(body, None)) if body == fits));
        let text = queue.wrap(over).await.unwrap();
        assert_eq!((text.as_str(), kept()), ("claim:claims/0", 1), "in the bucket");
        let opened = open(claims.as_ref(), &text).await;
        assert!(
            matches!(opened, Ok(Opened::Body(body, Some(key))) if body == over && key == "claims/0"),
            "the whole body under its key"
        );
        assert!(over.len() <= MAX_MESSAGE, "no other bound comes first");
    }

    #[test]
    fn a_batch_is_cut_where_it_gets_too_long() {
        assert_eq!(calls(&[10; 10]), vec![0..10]);
        assert_eq!(calls(&[200_000, 40_000, 40_000, 200_000]), vec![0..2, 2..4]);
        assert_eq!(calls(&[200_000; 3]), vec![0..1, 1..2, 2..3]);
        assert!(calls(&[]).is_empty());
    }

    #[test]
    fn nothing_comes_early() {
        assert_eq!(seconds(Millis(1), 900), 1);
        assert_eq!(seconds(Millis(0), 900), 0);
        assert_eq!(seconds(Millis::mins(15), 900), 900);
        assert_eq!(seconds(Millis::days(3), MAX_HIDDEN), MAX_HIDDEN);
        assert_eq!(seconds(Millis(-5), 900), 0);
    }
}
