//! Keeping secrets: what `tillway secrets` does with them, wherever they lie.
//!
//! A name holds several values while it is rotated, newest first: the newest is sent, any is accepted of those who
//! send to us. Errors name the connection and the name, and never a value.

use async_trait::async_trait;
use tillway_connectors::{Secret, Secrets};
pub use tillway_engine::OWN;
use tillway_engine::ports::SecretError;

/// Most values of one name: more than any provider has endpoints.
pub const MOST: usize = 20;
/// Longest value, in bytes.
const LONGEST: usize = 4096;

/// A store of secrets that can be written.
#[async_trait]
pub trait SecretKeeper: Send + Sync {
    /// What is kept of a connection now, past any cache; empty where nothing was put yet.
    ///
    /// # Errors
    /// [`SecretError`], as for all that follow.
    async fn read(&self, connection: &str) -> Result<Secrets, SecretError>;

    /// Takes the place of all that is kept of a connection.
    async fn write(&self, connection: &str, secrets: &Secrets) -> Result<(), SecretError>;

    /// Versions the store keeps, a line each; none where it keeps one.
    async fn versions(&self, connection: &str) -> Result<Vec<String>, SecretError>;

    /// Where it lies, for people.
    fn place(&self, connection: &str) -> String;
}

/// Why a secret is not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// Nothing was given.
    #[error("the value is empty")]
    Empty,
    /// Not one line of text.
    #[error("the value holds a line break or another control character; give one line")]
    Shape,
    /// Nobody has secrets as long.
    #[error("the value is longer than 4096 bytes")]
    Long,
    /// A malformed master key.
    #[error("master_key is 64 hex digits; make one with `openssl rand -hex 32`")]
    MasterKey,
    /// There is a master key already.
    #[error(
        "there is a master_key already, and people's data is sealed with it: it is neither replaced nor rotated. To \
         begin anew with an empty store, delete the secret's value where it lies"
    )]
    MasterKeyKept,
    /// Rotating what is not there.
    #[error("there is no value to rotate; `tillway secrets put` puts the first")]
    NothingThere,
    /// The value is the newest already.
    #[error("this is the newest value already")]
    Same,
    /// Too many.
    #[error("there are 20 values already; `tillway secrets retire` takes old ones away")]
    Full,
    /// Retiring one of several.
    #[error(
        "it holds {0} values, and several may be in use (webhook endpoints have one each); say how many of the newest \
         stay: --keep N"
    )]
    HowMany(usize),
    /// Keeping none.
    #[error("--keep is at least 1")]
    KeepNone,
}

/// Makes a secret of what a person typed.
///
/// # Errors
/// [`EditError`].
pub fn value(connection: &str, name: &str, typed: &str) -> Result<Secret, EditError> {
    let text = typed.trim();
    if text.is_empty() {
        return Err(EditError::Empty);
    }
    if text.chars().any(char::is_control) {
        return Err(EditError::Shape);
    }
    if text.len() > LONGEST {
        return Err(EditError::Long);
    }
    let hex = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    if (connection, name) == OWN && !hex {
        return Err(EditError::MasterKey);
    }
    Ok(Secret::new(text))
}

/// Takes the place of all values of a name. A master key may be put again as it is.
///
/// # Errors
/// [`EditError::MasterKeyKept`].
pub fn put(secrets: &mut Secrets, connection: &str, name: &str, value: Secret) -> Result<(), EditError> {
    if secrets.newest(name) != Some(&value) {
        keep_master_key(secrets, connection, name)?;
    }
    secrets.0.insert(name.to_owned(), vec![value]);
    Ok(())
}

/// Puts a value before the others, which stay accepted.
///
/// # Errors
/// [`EditError`].
pub fn rotate(secrets: &mut Secrets, connection: &str, name: &str, value: Secret) -> Result<(), EditError> {
    keep_master_key(secrets, connection, name)?;
    match secrets.newest(name) {
        None => Err(EditError::NothingThere),
        Some(newest) if *newest == value => Err(EditError::Same),
        Some(_) => add(secrets, name, value),
    }
}

/// Puts a value before those there are, if any.
///
/// # Errors
/// [`EditError::Full`].
pub fn add(secrets: &mut Secrets, name: &str, value: Secret) -> Result<(), EditError> {
    let values = secrets.0.entry(name.to_owned()).or_default();
    values.retain(|known| *known != value);
    if values.len() >= MOST {
        return Err(EditError::Full);
    }
    values.insert(0, value);
    Ok(())
}

