//! Takes values of the expected type out of a parsed file and notes what is not.

use std::borrow::Cow;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::problem::{Problem, Problems, nearest};
use crate::written::{At, Named, Scalar, Span, Text};

/// More problems of one file than this are only counted.
const PER_FILE: usize = 20;

/// A key as the parser gives it.
pub(super) type Key<'i> = Spanned<Cow<'i, str>>;
/// A value as the parser gives it.
pub(super) type Value<'i> = Spanned<DeValue<'i>>;

/// The keys of one kind of table, and how people call that table.
pub(crate) struct Keys {
    /// `[build]`; empty for the top of the file.
    pub table: &'static str,
    /// All of them.
    pub known: &'static [&'static str],
}

pub(super) struct Reader<'a> {
    file: &'a str,
    problems: Vec<Problem>,
    more: usize,
}

impl<'a> Reader<'a> {
    pub fn new(file: &'a str) -> Self {
        Self { file, problems: Vec::new(), more: 0 }
    }

    pub fn file(&self) -> &'a str {
        self.file
    }

    pub fn finish(self) -> Option<Problems> {
        (!self.problems.is_empty()).then(|| Problems::gather(self.problems, self.more))
    }

    fn report(&mut self, span: Span, label: &str, message: String, help: Option<String>) {
        if self.problems.len() == PER_FILE {
            self.more += 1;
            return;
        }
        let mut problem = Problem::new(message).at(self.file, span, label);
        problem.help = help;
        self.problems.push(problem);
    }

    /// Notes what is wrong at a place.
    pub fn wrong(&mut self, span: Span, message: String, help: &str) {
        self.report(span, "", message, Some(help.to_owned()));
    }

    /// The tables of a `[[key]]`.
    pub fn tables<'i>(&mut self, key: &str, value: Value<'i>) -> Vec<Value<'i>> {
        match value.into_inner_parts() {
            (DeValue::Array(array), _) => array.into_iter().collect(),
            (other, span) => {
                let help = Some(format!("write `[[{key}]]`, once for each"));
                self.wrong_type(key, "a list of tables", &Spanned::new(span, other), help);
                Vec::new()
            }
        }
    }

    /// Notes a key that `keys` does not have. `others` are the tables of the same file, where it
    /// may belong.
    pub fn unknown(&mut self, key: &Key<'_>, keys: &Keys, others: &[Keys]) {
        let name = key.get_ref().as_ref();
        let place = if keys.table.is_empty() { "" } else { " in " };
        let message = format!("unknown key `{}`{place}{}", name.escape_debug(), keys.table);
        let elsewhere = others.iter().find(|o| o.known.contains(&name));
        let help = match (nearest(name, keys.known.iter().copied()), elsewhere) {
            (_, Some(other)) if other.table.is_empty() => {
                format!("`{name}` stands at the top of the file, above the first `[table]`")
            }
            (_, Some(other)) => format!("`{name}` belongs in `{}`", other.table),
            (Some(near), None) => format!("did you mean `{near}`?"),
            (None, None) => format!("known are: {}", keys.known.join(", ")),
        };
        self.report(key.span().into(), "", message, Some(help));
    }

    fn wrong_type(&mut self, key: &str, expected: &str, value: &Value<'_>, help: Option<String>) {
        let found = describe(value.get_ref());
        let message = format!("`{}` must be {expected}", key.escape_debug());
        self.report(value.span().into(), &format!("this is {found}"), message, help);
    }

    pub fn text(&mut self, key: &str, value: Value<'_>) -> Option<Text> {
        self.text_of(key, "a text", value)
    }

    /// A text that is, or is part of, what is expected.
    fn text_of(&mut self, key: &str, expected: &str, value: Value<'_>) -> Option<Text> {
        let span = Span::from(value.span());
        match value.into_inner() {
            DeValue::String(text) if !text.contains('\0') => {
                Some(At { value: text.into_owned(), span })
            }
            DeValue::String(_) => {
                let message = format!("`{key}` contains a NUL character");
                self.report(span, "", message, None);
                None
            }
            other => {
                let help = match &other {
                    DeValue::Array(_) => Some("write a text, without the brackets".to_owned()),
                    DeValue::Integer(n) => Some(format!("write it in quotes: \"{n}\"")),
                    DeValue::Boolean(b) => Some(format!("write it in quotes: \"{b}\"")),
                    _ => None,
                };
                let value = Spanned::new(span.range(), other);
                self.wrong_type(key, expected, &value, help);
                None
            }
        }
    }

    pub fn texts(&mut self, key: &str, value: Value<'_>) -> Option<At<Vec<Text>>> {
        let span = Span::from(value.span());
        match value.into_inner() {
            DeValue::Array(array) => {
                let each = |item| self.text_of(key, "a list of texts", item);
                let texts = array.into_iter().filter_map(each).collect();
                Some(At { value: texts, span })
            }
            other => {
                let help = match &other {
                    DeValue::String(_) => Some("write it in brackets: [\"…\"]".to_owned()),
                    _ => None,
                };
                let value = Spanned::new(span.range(), other);
                self.wrong_type(key, "a list of texts", &value, help);
                None
            }
        }
    }

    /// The items of a list, or nothing.
    pub fn list(&mut self, key: &str, value: Value<'_>) -> Vec<Text> {
        self.texts(key, value).map(|texts| texts.value).unwrap_or_default()
    }

    pub fn flag(&mut self, key: &str, value: &Value<'_>) -> Option<At<bool>> {
        let found = value.get_ref().as_bool();
        if found.is_none() {
            let help = match value.get_ref().as_str() {
                Some("true" | "false") => Some("write it without quotes".to_owned()),
                _ => None,
            };
            self.wrong_type(key, "`true` or `false`", value, help);
        }
        found.map(|flag| At { value: flag, span: value.span().into() })
    }

    /// A small number: 0 to 99.
    pub fn number(&mut self, key: &str, value: &Value<'_>) -> Option<At<u32>> {
        let number = value
            .get_ref()
            .as_integer()
            .and_then(|n| u32::from_str_radix(n.as_str(), n.radix()).ok())
            .filter(|n| *n < 100);
        if number.is_none() {
            self.wrong_type(key, "a number from 0 to 99", value, None);
        }
        number.map(|number| At { value: number, span: value.span().into() })
    }

    pub fn scalar(&mut self, key: &str, value: Value<'_>) -> Option<At<Scalar>> {
        if let Some(flag) = value.get_ref().as_bool() {
            return Some(At { value: Scalar::Bool(flag), span: value.span().into() });
        }
        self.text(key, value).map(|text| At { value: Scalar::Text(text.value), span: text.span })
    }

    pub fn table<'i>(&mut self, key: &str, value: Value<'i>) -> Option<DeTable<'i>> {
        match value.into_inner_parts() {
            (DeValue::Table(table), _) => Some(table),
            (other, span) => {
                let help = Some(format!("write `[{key}]` on a line of its own, its keys below"));
                self.wrong_type(key, "a table", &Spanned::new(span, other), help);
                None
            }
        }
    }

    /// A table whose keys are names that a person chose, each read by `each`.
    pub fn named<T>(
        &mut self,
        key: &str,
        value: Value<'_>,
        mut each: impl FnMut(&mut Self, &str, Value<'_>) -> Option<T>,
    ) -> Named<T> {
        let Some(table) = self.table(key, value) else { return Vec::new() };
        let mut named = Vec::with_capacity(table.len());
        for (name, value) in table {
            let span = name.span().into();
            let path = format!("{key}.{}", name.get_ref());
            if let Some(value) = each(self, &path, value) {
                named.push((At { value: name.into_inner().into_owned(), span }, value));
            }
        }
        // The parser may keep the order of the file instead, depending on how it was built.
        named.sort_by(|a: &(Text, T), b| a.0.value.cmp(&b.0.value));
        named
    }
}

/// Both parts of a spanned value at once.
pub(super) trait Parts<T> {
    fn into_inner_parts(self) -> (T, std::ops::Range<usize>);
}

impl<T> Parts<T> for Spanned<T> {
    fn into_inner_parts(self) -> (T, std::ops::Range<usize>) {
        let span = self.span();
        (self.into_inner(), span)
    }
}

fn describe(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "`true` or `false`",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
