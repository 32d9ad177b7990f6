//! What names stand for, by apt's own word.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use ashlar_object::RelPath;
use ashlar_recipe::lock::{LockedDeb, LockedFile};

use super::setup::Setup;
use super::{AptError, ToolRequest, complaint};
use crate::SourceError;
use crate::deb822::{self, Stanza};
use crate::program::{APT_CACHE, APT_GET, DPKG};

/// What mmdebstrap(1) installs for a variant besides the packages asked for.
pub(super) fn variant(name: &str) -> Option<&'static [&'static str]> {
    const REQUIRED: &str = "?priority(required)";
    const IMPORTANT: &str = "?priority(important)";
    Some(match name {
        "custom" | "extract" => &[],
        "essential" => &["?essential"],
        "apt" => &["?essential", "apt"],
        "required" | "minbase" => &["?essential", "apt", REQUIRED],
        "buildd" => &["?essential", "apt", REQUIRED, "build-essential"],
        "important" | "debootstrap" | "-" => &["?essential", "apt", REQUIRED, IMPORTANT],
        "standard" => &["?essential", "apt", REQUIRED, IMPORTANT, "?priority(standard)"],
        _ => return None,
    })
}

/// The newest version of a source package.
pub(super) fn source(setup: &Setup, package: &str) -> Result<LockedDeb, SourceError> {
    if !is_name(package) {
        return Err(AptError::NoSource(package.to_owned()).into());
    }
    let output = setup.run(APT_CACHE, &["showsrc", "--only-source", package])?;
    let stanzas = stanzas("apt-cache", &String::from_utf8_lossy(&output.stdout))?;
    let mut newest: Option<&Stanza> = None;
    for stanza in stanzas.iter().filter(|s| s.get("Package") == Some(package)) {
        let version = |stanza: &Stanza| stanza.get("Version").unwrap_or_default().to_owned();
        let is_newer = match newest {
            None => true,
            Some(best) => compare(&version(stanza), &version(best))? == Ordering::Greater,
        };
        if is_newer {
            newest = Some(stanza);
        }
    }
    let stanza = newest.ok_or_else(|| AptError::NoSource(package.to_owned()))?;
    let unexpected = |what: &str| AptError::Unexpected {
        program: "apt-cache",
        words: format!("the source package `{package}` has {what}"),
    };
    let listed = stanza.get("Checksums-Sha256").and_then(deb822::listed);
    let listed = listed.ok_or_else(|| unexpected("no readable Checksums-Sha256"))?;
    let directory = stanza.get("Directory").unwrap_or_default();
    let mut files = Vec::new();
    // A detached signature can be missing on the mirror, and the signed index makes it needless.
    for file in listed.into_iter().filter(|f| !f.name.ends_with(".asc")) {
        let path = relative(&format!("{directory}/{}", file.name))?;
        files.push(LockedFile { path, sha256: file.sha256, size: file.size });
    }
    files.sort_by_key(|file| (!file.path.ends_with(".dsc"), file.path.clone()));
    if !files.first().is_some_and(|file| file.path.ends_with(".dsc")) {
        return Err(unexpected("no .dsc").into());
    }
    let fields = ["Build-Depends", "Build-Depends-Arch", "Build-Depends-Indep"];
    let build_depends = fields
        .iter()
        .filter_map(|field| stanza.get(field))
        .flat_map(|value| value.split(','))
        .map(|one| one.split_ascii_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|one| !one.is_empty())
        .collect();
    let version = stanza.get("Version").unwrap_or_default().to_owned();
    Ok(LockedDeb { version, build_depends, files })
}

/// The whole set that installing names on nothing takes.
pub(super) fn packages(
    setup: &Setup,
    names: &[String],
) -> Result<Vec<(String, LockedFile)>, SourceError> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    for name in names {
        check(name, |rest| rest.starts_with(['?', '~']) || is_name(rest))?;
    }
    let mut arguments = vec!["-s", "-q", "-y", "install", "--"];
    arguments.extend(names.iter().map(String::as_str));
    let installs = simulate(setup, &arguments, names)?;
    locked(setup, &installs)
}

