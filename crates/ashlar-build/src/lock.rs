//! Completing the lock file: names become digests once, and the same everywhere after.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;

use ashlar_plan::{deb_dependencies, tools_asked};
use ashlar_recipe::lock::{LockedBase, LockedFile, LockedTools, VERSION};
use ashlar_recipe::{Base, Lock, Module, ModuleName, Origin, Project};
use ashlar_source::{Apt, Fetcher, SourceError, ToolRequest};

use crate::front::{FrontError, LOCK_FILE, reached};

/// What is resolved anew although the lock file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// Nothing.
    Missing,
    /// Everything.
    All,
    /// The sources and tools of these modules.
    Modules(BTreeSet<ModuleName>),
}

/// Why names cannot be resolved.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The package manager cannot say what a name stands for.
    #[error("cannot resolve {what}")]
    Resolve {
        /// Which name.
        what: String,
        /// Why not.
        source: Box<SourceError>,
    },
    /// Names would have to be resolved, and this run is offline.
    #[error("this run is offline, and the lock file lacks {}", .0.join(", "))]
    Offline(Vec<String>),
    /// A module needs something the base cannot have.
    #[error(transparent)]
    Plan(#[from] ashlar_plan::PlanError),
    /// The file cannot be written.
    #[error(transparent)]
    Front(#[from] FrontError),
}

/// What the lock file lacks, in words; empty when it is complete: for these targets (the project's
/// default when none is named), or with `None` for the whole project with all of its bases.
#[must_use]
pub fn missing(project: &Project, lock: &Lock, targets: Option<&[ModuleName]>) -> Vec<String> {
    let modules: Vec<&Module> = match targets {
        None => {
            let modules = project.modules.values().map(AsRef::as_ref).collect();
            let bases: Vec<String> = project.bases.keys().cloned().collect();
            return missing_of(project, lock, modules, &bases);
        }
        Some([]) => reached(project, &project.default),
        Some(targets) => reached(project, targets),
    };
    missing_of(project, lock, modules, &[])
}

/// As [`missing`], for exactly these modules, which may be none, and these bases besides theirs.
#[must_use]
pub fn missing_below(
    project: &Project,
    lock: &Lock,
    modules: &[ModuleName],
    bases: &[String],
) -> Vec<String> {
    missing_of(project, lock, reached(project, modules), bases)
}

fn missing_of(
    project: &Project,
    lock: &Lock,
    modules: Vec<&Module>,
    besides: &[String],
) -> Vec<String> {
    let bases = modules.iter().filter_map(|module| module.base.as_ref()).chain(besides);
    let bases: BTreeSet<&String> = bases.collect();
    let mut missing = Vec::new();
    for (name, base) in debian_bases(project).filter(|(name, _)| bases.contains(name)) {
        if lock.base.get(name).is_none_or(|locked| locked.asked != asked_of(base)) {
            missing.push(format!("base {name}"));
        }
    }
    for module in modules {
        for package in debs_of(module).filter(|package| !lock.source.contains_key(*package)) {
            missing.push(format!("source package {package} of {}", module.name));
        }
        match tools_of(project, lock, module) {
            Ok(Some((base, asked))) if find_tools(lock, base, &asked).is_none() => {
                missing.push(format!("tools of {}", module.name));
            }
            // Its source package is missing too, and is in the list already.
            Ok(_) | Err(_) => {}
        }
    }
    missing
}

/// Resolves what the lock file lacks, or what is to be updated, and drops what nothing uses: bases
/// that are in it stay, because Dockerfiles that nobody names here may begin with them. `besides` are
/// bases of which no module says that it uses them. Whether anything changed is for the caller to see.
///
/// # Errors
/// When a name cannot be resolved; the lock is then as it was.
pub fn complete(
    project: &Project,
    lock: &Lock,
    apt: &Apt,
    fetcher: &Fetcher<'_>,
    update: &Update,
    besides: &[String],
) -> Result<Lock, LockError> {
    let of_modules = project.modules.values().filter_map(|module| module.base.as_ref());
    let bases: BTreeSet<&String> = of_modules.chain(lock.base.keys()).chain(besides).collect();
    let bases: BTreeSet<String> = bases.into_iter().cloned().collect();
    let mut new = match update {
        Update::All => Lock::default(),
        Update::Missing | Update::Modules(_) => lock.clone(),
    };
    new.version = VERSION;
    let mut index = Index { apt, fetcher, fresh: false };
    for (name, base) in debian_bases(project).filter(|(name, _)| bases.contains(*name)) {
        let asked = asked_of(base);
        if new.base.get(name).is_some_and(|locked| locked.asked == asked) {
            continue;
        }
        let Base::Debian { suite, variant, packages } = base else { continue };
        let what = || format!("base {name}");
        let found = index.fresh(what)?.resolve_base(suite, variant, packages).map_err(in_(what))?;
        let architecture = apt.architecture().map_err(in_(what))?;
        let ids = add(&mut new.package, found);
        new.base.insert(name.clone(), LockedBase { asked, architecture, packages: ids });
        // Tools are what a base lacks: of another base they are others.
        new.tools.retain(|tools| tools.base != *name);
    }
    for (module, package) in deb_sources(project) {
        let again = matches!(update, Update::Modules(names) if names.contains(&module.name));
        if new.source.contains_key(package) && !again {
            continue;
        }
        let what = || format!("source package {package} of {}", module.name);
        let found = index.fresh(what)?.resolve_source(package).map_err(in_(what))?;
        new.source.insert(package.to_owned(), found);
    }
    let mut used = BTreeSet::new();
    let mut renewed = BTreeSet::new();
    for module in project.modules.values() {
        let Some((base, asked)) = tools_of(project, &new, module)? else { continue };
        let id = (base.to_owned(), asked.clone());
        let again = matches!(update, Update::Modules(names) if names.contains(&module.name));
        let have = find_tools(&new, base, &asked).is_some();
        if !have || (again && !renewed.contains(&id)) {
            let packages = resolve_tools(project, &mut new, &mut index, module, base, &asked)?;
            new.tools.retain(|t| t.base != base || t.asked != asked);
            new.tools.push(LockedTools { base: base.to_owned(), asked, packages });
            renewed.insert(id.clone());
        }
        used.insert(id);
    }
    prune(project, &mut new, &used, &bases);
    Ok(new)
}

fn resolve_tools(
    project: &Project,
    lock: &mut Lock,
    index: &mut Index<'_>,
    module: &Module,
    base: &str,
    asked: &[String],
) -> Result<Vec<String>, LockError> {
    let Some(Base::Debian { suite, .. }) = project.bases.get(base) else { return Ok(Vec::new()) };
    let mut words: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for entry in asked {
        // A tool is one word; everything else begins with what it is.
        let (kind, rest) = entry.split_once(' ').unwrap_or(("tool", entry));
        words.entry(kind).or_default().push(rest.to_owned());
    }
    let none = Vec::new();
    let of = |kind: &str| words.get(kind).unwrap_or(&none).as_slice();
    let locked = lock.base.get(base).map(|b| b.packages.clone()).unwrap_or_default();
    let installed: Vec<(String, LockedFile)> = locked
        .into_iter()
        .filter_map(|id| lock.package.get(&id).map(|file| (id, file.clone())))
        .collect();
    let request = ToolRequest {
        suite,
        base: &installed,
        tools: of("tool"),
        satisfy: of("satisfy"),
        provided: of("local"),
        profiles: of("profile"),
    };
    let what = || format!("tools of {}", module.name);
    index.fresh(what)?;
    // The fetcher knows the base's packages even when the mirror no longer does.
    let found = index.fetcher.resolve_tools(&request).map_err(in_(what))?;
    Ok(add(&mut lock.package, found))
}

/// The package index, fetched when it is first needed.
struct Index<'a> {
    apt: &'a Apt,
    fetcher: &'a Fetcher<'a>,
    fresh: bool,
}

