//! What the caller of a call may do.

use std::sync::Arc;

use http::{Extensions, HeaderMap};
use tokio::sync::watch;

use super::{ClientCertificate, Identities, Identity, Rights, Token, TokenHash};

/// What the caller of a call may do: in the request's extensions. Without one there, nothing.
#[derive(Clone, Debug)]
pub struct Access(Kind);

#[derive(Clone, Debug)]
enum Kind {
    /// Nobody is asked who they are.
    Open,
    /// Nobody knows who it is.
    Nobody,
    /// It showed a credential.
    Known(Known),
}

#[derive(Clone, Debug)]
struct Known {
    identity: Arc<Identity>,
    credential: Credential,
    all: Arc<watch::Sender<Arc<Identities>>>,
}

/// What a caller shows to be known by.
#[derive(Clone, Debug)]
pub(crate) enum Credential {
    Token(TokenHash),
    Certificate(ClientCertificate),
}

/// Why an access is no longer what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The credential is nobody's any more.
    Revoked,
    /// Its owner may do other things than before.
    Changed,
}

impl Credential {
    /// What the caller shows; none when that is nothing, or nothing that can be read. A token goes before a
    /// certificate: who sends one wants to be known by it.
    pub(crate) fn of(headers: &HeaderMap, extensions: &Extensions) -> Option<Credential> {
        let mut said = headers.get_all(http::header::AUTHORIZATION).iter();
        match (said.next(), said.next()) {
            (None, _) => extensions.get::<ClientCertificate>().cloned().map(Credential::Certificate),
            (Some(said), None) => {
                bearer(said.as_bytes()).map(|token| Credential::Token(TokenHash::new(token)))
            }
            // Two, and nobody could tell which of them is meant.
            (Some(_), Some(_)) => None,
        }
    }

    pub(super) fn owner(&self, all: &Identities) -> Option<Arc<Identity>> {
        match self {
            Credential::Token(hash) => all.of_token(hash),
            Credential::Certificate(certificate) => all.of_certificate(certificate),
        }
    }
}

/// The token in `Bearer TOKEN`.
fn bearer(said: &[u8]) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"bearer ";
    let (scheme, token) = said.split_at_checked(SCHEME.len())?;
    let token = token.trim_ascii();
    let is_good = scheme.eq_ignore_ascii_case(SCHEME) && (1..=Token::MAX_BYTES).contains(&token.len());
    is_good.then_some(token)
}

impl Access {
    /// Everything.
    pub(crate) fn open() -> Access {
        Access(Kind::Open)
    }

    pub(super) fn known(
        identity: Arc<Identity>,
        credential: Credential,
        all: Arc<watch::Sender<Arc<Identities>>>,
    ) -> Access {
        Access(Kind::Known(Known { identity, credential, all }))
    }

    /// What the maker of a request may do.
    pub(crate) fn of(extensions: &Extensions) -> Access {
        extensions.get::<Access>().cloned().unwrap_or(Access(Kind::Nobody))
    }

    /// Who it is; none when nobody is asked.
    #[must_use]
    pub fn principal(&self) -> Option<&Arc<str>> {
        match &self.0 {
            Kind::Known(known) => Some(known.identity.name()),
            Kind::Open | Kind::Nobody => None,
        }
    }

    /// Whether it has one of these rights on the queue or limit `name`.
    #[must_use]
    pub fn may(&self, any_of: impl Into<Rights>, name: &str) -> bool {
        match &self.0 {
            Kind::Open => true,
            Kind::Nobody => false,
            Kind::Known(known) => known.identity.may(any_of.into(), name),
        }
    }

    /// Whether it has one of these rights on anything.
    #[must_use]
    pub fn may_somewhere(&self, any_of: impl Into<Rights>) -> bool {
        match &self.0 {
            Kind::Open => true,
            Kind::Nobody => false,
            Kind::Known(known) => known.identity.may_somewhere(any_of.into()),
        }
    }

    /// Whether it has one of these rights on all that there is: then nothing need be looked up.
    #[must_use]
    pub fn may_everywhere(&self, any_of: impl Into<Rights>) -> bool {
        match &self.0 {
            Kind::Open => true,
            Kind::Nobody => false,
            Kind::Known(known) => known.identity.may_everywhere(any_of.into()),
        }
    }