/// What has to be added to a base.
pub(super) fn tools(
    setup: &Setup,
    request: &ToolRequest<'_>,
    control: &mut dyn FnMut(&LockedFile) -> Result<String, SourceError>,
) -> Result<Vec<(String, LockedFile)>, SourceError> {
    let mut wanted: Vec<String> = request.tools.to_vec();
    for tool in request.tools {
        check(tool, is_name)?;
    }
    wanted.extend(request.satisfy.iter().filter(|s| !s.trim().is_empty()).cloned());
    let mut status = base_status(setup, request.base, control)?;
    // What modules make is asked for as the archive has it, so that everything it needs comes
    // along; what the archive does not have counts as installed.
    for name in request.provided {
        check(name, is_name)?;
        if show(setup, std::slice::from_ref(name))?.is_empty() {
            let mut stanza = Stanza::default();
            for (field, value) in [
                ("Package", name.as_str()),
                ("Version", "999:0"),
                ("Architecture", "all"),
                ("Multi-Arch", "foreign"),
                ("Maintainer", "none"),
                ("Description", "made by a module"),
            ] {
                stanza.set(field, value);
            }
            status.push_str(&installed(stanza));
        } else {
            wanted.push(name.clone());
        }
    }
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let path = setup.path("base.status");
    std::fs::write(&path, status).map_err(SourceError::io("write", &path))?;
    let status = format!("Dir::State::status={}", path.display());
    let profiles: Vec<_> =
        request.profiles.iter().map(|p| format!("APT::Build-Profiles::={p}")).collect();
    let mut arguments = vec!["-o", status.as_str()];
    profiles.iter().for_each(|profile| arguments.extend(["-o", profile.as_str()]));
    arguments.extend(["-s", "-q", "-y", "satisfy", "--"]);
    arguments.extend(wanted.iter().map(String::as_str));
    let installs = simulate(setup, &arguments, &wanted)?;
    let mut packages = locked(setup, &installs)?;
    packages.retain(|(id, _)| {
        let name = id.split('_').next().unwrap_or_default();
        !request.provided.iter().any(|provided| provided == name)
    });
    Ok(packages)
}

/// A `status` file in which the packages of the base are installed.
fn base_status(
    setup: &Setup,
    base: &[(String, LockedFile)],
    control: &mut dyn FnMut(&LockedFile) -> Result<String, SourceError>,
) -> Result<String, SourceError> {
    let known = known(setup, base)?;
    let mut status = String::new();
    for (id, file) in base {
        let stanza = match known.get(id) {
            Some(stanza) => stanza.clone(),
            None => {
                let text = control(file)?;
                stanzas("dpkg-deb", &text)?.into_iter().next().unwrap_or_default()
            }
        };
        status.push_str(&installed(stanza));
    }
    Ok(status)
}

/// The packages of the base that the index does not have any more.
pub(super) fn gone(
    setup: &Setup,
    base: &[(String, LockedFile)],
) -> Result<Vec<LockedFile>, SourceError> {
    let known = known(setup, base)?;
    Ok(base.iter().filter(|(id, _)| !known.contains_key(id)).map(|(_, f)| f.clone()).collect())
}

/// The records of packages that the index has in these very versions, by id.
fn known(
    setup: &Setup,
    base: &[(String, LockedFile)],
) -> Result<BTreeMap<String, Stanza>, SourceError> {
    let mut names = Vec::new();
    for (id, _) in base {
        let mut parts = id.split('_');
        let (Some(name), Some(version), Some(_), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            let words = format!("`{id}` is not name_version_architecture");
            return Err(AptError::Resolve { what: "the base".to_owned(), words }.into());
        };
        check(name, is_name)?;
        names.push(format!("{name}={version}"));
    }
    Ok(show(setup, &names)?.into_iter().map(|stanza| (id(&stanza), stanza)).collect())
}

fn installed(mut stanza: Stanza) -> String {
    for field in ["Filename", "Size", "SHA256", "MD5sum", "SHA1", "Description-md5"] {
        stanza.remove(field);
    }
    stanza.set("Status", "install ok installed");
    stanza.to_text() + "\n"
}

