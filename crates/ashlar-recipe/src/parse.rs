//! From the bytes of a file to its written form.
//!
//! The files are walked by hand rather than through serde: so every problem of a file is said at
//! once, an unknown key is answered with the nearest known one and the table it belongs to, and
//! reading 30,000 of them is quicker.

mod cache;
mod module;
mod project;
mod reader;
mod runs;

use toml::de::DeTable;

use crate::cache::Cache;
use crate::problem::{Problem, Problems};
use crate::resolve::resolve_cache;
use crate::resolved::ModuleName;
use crate::runs::Runs;
use crate::written::{self, Span};
use reader::Reader;

pub(crate) use runs::RIGHTS;
#[cfg(test)]
pub(crate) use {
    cache::KEYS as CACHE_KEYS, module::KEYS as MODULE_KEYS, project::KEYS as PROJECT_KEYS,
    runs::KEYS as RUN_KEYS,
};

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
    read(PROJECT_FILE, bytes, project::read)
}

/// Reads a module file; `file` is its path relative to the project.
///
/// # Errors
/// Everything that is wrong with its shape, or with its name.
pub fn parse_module(file: &str, bytes: &[u8]) -> Result<written::Module, Problems> {
    if let Err(reason) = module_name_of(file) {
        let problem = Problem::new(format!("`{}` cannot be a module", file.escape_debug()))
            .help(format!("{reason}; rename the file, or move it out of `modules/`"));
        return Err(Problems::gather(vec![problem], 0));
    }
    read(file, bytes, module::read)
}

/// Reads a file of layers, and what it means.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse_cache(file: &str, bytes: &[u8]) -> Result<Cache, Problems> {
    let written = read(file, bytes, cache::read)?;
    resolve_cache(written).map_err(|mut problems| {
        problems.sources.insert(file.to_owned(), String::from_utf8_lossy(bytes).into_owned());
        problems
    })
}

/// Reads a file of runs.
///
/// # Errors
/// Everything that is wrong with its shape.
pub fn parse_runs(file: &str, bytes: &[u8]) -> Result<Runs, Problems> {
    read(file, bytes, runs::read)
}

fn read<T>(
    file: &str,
    bytes: &[u8],
    walk: impl FnOnce(&mut Reader<'_>, DeTable<'_>) -> T,
) -> Result<T, Problems> {
    let with_text = |problems: Problems, text: &str| {
        let sources = [(file.to_owned(), text.to_owned())].into();
        Problems { sources, ..problems }
    };
    if bytes.len() > MODULE_LIMIT {
        #[expect(clippy::cast_precision_loss, reason = "a figure for people, with one decimal")]
        let size = bytes.len() as f64 / f64::from(1 << 20);
        let problem = Problem::new(format!("`{file}` is {size:.1} MiB large"))
            .help("a project or module file has at most 4 MiB; is it one?");
        return Err(Problems::gather(vec![problem], 0));
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            // The replacement character that stands there in the text to show has three bytes.
            let start = error.valid_up_to();
            let span = Span::from(start..start + '\u{fffd}'.len_utf8());
            let problem = Problem::new("the file is not UTF-8 text")
                .at(file, span, "these bytes are not")
                .help("save it as UTF-8");
            return Err(with_text(
                Problems::gather(vec![problem], 0),
                &String::from_utf8_lossy(bytes),
            ));
        }
    };
    let table = match DeTable::parse(text) {
        Ok(table) => table.into_inner(),
        Err(error) => {
            let span = error.span().unwrap_or_default().into();
            let problem = syntax(error.message()).at(file, span, "");
            return Err(with_text(Problems::gather(vec![problem], 0), text));
        }
    };
    let mut reader = Reader::new(file);
    let read = walk(&mut reader, table);
    match reader.finish() {
        Some(problems) => Err(with_text(problems, text)),
        None => Ok(read),
    }
}

/// What the TOML parser says, with advice for the slips that are common.
pub(crate) fn syntax(said: &str) -> Problem {
    let said = said.trim();
    let problem = Problem::new(format!("this is not TOML: {said}"));
    if said.starts_with("duplicate key") {
        problem.help("a key, and a table, stands once in a file")
    } else if said.contains("quoted") || said.contains("string values") {
        problem.help("texts stand in quotes: `key = \"text\"`")
    } else {
        problem
    }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
