//! Variables in words: `$x`, `${x}` and its modifiers, quotes and escapes.

use crate::glob::Glob;

/// Nesting deeper than this is refused.
const DEPTH: usize = 32;

/// A result longer than this many bytes is refused.
const LENGTH: usize = 1 << 20;

/// Patterns and values that would take more steps than this are refused.
const EFFORT: usize = 1 << 28;

/// A word with its variables put in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expanded {
    pub text: String,
    /// Variables that nothing sets and that have no default in the word.
    pub unset: Vec<String>,
    /// Variables that were asked for and are set.
    pub used: Vec<String>,
}

/// How to read a word.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub escape: char,
    /// Whether quotes mean something: not in heredocs.
    pub quotes: bool,
}

/// Puts variables into a word and takes away its quotes and escapes.
///
/// # Errors
///
/// What is wrong with it, as a clause.
pub(crate) fn expand(
    word: &str,
    reading: Reading,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Expanded, String> {
    let mut expansion = Expansion {
        chars: word.chars().collect(),
        at: 0,
        reading,
        lookup,
        depth: 0,
        unset: Vec::new(),
        used: Vec::new(),
    };
    let text = expansion.until(None, false)?;
    let Expansion { mut unset, mut used, .. } = expansion;
    unset.dedup();
    used.dedup();
    Ok(Expanded { text, unset, used })
}

struct Expansion<'a> {
    chars: Vec<char>,
    at: usize,
    reading: Reading,
    lookup: &'a dyn Fn(&str) -> Option<String>,
    depth: usize,
    unset: Vec<String>,
    used: Vec<String>,
}

