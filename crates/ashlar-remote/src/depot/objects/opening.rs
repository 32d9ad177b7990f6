//! From what a project says of a web server or a bucket to the depot that it is.

use std::sync::{Arc, OnceLock};

use ashlar_store::RemoteError;
use reqwest::header::{HeaderMap, HeaderValue};
use url::Url;

use super::bucket::{Address, Bucket};
use super::layout::ObjectDepot;
use super::web::Web;
use crate::Credentials;
use crate::depot::Depot;
use crate::http::{Authorize, Client, Fixed};
use crate::open::{Definition, options};

/// A folder behind a web server: `http://…` or `https://…`. A token comes before the user and
/// password of the address, and those before what auth files say.
pub(crate) fn web(definition: &Definition) -> Result<Box<dyn Depot>, RemoteError> {
    let url = parsed(definition, &definition.url)?;
    let client = Client::new(&url, &options(definition))?;
    let authorize: Arc<dyn Authorize> = match (&definition.token, Fixed::of_address(&url)?) {
        (Some(token), _) => Arc::new(Fixed::bearer(&token.0, client.place())?),
        (None, Some(fixed)) => Arc::new(fixed),
        (None, None) => Arc::new(WhenAsked::new(definition, &url, client.place())),
    };
    Ok(Box::new(ObjectDepot::new(Web::new(client, &url, Some(authorize)))))
}

/// What auth files say, looked up when the server asks who we are: helper programs take their time.
struct WhenAsked {
    credentials: Credentials,
    host: String,
    folder: String,
    place: String,
    found: OnceLock<Option<Fixed>>,
}

impl WhenAsked {
    fn new(definition: &Definition, url: &Url, place: &str) -> Self {
        let host = url.host_str().unwrap_or_default();
        Self {
            credentials: definition.credentials.clone(),
            host: url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")),
            folder: url.path().trim_matches('/').to_owned(),
            place: place.to_owned(),
            found: OnceLock::new(),
        }
    }

    fn known(&self) -> Option<&Fixed> {
        self.found.get().and_then(Option::as_ref)
    }
}

impl Authorize for WhenAsked {
    fn header(&self) -> Result<Option<HeaderValue>, RemoteError> {
        self.known().map_or(Ok(None), Authorize::header)
    }

    fn challenged(
        &self,
        _answer: &HeaderMap,
        sent: Option<&HeaderValue>,
    ) -> Result<bool, RemoteError> {
        if self.found.get().is_none() {
            let found = self.credentials.header(&self.host, &self.folder, &self.place)?;
            let _ = self.found.set(found); // Another thread found the same.
        }
        Ok(sent.is_none() && self.known().is_some())
    }

    fn hide(&self, text: String) -> String {
        match self.known() {
            Some(fixed) => fixed.hide(text),
            None => text,
        }
    }
}

/// A bucket: `s3://BUCKET/PREFIX`.
pub(crate) fn bucket(definition: &Definition) -> Result<Box<dyn Depot>, RemoteError> {
    let url = parsed(definition, &definition.url)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong(
            definition,
            "keys do not belong into the address of a bucket; set AWS_ACCESS_KEY_ID and \
             AWS_SECRET_ACCESS_KEY",
        ));
    }
    let Some(name) = url.host_str().filter(|name| !name.is_empty()) else {
        return Err(wrong(definition, "`s3://` needs the name of a bucket, as `s3://cache/team`"));
    };
    let endpoint =
        definition.endpoint.as_deref().map(|text| parsed(definition, text)).transpose()?;
    let address = Address {
        bucket: name.to_owned(),
        prefix: url.path().to_owned(),
        endpoint,
        region: definition.region.clone(),
    };
    let bucket = Bucket::new(&address, definition.keys.as_ref(), &options(definition))?;
    Ok(Box::new(ObjectDepot::new(bucket)))
}

fn parsed(definition: &Definition, text: &str) -> Result<Url, RemoteError> {
    // The text itself may have a password in it.
    Url::parse(text).map_err(|error| wrong(definition, &format!("its address is none: {error}")))
}

fn wrong(definition: &Definition, why: &str) -> RemoteError {
    RemoteError::Address { place: definition.name.clone(), why: why.to_owned() }
}
