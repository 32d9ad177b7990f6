//! Several runs of one file, in the order in which they use what others make.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ashlar_recipe::Declaration;
use ashlar_source::Globs;

/// Why runs have no order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// There is no run of this name.
    #[error("there is no run `{name}`")]
    Unknown {
        /// The name.
        name: String,
    },
    /// Runs use what they make themselves, through others.
    #[error("runs use one another in a circle: {}", names.join(", "))]
    Circle {
        /// Their names.
        names: Vec<String>,
    },
    /// Two runs make the same file.
    #[error("`{one}` and `{other}` both make `{path}`")]
    Both {
        /// A run.
        one: String,
        /// Another run.
        other: String,
        /// What both make.
        path: String,
    },
}

/// For each wanted run, and each that it needs, the runs that have to be done before it.
///
/// # Errors
/// When a name is unknown, or there is no order.
pub fn order<'a>(
    runs: &'a BTreeMap<String, Declaration>,
    wanted: &'a [String],
) -> Result<BTreeMap<&'a str, BTreeSet<&'a str>>, OrderError> {
    let outputs: Vec<(&str, Globs)> = runs
        .iter()
        .filter_map(|(name, run)| Some((&**name, Globs::new(&run.output).ok()?)))
        .collect();
    for (number, (one, globs)) in outputs.iter().enumerate() {
        for (other, _) in &outputs[number + 1..] {
            let both = runs[*other].output.iter().find(|path| globs.is_match(Path::new(path)));
            if let Some(path) = both {
                let (one, other) = ((*one).to_owned(), (*other).to_owned());
                return Err(OrderError::Both { one, other, path: path.clone() });
            }
        }
    }
    let before = |run: &'a Declaration, own: &str| -> BTreeSet<&'a str> {
        let makers = outputs.iter().filter(|(maker, globs)| {
            *maker != own && run.uses.iter().any(|path| globs.is_match(Path::new(path)))
        });
        // The name as it stands in the map, which lives longer than the globs.
        makers
            .filter_map(|(maker, _)| runs.get_key_value(*maker))
            .map(|(name, _)| &**name)
            .collect()
    };
    let mut all = BTreeMap::new();
    let mut todo: Vec<&str> = match wanted {
        [] => runs.keys().map(String::as_str).collect(),
        names => names.iter().map(String::as_str).collect(),
    };
    while let Some(name) = todo.pop() {
        let Some((name, run)) = runs.get_key_value(name) else {
            return Err(OrderError::Unknown { name: name.to_owned() });
        };
        if all.contains_key(&**name) {
            continue;
        }
        let before = before(run, name);
        todo.extend(&before);
        all.insert(&**name, before);
    }
    // Whatever can never begin is in a circle, or behind one.
    let mut done: BTreeSet<&str> = BTreeSet::new();
    loop {
        let ready: Vec<&str> = all
            .iter()
            .filter(|(name, before)| !done.contains(**name) && before.is_subset(&done))
            .map(|(name, _)| *name)
            .collect();
        if ready.is_empty() {
            break;
        }
        done.extend(ready);
    }
    let left: Vec<String> =
        all.keys().filter(|name| !done.contains(**name)).map(|name| (*name).to_owned()).collect();
    if left.is_empty() { Ok(all) } else { Err(OrderError::Circle { names: left }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(uses: &[&str], output: &[&str]) -> Declaration {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        Declaration { uses: texts(uses), output: texts(output), ..Declaration::default() }
    }

    #[test]
    fn what_is_used_is_made_first() {
        let runs: BTreeMap<String, Declaration> = [
            ("app".to_owned(), run(&["out/lib-dev.deb"], &["out/app.deb"])),
            ("lib".to_owned(), run(&[], &["out/lib*.deb"])),
            ("other".to_owned(), run(&[], &["out/other"])),
        ]
        .into();
        let wanted = ["app".to_owned()];
        let found = order(&runs, &wanted).unwrap();
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), ["app", "lib"]);
        assert_eq!(found["app"], ["lib"].into());
        assert_eq!(order(&runs, &[]).unwrap().len(), 3);
        let wrong = ["ap".to_owned()];
        assert_eq!(order(&runs, &wrong), Err(OrderError::Unknown { name: "ap".to_owned() }));
    }

    #[test]
    fn circles_and_two_makers_are_errors() {
        let runs: BTreeMap<String, Declaration> = [
            ("a".to_owned(), run(&["b.out"], &["a.out"])),
            ("b".to_owned(), run(&["a.out"], &["b.out"])),
        ]
        .into();
        assert!(matches!(order(&runs, &[]), Err(OrderError::Circle { names }) if names.len() == 2));
        let runs: BTreeMap<String, Declaration> =
            [("a".to_owned(), run(&[], &["x/*"])), ("b".to_owned(), run(&[], &["x/one"]))].into();
        assert!(matches!(order(&runs, &[]), Err(OrderError::Both { .. })));
    }
}
