//! The graph of modules: order, groups, what is needed through others, DOT.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;

use ashlar_recipe::{Kind, Module, ModuleName, Project, nearest};

/// A target that cannot be planned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// No such module.
    #[error("there is no module `{name}`")]
    NoModule {
        /// What was asked for.
        name: String,
        /// The nearest name there is.
        nearest: Option<String>,
    },
    /// Nothing was named and the project names no default.
    #[error("no target was named, and the project has no `default`")]
    NoTarget,
}

/// Modules in an order in which dependencies come first.
pub(crate) struct Order<'a> {
    pub modules: Vec<&'a Arc<Module>>,
    /// For each module, by its place: the modules that are no groups it depends on directly, with
    /// groups replaced by their members, each once, in the order written.
    pub depends: Vec<Vec<usize>>,
    pub place: HashMap<&'a str, usize>,
}

/// The modules that the targets reach. The recipe room has already refused cycles.
pub(crate) fn order<'a>(
    project: &'a Project,
    targets: &[ModuleName],
) -> Result<Order<'a>, GraphError> {
    let mut order = Order {
        modules: Vec::new(),
        depends: Vec::new(),
        place: HashMap::with_capacity(project.modules.len()),
    };
    // Depth first without recursion: a chain of modules may be longer than the stack is deep.
    let mut stack: Vec<(&'a Arc<Module>, usize)> = Vec::new();
    for target in targets {
        stack.push((find(project, target.as_str())?, 0));
        while let Some((module, next)) = stack.pop() {
            if order.place.contains_key(module.name.as_str()) {
                continue;
            }
            match module.depends.get(next) {
                Some(name) => {
                    stack.push((module, next + 1));
                    if !order.place.contains_key(name.as_str()) {
                        stack.push((find(project, name.as_str())?, 0));
                    }
                }
                None => {
                    let mut depends = Vec::with_capacity(module.depends.len());
                    let mut add = |place: usize| {
                        if !depends.contains(&place) {
                            depends.push(place);
                        }
                    };
                    for name in &module.depends {
                        let place = order.place[name.as_str()];
                        if order.modules[place].build.kind == Kind::Group {
                            order.depends[place].iter().copied().for_each(&mut add);
                        } else {
                            add(place);
                        }
                    }
                    order.place.insert(module.name.as_str(), order.modules.len());
                    order.modules.push(module);
                    order.depends.push(depends);
                }
            }
        }
    }
    Ok(order)
}

/// A module by its name.
///
/// # Errors
/// When there is none, with the nearest name there is.
pub fn find<'a>(project: &'a Project, name: &str) -> Result<&'a Arc<Module>, GraphError> {
    project.modules.get(name).ok_or_else(|| GraphError::NoModule {
        name: name.to_owned(),
        nearest: nearest(name, project.modules.keys().map(ModuleName::as_str))
            .map(ToOwned::to_owned),
    })
}

/// The graph of modules below the targets in Graphviz' language. `state` gives a colour to a
/// module, or none.
///
/// # Errors
/// When a target does not exist.
pub fn dot(
    project: &Project,
    targets: &[ModuleName],
    colours: &BTreeMap<String, &'static str>,
) -> Result<String, GraphError> {
    let order = order(project, targets)?;
    let mut text =
        String::from("digraph ashlar {\n  rankdir=LR;\n  node [shape=box, fontname=sans];\n");
    for module in &order.modules {
        let name = module.name.as_str();
        let shape = if module.build.kind == Kind::Group { ", shape=folder" } else { "" };
        let fill = colours
            .get(name)
            .map_or_else(String::new, |colour| format!(", style=filled, fillcolor={colour}"));
        // Names have no quotes or backslashes.
        let _infallible = writeln!(text, "  \"{name}\" [label=\"{name}\"{shape}{fill}];");
        for dependency in &module.depends {
            let _infallible = writeln!(text, "  \"{name}\" -> \"{dependency}\";");
        }
    }
    text.push_str("}\n");
    Ok(text)
}
