//! From what a project says of a web server or a bucket to the depot that it is.

use std::sync::Arc;

use ashlar_store::RemoteError;
use url::Url;

use super::bucket::{Address, Bucket};
use super::layout::ObjectDepot;
use super::web::Web;
use crate::depot::Depot;
use crate::http::{Authorize, Client, Fixed};
use crate::open::{Definition, options};

/// A folder behind a web server: `http://…` or `https://…`. A token comes before the user and
/// password of the address.
pub(crate) fn web(definition: &Definition) -> Result<Box<dyn Depot>, RemoteError> {
    let url = parsed(definition, &definition.url)?;
    let client = Client::new(&url, &options(definition))?;
    let authorize: Option<Arc<dyn Authorize>> = match &definition.token {
        Some(token) => Some(Arc::new(Fixed::bearer(&token.0, client.place())?)),
        None => Fixed::of_address(&url)?.map(|fixed| Arc::new(fixed) as Arc<dyn Authorize>),
    };
    Ok(Box::new(ObjectDepot::new(Web::new(client, &url, authorize))))
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
