//! Whether outputs are what the module declares.

use ashlar_object::{Node, Tree};
use ashlar_recipe::{Kind, Module};
use globset::{Glob, GlobBuilder, GlobMatcher};

/// A glob over paths in a tree: `*` and `?` stay within a component, `**` does not.
///
/// # Errors
/// The words of the parser.
pub fn path_glob(pattern: &str) -> Result<GlobMatcher, String> {
    let pattern = pattern.trim_start_matches("./").trim_start_matches('/').trim_end_matches('/');
    GlobBuilder::new(pattern)
        .literal_separator(true)
        .build()
        .map(|glob: Glob| glob.compile_matcher())
        .map_err(|e| e.to_string())
}

/// What was declared and is not there; empty when all is as it should be.
pub(crate) fn unmatched(module: &Module, outputs: &Tree) -> Vec<String> {
    let mut missing = Vec::new();
    let mut paths = Vec::new();
    outputs.walk(|entry| paths.push(entry.path.to_string()));
    for pattern in &module.outputs.expect {
        match path_glob(pattern) {
            Ok(glob) if paths.iter().any(|path| glob.is_match(path)) => {}
            _ => missing.push(pattern.clone()),
        }
    }
    if module.build.kind == Kind::Deb {
        let packages = packages(outputs);
        let declared = module.outputs.main.iter().chain(&module.outputs.derived);
        for pattern in declared.chain(&module.outputs.extra) {
            match path_glob(pattern) {
                Ok(glob) if packages.iter().any(|(name, _)| glob.is_match(name)) => {}
                _ => missing.push(format!("{pattern} (a package)")),
            }
        }
    }
    missing
}

/// The binary packages in the outputs of a module of kind `deb`: the package's name and its file.
pub(crate) fn packages(outputs: &Tree) -> Vec<(String, String)> {
    let mut packages = Vec::new();
    for (name, node) in outputs.root().entries() {
        let file = name.to_string();
        let is_package = [".deb", ".ddeb", ".udeb"].iter().any(|end| file.ends_with(end));
        if let (true, Node::File(_), Some((package, _))) = (is_package, node, file.split_once('_'))
        {
            packages.push((package.to_owned(), file.clone()));
        }
    }
    packages
}
