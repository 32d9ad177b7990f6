//! What a registry asks for with 401: `WWW-Authenticate`.

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// How it wants to be spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A user and a password with every request.
    Basic,
    /// A token, fetched from somewhere.
    Bearer {
        /// From where.
        realm: String,
        /// For whom.
        service: Option<String>,
        /// For what.
        scopes: Vec<String>,
    },
}

/// The best of what the headers offer: tokens, because passwords then travel less.
pub(super) fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    let mut best = None;
    for value in headers.get_all(WWW_AUTHENTICATE) {
        for (scheme, parameters) in schemes(value.to_str().unwrap_or_default()) {
            let find = |name: &str| {
                let found = parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                found.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
            };
            if scheme.eq_ignore_ascii_case("bearer") {
                if let Some(realm) = find("realm") {
                    let scopes = find("scope").unwrap_or_default();
                    let scopes = scopes.split_whitespace().map(str::to_owned).collect();
                    return Some(Challenge::Bearer { realm, service: find("service"), scopes });
                }
            } else if scheme.eq_ignore_ascii_case("basic") {
                best = Some(Challenge::Basic);
            }
        }
    }
    best
}

/// `Scheme name="value", name=value, Scheme …` taken apart.
fn schemes(text: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut found: Vec<(String, Vec<(String, String)>)> = Vec::new();
    let mut rest = text.trim_start_matches([' ', ',', '\t']);
    while !rest.is_empty() {
        let end = rest.find([' ', '=', ',', '\t']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let after = after.trim_start_matches([' ', '\t']);
        if let Some(after) = after.strip_prefix('=') {
            let (value, after) = value(after.trim_start_matches([' ', '\t']));
            if let Some((_, parameters)) = found.last_mut() {
                parameters.push((word.to_owned(), value));
            }
            rest = after;
        } else {
            if !word.is_empty() {
                found.push((word.to_owned(), Vec::new()));
            }
            rest = after;
        }
        rest = rest.trim_start_matches([' ', ',', '\t']);
    }
    found
}

/// A token or a quoted string, and what follows.
fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(letters.next().map(|(_, escaped)| escaped)),
            _ => value.push(letter),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        headers.insert(WWW_AUTHENTICATE, text.parse().expect("a header"));
        challenge(&headers)
    }

    #[test]
    fn bearer_with_commas_inside_quotes() {
        let text = r#"Bearer realm="https://auth.example/token?a=1,2",service="a \"b\"",scope="repository:x/y:pull,push""#;
        assert_eq!(
            of(text),
            Some(Challenge::Bearer {
                realm: "https://auth.example/token?a=1,2".to_owned(),
                service: Some("a \"b\"".to_owned()),
                scopes: vec!["repository:x/y:pull,push".to_owned()],
            })
        );
    }

    #[test]
    fn the_token_is_preferred_whatever_the_order() {
        let text = r#"Basic realm="r", Bearer realm = "https://a/t" , error=invalid_token"#;
        assert!(matches!(of(text), Some(Challenge::Bearer { realm, service: None, .. })
            if realm == "https://a/t"));
        assert_eq!(of(r#"basic realm="x y""#), Some(Challenge::Basic));
    }

    #[test]
    fn nonsense_is_no_challenge() {
        for text in ["", "Negotiate", "Bearer", "Bearer realm=", "=,=\"", "Bearer realm=\"", ",,,"]
        {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
