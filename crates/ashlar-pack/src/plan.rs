//! Which layers of an earlier revision stay, and what is in the new ones.

use std::cmp::Ordering;

use ashlar_object::{Dir, Node, Tree};

use crate::entry::{FirstNames, Item, WHITEOUT};
use crate::{Limits, PackError, Stack};

/// A large tree is cut into no more layers than this, which leaves room for revisions.
const PARTS: u64 = 24;

/// What one entry adds to a table of contents besides its path and target, roughly.
const ROW: u64 = 300;

/// So much of a table of contents, uncompressed, is begun before another layer is.
const TABLE: u64 = 24 << 20;

/// File systems have no longer names.
const LONGEST: usize = 255;

/// How a tree is packed.
#[derive(Clone, Debug)]
pub struct Packing {
    /// How many leading layers of the earlier revision stay: all of them, or none when there is
    /// no earlier one or the tree is packed anew.
    pub keep: usize,
    /// What has to be written, lowest first. Empty when the earlier layers make this very tree.
    pub layers: Vec<LayerPlan>,
    /// Whether `.wh.` names delete; if not, the image is annotated `org.ashlar.whiteouts=none`.
    pub whiteouts: bool,
}

/// What goes into one layer.
#[derive(Clone, Debug)]
pub struct LayerPlan {
    pub(crate) items: Vec<Item>,
    pub(crate) level: i32,
    content: u64,
}

impl LayerPlan {
    /// A layer of these entries as they are.
    pub(crate) fn of(items: Vec<Item>, level: i32) -> Self {
        let content = items.iter().map(Item::size).fold(0, u64::saturating_add);
        Self { items, level, content }
    }

    /// How many bytes the contents have before compression.
    #[must_use]
    pub fn content_size(&self) -> u64 {
        self.content
    }

    /// How many entries there are.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.items.len()
    }
}

/// Decides how to pack a tree: as a revision of `earlier` if there is one and it is not worn out,
/// otherwise anew, in layers that can travel in parallel.
///
/// # Errors
/// When the layers of `earlier` do not make a tree.
pub fn plan(tree: &Tree, earlier: Option<&Stack>, limits: &Limits) -> Result<Packing, PackError> {
    let whiteouts = !has_whiteout_names(tree.root());
    if let Some(earlier) = earlier {
        let was = earlier.tree()?;
        let keep = earlier.layers().len();
        if was.root_digest() == tree.root_digest() {
            return Ok(Packing { keep, layers: Vec::new(), whiteouts: earlier.whiteouts() });
        }
        // A name that would delete cannot be told from a deletion in any layer of the image.
        if whiteouts
            && earlier.whiteouts()
            && let Some(layers) = revise(&was, tree, earlier, limits)
        {
            return Ok(Packing { keep, layers, whiteouts });
        }
    }
    let mut items = vec![Item::dir(b"", tree.root())];
    all(tree.root(), &mut Vec::new(), &mut items);
    Ok(Packing { keep: 0, layers: cut(items, limits), whiteouts })
}

fn has_whiteout_names(dir: &Dir) -> bool {
    dir.entries().iter().any(|(name, node)| {
        name.as_bytes().starts_with(WHITEOUT)
            || matches!(node, Node::Dir(child) if has_whiteout_names(child))
    })
}

/// The layers of a revision, or none when it is time to pack anew.
fn revise(was: &Tree, tree: &Tree, earlier: &Stack, limits: &Limits) -> Option<Vec<LayerPlan>> {
    let mut changes = Changes { items: Vec::new(), dead: 0, unsayable: false, earlier };
    changes.items.push(Item::dir(b"", tree.root()));
    changes.dirs(was.root(), tree.root(), &mut Vec::new());
    let Changes { items, dead, unsayable, .. } = changes;
    if unsayable {
        return None;
    }
    let dead = earlier.dead_bytes().saturating_add(dead);
    let layers = cut(items, limits);
    let content: u64 = layers.iter().map(LayerPlan::content_size).sum();
    // New contents will shrink about as the earlier ones did.
    let (packed, plain) = earlier.ratio();
    let shrinks = if plain == 0 { 1.0 } else { packed as f64 / plain as f64 };
    let bytes = earlier.bytes() as f64 + content as f64 * shrinks;
    let worn_out =
        dead as f64 > limits.dead * bytes || earlier.layers().len() + layers.len() > limits.layers;
    (!worn_out).then_some(layers)
}

/// What a revision changes.
struct Changes<'a> {
    items: Vec<Item>,
    /// How many bytes of the earlier layers the change makes useless.
    dead: u64,
    /// Whether something is deleted whose name has no room for the mark that would say so.
    unsayable: bool,
    earlier: &'a Stack,
}

