//! The layer that `COPY` and `ADD` make.

use std::collections::BTreeMap;
use std::sync::Arc;

use ashlar_dockerfile::{Copy, CopySource, Unpack};
use ashlar_execute::UserError;
use ashlar_object::{Digest, Dir, File, Meta, Name, Node, PathError, RelPath, Tree};
use ashlar_pack::PackError;
use ashlar_store::{Store, StoreError, put};

use super::archive::{Unpacked, unpack};
use super::attributes::{Attributes, Groups, UNPACKED};
use super::layer::Root;
use super::paths::{Bounds, Lost, at, follow, shown};
use super::select::{Pick, join, path_of, picks};

/// What a source became that `ADD` fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Downloaded {
    /// A file from a URL. Its content has to be in the store only when it may be an archive that is
    /// unpacked.
    File(Digest),
    /// The files of a git repository that are to be copied: the folder after `#REFERENCE:` already
    /// taken, and `.git` left out unless it is wanted.
    Tree(Tree),
}

/// Why files cannot be copied, or a folder not be made. The instruction's place is the caller's to
/// add.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A source matches nothing.
    #[error("there is no `{path}` to copy{}", nearest(near.as_deref(), *context))]
    Missing {
        /// The source as written.
        path: String,
        /// A name like it, where it was looked for.
        near: Option<String>,
        /// Whether that was the context.
        context: bool,
    },
    /// A symbolic link that leads nowhere.
    #[error(
        "`{link}` is a symbolic link to `{target}`, which is not there: copy the folder it is \
         in to copy the link itself"
    )]
    Dangling {
        /// The link.
        link: String,
        /// Where it leads.
        target: String,
    },
    /// A symbolic link that leads out.
    #[error(
        "`{path}` leads out of what is copied from, through the symbolic link `{link}`: copy \
         the file to where it is needed first"
    )]
    Outside {
        /// The source as written.
        path: String,
        /// The link.
        link: String,
    },
    /// Symbolic links that lead to one another.
    #[error("the symbolic link `{link}` leads to itself, or through more than 40 others")]
    Circle {
        /// One of them.
        link: String,
    },
    /// A path goes through a file.
    #[error("there is no `{path}`: `{file}` is a file, and nothing is in it")]
    File {
        /// The path as written.
        path: String,
        /// The file.
        file: String,
    },
    /// The destination has to be a folder and is none.
    #[error(
        "`{0}` is a file in the image, and a folder is needed there: choose another \
         destination, or remove the file in an earlier RUN"
    )]
    NotFolder(String),
    /// A mount of what is neither file nor folder.
    #[error("`{0}` is a FIFO, which cannot be mounted: mount the folder that it is in")]
    Fifo(String),
    /// Several files for one name.
    #[error(
        "several files would be copied to `{0}`, which is no folder: write `{0}/`, with a \
         slash at the end"
    )]
    Several(String),
    /// A source that has no name in a folder.
    #[error(
        "`{0}` does not say how the file is to be called: give a destination without a slash \
         at its end"
    )]
    NoName(String),
    /// A name that means something else in a layer.
    #[error(
        "`{0}` cannot be in an image: in a layer, names that begin with `.wh.` delete files. \
         Rename it, or leave it out"
    )]
    Whiteout(String),
    /// A path that cannot be one.
    #[error("this path cannot be used")]
    Path(#[source] Box<PathError>),
    /// `--exclude` with something that is no pattern.
    #[error("--exclude cannot be used: {0}")]
    Pattern(String),
    /// `--chmod` with something that is no mode.
    #[error("`{0}` is no mode: write octal digits such as 0755, or a change such as u+x,go-w")]
    Mode(String),
    /// `--chown` names nobody.
    #[error(transparent)]
    Owner(#[from] UserError),
    /// An archive cannot be unpacked.
    #[error("cannot unpack `{path}`: write COPY instead of ADD to copy it as it is")]
    Archive {
        /// The source.
        path: String,
        /// Why not.
        source: Box<PackError>,
    },
    /// A source was not downloaded before.
    #[error("`{0}` was not downloaded")]
    NotDownloaded(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Box<StoreError>),
}

fn nearest(near: Option<&str>, context: bool) -> String {
    match near {
        Some(near) => format!("; did you mean `{near}`?"),
        None if context => ". If it is there, .dockerignore may leave it out".to_owned(),
        None => String::new(),
    }
}

/// The layer that a `COPY` or `ADD` makes over `below`, the merged root it is laid over: only what
/// changes is in it. `from` is the tree that the paths among the sources are of (all of it, or what
/// [`super::select::select`] took of it). `downloads` has, by the index of the source, what each URL
/// and git repository became. Contents of heredocs and of unpacked archives are put into the store;
/// those of `from` are looked at only where an archive has to be recognised or unpacked.
///
/// # Errors
/// When a source is missing or leads out of `from`, the destination cannot hold it, an owner is
/// unknown, or an archive is damaged.
pub fn copy(
    copy: &Copy,
    from: &Tree,
    downloads: &BTreeMap<usize, Downloaded>,
    below: &Tree,
    store: &dyn Store,
) -> Result<Tree, CopyError> {
    let attributes = Attributes::of(copy, below, store)?;
    let mut root = Root::new(below);
    let mut picks = picks(copy, from)?.into_iter().peekable();
    let mut pieces = Vec::new();
    for (index, source) in copy.sources.iter().enumerate() {
        match source {
            CopySource::Path(written) => {
                while let Some(pick) = picks.next_if(|pick| pick.source == index) {
                    pieces.push(picked(copy, written, pick, &attributes, &mut root.next, store)?);
                }
            }
            CopySource::Heredoc { name, content } => {
                let digest = put(store, content.as_bytes()).map_err(Box::new)?;
                let name = Name::new(name.as_bytes()).map_err(|e| CopyError::Path(e.into()))?;
                let node = Node::File(File::new(digest, attributes.file(0o644)));
                pieces.push(Piece::Named { name: Some(name), node, written: source_name(source) });
            }
            CopySource::Url { .. } | CopySource::Git { .. } => {
                let written = source_name(source);
                let got = downloads
                    .get(&index)
                    .ok_or_else(|| CopyError::NotDownloaded(written.clone()))?;
                let next = &mut root.next;
                pieces.push(downloaded(copy, &written, got, &attributes, next, store)?);
            }
        }
    }
    let needs_folder = copy.destination_is_folder
        || copy.parents
        || pieces.iter().any(|piece| !matches!(piece, Piece::Named { .. }));
    match destination(copy, below, needs_folder, pieces.len())? {
        Destination::Folder(folder) => {
            if !pieces.is_empty() || needs_folder {
                root.folder(&folder, &attributes.folder(), copy.link)?;
            }
            for piece in pieces {
                lay(&mut root, &folder, piece, &attributes.folder())?;
            }
        }
        Destination::File(path) => {
            let mut folder = path.clone();
            folder.pop();
            for piece in pieces {
                if let Piece::Named { node, .. } = piece {
                    root.folder(&folder, &attributes.folder(), copy.link)?;
                    root.put(&path, &node);
                }
            }
        }
    }
    root.finish()
}

/// What a source brings.
enum Piece {
    /// A file or link under its own name, or another.
    Named { name: Option<Name>, node: Node, written: String },
    /// Everything in a folder.
    Content(Arc<Dir>),
    /// An entry below folders that are kept; these, from the top down.
    Kept { path: RelPath, above: Vec<(RelPath, Meta)>, node: Node },
    /// What was in an archive.
    Unpacked(Unpacked),
}

fn source_name(source: &CopySource) -> String {
    match source {
        CopySource::Path(path) => path.clone(),
        CopySource::Heredoc { name, .. } => format!("<<{name}"),
        CopySource::Url { url } => url.clone(),
        CopySource::Git { repository, .. } => repository.clone(),
    }
}

fn picked(
    copy: &Copy,
    written: &str,
    pick: Pick,
    attributes: &Attributes,
    next: &mut u32,
    store: &dyn Store,
) -> Result<Piece, CopyError> {
    if copy.unpack != Unpack::Never
        && let Node::File(file) = &pick.node
        && let Some(unpacked) = unpack(written, &file.digest, store)?
    {
        return Ok(renumbered(unpacked, next));
    }
    let node = attributes.node(&pick.node, &mut Groups::new(next));
    Ok(match (pick.kept, node) {
        (Some(kept), node) => {
            let cut = pick.path.names().len() - kept;
            let below = |path: &RelPath| {
                path.names()[cut..].iter().fold(RelPath::root(), |path, name| path.join(name))
            };
            let above = pick.above.iter();
            let above = above.map(|(path, meta)| (below(path), attributes.meta(meta, true)));
            Piece::Kept { path: below(&pick.path), above: above.collect(), node }
        }
        (None, Node::Dir(dir)) => Piece::Content(dir),
        (None, node) => Piece::Named { name: pick.name, node, written: written.to_owned() },
    })
}

fn downloaded(
    copy: &Copy,
    written: &str,
    got: &Downloaded,
    attributes: &Attributes,
    next: &mut u32,
    store: &dyn Store,
) -> Result<Piece, CopyError> {
    match got {
        Downloaded::Tree(tree) => {
            let exclude =
                ashlar_dockerfile::Ignore::from_patterns(copy.exclude.iter().map(String::as_str))
                    .map_err(CopyError::Pattern)?;
            let dir = super::select::without(tree.root(), "", &exclude).unwrap_or_default();
            Ok(match attributes.node(&Node::Dir(dir), &mut Groups::new(next)) {
                Node::Dir(dir) => Piece::Content(dir),
                node => Piece::Named { name: None, node, written: written.to_owned() },
            })
        }
        Downloaded::File(digest) => {
            if copy.unpack == Unpack::Always
                && let Some(unpacked) = unpack(written, digest, store)?
            {
                return Ok(renumbered(unpacked, next));
            }
            // Only its owner may read what came from elsewhere, as docker has it.
            let node = Node::File(File::new(*digest, attributes.file(0o600)));
            Ok(Piece::Named { name: url_name(written), node, written: written.to_owned() })
        }
    }
}

/// The last name of the path of a URL.
fn url_name(url: &str) -> Option<Name> {
    let path = url.split(['?', '#']).next()?.split_once("://")?.1.split_once('/')?.1;
    Name::new(path.rsplit('/').next()?.as_bytes()).ok()
}

fn renumbered(unpacked: Unpacked, next: &mut u32) -> Piece {
    let root = Node::Dir(unpacked.tree.root().clone());
    Piece::Unpacked(match UNPACKED.node(&root, &mut Groups::new(next)) {
        Node::Dir(dir) => Unpacked { tree: Tree::from(dir), ..unpacked },
        _ => unpacked,
    })
}

enum Destination {
    Folder(RelPath),
    File(RelPath),
}

/// Where files go.
fn destination(
    copy: &Copy,
    below: &Tree,
    needs_folder: bool,
    pieces: usize,
) -> Result<Destination, CopyError> {
    let path = path_of(&copy.destination)?;
    let lost = |lost| lost_below(&copy.destination, lost);
    let (place, entry) = if copy.link {
        // What is below is not seen, but for the folders that are there.
        (path.clone(), path.clone())
    } else {
        (
            follow(below, &path, true, Bounds::Root).map_err(lost)?.path,
            follow(below, &path, false, Bounds::Root).map_err(lost)?.path,
        )
    };
    let is_link = !copy.link && matches!(below.get(&entry), Some(Node::Symlink(_)));
    match at(below, &place) {
        Some(Node::Dir(_)) => Ok(Destination::Folder(place)),
        Some(_) if needs_folder && !copy.link => Err(CopyError::NotFolder(shown(&place))),
        _ if needs_folder => Ok(Destination::Folder(place)),
        _ if pieces > 1 => Err(CopyError::Several(copy.destination.clone())),
        // The file takes the place of a link to a file, not of the file.
        Some(_) => Ok(Destination::File(entry)),
        // What a link leads to that leads nowhere is made as a folder.
        None if is_link => Ok(Destination::Folder(place)),
        None => Ok(Destination::File(place)),
    }
}

pub(super) fn lost_below(written: &str, lost: Lost) -> CopyError {
    match lost {
        Lost::File(file) => CopyError::NotFolder(shown(&file)),
        Lost::Circle(link) => CopyError::Circle { link: shown(&link) },
        Lost::Out(link) => CopyError::Outside { path: written.to_owned(), link: shown(&link) },
    }
}

/// Puts what a source brings into a folder that is there. Folders that are made on the way are as
/// `made` says.
fn lay(root: &mut Root<'_>, folder: &RelPath, piece: Piece, made: &Meta) -> Result<(), CopyError> {
    match piece {
        Piece::Named { name: Some(name), node, .. } => root.put(&folder.join(&name), &node),
        Piece::Named { name: None, written, .. } => return Err(CopyError::NoName(written)),
        Piece::Content(dir) => root.fill(folder, &dir),
        Piece::Kept { path, above, node } => {
            for (path, meta) in above {
                let path = join(folder, &path);
                root.folder(&path, &meta, true)?;
            }
            // A folder that is there keeps its mode; what is in the new one is added.
            let path = join(folder, &path);
            match (&node, root.now.get(&path)) {
                (Node::Dir(dir), Some(Node::Dir(_))) => root.fill(&path, dir),
                _ => root.put(&path, &node),
            }
        }
        Piece::Unpacked(unpacked) => {
            if !unpacked.implied.contains(&RelPath::root()) {
                root.dress(folder, unpacked.tree.root().meta());
            }
            let spread = Spread { archive: &unpacked, made };
            spread.over(root, folder, unpacked.tree.root(), &mut RelPath::root())?;
        }
    }
    Ok(())
}

/// Putting what was in an archive into folders.
struct Spread<'a> {
    archive: &'a Unpacked,
    /// What folders are like that the archive says nothing about.
    made: &'a Meta,
}

