//! From what is written to what is meant.

use crate::problem::{Problem, Problems};
use crate::resolved::Project;
use crate::written;

/// The variable in which a step sees an option: `OPTION_DEBUG` for `debug`.
#[must_use]
pub fn option_variable(option: &str) -> String {
    format!("OPTION_{}", option.to_ascii_uppercase().replace('-', "_"))
}

/// Checks a whole project and applies the options of this invocation.
///
/// # Errors
/// Everything that is wrong, without the texts of the files ([`Problems::with_sources`]).
pub fn resolve(
    project: &written::Project,
    modules: &[written::Module],
    options: &[(String, String)],
) -> Result<Project, Problems> {
    let _ = (project, modules, options); // filled in below
    Err(Problems { list: vec![Problem::new("not there yet")], ..Problems::default() })
}
