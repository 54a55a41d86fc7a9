//! Opening encrypted payloads: compact JWE with RSA-OAEP-256 and A256GCM, nothing else.
//!
//! Put together from `rsa` and `aes-gcm`, both of RustCrypto: the JWE crates there are bind OpenSSL or bring a second
//! TLS stack's cryptography along. The form is five parts of base64; the header is authenticated as it stands.

use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::Sha256;
use tillway_core::doc::Doc;

/// Largest encrypted text that is opened.
const MOST: usize = 1024 * 1024;

/// Why a payload could not be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sealed {
    /// It is no compact JWE of the one accepted kind.
    Malformed,
    /// No key of ours fits.
    NoKey,
}

/// Whether a text has the form of a compact JWE.
pub(super) fn is_compact(text: &str) -> bool {
    let part = |p: &str| p.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    text.len() <= MOST && text.starts_with("eyJ") && text.split('.').count() == 5 && text.split('.').all(part)
}

/// Opens it with whichever key fits.
pub(super) fn open(text: &str, keys: &[rsa::PrivateKey]) -> Result<Vec<u8>, Sealed> {
    let parts: Vec<&str> = text.split('.').collect();
    let [header, key, nonce, sealed, tag] = parts.as_slice() else { return Err(Sealed::Malformed) };
    let bytes = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Sealed::Malformed);
    let stated = Doc::from_bytes(bytes(header)?).map_err(|_| Sealed::Malformed)?;
    let says = |name: &str| stated.json().get(name).and_then(tillway_core::doc::Json::as_str);
    let ours = says("alg") == Some("RSA-OAEP-256") && says("enc") == Some("A256GCM") && says("zip").is_none();
    if !ours || stated.json().get("crit").is_some() {
        return Err(Sealed::Malformed);
    }
    let (key, nonce, mut sealed, tag) = (bytes(key)?, bytes(nonce)?, bytes(sealed)?, bytes(tag)?);
    let nonce = <[u8; 12]>::try_from(nonce.as_slice()).map_err(|_| Sealed::Malformed)?;
    if tag.len() != 16 {
        return Err(Sealed::Malformed);
    }
    sealed.extend(tag);
    for private in keys {
        // Blinded with the system's randomness: what it costs in time says nothing of the key.
        let Ok(content) = private.oaep_decrypt::<Sha256>(&key) else { continue };
        let Ok(cipher) = Aes256Gcm::new_from_slice(&content) else { continue };
        let payload = Payload { msg: &sealed, aad: header.as_bytes() };
        if let Ok(plain) = cipher.decrypt(&Nonce::from(nonce), payload) {
            return Ok(plain);
        }
    }
    Err(Sealed::NoKey)
}
