//! Requests of the library below, sent by the room's own client.

use std::pin::Pin;
use std::sync::Arc;

use ashlar_store::RemoteError;
use http_body_util::BodyExt as _;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService,
};
use url::Url;

use super::failure::Carried;
use crate::depot::objects::clock::Clock;
use crate::http::retry::Failure;
use crate::http::{Answer, Client, Payload, Request};

/// Hands the client to the library.
#[derive(Clone)]
pub(super) struct Connector {
    pub client: Client,
    pub clock: Arc<Clock>,
    pub place: String,
    pub bucket: String,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connector({})", self.place)
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

type Answered = Result<HttpResponse, HttpError>;

impl HttpService for Connector {
    // What the attribute of the crate `async-trait` makes of an async method.
    fn call<'a, 'b>(
        &'a self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Answered> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(self.answer(request))
    }
}

impl Connector {
    async fn answer(&self, request: HttpRequest) -> Answered {
        let (head, body) = request.into_parts();
        let broken = |why: String| {
            carry(Failure::Lasting(RemoteError::Address { place: self.place.clone(), why }))
        };
        let url = Url::parse(&head.uri.to_string()).map_err(|error| broken(error.to_string()))?;
        // In memory already, and in one piece: nothing is copied.
        let body = body.collect().await?.to_bytes();
        let mut asked = Request::new(head.method, url);
        asked.headers = head.headers;
        if !body.is_empty() {
            // With a length of its own the client streams it, and sees that it moves.
            let whole = body.len() as u64;
            let body = crate::depot::Body::Made(Arc::new(InMemory(body)));
            asked.payload = Payload::Part(body, 0..whole);
        }
        asked.headers.remove(reqwest::header::HOST);
        asked.headers.remove(reqwest::header::CONTENT_LENGTH);
        let client = self.client.clone();
        // The client blocks.
        let sent = tokio::task::spawn_blocking(move || client.attempt(&asked, None, &mut 0));
        let answer = sent.await.map_err(|error| broken(error.to_string()))?.map_err(carry)?;
        self.clock.hear(&answer.headers);
        let status = answer.status.as_u16();
        let code = tag(&answer.body, "Code");
        let lasting = match (status, code.as_deref()) {
            (404, Some("NoSuchBucket")) => Some(RemoteError::Address {
                place: self.place.clone(),
                why: format!(
                    "there is no bucket {} at {}; make it, or correct `url`, `endpoint` and \
                     `region`",
                    self.bucket,
                    self.client.place()
                ),
            }),
            (404 | 409 | 412 | 304, _) => None,
            _ if answer.status.is_success() => None,
            _ => Some(self.refusal(&answer, code)),
        };
        match lasting {
            Some(error) => Err(carry(Failure::Lasting(error))),
            None => {
                let mut response = HttpResponse::new(HttpResponseBody::from(answer.body));
                *response.status_mut() = answer.status;
                *response.headers_mut() = answer.headers;
                Ok(response)
            }
        }
    }

    /// What a status means that the library has no use for.
    fn refusal(&self, answer: &Answer, code: Option<String>) -> RemoteError {
        let says: Vec<String> =
            [code, tag(&answer.body, "Message")].into_iter().flatten().collect();
        let said = match says.is_empty() {
            true => answer.said(),
            false => format!("{}: {}", answer.status, says.join(": ")),
        };
        let place = self.place.clone();
        match answer.status.as_u16() {
            401 | 403 => RemoteError::Refused {
                place,
                what: "what is asked".to_owned(),
                why: format!(
                    "{said}; the keys need s3:GetObject and s3:ListBucket to read, s3:PutObject \
                     and s3:DeleteObject to write; set `write = false` for this remote when they \
                     are only to read"
                ),
            },
            400 => RemoteError::Address {
                place,
                why: format!("{said}; are `endpoint` and `region` right?"),
            },
            _ => RemoteError::Wrong { place, what: "what is asked".to_owned(), why: said },
        }
    }
}

fn carry(failure: Failure) -> HttpError {
    HttpError::new(HttpErrorKind::Unknown, Carried::new(failure))
}

/// The text of the first such element of an answer.
fn tag(body: &[u8], name: &str) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let begin = text.find(&format!("<{name}>"))? + name.len() + 2;
    let length = text.get(begin..)?.find("</")?;
    let inside: String = text.get(begin..begin + length)?.chars().take(300).collect();
    Some(inside.chars().filter(|c| !c.is_control()).collect())
}

/// Bytes that the library holds.
#[derive(Debug)]
struct InMemory(bytes::Bytes);

impl crate::depot::Made for InMemory {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> std::io::Result<usize> {
        let start = usize::try_from(at).unwrap_or(self.0.len()).min(self.0.len());
        std::io::Read::read(&mut &self.0[start..], buffer)
    }
}