/// Takes all but the newest away: one of two, or as many as are said to stay. Answers how many went.
///
/// # Errors
/// [`EditError::HowMany`] where that could take one in use.
pub fn retire(secrets: &mut Secrets, name: &str, keep: Option<usize>) -> Result<usize, EditError> {
    let values = secrets.0.get_mut(name).ok_or(EditError::NothingThere)?;
    let keep = match keep {
        Some(0) => return Err(EditError::KeepNone),
        Some(keep) => keep,
        None if values.len() > 2 => return Err(EditError::HowMany(values.len())),
        None => 1,
    };
    let before = values.len();
    values.truncate(keep);
    Ok(before - values.len())
}

fn keep_master_key(secrets: &Secrets, connection: &str, name: &str) -> Result<(), EditError> {
    let kept = (connection, name) == OWN && secrets.newest(name).is_some();
    if kept { Err(EditError::MasterKeyKept) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(secrets: &Secrets, name: &str) -> Vec<String> {
        secrets.all(name).iter().map(|s| s.expose().to_owned()).collect()
    }

    #[test]
    fn a_rotation_keeps_the_old_until_it_is_retired() {
        let mut s = Secrets::default();
        let (c, n) = ("stripe", "webhook_secret");
        assert_eq!(rotate(&mut s, c, n, Secret::new("a")), Err(EditError::NothingThere));
        put(&mut s, c, n, Secret::new("a")).unwrap();
        assert_eq!(rotate(&mut s, c, n, Secret::new("a")), Err(EditError::Same));
        rotate(&mut s, c, n, Secret::new("b")).unwrap();
        assert_eq!(shown(&s, n), ["b", "a"]);
        rotate(&mut s, c, n, Secret::new("a")).unwrap();
        assert_eq!(shown(&s, n), ["a", "b"], "a value that comes again is no second one");
        assert_eq!(retire(&mut s, n, None), Ok(1));
        assert_eq!(shown(&s, n), ["a"]);
        assert_eq!(retire(&mut s, "other", None), Err(EditError::NothingThere));
    }

    #[test]
    fn of_several_in_use_none_is_taken_unasked() {
        let mut s = Secrets::default();
        for value in ["c", "b", "a"] {
            add(&mut s, "w", Secret::new(value)).unwrap();
        }
        assert_eq!(retire(&mut s, "w", None), Err(EditError::HowMany(3)));
        assert_eq!(retire(&mut s, "w", Some(0)), Err(EditError::KeepNone));
        assert_eq!((retire(&mut s, "w", Some(2)), shown(&s, "w")), (Ok(1), vec!["a".into(), "b".into()]));
        for n in 2..MOST {
            add(&mut s, "w", Secret::new(n.to_string())).unwrap();
        }
        assert_eq!(add(&mut s, "w", Secret::new("more")), Err(EditError::Full));
    }

    #[test]
    fn the_master_key_is_put_once() {
        let mut s = Secrets::default();
        let key = value(OWN.0, OWN.1, &format!(" {}\n", "ab".repeat(32))).unwrap();
        put(&mut s, OWN.0, OWN.1, key.clone()).unwrap();
        put(&mut s, OWN.0, OWN.1, key.clone()).expect("the same again changes nothing");
        let other = value(OWN.0, OWN.1, &"cd".repeat(32)).unwrap();
        assert_eq!(put(&mut s, OWN.0, OWN.1, other), Err(EditError::MasterKeyKept));
        assert_eq!(shown(&s, OWN.1), ["ab".repeat(32)]);
        assert_eq!(rotate(&mut s, OWN.0, OWN.1, key), Err(EditError::MasterKeyKept));
        for bad in ["abc", &"zz".repeat(32), &"ab".repeat(33)] {
            assert_eq!(value(OWN.0, OWN.1, bad), Err(EditError::MasterKey));
        }
    }

    #[test]
    fn what_is_no_secret_is_refused_and_not_shown() {
        assert_eq!(value("a", "b", "  "), Err(EditError::Empty));
        assert_eq!(value("a", "b", "canary\ncanary"), Err(EditError::Shape));
        assert_eq!(value("a", "b", &"x".repeat(5000)), Err(EditError::Long));
        assert_eq!(value("a", "b", " canary ").unwrap().expose(), "canary");
    }
}
