//! The patterns of `${x#pattern}` and of paths.

/// One part of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Char(char),
    /// `?`: any character (of a path: but `/`).
    One,
    /// `*`: any characters (of a path: but `/`).
    Many,
    /// Any parts of a path, each with the `/` after it.
    Parts,
    /// Anything at all.
    Rest,
    /// `[a-z]`, `[^a-z]`.
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

/// A pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob {
    tokens: Vec<Token>,
    /// Whether `/` is matched by itself only.
    path: bool,
    /// What every match begins and ends with. Most paths fit neither, and are done with.
    prefix: String,
    suffix: String,
}

impl Glob {
    fn new(tokens: Vec<Token>, path: bool) -> Self {
        let literal = |token: &Token| match token {
            Token::Char(c) => Some(*c),
            _ => None,
        };
        let prefix = tokens.iter().map_while(literal).collect();
        let suffix: Vec<char> = tokens.iter().rev().map_while(literal).collect();
        Self { prefix, suffix: suffix.into_iter().rev().collect(), tokens, path }
    }

    /// How many steps it may take, at most, to replace what it matches in a text.
    pub fn effort(&self, text: &str) -> usize {
        let length = text.len() + 1;
        length.saturating_mul(length).saturating_mul(self.tokens.len() + 1)
    }

    /// A pattern of the shell's parameter expansion: `*`, `?`, and `\` before a character that is
    /// meant as it is.
    pub fn shell(pattern: &str) -> Result<Self, String> {
        let mut tokens = Vec::new();
        let mut chars = pattern.chars();
        while let Some(c) = chars.next() {
            tokens.push(match c {
                '*' => Token::Many,
                '?' => Token::One,
                '\\' => match chars.next() {
                    Some(c @ ('*' | '?' | '\\' | '}' | '/')) => Token::Char(c),
                    Some(c) => return Err(format!("`\\{c}` cannot be in a pattern")),
                    None => return Err("a pattern cannot end with `\\`".to_owned()),
                },
                c => Token::Char(c),
            });
        }
        Ok(Self::new(tokens, false))
    }

    /// A pattern of paths as Go's `filepath.Match` has them. With `doublestar`, a part `**` is any
    /// number of parts.
    pub fn path(pattern: &str, doublestar: bool) -> Result<Self, String> {
        let mut tokens = Vec::new();
        let chars: Vec<char> = pattern.chars().collect();
        let mut at = 0;
        while at < chars.len() {
            let c = chars[at];
            let first = at == 0;
            at += 1;
            tokens.push(match c {
                '*' if doublestar && chars.get(at) == Some(&'*') => {
                    while chars.get(at) == Some(&'*') {
                        at += 1;
                    }
                    if chars.get(at) == Some(&'/') {
                        at += 1;
                    }
                    // `**.o` means every path that ends so, as long as nothing else is special.
                    let special = |c: &char| matches!(c, '*' | '?' | '[' | ']' | '\\');
                    let suffix = first && chars[at - 1] != '/' && !chars[at..].iter().any(special);
                    if at == chars.len() || suffix { Token::Rest } else { Token::Parts }
                }
                '*' => Token::Many,
                '?' => Token::One,
                '\\' => {
                    let Some(next) = chars.get(at) else {
                        return Err(format!("the pattern `{pattern}` ends with `\\`"));
                    };
                    at += 1;
                    Token::Char(*next)
                }
                '[' => {
                    let (class, next) = class(&chars, at)
                        .ok_or_else(|| format!("`[` in the pattern `{pattern}` is not closed"))?;
                    at = next;
                    class
                }
                c => Token::Char(c),
            });
        }
        Ok(Self::new(tokens, true))
    }

    /// Whether it matches all of a text.
    pub fn matches(&self, text: &str) -> bool {
        if !text.starts_with(&self.prefix) || !text.ends_with(&self.suffix) {
            return false;
        }
        self.walk(text.chars(), |_, _| {})[self.tokens.len()]
    }

    /// Whether some text that begins with `folder/` can match.
    pub fn may_match_below(&self, folder: &str) -> bool {
        let states = self.walk(folder.chars().chain(['/']), |_, _| {});
        // What is matched already cannot match something longer.
        states[..self.tokens.len()].contains(&true)
    }

    /// The text without the shortest or longest beginning that matches.
    pub fn without_prefix(&self, text: &str, longest: bool) -> String {
        let chars: Vec<char> = text.chars().collect();
        let ends = self.ends(&chars);
        let end = if longest { ends.last() } else { ends.first() };
        chars[end.copied().unwrap_or(0)..].iter().collect()
    }