impl Spread<'_> {
    /// Puts what was in the folder `dir` of the archive, at `path` there, into the folder `at`. One
    /// that the archive says nothing about is the one that is there, also through a link.
    fn over(
        &self,
        root: &mut Root<'_>,
        at: &RelPath,
        dir: &Dir,
        path: &mut RelPath,
    ) -> Result<(), CopyError> {
        for (name, node) in dir.entries() {
            path.push(name.clone());
            let place = at.join(name);
            match node {
                Node::Dir(child) => {
                    let place = self.folder(root, place, child, path)?;
                    self.over(root, &place, child, path)?;
                }
                node => root.put(&place, node),
            }
            path.pop();
        }
        Ok(())
    }

    /// Makes the folder `dir` of the archive; where it is.
    fn folder(
        &self,
        root: &mut Root<'_>,
        place: RelPath,
        dir: &Dir,
        path: &RelPath,
    ) -> Result<RelPath, CopyError> {
        if !self.archive.implied.contains(path) {
            root.folder(&place, dir.meta(), true)?;
            root.dress(&place, dir.meta());
            return Ok(place);
        }
        let way = follow(&root.now, &place, true, Bounds::Root);
        let place = way.map_err(|lost| lost_below(&shown(&place), lost))?.path;
        root.folder(&place, self.made, false)?;
        Ok(place)
    }
}
