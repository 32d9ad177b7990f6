//! Answers as they were recorded.

use std::collections::HashMap;

use ashlar_object::Digest;
use ashlar_recipe::Pin;
use ashlar_store::Store;

use super::answer::{Body, Content};
use super::ask::Asked;
use super::download::{Head, Stop};
use super::serve::{Answers, Reply, Troubles};

/// Answers from what was recorded; contents are in the store.
pub struct Replayer<'a> {
    pins: HashMap<(&'a str, bool), &'a Pin>,
    store: &'a dyn Store,
    stop: Stop,
    troubles: Troubles,
}

impl<'a> Replayer<'a> {
    /// Who answers with these pins.
    #[must_use]
    pub fn new(pins: &'a [Pin], store: &'a dyn Store) -> Self {
        let pins = pins.iter().map(|pin| ((pin.url.as_str(), pin.head), pin)).collect();
        Self { pins, store, stop: Stop::default(), troubles: Troubles::default() }
    }
}

impl Answers for Replayer<'_> {
    fn answer(&self, asked: &Asked) -> std::io::Result<Reply> {
        // The head of what was recorded as a whole is known as well.
        let found = self.pins.get(&(asked.url.as_str(), asked.head));
        let found =
            found.or_else(|| self.pins.get(&(asked.url.as_str(), false)).filter(|_| asked.head));
        let Some(pin) = found else {
            self.troubles.unknown(&asked.url);
            return Ok(Reply::Refused(502, format!("{} was not recorded", asked.url)));
        };
        let head = Head { status: pin.status, fields: pin.fields.clone(), length: pin.size };
        let digest = pin.sha256.as_ref().zip(pin.size);
        let digest = digest.and_then(|(sum, size)| Digest::from_hex(sum, size).ok());
        let body = match digest.filter(|_| !asked.head) {
            None => Body::None,
            Some(digest) => match self.store.open(&digest).map_err(std::io::Error::other)? {
                Some(content) => Body::Stored(content),
                None => {
                    let why = format!("the content of {} is not in the store", asked.url);
                    self.troubles.lost(&asked.url);
                    return Ok(Reply::Refused(502, why));
                }
            },
        };
        Ok(Reply::Content(Content { head, body }))
    }

    fn stop(&self) {
        self.stop.set();
    }

    fn stopping(&self) -> &Stop {
        &self.stop
    }

    fn troubles(&self) -> &Troubles {
        &self.troubles
    }
}