    /// The text without the shortest or longest end that matches.
    pub fn without_suffix(&self, text: &str, longest: bool) -> String {
        let chars: Vec<char> = text.chars().rev().collect();
        let tokens = self.tokens.iter().rev().cloned().collect();
        let ends = Self::new(tokens, self.path).ends(&chars);
        let end = if longest { ends.last() } else { ends.first() };
        chars[end.copied().unwrap_or(0)..].iter().rev().collect()
    }

    /// The text with the first (or each) longest match replaced.
    pub fn replace(&self, text: &str, replacement: &str, all: bool) -> String {
        if self.tokens.is_empty() {
            return text.to_owned();
        }
        let chars: Vec<char> = text.chars().collect();
        let mut out = String::new();
        let mut at = 0;
        while at < chars.len() {
            match self.ends(&chars[at..]).last().copied().filter(|length| *length > 0) {
                Some(length) => {
                    out.push_str(replacement);
                    at += length;
                    if !all {
                        break;
                    }
                }
                None => {
                    out.push(chars[at]);
                    at += 1;
                }
            }
        }
        out.extend(&chars[at..]);
        out
    }

    /// Where a match that begins with the text may end, in order.
    fn ends(&self, text: &[char]) -> Vec<usize> {
        let mut ends = Vec::new();
        self.walk(text.iter().copied(), |at, states| {
            if states[self.tokens.len()] {
                ends.push(at);
            }
        });
        ends
    }

    /// Goes through a text, and says after each character (and before the first one) how far into
    /// the pattern one may be; at last, how far after all of it. Ends early where nothing can
    /// match any more.
    fn walk(
        &self,
        text: impl Iterator<Item = char>,
        mut after: impl FnMut(usize, &[bool]),
    ) -> Vec<bool> {
        let mut states = vec![false; self.tokens.len() + 1];
        let mut next = states.clone();
        self.enter(&mut states, 0);
        after(0, &states);
        for (at, c) in text.enumerate() {
            next.fill(false);
            self.step(&states, &mut next, c);
            std::mem::swap(&mut states, &mut next);
            if !states.contains(&true) {
                break;
            }
            after(at + 1, &states);
        }
        states
    }

    /// Adds a state, and those behind tokens that may match nothing.
    fn enter(&self, states: &mut [bool], mut at: usize) {
        loop {
            states[at] = true;
            match self.tokens.get(at) {
                Some(Token::Many | Token::Rest | Token::Parts) => at += 1,
                _ => return,
            }
        }
    }

    fn step(&self, states: &[bool], next: &mut [bool], c: char) {
        let separator = self.path && c == '/';
        for (at, token) in self.tokens.iter().enumerate().filter(|(at, _)| states[*at]) {
            match token {
                Token::Char(wanted) if *wanted == c => self.enter(next, at + 1),
                Token::One if !separator => self.enter(next, at + 1),
                Token::Class { negated, ranges } if !separator => {
                    let inside = ranges.iter().any(|(low, high)| (*low..=*high).contains(&c));
                    if inside != *negated {
                        self.enter(next, at + 1);
                    }
                }
                Token::Many if !separator => self.enter(next, at),
                Token::Rest => self.enter(next, at),
                // Inside parts one stays until the next `/`; only there it may end.
                Token::Parts if separator => self.enter(next, at),
                Token::Parts => next[at] = true,
                _ => {}
            }
        }
    }
}

/// The class that begins after `[`, and where the rest begins.
fn class(chars: &[char], mut at: usize) -> Option<(Token, usize)> {
    let negated = chars.get(at) == Some(&'^');
    at += usize::from(negated);
    let mut ranges = Vec::new();
    let one = |at: &mut usize| {
        let c = match chars.get(*at)? {
            '\\' => {
                *at += 1;
                chars.get(*at)?
            }
            '-' | ']' => return None,
            c => c,
        };
        *at += 1;
        Some(*c)
    };
    loop {
        if chars.get(at) == Some(&']') && !ranges.is_empty() {
            return Some((Token::Class { negated, ranges }, at + 1));
        }
        let low = one(&mut at)?;
        let mut high = low;
        if chars.get(at) == Some(&'-') {
            at += 1;
            high = one(&mut at)?;
        }
        ranges.push((low, high));
    }
}