    /// Returns when the access is no longer what it was.
    pub(crate) async fn ended(self) -> Ended {
        let Kind::Known(Known { identity, credential, all }) = self.0 else {
            return std::future::pending().await;
        };
        let mut changes = all.subscribe();
        drop(all);
        loop {
            match credential.owner(&changes.borrow_and_update()) {
                None => return Ended::Revoked,
                Some(now) if *now != *identity => return Ended::Changed,
                Some(_) => {}
            }
            if changes.changed().await.is_err() {
                // Nobody changes them any more: the server ends.
                return std::future::pending().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::auth::{Auth, Right};

    fn identities(text: &str) -> Identities {
        Identities::parse(text).unwrap()
    }

    fn file(name: &str, token: &str, rights: &str) -> String {
        let hash = TokenHash::new(token.as_bytes());
        format!(
            "[[identity]]\nname = \"{name}\"\ntokens = [\"{hash}\"]\n\
             grants = [{{ queues = [\"mail.*\"], rights = [{rights}] }}]\n"
        )
    }

    fn shown(value: &str) -> Option<Credential> {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_str(value).unwrap());
        Credential::of(&headers, &Extensions::new())
    }

    #[test]
    fn without_an_access_there_are_no_rights() {
        let nobody = Access::of(&Extensions::new());
        assert!(!nobody.may(Rights::all(), "q") && !nobody.may_somewhere(Rights::all()));
        assert!(!nobody.may_everywhere(Rights::all()));
    }

    #[test]
    fn token_gives_the_rights_of_its_owner_and_no_others() {
        let auth = Auth::of(identities(&file("a", "secret", "\"consume\"")));
        for text in ["Bearer secret", "bearer  secret "] {
            let access = auth.access(shown(text).unwrap()).unwrap();
            assert_eq!(access.principal().map(|name| &**name), Some("a"));
            assert!(access.may(Right::Consume, "mail.out") && access.may_somewhere(Right::Consume));
            assert!(!access.may(Right::Consume, "sms") && !access.may(Right::Read, "mail.out"));
            assert!(!access.may_everywhere(Right::Consume));
        }
        assert!(auth.access(shown("Bearer other").unwrap()).is_none());
        for text in
            ["", "Bearer", "Bearer ", "secret", "Basic secret", &format!("Bearer {}", "x".repeat(1_025))]
        {
            assert!(shown(text).is_none(), "{text}");
        }
    }

    #[test]
    fn two_tokens_in_one_request_are_none() {
        let mut headers = HeaderMap::new();
        headers.append("authorization", HeaderValue::from_static("Bearer a"));
        headers.append("authorization", HeaderValue::from_static("Bearer b"));
        assert!(Credential::of(&headers, &Extensions::new()).is_none());
    }

    #[test]
    fn certificate_is_looked_at_when_there_is_no_token() {
        let text = "[[identity]]\nname = \"a\"\ncertificate = \"worker.internal\"\n";
        let auth = Auth::of(identities(text));
        let mut extensions = Extensions::new();
        extensions.insert(ClientCertificate::new(["other", "worker.internal"].into_iter()));
        let shown = Credential::of(&HeaderMap::new(), &extensions).unwrap();
        assert_eq!(auth.access(shown).unwrap().principal().map(|name| &**name), Some("a"));
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_static("Bearer wrong"));
        assert!(auth.access(Credential::of(&headers, &extensions).unwrap()).is_none());
    }

    #[tokio::test]
    async fn access_ends_when_its_token_goes_or_its_rights_change_and_not_before() {
        for (next, expected) in [
            (file("a", "other", "\"consume\""), Ended::Revoked),
            (file("a", "secret", "\"read\""), Ended::Changed),
        ] {
            let auth = Auth::of(identities(&file("a", "secret", "\"consume\"")));
            let access = auth.access(shown("Bearer secret").unwrap()).unwrap();
            let ended = tokio::spawn(access.ended());
            auth.replace(identities(&(file("a", "secret", "\"consume\"") + &file("b", "b", "\"read\""))));
            tokio::task::yield_now().await;
            assert!(!ended.is_finished());
            auth.replace(identities(&next));
            assert_eq!(ended.await.unwrap(), expected);
        }
    }
}
