//! All modules together: names, dependencies, cycles.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use super::project::Head;
use super::{Notes, module};
use crate::parse::module_name_of;
use crate::problem::{Problem, nearest};
use crate::resolved::{Module, ModuleName};
use crate::written::{self, Span, Text};

/// Modules by number, with the numbers of what they depend on.
pub(super) struct Graph {
    numbers: HashMap<ModuleName, usize>,
    names: Vec<ModuleName>,
    written: Vec<written::Module>,
}

/// A dependency: the number of the module, and where it is written.
type Edge = (usize, Span);

impl Graph {
    pub fn new(modules: Vec<written::Module>, notes: &mut Notes) -> Self {
        let mut graph = Self {
            numbers: HashMap::with_capacity(modules.len()),
            names: Vec::with_capacity(modules.len()),
            written: Vec::with_capacity(modules.len()),
        };
        for module in modules {
            match module_name_of(&module.file) {
                Ok(name) => {
                    // The same file twice is one module.
                    if let Entry::Vacant(number) = graph.numbers.entry(name.clone()) {
                        number.insert(graph.names.len());
                        graph.names.push(name);
                        graph.written.push(module);
                    }
                }
                Err(reason) => {
                    let message = format!("`{}` cannot be a module", module.file.escape_debug());
                    notes.add(Problem::new(message).help(reason));
                }
            }
        }
        graph
    }

    /// What is built when no target is named; `None` when the project does not say.
    pub fn targets(&self, head: &Head, notes: &mut Notes) -> Option<Vec<ModuleName>> {
        let written = head.default.as_ref()?;
        if written.value.is_empty() {
            let problem = Problem::new("`default` names no module")
                .at(&head.file, written.span, "")
                .help("name a module, or leave `default` out to build all of them");
            notes.add(problem);
        }
        let mut targets = Vec::with_capacity(written.value.len());
        for text in &written.value {
            match self.number(&head.file, text, notes) {
                Some(number) if targets.contains(&self.names[number]) => {}
                Some(number) => targets.push(self.names[number].clone()),
                None => {}
            }
        }
        Some(targets)
    }

    pub fn resolve(self, head: &Head, notes: &mut Notes) -> Vec<Module> {
        let mut edges = Vec::with_capacity(self.names.len());
        for (number, module) in self.written.iter().enumerate() {
            edges.push(self.edges(number, module, notes));
        }
        let cycles = cycles(&edges);
        for cycle in &cycles {
            notes.add(self.cycle(cycle));
        }
        if cycles.is_empty() {
            self.images(&edges, notes);
        }
        let mut modules = Vec::with_capacity(self.names.len());
        for ((name, edges), written) in self.names.iter().zip(&edges).zip(self.written) {
            let depends = edges.iter().map(|(number, _)| self.names[*number].clone()).collect();
            if let Some(module) = module::resolve(name.clone(), depends, written, head, notes) {
                modules.push(module);
            }
        }
        modules
    }

    /// Images are laid over nothing: only other images and groups depend on them.
    fn images(&self, edges: &[Vec<Edge>], notes: &mut Notes) {
        let is = |number: usize, kind: &str| {
            let build = self.written[number].build.as_ref();
            build.and_then(|build| build.kind.as_ref()).is_some_and(|text| text.value == kind)
        };
        for number in 0..edges.len() {
            if is(number, "image") || is(number, "group") {
                continue;
            }
            for (direct, span) in &edges[number] {
                // Groups stand for what they depend on.
                let (mut left, mut seen) = (vec![*direct], HashSet::from([*direct]));
                while let Some(at) = left.pop() {
                    if is(at, "group") {
                        left.extend(
                            edges[at].iter().map(|(to, _)| *to).filter(|to| seen.insert(*to)),
                        );
                    } else if is(at, "image") {
                        let message = format!(
                            "`{}` is an image, and `{}` is none",
                            self.names[at], self.names[number]
                        );
                        let problem = Problem::new(message)
                            .at(&self.written[number].file, *span, "")
                            .help("leave it out: only images and groups depend on images");
                        notes.add(problem);
                        break;
                    }
                }
            }
        }
    }

