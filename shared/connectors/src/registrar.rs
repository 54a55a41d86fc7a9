//! Webhook endpoints at a provider: which are wanted, what is to be done about each, and the API that does it.
//!
//! A provider tells an endpoint's signing secret once, when the endpoint is made. So whoever makes one keeps the
//! secret first and marks the endpoint then: an endpoint of ours without the mark of a secret we hold is one whose
//! secret was lost on the way, and is made anew. One made by hand bears no mark and is left as it is, where any
//! secret is held.

use async_trait::async_trait;
use tillway_core::ids::digest;

use crate::config::{Connection, Secret};
use crate::port::{Call, NotDone, Outcome, Purpose, Subscription};

/// An endpoint that a connection is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Topic, the last part of the address.
    pub topic: &'static str,
    /// Address.
    pub url: String,
    /// Event types, in the provider's words.
    pub types: Vec<String>,
    /// Whether anything is done with its events. One that is not used is made where a person asks for it, and kept where it
    /// is there.
    pub used: bool,
}

/// Whose secret an endpoint at the provider has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signed {
    /// The one with this [`mark`].
    Marked(String),
    /// One that we made and nobody marked: it was lost.
    Lost,
    /// Nobody can tell: made by hand, or the provider keeps no marks.
    Untold,
}

/// An endpoint as the provider has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The provider's id.
    pub id: String,
    /// Address.
    pub url: String,
    /// Event types.
    pub types: Vec<String>,
    /// Whether it delivers.
    pub active: bool,
    /// What cannot be changed in it fits (the API version).
    pub fits: bool,
    /// Its secret.
    pub signed: Signed,
}

/// An endpoint that was made.
pub struct Made {
    /// The provider's id.
    pub id: String,
    /// Its signing secret; `None` where the provider told none.
    pub secret: Option<Secret>,
}

/// Why it was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// This account has no such API.
    #[error("the provider has no API for webhooks here ({0})")]
    NoApi(String),
    /// The credentials.
    #[error(
        "the provider refuses the connection's credentials, or they may not manage webhooks; mend the key's rights, \
         or put another with `tillway secrets put`"
    )]
    Unauthorized,
    /// Certainly nothing was done.
    #[error("the provider is busy or cannot be reached, nothing was done; run it again")]
    Unavailable,
    /// The provider says no.
    #[error("the provider refuses it: {0}")]
    Refused(String),
    /// Nobody knows.
    #[error("no answer that tells ({0}); run it again: what was made is found by its address")]
    Unknown(String),
}

impl Fault {
    /// What an outcome without success means here.
    #[must_use]
    pub fn of(outcome: Outcome) -> Self {
        match outcome {
            Outcome::NotDone { why: NotDone::Unauthorized, .. } => Self::Unauthorized,
            Outcome::NotDone { .. } => Self::Unavailable,
            Outcome::Refused { summary, .. } => Self::Refused(summary),
            Outcome::Unknown { why, .. } => Self::Unknown(why),
            Outcome::Disagrees { what, .. } => Self::Refused(what),
            Outcome::Settled { summary, .. } => Self::Unknown(summary),
        }
    }
}

/// A provider's API for webhook endpoints.
#[async_trait]
pub trait Registrar: Send + Sync {
    /// Name of the secret that signatures are checked with.
    fn secret(&self) -> &'static str {
        "webhook_secret"
    }

    /// Whether an endpoint can be changed and marked; else it is made anew and the old one removed.
    fn changes(&self) -> bool;

    /// All endpoints of the account.
    ///
    /// # Errors
    /// [`Fault`], as for all that follow.
    async fn list(&self, call: &Call<'_>) -> Result<Vec<Listed>, Fault>;

    /// Makes one.
    async fn make(&self, call: &Call<'_>, endpoint: &Endpoint) -> Result<Made, Fault>;

    /// Changes types, switches it on, and marks it where a mark is given.
    async fn change(
        &self,
        call: &Call<'_>,
        id: &str,
        endpoint: &Endpoint,
        mark: Option<&str>,
    ) -> Result<(), Fault>;

    /// Removes one; one that is not there is removed already.
    async fn remove(&self, call: &Call<'_>, id: &str) -> Result<(), Fault>;
}

/// The mark of a secret: tells it from others and nothing of it (a signing secret is long and random).
#[must_use]
pub fn mark(secret: &Secret) -> String {
    digest(&["webhook secret", secret.expose()]).chars().take(16).collect()
}

/// What is to be done about a wanted endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Keep {
        /// The provider's id.
        id: String,
    },
    /// There is none.
    Make,
    /// Types differ, or it is switched off.
    Change {
        /// The provider's id.
        id: String,
    },
    /// Make another, and remove these when its secret is kept.
    Anew {
        /// The provider's ids.
        old: Vec<String>,
        /// Why.
        why: &'static str,
    },
}