impl Expansion<'_> {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek();
        self.at += usize::from(c.is_some());
        c
    }

    fn next_if(&mut self, wanted: char) -> bool {
        let is = self.peek() == Some(wanted);
        self.at += usize::from(is);
        is
    }

    /// Up to `stop`, which is taken, or to the end. With `raw`, escapes stay as they are: those of
    /// patterns.
    fn until(&mut self, stop: Option<char>, raw: bool) -> Result<String, String> {
        let mut out = String::new();
        while let Some(c) = self.peek() {
            if out.len() > LENGTH {
                return Err("the result is longer than 1 MiB".to_owned());
            }
            if Some(c) == stop {
                self.at += 1;
                return Ok(out);
            }
            match c {
                '\'' if self.reading.quotes => self.single(&mut out)?,
                '"' if self.reading.quotes => self.double(&mut out, raw)?,
                '$' => out.push_str(&self.dollar()?),
                c if c == self.reading.escape => {
                    self.at += 1;
                    if raw {
                        out.push(c);
                    }
                    // At the very end it means nothing.
                    out.extend(self.next());
                }
                c => {
                    self.at += 1;
                    out.push(c);
                }
            }
        }
        match stop {
            Some(stop) => Err(format!("`{stop}` is missing")),
            None => Ok(out),
        }
    }

    fn single(&mut self, out: &mut String) -> Result<(), String> {
        self.at += 1;
        loop {
            match self.next() {
                Some('\'') => return Ok(()),
                Some(c) => out.push(c),
                None => return Err("the closing `'` is missing".to_owned()),
            }
        }
    }

    fn double(&mut self, out: &mut String, raw: bool) -> Result<(), String> {
        self.at += 1;
        loop {
            match self.peek() {
                None => return Err("the closing `\"` is missing".to_owned()),
                Some('"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some('$') => out.push_str(&self.dollar()?),
                Some(c) if c == self.reading.escape => {
                    self.at += 1;
                    match self.peek() {
                        Some(next) if matches!(next, '"' | '$') || next == c => {
                            if raw {
                                out.push(c);
                            }
                            out.push(next);
                            self.at += 1;
                        }
                        Some(_) => out.push(c),
                        None => {}
                    }
                }
                Some(c) => {
                    self.at += 1;
                    out.push(c);
                }
            }
        }
    }

    fn dollar(&mut self) -> Result<String, String> {
        self.at += 1;
        if !self.next_if('{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            let value = self.get(&name);
            return Ok(self.or_unset(&name, value));
        }
        if self.depth >= DEPTH {
            return Err(format!("`${{` is nested more than {DEPTH} deep"));
        }
        self.depth += 1;
        let value = self.braces();
        self.depth -= 1;
        value
    }

    /// What follows `${`, up to its `}`.
    fn braces(&mut self) -> Result<String, String> {
        let name = self.name();
        if name.is_empty() {
            return match self.peek() {
                None => Err("`}` is missing".to_owned()),
                Some(_) => Err("`${` needs the name of a variable".to_owned()),
            };
        }
        let value = self.get(&name);
        let Some(modifier) = self.next() else { return Err("`}` is missing".to_owned()) };
        match modifier {
            '}' => Ok(self.or_unset(&name, value)),
            '-' | '+' | '?' => self.conditional(&name, value, modifier, false),
            ':' => match self.next() {
                Some(c @ ('-' | '+' | '?')) => self.conditional(&name, value, c, true),
                Some('=') => Err("`:=` cannot be used here; `:-` gives a default".to_owned()),
                Some(c) => Err(format!("`:{c}` is no modifier; there are `:-`, `:+` and `:?`")),
                None => Err("`}` is missing".to_owned()),
            },
            '#' | '%' => {
                let longest = self.next_if(modifier);
                let pattern = self.until(Some('}'), true)?;
                let value = self.or_unset(&name, value);
                let glob = pattern_for(&pattern, &value)?;
                Ok(if modifier == '#' {
                    glob.without_prefix(&value, longest)
                } else {
                    glob.without_suffix(&value, longest)
                })
            }
            '/' => {
                let all = self.next_if('/');
                let pattern = self.until(Some('/'), true)?;
                let replacement = self.until(Some('}'), false)?;
                let value = self.or_unset(&name, value);
                let glob = pattern_for(&pattern, &value)?;
                let result = glob.replace(&value, &replacement, all);
                if result.len() > LENGTH {
                    return Err("the result is longer than 1 MiB".to_owned());
                }
                Ok(result)
            }
            c => Err(format!("`{c}` is no modifier of a variable")),
        }
    }

    /// `-`, `+` and `?`; after `:`, an empty value counts as none.
    fn conditional(
        &mut self,
        name: &str,
        value: Option<String>,
        modifier: char,
        colon: bool,
    ) -> Result<String, String> {
        // What is not taken is read, and what it lacks is nobody's mistake.
        let (unset, used) = (self.unset.len(), self.used.len());
        let word = self.until(Some('}'), false)?;
        let given = value.filter(|value| !(colon && value.is_empty()));
        let taken = match modifier {
            '-' => given.is_none(),
            '+' => given.is_some(),
            _ => false,
        };
        if !taken {
            self.unset.truncate(unset);
            self.used.truncate(used);
        }
        match (modifier, given) {
            ('-', None) => Ok(word),
            ('-', Some(value)) => Ok(value),
            ('+', given) => Ok(if given.is_some() { word } else { String::new() }),
            (_, Some(value)) => Ok(value),
            (_, None) => {
                let what = if colon { "needs a value" } else { "has to be set" };
                let message = if word.is_empty() { String::new() } else { format!(": {word}") };
                Err(format!("`{name}` {what}{message}"))
            }
        }
    }

    fn get(&mut self, name: &str) -> Option<String> {
        let value = (self.lookup)(name);
        if value.is_some() {
            self.used.push(name.to_owned());
        }
        value
    }

    fn or_unset(&mut self, name: &str, value: Option<String>) -> String {
        value.unwrap_or_else(|| {
            self.unset.push(name.to_owned());
            String::new()
        })
    }

    /// A name: letters, digits and `_`; or a number; or one of the shell's special parameters,
    /// which are never set here.
    fn name(&mut self) -> String {
        let start = self.at;
        match self.peek() {
            Some(c) if c.is_ascii_digit() => {
                while self.peek().is_some_and(|c| c.is_ascii_digit()) {
                    self.at += 1;
                }
            }
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => self.at += 1,
            _ => {
                while self.peek().is_some_and(|c| c.is_alphanumeric() || c == '_') {
                    self.at += 1;
                }
            }
        }
        self.chars[start..self.at].iter().collect()
    }
}

/// A pattern, unless it would take too long to find it in a value.
fn pattern_for(pattern: &str, value: &str) -> Result<Glob, String> {
    let glob = Glob::shell(pattern)?;
    if glob.effort(value) > EFFORT {
        return Err("the value is too long for a pattern".to_owned());
    }
    Ok(glob)
}
