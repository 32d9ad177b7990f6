//! What of a tree an instruction reads.

use std::collections::BTreeMap;
use std::sync::Arc;

use ashlar_dockerfile::{Copy, CopySource, Ignore, has_wildcards, matches};
use ashlar_object::{Dir, Meta, Name, Node, RelPath, Tree};

use super::copy::CopyError;
use super::paths::{Bounds, Lost, at, follow};

/// What of a tree the paths among the sources of a `COPY` or `ADD` read: the matched entries with
/// everything in them, at their own paths, and the symbolic links on the way to them. Folders whose
/// mode and owner nothing depends on have the usual ones. Its digest says everything that the
/// instruction can see of `from`: [`super::copy::copy`] makes the same of it as of `from`.
///
/// # Errors
/// When a source matches nothing or leads out of the tree.
pub fn select(copy: &Copy, from: &Tree) -> Result<Tree, CopyError> {
    let mut root = Dir::default();
    for pick in picks(copy, from)? {
        for link in &pick.links {
            if let Some(node) = from.get(link) {
                add(&mut root, link.names(), node.clone());
            }
        }
        for (path, meta) in pick.above {
            let folder = Dir::new(BTreeMap::new(), meta, false);
            add(&mut root, path.names(), Node::Dir(Arc::new(folder)));
        }
        add(&mut root, pick.path.names(), pick.node);
    }
    Ok(Tree::from(root).with_canonical_links())
}

/// The folder or file `source` (relative; empty or `.` is all of it) of a tree, for a mount. Symbolic
/// links are followed, absolute ones from the root of the tree, above which there is nothing.
///
/// # Errors
/// When there is nothing.
pub fn part(from: &Tree, source: &str) -> Result<Node, CopyError> {
    part_within(from, source, Bounds::Root)
}

/// As [`part`], of the build context: links that are absolute or lead above it are refused.
///
/// # Errors
/// When there is nothing, or it is outside.
pub fn context_part(from: &Tree, source: &str) -> Result<Node, CopyError> {
    part_within(from, source, Bounds::Folder)
}

fn part_within(from: &Tree, source: &str, bounds: Bounds) -> Result<Node, CopyError> {
    let path = path_of(source)?;
    let way = follow(from, &path, true, bounds).map_err(|lost| lost_at(source, lost))?;
    match at(from, &way.path) {
        Some(Node::Dir(dir)) => {
            Ok(Node::Dir(Tree::from(dir).with_canonical_links().root().clone()))
        }
        Some(Node::File(file)) => Ok(Node::File(ashlar_object::File { link: None, ..file })),
        Some(Node::Fifo(_)) => Err(CopyError::Fifo(source.to_owned())),
        Some(_) | None => Err(missing(source, from, &way.path, bounds)),
    }
}

/// One thing that a source matches.
#[derive(Clone, Debug)]
pub(super) struct Pick {
    /// The index of the source.
    pub source: usize,
    /// Where it lies.
    pub path: RelPath,
    /// The name it has in a folder; a link on the way to it has no say in that. `None` for all of
    /// the tree.
    pub name: Option<Name>,
    /// With `--parents`: how many names at the end of `path` are kept.
    pub kept: Option<usize>,
    /// With `--parents`: the folders above it that are kept, from the top down.
    pub above: Vec<(RelPath, Meta)>,
    /// What it is, without what is excluded.
    pub node: Node,
    /// The links on the way to it.
    links: Vec<RelPath>,
}

/// What the paths among the sources match, in their order, each in the order of names.
pub(super) fn picks(copy: &Copy, from: &Tree) -> Result<Vec<Pick>, CopyError> {
    let exclude = Ignore::from_patterns(copy.exclude.iter().map(String::as_str))
        .map_err(CopyError::Pattern)?;
    let bounds = match copy.from {
        ashlar_dockerfile::From::Context => Bounds::Folder,
        _ => Bounds::Root,
    };
    let search = Search { from, bounds, exclude: &exclude };
    let mut found = Vec::new();
    let mut unmatched = None;
    let mut matched = false;
    for (source, written) in copy.sources.iter().enumerate() {
        let CopySource::Path(written) = written else {
            matched = true;
            continue;
        };
        let any = if copy.parents {
            search.parents(source, written, &mut found)?
        } else {
            search.plain(source, written, &mut found)?
        };
        matched |= any;
        if !any {
            // `COPY needed optional*` is how people say that a file need not be there.
            let error = missing(written, from, &RelPath::root(), bounds);
            if !has_wildcards(written) {
                return Err(error);
            }
            unmatched.get_or_insert(error);
        }
    }
    match unmatched {
        Some(error) if !matched => Err(error),
        _ => Ok(found),
    }
}

struct Search<'a> {
    from: &'a Tree,
    bounds: Bounds,
    exclude: &'a Ignore,
}

