//! Words of a line: with quotes, without, `--flags`, and fields between commas.

use std::ops::Range;

/// What separates words outside quotes. Other spaces of Unicode are part of a word.
pub(crate) fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{b}' | '\u{c}')
}

/// The words of `ENV`, `LABEL` and `ARG` in `text[from..]`: separated by spaces outside quotes.
/// Quotes and escapes are still in them. Also where a quote begins that does not end.
pub(crate) fn quoted_words(
    text: &str,
    from: usize,
    escape: char,
) -> (Vec<Range<usize>>, Option<usize>) {
    let mut words = Vec::new();
    let mut start = None;
    let mut quote = None;
    let mut opened = from;
    let mut chars = text[from..].char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let at = from + at;
        match (quote, c) {
            (None, c) if c.is_whitespace() => {
                words.extend(start.take().map(|start| start..at));
                continue;
            }
            (None, '\'' | '"') => {
                quote = Some(c);
                opened = at;
            }
            (Some(q), c) if q == c => quote = None,
            // Nothing can be escaped between single quotes.
            (q, c) if c == escape && q != Some('\'') => {
                chars.next();
            }
            _ => {}
        }
        start.get_or_insert(at);
    }
    words.extend(start.map(|start| start..text.len()));
    (words, quote.map(|_| opened))
}

/// The words of a shell's line in `text[from..]`; spaces after `<<` belong to its word.
pub(crate) fn shell_words(text: &str, from: usize) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let mut start = None;
    let mut chars = text[from..].char_indices().peekable();
    let mut quote = None;
    while let Some((at, c)) = chars.next() {
        let at = from + at;
        match (quote, c) {
            (None, c) if c.is_whitespace() => {
                words.extend(start.take().map(|start| start..at));
                continue;
            }
            (None, '\'' | '"') => quote = Some(c),
            (Some(q), c) if q == c => quote = None,
            (None | Some('"'), '\\') => {
                chars.next();
            }
            (None, '<') if chars.peek().is_some_and(|(_, c)| *c == '<') => {
                chars.next();
                while chars.next_if(|(_, c)| c.is_whitespace()).is_some() {}
            }
            _ => {}
        }
        start.get_or_insert(at);
    }
    // A quote that does not end: the shell will say so; nothing here is a heredoc for certain.
    if quote.is_some() {
        return Vec::new();
    }
    words.extend(start.map(|start| start..text.len()));
    words
}

/// A word without its quotes and escapes, and whether it had quotes.
pub(crate) fn unquote(word: &str) -> (String, bool) {
    let mut out = String::new();
    let mut quoted = false;
    let mut quote = None;
    let mut chars = word.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, '\'' | '"') => {
                quote = Some(c);
                quoted = true;
            }
            (Some(q), c) if q == c => quote = None,
            (None | Some('"'), '\\') => out.extend(chars.next()),
            _ => out.push(c),
        }
    }
    (out, quoted)
}

/// The words between spaces in `text[from..]`.
pub(crate) fn plain_words(text: &str, from: usize) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let mut start = None;
    for (at, c) in text[from..].char_indices() {
        let at = from + at;
        if is_space(c) {
            words.extend(start.take().map(|start| start..at));
        } else {
            start.get_or_insert(at);
        }
    }
    words.extend(start.map(|start| start..text.len()));
    words
}

/// A flag as written: `--NAME=VALUE` without quotes, or `--NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FlagText {
    pub name: String,
    pub value: Option<String>,
    pub range: Range<usize>,
}

/// The flags at the beginning of `text[from..]`, and where the rest begins. `--` ends them.
pub(crate) fn flags(text: &str, mut from: usize, escape: char) -> (Vec<FlagText>, usize) {
    let mut found = Vec::new();
    loop {
        from += text[from..].len() - text[from..].trim_start_matches(is_space).len();
        if !text[from..].starts_with("--") {
            return (found, from);
        }
        let mut word = String::new();
        let mut quote = None;
        let mut end = text.len();
        let mut chars = text[from..].char_indices();
        while let Some((at, c)) = chars.next() {
            match (quote, c) {
                (None, c) if is_space(c) => {
                    end = from + at;
                    break;
                }
                (None, '\'' | '"') => quote = Some(c),
                (Some(q), c) if q == c => quote = None,
                (_, c) if c == escape => word.extend(chars.next().map(|(_, c)| c)),
                (_, c) => word.push(c),
            }
        }
        let range = from..end;
        from = end;
        let flag = word.strip_prefix("--").unwrap_or(&word);
        if flag.is_empty() {
            from += text[from..].len() - text[from..].trim_start_matches(is_space).len();
            return (found, from);
        }
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (flag.to_owned(), None),
        };
        found.push(FlagText { name, value, range });
    }
}

/// The fields of `--mount`: between commas; one that begins with `"` may hold commas.
pub(crate) fn fields(text: &str) -> Option<Vec<String>> {
    let mut all = Vec::new();
    let mut rest = text;
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut field = String::new();
            let mut after = quoted;
            loop {
                let end = after.find('"')?;
                field.push_str(&after[..end]);
                after = &after[end + 1..];
                // Two quotes are one that is meant.
                match after.strip_prefix('"') {
                    Some(more) => {
                        field.push('"');
                        after = more;
                    }
                    None => break,
                }
            }
            all.push(field);
            match after.strip_prefix(',') {
                Some(next) => rest = next,
                None => return after.is_empty().then_some(all),
            }
        } else {
            match rest.split_once(',') {
                Some((field, next)) => {
                    all.push(field.to_owned());
                    rest = next;
                }
                None => {
                    all.push(rest.to_owned());
                    return Some(all);
                }
            }
        }
    }
}
