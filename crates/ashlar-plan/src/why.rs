//! What differs between two lists of inputs.

use crate::{InputName, KeyInputs, Value};

/// One input that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Which.
    pub input: InputName,
    /// What it was; `None` when it was not there.
    pub was: Option<Value>,
    /// What it is; `None` when it is gone.
    pub now: Option<Value>,
}

/// The inputs that differ, in the order of their names.
#[must_use]
pub fn compare(was: &KeyInputs, now: &KeyInputs) -> Vec<Changed> {
    let mut changes = Vec::new();
    let mut left = was.inputs().iter().peekable();
    let mut right = now.inputs().iter().peekable();
    loop {
        let (was, now) = match (left.peek(), right.peek()) {
            (None, None) => return changes,
            (Some(_), None) => (left.next(), None),
            (None, Some(_)) => (None, right.next()),
            (Some(a), Some(b)) => match a.name.cmp(&b.name) {
                std::cmp::Ordering::Less => (left.next(), None),
                std::cmp::Ordering::Greater => (None, right.next()),
                std::cmp::Ordering::Equal => (left.next(), right.next()),
            },
        };
        let Some(name) = was.or(now).map(|i| i.name.clone()) else { return changes };
        let (was, now) = (was.map(|i| i.value.clone()), now.map(|i| i.value.clone()));
        if was != now {
            changes.push(Changed { input: name, was, now });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(list: &[(&str, &str)]) -> KeyInputs {
        let mut inputs = KeyInputs::default();
        for (name, value) in list {
            inputs.text(InputName::Env((*name).to_owned()), *value);
        }
        inputs.seal("x").0
    }

    #[test]
    fn names_what_changed_came_and_went() {
        let was = inputs(&[("A", "1"), ("B", "1"), ("C", "1")]);
        let now = inputs(&[("B", "2"), ("C", "1"), ("D", "1")]);
        let found: Vec<_> = compare(&was, &now)
            .into_iter()
            .map(|c| (c.input.to_string(), c.was.is_some(), c.now.is_some()))
            .collect();
        let expected = [
            ("environment A", true, false),
            ("environment B", true, true),
            ("environment D", false, true),
        ];
        assert_eq!(found, expected.map(|(n, w, o)| (n.to_owned(), w, o)));
        assert_eq!(compare(&now, &now), []);
    }
}