/// A place that a path leads to.
struct Place {
    path: RelPath,
    name: Option<Name>,
    links: Vec<RelPath>,
}

impl Search<'_> {
    /// Finds what a source means; whether it matches anything, excluded or not.
    fn plain(
        &self,
        source: usize,
        written: &str,
        found: &mut Vec<Pick>,
    ) -> Result<bool, CopyError> {
        let places = self.places(written)?;
        let any = !places.is_empty();
        for Place { path, name, links } in places {
            let Some(node) = at(self.from, &path) else { continue };
            let node = match node {
                // What is in it is copied, not the folder itself: nobody sees its mode.
                Node::Dir(dir) => {
                    let dir = without(&dir, "", self.exclude).unwrap_or_default();
                    let dir = match *dir.meta() == Meta::EXECUTABLE {
                        true => dir,
                        false => Arc::new(Dir::new(dir.entries().clone(), Meta::EXECUTABLE, false)),
                    };
                    Node::Dir(dir)
                }
                node => {
                    let text = name.as_ref().map(ToString::to_string).unwrap_or_default();
                    if self.exclude.is_ignored(&text) {
                        continue;
                    }
                    node
                }
            };
            found.push(Pick { source, path, name, kept: None, above: Vec::new(), node, links });
        }
        Ok(any)
    }

    /// The same with `--parents`: patterns are compared with whole paths, links are not followed
    /// behind `/./`.
    fn parents(
        &self,
        source: usize,
        written: &str,
        found: &mut Vec<Pick>,
    ) -> Result<bool, CopyError> {
        let (before, pattern) = match written.find("/./") {
            Some(at) => (&written[..at], &written[at + 3..]),
            None => ("", written),
        };
        let pattern = pattern.trim_start_matches("./").trim_matches('/');
        let mut any = false;
        for place in self.places(before)? {
            let Some(Node::Dir(base)) = at(self.from, &place.path) else { continue };
            let mut matched = Vec::new();
            match (pattern, has_wildcards(pattern)) {
                ("" | ".", _) => {
                    let children = base.entries().keys();
                    matched.extend(children.map(|name| RelPath::root().join(name)));
                    any = true;
                }
                (_, false) => {
                    let path = path_of(pattern)?;
                    matched.extend(Tree::from(Arc::clone(&base)).get(&path).map(|_| path));
                }
                (_, true) => matching(&base, pattern, &mut RelPath::root(), &mut matched),
            }
            any |= !matched.is_empty();
            for below in matched {
                let text = below.to_string();
                let Some(node) = at(&Tree::from(Arc::clone(&base)), &below) else { continue };
                let node = match node {
                    Node::Dir(dir) => without(&dir, &text, self.exclude).map(Node::Dir),
                    node => (!self.exclude.is_ignored(&text)).then_some(node),
                };
                let Some(node) = node else { continue };
                let path = join(&place.path, &below);
                let kept = below.names().len();
                let mut above = Vec::new();
                let mut folder = place.path.clone();
                for name in &below.names()[..kept.saturating_sub(1)] {
                    folder.push(name.clone());
                    if let Some(Node::Dir(dir)) = self.from.get(&folder) {
                        above.push((folder.clone(), dir.meta().clone()));
                    }
                }
                let name = below.names().last().cloned();
                let links = place.links.clone();
                found.push(Pick { source, path, name, kept: Some(kept), above, node, links });
            }
        }
        Ok(any)
    }

    /// Where a path leads, or each that its wildcards match.
    fn places(&self, written: &str) -> Result<Vec<Place>, CopyError> {
        let clean = written.trim_matches('/');
        if matches!(clean, "" | ".") {
            return Ok(vec![Place { path: RelPath::root(), name: None, links: Vec::new() }]);
        }
        let mut places = vec![Place { path: RelPath::root(), name: None, links: Vec::new() }];
        let parts: Vec<&str> = clean.split('/').collect();
        for (number, part) in parts.iter().enumerate() {
            let last = number + 1 == parts.len();
            let mut next = Vec::new();
            for place in places {
                let Some(Node::Dir(dir)) = at(self.from, &place.path) else { continue };
                let names: Vec<Name> = if has_wildcards(part) {
                    let is = |name: &&Name| matches(part, &name.to_string(), false);
                    dir.entries().keys().filter(is).cloned().collect()
                } else {
                    let name = Name::new(part.as_bytes()).map_err(|e| CopyError::Path(e.into()))?;
                    if !dir.entries().contains_key(&name) {
                        if !has_wildcards(clean) {
                            return Err(missing(
                                written,
                                self.from,
                                &place.path.join(&name),
                                self.bounds,
                            ));
                        }
                        continue;
                    }
                    vec![name]
                };
                for name in names {
                    let path = place.path.join(&name);
                    let way = follow(self.from, &path, true, self.bounds)
                        .map_err(|lost| lost_at(written, lost))?;
                    if at(self.from, &way.path).is_none() {
                        if !last && has_wildcards(clean) {
                            continue;
                        }
                        let target = way.path.to_string();
                        return Err(CopyError::Dangling { link: path.to_string(), target });
                    }
                    let mut links = place.links.clone();
                    links.extend(way.links);
                    next.push(Place { path: way.path, name: Some(name), links });
                }
            }
            places = next;
        }
        Ok(places)
    }
}

