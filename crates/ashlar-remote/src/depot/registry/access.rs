//! How a registry lets us in: anonymously, with a password, or with tokens that are fetched from
//! where it says, kept until they expire, and fetched anew when it no longer takes them.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use url::Url;
use url::form_urlencoded::Serializer;

use ashlar_store::RemoteError;

use super::challenge::{Challenge, challenge};
use super::credentials::{Credential, Credentials};
use crate::http::{Authorize, Client, Fixed, Options, Payload, Request};

/// How long a token is valid when nothing is said about it, by the token specification.
const VALID: u64 = 60;

/// What lets us into one repository. Shared by all requests to it.
pub(super) struct Access {
    place: String,
    host: String,
    repository: String,
    credentials: Credentials,
    options: Options,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// `None`: not looked for yet.
    credential: Option<Option<Credential>>,
    /// What it asked for last.
    wants: Option<Challenge>,
    tokens: HashMap<String, Token>,
    /// What it wants a token to say besides the scope that we know, by that scope.
    more: HashMap<String, BTreeSet<String>>,
    /// Who gives tokens.
    issuer: Option<(String, Client)>,
    /// What must not be shown.
    hidden: Vec<String>,
}

struct Token {
    header: HeaderValue,
    until: Instant,
}

/// What a request is allowed to do: the right to it is asked for with the first token already.
pub(super) struct Grant {
    access: Arc<Access>,
    scope: String,
}

impl Access {
    /// `known` is who we are, when that is known already.
    pub fn new(
        place: &str,
        host: &str,
        repository: &str,
        credentials: &Credentials,
        known: Option<Credential>,
        options: &Options,
    ) -> Arc<Self> {
        let mut state = State::default();
        if let Some(known) = known {
            state.learn(Some(known));
        }
        Arc::new(Self {
            place: place.to_owned(),
            host: host.to_owned(),
            repository: repository.to_owned(),
            credentials: credentials.clone(),
            options: options.clone(),
            state: Mutex::new(state),
        })
    }

    /// For requests that do `actions`: `pull`, `pull,push`, `delete`; and read another repository.
    pub fn grant(self: &Arc<Self>, actions: &str, from: Option<&str>) -> Arc<dyn Authorize> {
        let mut scope = format!("repository:{}:{actions}", self.repository);
        if let Some(from) = from {
            scope.push_str(&format!(" repository:{from}:pull"));
        }
        Arc::new(Grant { access: Arc::clone(self), scope })
    }

