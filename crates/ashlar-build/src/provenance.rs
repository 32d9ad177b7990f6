//! How a result came to be, as the predicate of an in-toto statement in the form of SLSA v1
//! (<https://slsa.dev/spec/v1.0/provenance>).

use ashlar_object::Time;
use ashlar_plan::{InputName, StepIndex, Value, Work};
use ashlar_recipe::{Base, Origin};
use ashlar_store::Found;
use serde_json::{Map, Value as Json, json};

use crate::engine::Engine;

/// Who built it, where nobody says.
const BUILDER: &str = concat!("ashlar/", env!("CARGO_PKG_VERSION"));

/// What the parameters and dependencies below mean.
const BUILD_TYPE: &str = "urn:ashlar:step:v1";

/// The predicate for a step that had this result. Variables of the environment are left out: the
/// step key has them, and people put secrets there.
pub(crate) fn predicate(engine: &Engine<'_>, index: StepIndex, found: &Found) -> Vec<u8> {
    let step = &engine.plan.steps[index];
    let mut external = Map::new();
    external.insert("project".to_owned(), json!(engine.project.name));
    external.insert("module".to_owned(), json!(step.id.module));
    external.insert("step".to_owned(), json!(step.id.step));
    external.insert("stepKey".to_owned(), json!(step.key.to_string()));
    let mut options = Map::new();
    let mut dependencies = Vec::new();
    for input in step.inputs.inputs() {
        if let (InputName::Option(name), Value::Text(value)) = (&input.name, &input.value) {
            options.insert(name.clone(), json!(value));
        }
        let digest = match &input.value {
            Value::File(digest) | Value::Tree(digest) => json!({ "sha256": digest.hex() }),
            Value::Sha256(hash) => json!({ "sha256": hash }),
            Value::Step(key) => json!({ "ashlarStepKey": key.to_string() }),
            Value::Text(_) => continue,
        };
        let name = without_user(&input.name.to_string());
        dependencies.push(json!({ "name": name, "digest": digest }));
    }
    external.insert("options".to_owned(), Json::Object(options));
    if let Work::Build(module) = &step.work {
        if let Some(name) = &module.base {
            external.insert("base".to_owned(), base(name, engine.project.bases.get(name)));
        }
        for source in &module.sources {
            let (uri, digest) = match &source.origin {
                Origin::Url { url, sha256, .. } => (url, json!({ "sha256": sha256 })),
                Origin::Git { url, commit, .. } => (url, json!({ "gitCommit": commit })),
                Origin::Deb { .. } | Origin::Path { .. } => continue,
            };
            dependencies.push(json!({ "uri": without_user(uri), "digest": digest }));
        }
    }
    let took = found.result.took;
    let started = found.result.started;
    let nanos = u64::from(started.nanos) + u64::from(took.subsec_nanos());
    let finished = Time {
        seconds: started.seconds
            + took.as_secs().cast_signed()
            + (nanos / 1_000_000_000).cast_signed(),
        nanos: u32::try_from(nanos % 1_000_000_000).unwrap_or_default(),
    };
    let builder = engine.project.builder.as_deref().map(without_user);
    let predicate = json!({
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": external,
            "internalParameters": {
                "architecture": engine.facts.architecture,
                "action": found.action.to_string(),
            },
            "resolvedDependencies": dependencies,
        },
        "runDetails": {
            "builder": { "id": builder.as_deref().unwrap_or(BUILDER) },
            "metadata": {
                "invocationId": step.key.to_string(),
                "startedOn": moment(started),
                "finishedOn": moment(finished),
            },
        },
    });
    predicate.to_string().into_bytes()
}

fn base(name: &str, base: Option<&Base>) -> Json {
    match base {
        Some(Base::Debian { suite, variant, .. }) => {
            json!({ "name": name, "suite": suite, "variant": variant })
        }
        _ => json!({ "name": name }),
    }
}

/// An address without what stands before the host and without a query: there are passwords there.
fn without_user(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let rest = rest.split(['?', '#']).next().unwrap_or(rest);
    let end = rest.find('/').unwrap_or(rest.len());
    match rest[..end].rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{host}{}", &rest[end..]),
        None => format!("{scheme}://{rest}"),
    }
}

/// A moment as RFC 3339 writes it, to the second.
fn moment(time: Time) -> String {
    jiff::Timestamp::from_second(time.seconds).map(|t| t.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lose_their_passwords() {
        for (url, shown) in [
            ("https://me:secret@host/x@y", "https://host/x@y"),
            ("https://host/x@y", "https://host/x@y"),
            ("ssh://git@host:22/x", "ssh://host:22/x"),
            ("git@host:x", "git@host:x"),
            ("https://host?token=secret", "https://host"),
        ] {
            assert_eq!(without_user(url), shown);
        }
    }

    #[test]
    fn moments() {
        assert_eq!(moment(Time { seconds: 946_684_800, nanos: 5 }), "2000-01-01T00:00:00Z");
    }
}