/// The highest entries of a folder that a pattern matches.
fn matching(dir: &Dir, pattern: &str, path: &mut RelPath, found: &mut Vec<RelPath>) {
    for (name, node) in dir.entries() {
        path.push(name.clone());
        if matches(pattern, &path.to_string(), true) {
            found.push(path.clone());
        } else if let Node::Dir(child) = node {
            matching(child, pattern, path, found);
        }
        path.pop();
    }
}

/// A folder without what is excluded; `None` when it is excluded itself. `path` is what patterns are
/// compared with.
pub(super) fn without(dir: &Arc<Dir>, path: &str, exclude: &Ignore) -> Option<Arc<Dir>> {
    if exclude.is_empty() {
        return Some(Arc::clone(dir));
    }
    if !exclude.may_hold(path) {
        return None;
    }
    let mut entries = BTreeMap::new();
    for (name, node) in dir.entries() {
        let below = if path.is_empty() { name.to_string() } else { format!("{path}/{name}") };
        let node = match node {
            Node::Dir(child) => without(child, &below, exclude).map(Node::Dir),
            node => (!exclude.is_ignored(&below)).then(|| node.clone()),
        };
        entries.extend(node.map(|node| (name.clone(), node)));
    }
    // A folder that is excluded is there for what is wanted in it, and else not.
    let needed = !entries.is_empty() || !exclude.is_ignored(path);
    needed.then(|| Arc::new(Dir::new(entries, dir.meta().clone(), false)))
}

/// Adds an entry to those selected so far: folders hold what both have.
fn add(dir: &mut Dir, path: &[Name], node: Node) {
    let Some((name, rest)) = path.split_first() else {
        if let Node::Dir(new) = node {
            for (name, node) in new.entries() {
                add(dir, std::slice::from_ref(name), node.clone());
            }
            // What one source sees of a folder, the instruction sees.
            if *new.meta() != Meta::EXECUTABLE {
                *dir = Dir::new(dir.entries().clone(), new.meta().clone(), false);
            }
        }
        return;
    };
    let there = dir.entries_mut().entry(name.clone());
    let whole = rest.is_empty() && !matches!(node, Node::Dir(_));
    match there.or_insert_with(|| Node::Dir(Arc::default())) {
        Node::Dir(child) if !whole => add(Arc::make_mut(child), rest, node),
        there if rest.is_empty() => *there = node,
        // Paths have no links in them, so nothing is below anything else.
        _ => {}
    }
}

pub(super) fn join(path: &RelPath, below: &RelPath) -> RelPath {
    below.names().iter().fold(path.clone(), |path, name| path.join(name))
}

pub(super) fn path_of(written: &str) -> Result<RelPath, CopyError> {
    super::paths::parse(written).map_err(|error| CopyError::Path(error.into()))
}

fn lost_at(written: &str, lost: Lost) -> CopyError {
    let path = written.to_owned();
    match lost {
        Lost::Out(link) => CopyError::Outside { path, link: link.to_string() },
        Lost::Circle(link) => CopyError::Circle { link: link.to_string() },
        Lost::File(file) => CopyError::File { path, file: file.to_string() },
    }
}

/// The error for a source that is not there, with a name like it where it was looked for.
fn missing(written: &str, from: &Tree, path: &RelPath, bounds: Bounds) -> CopyError {
    let mut path = path.clone();
    if path.is_root() {
        // A pattern: what is before its first wildcard says where to look.
        let parts = written.trim_matches('/').split('/');
        for part in parts.take_while(|part| !has_wildcards(part)) {
            match Name::new(part.as_bytes()) {
                Ok(name) => path.push(name),
                Err(_) => break,
            }
        }
    }
    let mut near = None;
    let mut folder = RelPath::root();
    for name in path.names() {
        match at(from, &folder.join(name)) {
            Some(Node::Dir(_)) => folder.push(name.clone()),
            _ => {
                if let Some(Node::Dir(dir)) = at(from, &folder) {
                    let names: Vec<String> = dir.entries().keys().map(Name::to_string).collect();
                    near =
                        ashlar_recipe::nearest(&name.to_string(), names.iter().map(String::as_str))
                            .map(|name| match folder.is_root() {
                                true => name.to_owned(),
                                false => format!("{folder}/{name}"),
                            });
                }
                break;
            }
        }
    }
    // Of other images and stages nothing is left out, and what is above them is nothing.
    let context = matches!(bounds, Bounds::Folder);
    CopyError::Missing { path: written.to_owned(), near, context }
}
