//! A module that is an image, as one step: which layers it has, and which configuration.
//!
//! Its result is small and names the layers; so a remote that has it is asked for no layer until
//! somebody wants the image itself.

use std::sync::Arc;

use ashlar_dockerfile::{Configuration, Image};
use ashlar_object::Digest;

use crate::image::{ImageWork, Part};
use crate::{FORMAT, InputName, KeyInputs, Plan, Step, StepId, StepIndex, Value, Work};

/// The step of a whole image over the layers of its target.
pub(crate) fn whole(image: &Image, name: &str, layers: &[StepIndex], plan: &Plan) -> Step {
    let mut inputs = KeyInputs::default();
    inputs.text(InputName::Format, FORMAT);
    inputs.text(InputName::Kind, "image");
    let mut configuration = Box::default();
    if let Some(target) = image.stages.get(image.target) {
        inputs.text(InputName::Architecture, target.platform.to_string());
        self::configuration(&target.configuration, &mut inputs);
        configuration = Box::new(target.configuration.clone());
    }
    let (mut parts, mut own) = (Vec::new(), Vec::new());
    for (number, layer) in layers.iter().enumerate() {
        let step = &plan.steps[*layer];
        match step.image() {
            Some(ImageWork::Layer { .. }) => {
                parts.push(Part::Foreign(diff_id_of(step).unwrap_or_default()));
            }
            _ => {
                parts.push(Part::Step(*layer));
                own.push(*layer);
            }
        }
        inputs.add(InputName::Base(format!("layer {number}")), Value::Step(step.key));
    }
    let (inputs, key) = inputs.seal("ashlar image");
    Step {
        id: StepId { module: name.to_owned(), step: "build".to_owned() },
        work: Work::Image(Arc::new(ImageWork::Whole { configuration, layers: parts })),
        key,
        inputs,
        layers: own,
        sources: Vec::new(),
        depends: Vec::new(),
    }
}

/// What the archive of a layer of others has as its SHA-256: it is all that its key holds.
fn diff_id_of(step: &Step) -> Option<[u8; 32]> {
    step.inputs.inputs().iter().find_map(|input| match &input.value {
        Value::Sha256(hex) => format!("{hex}/0").parse::<Digest>().ok().map(|digest| digest.hash),
        _ => None,
    })
}

fn configuration(of: &Configuration, inputs: &mut KeyInputs) {
    let Configuration { env, user, working_directory, entrypoint, command, shell, .. } = of;
    for (name, value) in env {
        inputs.text(InputName::Env(name.clone()), value.clone());
    }
    let mut set = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            inputs.text(InputName::Layout(name.to_owned()), value);
        }
    };
    let joined = |list: &Option<Vec<String>>| list.as_ref().map(|list| list.join("\0"));
    set("user", user.clone());
    set("folder", working_directory.clone());
    set("entrypoint", joined(entrypoint));
    set("command", joined(command));
    set("shell", joined(shell));
    let Configuration {
        labels,
        exposed_ports,
        volumes,
        stop_signal,
        healthcheck,
        on_build,
        author,
        ..
    } = of;
    for (name, value) in labels {
        set(&format!("label {name}"), Some(value.clone()));
    }
    for port in exposed_ports {
        set(&format!("port {port}"), Some(String::new()));
    }
    for volume in volumes {
        set(&format!("volume {volume}"), Some(String::new()));
    }
    set("stop signal", stop_signal.clone());
    set("author", author.clone());
    set("triggers", (!on_build.is_empty()).then(|| on_build.join("\0")));
    set(
        "health check",
        healthcheck.as_ref().map(|check| {
            let nanos = [check.interval, check.timeout, check.start_period, check.start_interval]
                .map(|time| time.map_or_else(String::new, |time| time.as_nanos().to_string()));
            let retries = check.retries.map_or_else(String::new, |count| count.to_string());
            format!("{}\0\0{}\0{retries}", check.test.join("\0"), nanos.join("\0"))
        }),
    );
}