impl Changes<'_> {
    fn dirs(&mut self, was: &Dir, now: &Dir, path: &mut Vec<u8>) {
        if was.digest() == now.digest() {
            return;
        }
        let mut old = was.entries().iter().peekable();
        let mut new = now.entries().iter().peekable();
        loop {
            let order = match (old.peek(), new.peek()) {
                (None, None) => return,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((a, _)), Some((b, _))) => a.cmp(b),
            };
            let a = if order.is_le() { old.next() } else { None };
            let b = if order.is_ge() { new.next() } else { None };
            let Some((name, _)) = a.or(b) else { return };
            let length = push(path, name.as_bytes());
            self.nodes(a.map(|(_, node)| node), b.map(|(_, node)| node), path);
            path.truncate(length);
        }
    }

    fn nodes(&mut self, was: Option<&Node>, now: Option<&Node>, path: &mut Vec<u8>) {
        match (was, now) {
            (Some(Node::Dir(a)), Some(Node::Dir(b))) => {
                if a.digest() == b.digest() {
                    return;
                }
                // What has changed is in it, and needs it: see `cut`.
                let before = self.items.len();
                self.items.push(Item::dir(path, b));
                self.dirs(a, b, path);
                let same = a.meta() == b.meta() && a.is_opaque() == b.is_opaque();
                if same && self.items.len() == before + 1 {
                    self.items.pop();
                }
            }
            (Some(a), Some(b)) if a == b => {}
            (Some(a), None) => {
                let name = path.rsplit(|b| *b == b'/').next().unwrap_or_default();
                self.unsayable |= name.len() + WHITEOUT.len() > LONGEST;
                self.items.push(Item::gone(path));
                self.kill(a);
            }
            (a, Some(b)) => {
                if let Some(a) = a {
                    self.kill(a);
                }
                self.items.push(Item::of(path, b));
                if let Node::Dir(dir) = b {
                    all(dir, path, &mut self.items);
                }
            }
            (None, None) => {}
        }
    }

    fn kill(&mut self, node: &Node) {
        match node {
            Node::Dir(dir) => dir.entries().values().for_each(|child| self.kill(child)),
            Node::File(file) => self.dead += self.earlier.packed_size(&file.digest),
            Node::Symlink(_) | Node::Fifo(_) | Node::Whiteout => {}
        }
    }
}

/// Everything below a directory, parents before children, in byte order of names.
fn all(dir: &Dir, path: &mut Vec<u8>, items: &mut Vec<Item>) {
    for (name, node) in dir.entries() {
        let length = push(path, name.as_bytes());
        items.push(Item::of(path, node));
        if let Node::Dir(child) = node {
            all(child, path, items);
        }
        path.truncate(length);
    }
}

/// Adds a name to a path and says how long the path was before.
fn push(path: &mut Vec<u8>, name: &[u8]) -> usize {
    let length = path.len();
    if length > 0 {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    length
}

/// Cuts entries into layers. Each begins with the directories that its first entry is in, the
/// root included: unpacking changes their times, and alone nothing else says what they are like.
/// Hard links lead within one layer only: of a file with names in several, each has the content.
fn cut(items: Vec<Item>, limits: &Limits) -> Vec<LayerPlan> {
    let row = |item: &Item| ROW + (item.path.len() + item.what.target().len()) as u64;
    let content: u64 = items.iter().map(Item::size).fold(0, u64::saturating_add);
    let table: u64 = items.iter().map(row).sum();
    let enough = (limits.layer.max(content.div_ceil(PARTS)), TABLE.max(table.div_ceil(PARTS)));

    let mut layers = Vec::new();
    let mut layer = Vec::new();
    let mut size = (0, 0);
    let mut above: Vec<Item> = Vec::new();
    let mut names = FirstNames::default();
    for mut item in items {
        while above.last().is_some_and(|dir| !dir.is_above(&item.path)) {
            above.pop();
        }
        if size.0 >= enough.0 || size.1 >= enough.1 {
            let items = std::mem::replace(&mut layer, above.clone());
            layers.push(LayerPlan { items, level: limits.level, content: size.0 });
            size = (0, 0);
            names = FirstNames::default();
        }
        names.link(&mut item);
        size.0 += item.size();
        size.1 += row(&item);
        if item.is_dir() {
            above.push(item.clone());
        }
        layer.push(item);
    }
    if !layer.is_empty() {
        layers.push(LayerPlan { items: layer, level: limits.level, content: size.0 });
    }
    layers
}