/// Compares what is wanted with what is there. `held` are the secrets we have; `replace` makes all anew.
#[must_use]
pub fn plan(
    registrar: &dyn Registrar,
    wanted: &Endpoint,
    there: &[Listed],
    held: &[Secret],
    replace: bool,
) -> Step {
    let same: Vec<&Listed> = there.iter().filter(|l| l.url == wanted.url).collect();
    let anew = |why| Step::Anew { old: same.iter().map(|l| l.id.clone()).collect(), why };
    let marks: Vec<String> = held.iter().map(mark).collect();
    let known = |l: &&&Listed| match &l.signed {
        Signed::Marked(mark) => marks.contains(mark),
        Signed::Lost => false,
        Signed::Untold => !held.is_empty(),
    };
    if same.is_empty() {
        return Step::Make;
    }
    if replace {
        return anew("asked for");
    }
    let Some(endpoint) = same.iter().find(known) else {
        return anew("its signing secret is not held here, and the provider tells it once");
    };
    if !endpoint.fits {
        return anew("it was made for another API version");
    }
    let sorted = |types: &[String]| {
        let mut types = types.to_vec();
        types.sort();
        types
    };
    if endpoint.active && sorted(&endpoint.types) == sorted(&wanted.types) {
        return Step::Keep { id: endpoint.id.clone() };
    }
    if registrar.changes() {
        return Step::Change { id: endpoint.id.clone() };
    }
    anew("its event types differ, and the provider changes none")
}

/// The address of a topic below where Tillway listens.
#[must_use]
pub fn address(base: &str, connection: &Connection, topic: &str) -> String {
    format!("{}/webhooks/{}/{topic}", base.trim_end_matches('/'), connection.name)
}

/// One endpoint for each subscription.
#[must_use]
pub fn endpoints(connection: &Connection, base: &str, subscriptions: &[Subscription]) -> Vec<Endpoint> {
    let endpoint = |s: &Subscription| Endpoint {
        topic: s.topic,
        url: address(base, connection, s.topic),
        types: s.types.iter().map(|t| (*t).to_owned()).collect(),
        used: s.purpose != Purpose::Later,
    };
    subscriptions.iter().map(endpoint).collect()
}

/// The steps to take by hand, where there is no API.
#[must_use]
pub fn steps(connection: &Connection, endpoints: &[Endpoint]) -> Vec<String> {
    let mut out =
        vec![format!("In the settings of {}, make a webhook for each of these:", connection.system)];
    let of = |used: bool| endpoints.iter().filter(move |e| e.used == used);
    let shown = |e: &Endpoint| format!("  {}  ({})", e.url, e.types.join(", "));
    out.extend(of(true).map(shown));
    if of(false).next().is_some() {
        out.push("Of these nothing but a record is kept yet; leave them out unless you want one:".to_owned());
        out.extend(of(false).map(shown));
    }
    out.push(format!(
        "Put the signing secret that each shows: `tillway secrets rotate … {} webhook_secret` (`put` for the first). \
         Several are accepted.",
        connection.name
    ));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Api(bool);
    #[async_trait]
    impl Registrar for Api {
        fn changes(&self) -> bool {
            self.0
        }
        async fn list(&self, _: &Call<'_>) -> Result<Vec<Listed>, Fault> {
            Ok(Vec::new())
        }
        async fn make(&self, _: &Call<'_>, _: &Endpoint) -> Result<Made, Fault> {
            Err(Fault::Unavailable)
        }
        async fn change(&self, _: &Call<'_>, _: &str, _: &Endpoint, _: Option<&str>) -> Result<(), Fault> {
            Ok(())
        }
        async fn remove(&self, _: &Call<'_>, _: &str) -> Result<(), Fault> {
            Ok(())
        }
    }

    fn wanted() -> Endpoint {
        Endpoint {
            topic: "t",
            url: "https://x.example/t".into(),
            types: vec!["a".into(), "b".into()],
            used: true,
        }
    }
    fn listed(signed: Signed) -> Listed {
        let types = vec!["b".to_owned(), "a".to_owned()];
        Listed { id: "1".into(), url: wanted().url, types, active: true, fits: true, signed }
    }

    #[test]
    fn an_endpoint_whose_secret_is_held_is_kept_or_changed() {
        let held = [Secret::new("whsec_1")];
        let plan = |listed: Listed, changes| plan(&Api(changes), &wanted(), &[listed], &held, false);
        let marked = listed(Signed::Marked(mark(&held[0])));
        assert_eq!(plan(marked.clone(), true), Step::Keep { id: "1".into() });
        assert_eq!(plan(listed(Signed::Untold), true), Step::Keep { id: "1".into() });
        assert_eq!(plan(Listed { active: false, ..marked.clone() }, true), Step::Change { id: "1".into() });
        let other = Listed { types: vec!["a".into()], ..marked.clone() };
        assert_eq!(plan(other.clone(), true), Step::Change { id: "1".into() });
        assert!(matches!(plan(other, false), Step::Anew { .. }));
        assert!(matches!(plan(Listed { fits: false, ..marked }, true), Step::Anew { .. }));
    }

    #[test]
    fn one_whose_secret_was_lost_is_made_anew() {
        let held = [Secret::new("whsec_1")];
        for signed in [Signed::Lost, Signed::Marked("other".into())] {
            let step = plan(&Api(true), &wanted(), &[listed(signed)], &held, false);
            assert!(matches!(step, Step::Anew { .. }), "{step:?}");
        }
        let step = plan(&Api(true), &wanted(), &[listed(Signed::Untold)], &[], false);
        assert!(matches!(step, Step::Anew { .. }), "{step:?}");
        assert_eq!(plan(&Api(true), &wanted(), &[], &held, true), Step::Make);
        let elsewhere = Listed { url: "https://y.example/t".into(), ..listed(Signed::Untold) };
        assert_eq!(plan(&Api(true), &wanted(), &[elsewhere], &held, true), Step::Make);
        let step = plan(&Api(true), &wanted(), &[listed(Signed::Marked(mark(&held[0])))], &held, true);
        assert_eq!(step, Step::Anew { old: vec!["1".into()], why: "asked for" });
    }
}
