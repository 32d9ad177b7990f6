//! Actions of steps of images. What of the project can change them is in what they see: its salt,
//! but neither its common files nor its environment.

use ashlar_execute::Kept;
use ashlar_object::{Action, CanonicalHasher, Command, Digest, Platform, Tree};
use ashlar_plan::{FORMAT, InputName, Step};

use crate::command;
use crate::engine::Prepared;

/// The action of a command, or of what stands for one, over a root.
pub(super) fn action(step: &Step, salt: &str, command: &Command, root: &Tree) -> Digest {
    let text = |name: &InputName| step.inputs.text_of(name).unwrap_or_default();
    let mut hasher = CanonicalHasher::new("ashlar image action");
    hasher.text(FORMAT).text(text(&InputName::ProjectSalt)).text(text(&InputName::ModuleSalt));
    hasher.text(salt);
    let architecture = text(&InputName::Architecture).to_owned();
    let action = Action {
        command: command.digest(),
        input_root: root.root_digest(),
        salt: hasher.finish().to_vec(),
        platform: Platform([("arch".to_owned(), architecture)].into()),
    };
    action.digest()
}

/// What is made without a command.
pub(super) fn made(step: &Step, name: &str, made: Kept) -> Prepared {
    let action = action(step, "", &command::internal(name, &[]), &made.tree);
    Prepared { action, request: None, made: Some(made), held: Vec::new(), pinned: None }
}
