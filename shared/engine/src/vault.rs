//! Sealing: personal data at rest and events in queues.
//!
//! One master key (32 bytes, from the secret source) gives by HMAC a key for events in queues, one for
//! wrapping the keys of persons, one for hashing identities, and one for masking. Each person has a key of their own;
//! erasing a person is deleting that key, and whatever was sealed under it is noise from then on.

use aes_gcm::aead::{Aead, KeyInit};
use aes_gcm::{Aes256Gcm, Key, Nonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use tillway_core::ids::PersonId;
use tillway_core::mask::Masker;

use crate::ports::Entropy;

/// A sealed blob could not be opened: another key, or altered bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// The master key is not 64 hex digits.
    #[error("the key must be 64 hex digits; make one with `openssl rand -hex 32`")]
    BadMasterKey,
    /// Another key, or altered bytes.
    #[error("sealed data cannot be opened: another key, or altered bytes")]
    Unreadable,
}

/// 32 bytes of key. `Debug` hides them.
#[derive(Clone, PartialEq, Eq)]
pub struct DataKey([u8; 32]);

impl std::fmt::Debug for DataKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[key]")
    }
}

impl DataKey {
    /// Draws a key.
    pub fn draw(entropy: &dyn Entropy) -> Self {
        let mut key = [0; 32];
        entropy.fill(&mut key);
        Self(key)
    }
    /// Reads a key, 64 hex digits.
    ///
    /// # Errors
    /// [`VaultError::BadMasterKey`].
    pub fn read(text: &str) -> Result<Self, VaultError> {
        let bytes = hex::decode(text.trim()).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or(VaultError::BadMasterKey)
    }
    /// The key, 64 hex digits. A secret.
    #[must_use]
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }
    /// Seals: version, nonce, ciphertext. `context` must be the same for opening.
    pub fn seal(&self, entropy: &dyn Entropy, context: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut nonce = [0_u8; 12];
        entropy.fill(&mut nonce);
        let payload = aes_gcm::aead::Payload { msg: plain, aad: context };
        // Encryption fails only above 64 GiB; bodies are bounded at the edge.
        let sealed = self.cipher().encrypt(&Nonce::from(nonce), payload).unwrap_or_default();
        let mut out = Vec::with_capacity(sealed.len().saturating_add(13));
        out.push(1);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&sealed);
        out
    }
    /// Opens what [`DataKey::seal`] made.
    ///
    /// # Errors
    /// [`VaultError::Unreadable`].
    pub fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, VaultError> {
        let (head, body) = sealed.split_at_checked(13).ok_or(VaultError::Unreadable)?;
        let (version, nonce) = head.split_first().ok_or(VaultError::Unreadable)?;
        let nonce: [u8; 12] = nonce.try_into().map_err(|_| VaultError::Unreadable)?;
        if *version != 1 {
            return Err(VaultError::Unreadable);
        }
        let payload = aes_gcm::aead::Payload { msg: body, aad: context };
        self.cipher().decrypt(&Nonce::from(nonce), payload).map_err(|_| VaultError::Unreadable)
    }
    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new(&Key::<Aes256Gcm>::from(self.0))
    }
}

/// The keys made from the master key.
#[derive(Clone)]
pub struct Vault {
    queue: DataKey,
    intake: DataKey,
    wrap: DataKey,
    identity: [u8; 32],
    mask: [u8; 32],
}

impl Vault {
    /// Reads the master key, 64 hex digits.
    ///
    /// # Errors
    /// [`VaultError::BadMasterKey`].
    pub fn new(master_hex: &str) -> Result<Self, VaultError> {
        let DataKey(master) = DataKey::read(master_hex)?;
        Ok(Self {
            queue: DataKey(derive(&master, b"queue")),
            intake: DataKey(derive(&master, b"intake")),
            wrap: DataKey(derive(&master, b"person-key")),
            identity: derive(&master, b"identity"),
            mask: derive(&master, b"mask"),
        })
    }
    /// What those who face the internet seal webhooks with, where they have not the master key. It opens nothing but what they
    /// sealed.
    #[must_use]
    pub const fn intake_key(&self) -> &DataKey {
        &self.intake
    }
    /// The id of a person: a keyed hash of the normalised identity.
    #[must_use]
    pub fn person(&self, identity: &str) -> PersonId {
        PersonId(hex::encode(derive(&self.identity, identity.as_bytes()).get(..16).unwrap_or_default()))
    }
    /// What masks people's data outside production, under a key of its own.
    #[must_use]
    pub const fn masker(&self) -> Masker {
        Masker::new(self.mask)
    }
    /// The key that seals what stands in a queue.
    #[must_use]
    pub const fn queue_key(&self) -> &DataKey {
        &self.queue
    }
    /// Wraps a key for the store.
    pub fn wrap(&self, entropy: &dyn Entropy, owner: &str, key: &DataKey) -> Vec<u8> {
        self.wrap.seal(entropy, owner.as_bytes(), &key.0)
    }
    /// Unwraps a key.
    ///
    /// # Errors
    /// [`VaultError::Unreadable`].
    pub fn unwrap(&self, owner: &str, wrapped: &[u8]) -> Result<DataKey, VaultError> {
        let key = self.wrap.open(owner.as_bytes(), wrapped)?;
        key.try_into().map(DataKey).map_err(|_| VaultError::Unreadable)
    }
}

fn derive(key: &[u8; 32], label: &[u8]) -> [u8; 32] {
    // HMAC takes keys of any length; the error arm cannot be reached.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    mac.update(label);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a function at the edge holds is none of the keys of the others, nor the master key.
    #[test]
    fn the_intake_key_is_a_key_of_its_own() {
        let vault = Vault::new(&"6d".repeat(32)).unwrap();
        let intake = DataKey::read(&vault.intake_key().hex()).unwrap();
        assert!(intake == vault.intake && intake != vault.queue && intake != vault.wrap);
        assert!(intake.hex() != "6d".repeat(32) && DataKey::read("6d").is_err());
    }

    struct Counting(std::sync::atomic::AtomicU8);
    impl Entropy for Counting {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill(self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        }
    }

    #[test]
    fn sealing_round_trips_and_refuses_another_key_context_or_byte() {
        let entropy = Counting(7.into());
        let vault = Vault::new(&"ab".repeat(32)).unwrap();
        let key = DataKey::draw(&entropy);
        let sealed = key.seal(&entropy, b"order", b"canary@example.com");
        assert!(!String::from_utf8_lossy(&sealed).contains("canary"));
        assert_eq!(key.open(b"order", &sealed).unwrap(), b"canary@example.com");
        assert!(key.open(b"other", &sealed).is_err());
        assert!(DataKey::draw(&entropy).open(b"order", &sealed).is_err());
        let mut altered = sealed.clone();
        *altered.last_mut().unwrap() ^= 1;
        assert!(key.open(b"order", &altered).is_err());
        let wrapped = vault.wrap(&entropy, "p", &key);
        assert_eq!(vault.unwrap("p", &wrapped).unwrap(), key);
        assert!(vault.unwrap("q", &wrapped).is_err());
    }

    #[test]
    fn a_short_master_key_is_refused() {
        assert_eq!(Vault::new("abcd").err(), Some(VaultError::BadMasterKey));
    }
}
