//! Secrets of commands in what is written down or said of their downloads.

use ashlar_execute::{SHORTEST_SECRET, Secret};
use ashlar_recipe::Pin;
use ashlar_source::percent_decoded;

use crate::event::{ErrorKind, Failure};

/// Why downloads are not written down that have a secret in them.
pub(super) fn in_secret(secrets: &[(String, Secret)], gets: &[Pin]) -> Option<Failure> {
    let texts = gets.iter().flat_map(|pin| std::iter::once(&pin.url).chain(pin.fields.values()));
    let id = texts.into_iter().find_map(|text| holds(secrets, text))?;
    Some(Failure::Error {
        message: format!("the secret `{id}` is in an address that would be recorded"),
        advice: Some("pass it in a field of the request, which is not recorded".to_owned()),
        kind: ErrorKind::Build,
    })
}

/// A failure without the secrets in the addresses that it names.
pub(super) fn hidden(failure: Failure, secrets: &[(String, Secret)]) -> Failure {
    match failure {
        Failure::Error { message, advice, kind } => {
            let words = message.split(' ').map(|word| without(secrets, word));
            Failure::Error { message: words.collect::<Vec<_>>().join(" "), advice, kind }
        }
        other => other,
    }
}

/// A word of a message; an address is one without its query when there is a secret in that.
fn without(secrets: &[(String, Secret)], word: &str) -> String {
    let Some(id) = holds(secrets, word).filter(|_| word.contains('/')) else {
        return word.to_owned();
    };
    let end = if word.ends_with(',') { "," } else { "" };
    match word.split_once('?') {
        Some((address, _)) if holds(secrets, address).is_none() => format!("{address}?…{end}"),
        _ => format!("an address with the secret `{id}`{end}"),
    }
}

/// The secret that is in a text, as it is or with its characters escaped. One of several lines is
/// there when one of them is.
fn holds<'a>(secrets: &'a [(String, Secret)], text: &str) -> Option<&'a str> {
    let forms = [
        text.as_bytes().to_vec(),
        percent_decoded(text),
        // As forms escape.
        percent_decoded(&text.replace('+', " ")),
    ];
    let found = secrets.iter().find(|(_, secret)| {
        let lines = secret.bytes().split(|byte| *byte == b'\n');
        let parts = std::iter::once(secret.bytes()).chain(lines).map(<[u8]>::trim_ascii);
        let mut wanted = parts.filter(|part| part.len() >= SHORTEST_SECRET);
        wanted.any(|wanted| {
            forms.iter().any(|form| form.windows(wanted.len()).any(|part| part == wanted))
        })
    });
    found.map(|(id, _)| id.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets() -> Vec<(String, Secret)> {
        let secret = |text: &str| Secret::from(text.as_bytes().to_vec());
        let lines = "login\r\n  tok/en+1 x\n\nab\n";
        vec![
            ("short".to_owned(), secret("a.t")),
            ("lines".to_owned(), secret(lines)),
            ("pair".to_owned(), secret("abcd\nefgh\n")),
        ]
    }

    #[test]
    fn a_secret_is_found_in_each_form_that_an_address_gives_it() {
        let secrets = secrets();
        for text in [
            "http://a.test/?t=tok/en+1%20x",
            "http://a.test/?t=tok%2Fen%2b1+x",
            "http://a.test/?t=%74ok%2Fen%2B1%20x&y",
        ] {
            assert_eq!(holds(&secrets, text), Some("lines"), "{text}");
        }
        assert_eq!(holds(&secrets, "http://a.test/?abcd%0Aefgh"), Some("pair"));
        for text in ["http://a.test/login", "http://a.test/?t=tok%2Fen%2x", "http://a.test/%"] {
            assert_eq!(holds(&secrets, text), None, "{text}");
        }
        let pin = Pin {
            url: "http://a.test/".to_owned(),
            head: false,
            status: 302,
            sha256: None,
            size: None,
            fields: [("location".to_owned(), "/?tok%2fen%2b1%20x".to_owned())].into(),
        };
        assert!(in_secret(&secrets, std::slice::from_ref(&pin)).is_some());
        assert!(in_secret(&secrets, &[Pin { fields: Default::default(), ..pin }]).is_none());
    }

    #[test]
    fn messages_name_addresses_without_their_secrets() {
        let said = |message: &str| {
            let (advice, kind) = (None, ErrorKind::Build);
            let failure = Failure::Error { message: message.to_owned(), advice, kind };
            hidden(failure, &secrets()).to_string()
        };
        let message = "it asked for http://a.test/x?t=tok%2Fen%2B1+x, which pins does not have";
        assert_eq!(said(message), "it asked for http://a.test/x?…, which pins does not have");
        let message = "http://a.test/tok%2Fen%2B1+x?y cannot be downloaded";
        assert_eq!(said(message), "an address with the secret `lines` cannot be downloaded");
        assert_eq!(said("http://a.test/x?y is gone"), "http://a.test/x?y is gone");
    }
}