    /// The number of a module that is named somewhere.
    fn number(&self, file: &str, text: &Text, notes: &mut Notes) -> Option<usize> {
        if let Some(number) = self.numbers.get(text.value.as_str()) {
            return Some(*number);
        }
        let name = text.value.escape_debug();
        let problem = match ModuleName::new(&text.value) {
            Err(reason) => Problem::new(format!("`{name}` cannot be a module")).help(reason),
            Ok(_) => {
                let missing = Problem::new(format!("there is no module `{name}`"));
                // Comparing with every name is slow where there are many, and of no use when
                // the advice is not kept.
                let near = if notes.full() { None } else { self.nearest(&text.value) };
                missing.help(near.map_or_else(
                    || format!("it would be in `modules/{name}.toml`"),
                    |near| format!("did you mean `{near}`?"),
                ))
            }
        };
        notes.add(problem.at(file, text.span, ""));
        None
    }

    /// A module with nearly the same name, or with the same name in another folder.
    fn nearest(&self, text: &str) -> Option<&str> {
        let last = |name: &str| name.rsplit('/').next().map(str::to_owned);
        nearest(text, self.names.iter().map(ModuleName::as_str)).or_else(|| {
            let mut same = self.names.iter().filter(|n| last(n.as_str()) == last(text));
            same.next().map(ModuleName::as_str)
        })
    }

    fn edges(&self, number: usize, module: &written::Module, notes: &mut Notes) -> Vec<Edge> {
        let mut edges: Vec<Edge> = Vec::with_capacity(module.depends.len());
        for text in &module.depends {
            let Some(other) = self.number(&module.file, text, notes) else { continue };
            if other == number {
                let problem = Problem::new(format!("`{}` depends on itself", text.value))
                    .at(&module.file, text.span, "")
                    .help("leave it out");
                notes.add(problem);
                continue;
            }
            if let Some((_, first)) = edges.iter().find(|(number, _)| *number == other) {
                let problem = Problem::new(format!("`{}` is named twice", text.value))
                    .at(&module.file, text.span, "")
                    .and(&module.file, *first, "first here")
                    .help("leave one of them out");
                notes.add(problem);
                continue;
            }
            edges.push((other, text.span));
        }
        edges
    }

    /// Says a cycle, which begins and ends with the same module.
    fn cycle(&self, cycle: &[Edge]) -> Problem {
        let name = |number: usize| self.names[number].as_str();
        let file = |number: usize| self.written[number].file.as_str();
        // The edge at `i` leads from the module of the edge before it.
        let from = |i: usize| cycle[(i + cycle.len() - 1) % cycle.len()].0;
        let mut way: Vec<&str> = (0..cycle.len()).map(|i| name(from(i))).collect();
        way.push(name(from(0)));
        if way.len() > 20 {
            way.splice(10..way.len() - 9, ["…"]);
        }
        let message = format!("modules depend on each other in a cycle: {}", way.join(" -> "));
        let needs = |i: usize| format!("`{}` needs `{}`", name(from(i)), name(cycle[i].0));
        let mut problem = Problem::new(message).at(file(from(0)), cycle[0].1, needs(0));
        for (i, (_, span)) in cycle.iter().enumerate().skip(1).take(9) {
            problem = problem.and(file(from(i)), *span, needs(i));
        }
        problem.help("take one of these out, or split a module in two")
    }
}

/// One cycle for each place where a walk along the dependencies comes back to itself, as the
/// edges of it, first the one out of the module with the lowest number. At most 20.
fn cycles(edges: &[Vec<Edge>]) -> Vec<Vec<Edge>> {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        New,
        Open,
        Done,
    }
    let mut states = vec![State::New; edges.len()];
    let mut cycles = Vec::new();
    // Not recursive: chains can be as long as there are modules.
    let mut path: Vec<(usize, usize)> = Vec::new();
    for start in 0..edges.len() {
        if states[start] != State::New {
            continue;
        }
        states[start] = State::Open;
        path.push((start, 0));
        while let Some((at, next)) = path.last_mut() {
            let Some((to, _)) = edges[*at].get(*next) else {
                states[*at] = State::Done;
                path.pop();
                continue;
            };
            *next += 1;
            match states[*to] {
                State::Done => {}
                State::New => {
                    states[*to] = State::Open;
                    path.push((*to, 0));
                }
                State::Open if cycles.len() < 20 => {
                    let begin = path.iter().position(|(n, _)| n == to).unwrap_or(0);
                    let mut cycle: Vec<Edge> =
                        path[begin..].iter().map(|(n, next)| edges[*n][*next - 1]).collect();
                    // Begin with the lowest number, whatever the walk came to first.
                    let lowest = cycle.iter().enumerate().min_by_key(|(_, (n, _))| *n);
                    let lowest = lowest.map_or(0, |(i, _)| i);
                    cycle.rotate_left((lowest + 1) % path[begin..].len());
                    cycles.push(cycle);
                }
                State::Open => {}
            }
        }
    }
    cycles
}
