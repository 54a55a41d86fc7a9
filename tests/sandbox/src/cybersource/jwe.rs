//! Encrypting webhooks: compact JWE with RSA-OAEP-256 and A256GCM. What a real sender draws at random comes from the seed
//! here, so this protects nothing.

use std::convert::Infallible;

use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rsa::pkcs8::EncodePrivateKey as _;
use rsa::rand_core::{TryCryptoRng, TryRng};
use serde_json::json;
use sha2::{Digest as _, Sha256};

/// What `payments.*` events are encrypted for.
#[derive(Debug, Clone)]
pub struct Encryption {
    /// Serial number of the certificate.
    pub key_id: String,
    /// Its key.
    pub key: rsa::PublicKey,
}

/// Bytes that depend on nothing but a seed: for tests and the sandbox's own messages, never for a real key.
#[derive(Debug, Clone)]
pub struct Seeded {
    seed: [u8; 32],
    block: u64,
    left: Vec<u8>,
}

impl Seeded {
    /// The bytes of a seed.
    #[must_use]
    pub fn new(seed: &[u8]) -> Self {
        Self { seed: Sha256::digest(seed).into(), block: 0, left: Vec::new() }
    }

    fn byte(&mut self) -> u8 {
        if let Some(byte) = self.left.pop() {
            return byte;
        }
        let mut hasher = Sha256::new();
        hasher.update(self.seed);
        hasher.update(self.block.to_be_bytes());
        self.block = self.block.wrapping_add(1);
        self.left = hasher.finalize().to_vec();
        self.left.pop().unwrap_or(0)
    }
}

impl TryRng for Seeded {
    type Error = Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(std::array::from_fn(|_| self.byte())))
    }
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_le_bytes(std::array::from_fn(|_| self.byte())))
    }
    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Infallible> {
        to.fill_with(|| self.byte());
        Ok(())
    }
}
impl TryCryptoRng for Seeded {}

/// A key pair that depends on nothing but its seed, the private half as PEM: for sandboxes, never for a real account.
#[must_use]
pub fn key_pair(seed: &[u8]) -> Option<(Encryption, String)> {
    // Small, for a large one takes a while to find.
    let private = rsa::PrivateKey::new(&mut Seeded::new(seed), 1024).ok()?;
    let pem = private.to_pkcs8_pem(rsa::pkcs8::LineEnding::LF).ok()?.to_string();
    Some((Encryption { key_id: "7".into(), key: private.to_public_key() }, pem))
}

/// Encrypts; `None` where the key cannot be used.
pub(super) fn seal(to: &Encryption, plain: &[u8], at: i64, seed: &[u8]) -> Option<String> {
    let mut drawn = Seeded::new(seed);
    let header = json!({"alg": "RSA-OAEP-256", "enc": "A256GCM", "kid": to.key_id, "iat": at}).to_string();
    let header = URL_SAFE_NO_PAD.encode(header);
    let content: [u8; 32] = std::array::from_fn(|_| drawn.byte());
    let nonce: [u8; 12] = std::array::from_fn(|_| drawn.byte());
    let cipher = Aes256Gcm::new_from_slice(&content).ok()?;
    let payload = Payload { msg: plain, aad: header.as_bytes() };
    let mut sealed = cipher.encrypt(&Nonce::from(nonce), payload).ok()?;
    let tag = sealed.split_off(sealed.len().checked_sub(16)?);
    let key = to.key.oaep_encrypt_with_rng::<Sha256, _>(&mut drawn, &content).ok()?;
    let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    Some([header, part(&key), part(&nonce), part(&sealed), part(&tag)].join("."))
}