/// Lets apt simulate, and returns `name=version` of everything it would install.
fn simulate(
    setup: &Setup,
    arguments: &[&str],
    what: &[String],
) -> Result<Vec<String>, SourceError> {
    let output = setup.run(APT_GET, arguments)?;
    let failed = |words: String| {
        let mut what: String = what.join(", ");
        if let Some((end, _)) = what.char_indices().nth(300) {
            what.truncate(end);
            what.push('…');
        }
        SourceError::from(AptError::Resolve { what, words })
    };
    if !output.status.success() {
        return Err(failed(complaint(&output)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut installs = Vec::new();
    for line in text.lines() {
        // A layer over a base only adds.
        if line.starts_with("Remv ") {
            return Err(failed(format!("it would have to remove a package: {line}")));
        }
        let Some(rest) = line.strip_prefix("Inst ") else { continue };
        // `Inst name[:arch] [old version] (version archive, … [arch])`
        let name = rest.split([' ', ':']).next().unwrap_or_default();
        let version = rest.split_once('(').and_then(|(_, r)| r.split([' ', ')']).next());
        let version = version
            .ok_or_else(|| AptError::Unexpected { program: "apt-get", words: line.to_owned() })?;
        installs.push(format!("{name}={version}"));
    }
    Ok(installs)
}

/// The files of packages given as `name=version`, by id, sorted.
fn locked(setup: &Setup, installs: &[String]) -> Result<Vec<(String, LockedFile)>, SourceError> {
    let mut found: BTreeMap<String, LockedFile> = BTreeMap::new();
    for stanza in show(setup, installs)? {
        let id = id(&stanza);
        let unexpected = |field| AptError::Unexpected {
            program: "apt-cache",
            words: format!("{id} has no {field}"),
        };
        let field = |name| stanza.get(name).ok_or_else(|| unexpected(name));
        let file = LockedFile {
            path: relative(field("Filename")?)?,
            sha256: field("SHA256")?.to_owned(),
            size: field("Size")?.parse().map_err(|_| unexpected("readable Size"))?,
        };
        // The same version in a second suite is the same file; the first suite counts.
        found.entry(id).or_insert(file);
    }
    let missing: Vec<_> = installs
        .iter()
        .filter(|install| {
            let prefix = format!("{}_", install.replacen('=', "_", 1));
            found.range(prefix.clone()..).next().is_none_or(|(id, _)| !id.starts_with(&prefix))
        })
        .map(String::as_str)
        .collect();
    if !missing.is_empty() {
        let words = format!("no record of {}", missing.join(", "));
        return Err(AptError::Unexpected { program: "apt-cache", words }.into());
    }
    Ok(found.into_iter().collect())
}

/// The records of packages, `name` or `name=version`; those there are none of are left out.
fn show(setup: &Setup, packages: &[String]) -> Result<Vec<Stanza>, SourceError> {
    let mut all = Vec::new();
    for batch in packages.chunks(1000) {
        let mut arguments = vec!["show", "--no-all-versions"];
        if batch.iter().any(|p| p.contains('=')) {
            arguments.pop();
        }
        arguments.push("--");
        arguments.extend(batch.iter().map(String::as_str));
        // It fails when one is unknown and shows the others all the same.
        let output = setup.run(APT_CACHE, &arguments)?;
        all.extend(stanzas("apt-cache", &String::from_utf8_lossy(&output.stdout))?);
    }
    Ok(all)
}

fn stanzas(program: &'static str, text: &str) -> Result<Vec<Stanza>, AptError> {
    deb822::parse(text).map_err(|line| AptError::Unexpected {
        program,
        words: text.lines().nth(line - 1).unwrap_or_default().to_owned(),
    })
}

fn id(stanza: &Stanza) -> String {
    let field = |name| stanza.get(name).unwrap_or_default();
    format!("{}_{}_{}", field("Package"), field("Version"), field("Architecture"))
}

/// A path below the root of an archive, without `./`.
fn relative(path: &str) -> Result<String, AptError> {
    RelPath::parse(path.as_bytes())
        .map(|path| path.to_string())
        .map_err(|e| AptError::Unexpected { program: "apt-cache", words: e.to_string() })
}

/// Whether dpkg's rules put one version before another.
fn compare(a: &str, b: &str) -> Result<Ordering, SourceError> {
    let is = |operator: &str| {
        let mut command = DPKG.command();
        command.args(["--compare-versions", a, operator, b]);
        Ok::<_, SourceError>(DPKG.run(&mut command, None)?.status.success())
    };
    Ok(if is("gt")? {
        Ordering::Greater
    } else if is("lt")? {
        Ordering::Less
    } else {
        Ordering::Equal
    })
}

/// A package name by Debian policy 5.6.1, with an architecture behind a colon perhaps.
fn is_name(text: &str) -> bool {
    let (name, architecture) = text.split_once(':').unwrap_or((text, "any"));
    let plain = |text: &str, more: &str| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    plain(name, "+-._") && plain(architecture, "-")
}

/// Refuses what apt would take for something else than a name.
fn check(text: &str, is_right: impl Fn(&str) -> bool) -> Result<(), AptError> {
    // `name-` and `name+` mean to remove and to install.
    if is_right(text) && !text.ends_with('-') {
        return Ok(());
    }
    let words = "this is not the name of a package".to_owned();
    Err(AptError::Resolve { what: format!("`{text}`"), words })
}