impl<'a> Index<'a> {
    fn fresh(&mut self, what: impl Fn() -> String) -> Result<&'a Apt, LockError> {
        if !self.fresh {
            self.apt.update().map_err(in_(what))?;
            self.fresh = true;
        }
        Ok(self.apt)
    }
}

fn in_(what: impl Fn() -> String) -> impl Fn(SourceError) -> LockError {
    move |source| LockError::Resolve { what: what(), source: Box::new(source) }
}

fn add(all: &mut BTreeMap<String, LockedFile>, found: Vec<(String, LockedFile)>) -> Vec<String> {
    let mut ids: Vec<String> = found.iter().map(|(id, _)| id.clone()).collect();
    ids.sort();
    all.extend(found);
    ids
}

fn prune(
    project: &Project,
    lock: &mut Lock,
    used: &BTreeSet<(String, Vec<String>)>,
    bases: &BTreeSet<String>,
) {
    let declared: BTreeSet<&String> = debian_bases(project).map(|(name, _)| name).collect();
    lock.base.retain(|name, _| bases.contains(name) && declared.contains(name));
    let sources: BTreeSet<&str> = deb_sources(project).map(|(_, package)| package).collect();
    lock.source.retain(|name, _| sources.contains(name.as_str()));
    lock.tools.retain(|tools| used.contains(&(tools.base.clone(), tools.asked.clone())));
    lock.tools.sort_by(|a, b| (&a.base, &a.asked).cmp(&(&b.base, &b.asked)));
    let named: BTreeSet<&String> = lock
        .base
        .values()
        .flat_map(|base| &base.packages)
        .chain(lock.tools.iter().flat_map(|tools| &tools.packages))
        .collect();
    let named: BTreeSet<String> = named.into_iter().cloned().collect();
    lock.package.retain(|id, _| named.contains(id));
}