    /// Why a registry that says 401 after all may have said so.
    pub fn advice(&self) -> String {
        match self.lock().credential {
            Some(Some(_)) => "the credentials for it are not accepted; log in again".to_owned(),
            _ => format!(
                "there are no credentials for {}/{} ({}); log in to it",
                self.host,
                self.repository,
                self.credentials.shown()
            ),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who we are; looked up once.
    fn credential(&self, state: &mut State) -> Result<Option<Credential>, RemoteError> {
        if let Some(known) = &state.credential {
            return Ok(known.clone());
        }
        let found = self.credentials.of(&self.host, &self.repository)?;
        state.learn(found.clone());
        Ok(found)
    }

    /// The header for a scope, from what is known.
    fn header(&self, scope: &str) -> Result<Option<HeaderValue>, RemoteError> {
        let mut state = self.lock();
        let Some(wants) = state.wants.clone() else { return Ok(None) };
        let credential = self.credential(&mut state)?;
        match (wants, credential) {
            (_, Some(Credential::Token(token))) => Fixed::bearer(&token, &self.place)?.header(),
            (Challenge::Basic, Some(Credential::Password(user, password))) => {
                Fixed::basic(&user, &password, &self.place)?.header()
            }
            (Challenge::Basic, _) => Ok(None),
            (Challenge::Bearer { realm, service, .. }, credential) => {
                if let Some(token) = state.tokens.get(scope)
                    && token.until > Instant::now()
                {
                    return Ok(Some(token.header.clone()));
                }
                // The lock is kept meanwhile: those who need the same token wait for this one.
                let token =
                    self.fetch(&mut state, &realm, service.as_deref(), scope, credential.as_ref())?;
                let header = token.header.clone();
                state.tokens.insert(scope.to_owned(), token);
                Ok(Some(header))
            }
        }
    }

    /// Fetches a token.
    fn fetch(
        &self,
        state: &mut State,
        realm: &str,
        service: Option<&str>,
        scope: &str,
        credential: Option<&Credential>,
    ) -> Result<Token, RemoteError> {
        let wrong = |why: &str| RemoteError::Wrong {
            place: self.place.clone(),
            what: "a request without token".to_owned(),
            why: why.to_owned(),
        };
        let mut url = Url::parse(realm)
            .map_err(|_| wrong("the place where it wants tokens to be fetched is no address"))?;
        let client = match &state.issuer {
            Some((of, client)) if of == realm => client.clone(),
            _ => Client::new(&url, &self.options)?,
        };
        state.issuer = Some((realm.to_owned(), client.clone()));

        let mut scopes: Vec<&str> = scope.split(' ').collect();
        let more = state.more.get(scope).cloned().unwrap_or_default();
        scopes.extend(more.iter().map(String::as_str));
        let request = if let Some(Credential::Identity(identity)) = credential {
            let mut form = Serializer::new(String::new());
            form.append_pair("grant_type", "refresh_token");
            form.append_pair("service", service.unwrap_or_default());
            form.append_pair("client_id", "ashlar");
            form.append_pair("scope", &scopes.join(" "));
            form.append_pair("refresh_token", identity);
            Request::new(Method::POST, url)
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .payload(Payload::Bytes(Bytes::from(form.finish())))
        } else {
            {
                let mut query = url.query_pairs_mut();
                if let Some(service) = service {
                    query.append_pair("service", service);
                }
                for one in &scopes {
                    query.append_pair("scope", one);
                }
                if let Some(Credential::Password(user, _)) = credential {
                    query.append_pair("account", user);
                }
            }
            let with: Option<Arc<dyn Authorize>> = match credential {
                Some(Credential::Password(user, password)) => {
                    Some(Arc::new(Fixed::basic(user, password, &self.place)?))
                }
                _ => None,
            };
            Request::get(url).authorize(with)
        };
        let answer = client.send(&request.limit(1 << 20), None)?;
        if !answer.status.is_success() {
            let why = match answer.status.as_u16() {
                400 | 401 | 403 => {
                    let anonymous = credential.is_none();
                    let why = state.hide(answer.said());
                    let advice = if anonymous {
                        format!(
                            "there are no credentials for {}/{} ({})",
                            self.host,
                            self.repository,
                            self.credentials.shown()
                        )
                    } else {
                        "the credentials for it are not accepted".to_owned()
                    };
                    format!("{why}; {advice}; log in to it")
                }
                _ => state.hide(answer.said()),
            };
            return Err(RemoteError::Refused {
                place: client.place().to_owned(),
                what: format!("a token for {scope}"),
                why,
            });
        }
        #[derive(serde::Deserialize)]
        struct Issued {
            #[serde(default)]
            token: String,
            #[serde(default)]
            access_token: String,
            expires_in: Option<u64>,
        }
        let issued: Issued = serde_json::from_slice(&answer.body)
            .map_err(|_| answer.wrong("this is not the JSON of a token"))?;
        let token = if issued.token.is_empty() { issued.access_token } else { issued.token };
        if token.is_empty() {
            return Err(answer.wrong("there is no token in the answer"));
        }
        let header = Fixed::bearer(&token, &self.place)?.header()?;
        let header = header.ok_or_else(|| answer.wrong("there is no token in the answer"))?;
        // Old ones are of no use to anybody, but for the text of an answer that is on its way.
        if state.hidden.len() > 64 {
            state.hidden.truncate(4);
        }
        state.hidden.push(token);
        let valid = Duration::from_secs(issued.expires_in.unwrap_or(VALID).max(1));
        // A little less, so that it does not expire on its way.
        let margin = (valid / 4).min(Duration::from_secs(10));
        Ok(Token { header, until: Instant::now() + valid.saturating_sub(margin) })
    }
}

impl State {
    fn learn(&mut self, credential: Option<Credential>) {
        match &credential {
            Some(Credential::Password(user, password)) => {
                let code = STANDARD.encode(format!("{user}:{password}"));
                self.hidden.extend([password.clone(), code]);
            }
            Some(Credential::Identity(token) | Credential::Token(token)) => {
                self.hidden.push(token.clone());
            }
            None => {}
        }
        self.credential = Some(credential);
    }

    fn hide(&self, mut text: String) -> String {
        for secret in self.hidden.iter().filter(|secret| !secret.is_empty()) {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), "…");
            }
        }
        text
    }
}

impl Authorize for Grant {
    fn header(&self) -> Result<Option<HeaderValue>, RemoteError> {
        self.access.header(&self.scope)
    }

    fn challenged(
        &self,
        answer: &HeaderMap,
        sent: Option<&HeaderValue>,
    ) -> Result<bool, RemoteError> {
        let Some(wants) = challenge(answer) else { return Ok(false) };
        {
            let mut state = self.access.lock();
            // Somebody else may have fetched a new one meanwhile, which then is worth a try.
            if let Some(token) = state.tokens.get(&self.scope)
                && Some(&token.header) == sent
            {
                state.tokens.remove(&self.scope);
            }
            if let Challenge::Bearer { scopes, .. } = &wants {
                let ours: BTreeSet<&str> = self.scope.split(' ').collect();
                let more = scopes.iter().filter(|more| !ours.contains(more.as_str()));
                let more: BTreeSet<String> = more.cloned().collect();
                state.more.insert(self.scope.clone(), more);
            }
            state.wants = Some(wants);
        }
        Ok(self.header()?.is_some_and(|header| Some(&header) != sent))
    }

    fn hide(&self, text: String) -> String {
        self.access.lock().hide(text)
    }
}
