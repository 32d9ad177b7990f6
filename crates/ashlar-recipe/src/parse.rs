//! From the bytes of a file to its written form.

use crate::problem::{Problem, Problems};
use crate::resolved::ModuleName;
use crate::written;

/// The project file.
pub const PROJECT_FILE: &str = "ashlar.toml";

/// The size in bytes above which a project or module file is refused: no person wrote it.
pub const MODULE_LIMIT: usize = 4 << 20;

/// The name of the module that a file holds: `net/lldpd` for `modules/net/lldpd.toml`.
///
/// # Errors
/// When the file cannot hold a module.
pub fn module_name_of(file: &str) -> Result<ModuleName, &'static str> {
    let name = file.strip_prefix("modules/").and_then(|rest| rest.strip_suffix(".toml"));
    ModuleName::new(name.ok_or("a module file is called `modules/NAME.toml`")?)
}

/// Reads a project file.
///
/// # Errors
/// Everything that is wrong with its shape.
pub fn parse_project(bytes: &[u8]) -> Result<written::Project, Problems> {
    let _ = bytes; // filled in below
    Err(Problems { list: vec![Problem::new("not there yet")], ..Problems::default() })
}

/// Reads a module file; `file` is its path relative to the project.
///
/// # Errors
/// Everything that is wrong with its shape, or with its name.
pub fn parse_module(file: &str, bytes: &[u8]) -> Result<written::Module, Problems> {
    let _ = (file, bytes); // filled in below
    Err(Problems { list: vec![Problem::new("not there yet")], ..Problems::default() })
}