fn find_tools<'l>(lock: &'l Lock, base: &str, asked: &[String]) -> Option<&'l LockedTools> {
    lock.tools.iter().find(|tools| tools.base == base && tools.asked == asked)
}

/// The base and what a module asks to be added to it, where there is something to add.
fn tools_of<'p>(
    project: &'p Project,
    lock: &Lock,
    module: &'p Module,
) -> Result<Option<(&'p str, Vec<String>)>, LockError> {
    let Some(base) = &module.base else { return Ok(None) };
    if !matches!(project.bases.get(base), Some(Base::Debian { .. })) {
        return Ok(None);
    }
    let debs = deb_dependencies(project, module);
    let asked = tools_asked(project, lock, module, &debs)?;
    Ok((!asked.is_empty()).then_some((base, asked)))
}

fn debian_bases(project: &Project) -> impl Iterator<Item = (&String, &Base)> {
    project.bases.iter().filter(|(_, base)| matches!(base, Base::Debian { .. }))
}

fn deb_sources(project: &Project) -> impl Iterator<Item = (&Module, &str)> {
    let modules = project.modules.values().map(AsRef::as_ref);
    modules.flat_map(|module| debs_of(module).map(move |package| (module, package)))
}

/// The Debian source packages among a module's sources.
fn debs_of(module: &Module) -> impl Iterator<Item = &str> {
    module.sources.iter().filter_map(|source| match &source.origin {
        Origin::Deb { package } => Some(package.as_str()),
        Origin::Url { .. } | Origin::Git { .. } | Origin::Path { .. } => None,
    })
}

fn asked_of(base: &Base) -> Vec<String> {
    match base {
        Base::Debian { suite, variant, packages } => {
            let mut asked = vec![format!("suite {suite}"), format!("variant {variant}")];
            asked.extend(packages.iter().cloned());
            asked
        }
        Base::Path(_) | Base::Archive(_) | Base::Host => Vec::new(),
    }
}

/// Writes the lock file, whole or not at all.
///
/// # Errors
/// When the folder cannot be written.
pub fn write(folder: &Path, lock: &Lock) -> Result<(), FrontError> {
    let path = folder.join(LOCK_FILE);
    let failed = |source| FrontError::Io { doing: "write", path: path.clone(), source };
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    file.write_all(lock.to_text().as_bytes()).map_err(failed)?;
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.as_file().set_permissions(readable).map_err(failed)?;
    file.persist(&path).map_err(|e| failed(e.error))?;
    Ok(())
}
