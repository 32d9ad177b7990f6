//! What an instruction that was edited is expected to take: what an earlier one in its place took.

use std::collections::{BTreeMap, HashMap, HashSet};

use ashlar_plan::{ImageWork, Plan, StepIndex};
use ashlar_store::{Journal, RecordedOutcome, StoreError, Timing};

/// How many records of a stage are looked through.
const LOOKED_THROUGH: usize = 200;

/// An earlier instruction that an edited one is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alike {
    /// Its text.
    pub text: String,
    /// How long it takes.
    pub timing: Timing,
}

/// For those of `steps` that are instructions: of all that were carried out in the same stage, and
/// do not stand in the plan any more, the one of the same kind that has the most words in common,
/// the latest of equals. Where that is less than half of the words there is none: it is another
/// instruction then, and no edited one.
///
/// # Errors
/// When the journal cannot be read.
pub fn alike(
    plan: &Plan,
    steps: &[StepIndex],
    project: &str,
    journal: &Journal,
) -> Result<HashMap<StepIndex, Alike>, StoreError> {
    let standing: HashSet<(&str, &str)> =
        plan.steps.iter().map(|step| (step.id.module.as_str(), step.id.step.as_str())).collect();
    let mut stages: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    let mut nearest: Vec<(StepIndex, &str, String)> = Vec::new();
    for index in steps {
        let Some(step) = plan.steps.get(*index) else { continue };
        if !matches!(
            step.image(),
            Some(ImageWork::Run { .. } | ImageWork::Copy { .. } | ImageWork::Folder { .. })
        ) {
            continue;
        }
        let module = step.id.module.as_str();
        let Some((stage, text)) = step.id.step.split_once(": ") else { continue };
        let earlier = match stages.get(&(module, stage)) {
            Some(earlier) => earlier,
            None => {
                let found =
                    journal.history_of(project, module, &format!("{stage}: "), LOOKED_THROUGH)?;
                let mut names: Vec<String> = Vec::new();
                for record in found {
                    let timed = match record.outcome {
                        RecordedOutcome::Built | RecordedOutcome::Hit => true,
                        RecordedOutcome::Cutoff
                        | RecordedOutcome::Failed
                        | RecordedOutcome::TimedOut => false,
                    };
                    if timed
                        && !standing.contains(&(module, record.step.as_str()))
                        && !names.contains(&record.step)
                    {
                        names.push(record.step);
                    }
                }
                stages.entry((module, stage)).or_insert(names)
            }
        };
        let mut best: Option<(u64, &String)> = None;
        for name in earlier {
            let Some((_, other)) = name.split_once(": ") else { continue };
            let Some(score) = likeness(text, other) else { continue };
            if best.is_none_or(|(most, _)| score > most) {
                best = Some((score, name));
            }
        }
        if let Some((_, name)) = best {
            nearest.push((*index, module, name.clone()));
        }
    }
    let names: Vec<(&str, &str)> =
        nearest.iter().map(|(_, module, name)| (*module, name.as_str())).collect();
    let timings = journal.timings(&names)?;
    let alike = |(index, module, name): &(StepIndex, &str, String)| {
        let timing = *timings.get(&((*module).to_owned(), name.clone()))?;
        let text = name.split_once(": ").map_or(name.as_str(), |(_, text)| text).to_owned();
        Some((*index, Alike { text, timing }))
    };
    Ok(nearest.iter().filter_map(alike).collect())
}

/// How many of a thousand words two texts have in common after the first one, which says what kind
/// of instruction it is; `None` for two kinds, and for less than half.
fn likeness(one: &str, other: &str) -> Option<u64> {
    let (mut one, mut other) = (one.split_whitespace(), other.split_whitespace());
    if !one.next()?.eq_ignore_ascii_case(other.next()?) {
        return None;
    }
    let mut words: HashMap<&str, u64> = HashMap::new();
    let (mut all, mut common) = (0, 0);
    for word in one {
        *words.entry(word).or_default() += 1;
        all += 1;
    }
    for word in other {
        all += 1;
        if let Some(left) = words.get_mut(word).filter(|left| **left > 0) {
            *left -= 1;
            common += 2;
        }
    }
    let score = (common * 1000u64).checked_div(all)?;
    (score >= 500).then_some(score)
}

#[cfg(test)]
mod tests {
    use super::likeness;

    #[test]
    fn edited_instructions_have_most_of_their_words() {
        let make = "RUN ./configure && make -j8 && make install";
        assert_eq!(likeness(make, make), Some(1000));
        let edited = likeness(make, "RUN ./configure --with-ssl && make -j8 && make install");
        assert!(edited > Some(900), "{edited:?}");
        let less = likeness(make, "RUN make -j8 && make install");
        assert!(less.is_some() && less < edited, "{less:?}");
        assert_eq!(likeness(make, "RUN apt-get update && apt-get install -y curl"), None);
        // Another kind, whatever it says; and words are counted as often as they are there.
        assert_eq!(likeness("COPY a b /c", "ADD a b /c"), None);
        assert_eq!(likeness("RUN a a a a", "RUN a b c d e"), None);
        assert_eq!(likeness("RUN", "RUN"), None);
    }
}
