//! From the layers that steps made to an image that others take.
//!
//! A layer is written once: what it became is remembered by its tree, so an image that did not change
//! is not read again. Layers of a base are those of the base, byte by byte.

use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use ashlar_dockerfile::{Base, Image};
use ashlar_object::{Digest, Tree};
use ashlar_pack::PackError;
use ashlar_pack::image::{Compression, Writing, write_layer};
use ashlar_plan::{ImagePlan, ImageWork, StepIndex};
use ashlar_store::{
    BuiltImage, BuiltLayer, Found, GoOn, ImageLayer, ImagePlatform, LayerOrigin, LocalStore,
    ResolvedImage, Store, StoreError, read_tree,
};

use super::document::{self, Entry};

/// How an image is written.
#[derive(Clone)]
pub struct Exporting<'a> {
    /// How layers are written. Their time is that of the image as well.
    pub writing: Writing,
    /// Asked from time to time. What was written by then is known the next time.
    pub go_on: GoOn<'a>,
}

impl std::fmt::Debug for Exporting<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exporting").field("writing", &self.writing).finish_non_exhaustive()
    }
}

/// What is read or written until it is to stop; it fails then.
pub(super) struct Until<'a, T> {
    pub inner: T,
    pub go_on: GoOn<'a>,
}

impl<T> Until<'_, T> {
    fn check(&self) -> std::io::Result<()> {
        if (self.go_on)() { Ok(()) } else { Err(std::io::ErrorKind::TimedOut.into()) }
    }
}

impl<T: Read> Read for Until<'_, T> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.check()?;
        self.inner.read(into)
    }
}

impl<T: Write> Write for Until<'_, T> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.check()?;
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

/// Why an image cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A layer is not in the store any more.
    #[error("the layer of `{0}` is not in the store any more")]
    Missing(String),
    /// A layer cannot be written.
    #[error("the layer of `{step}` cannot be written")]
    Layer {
        /// Whose.
        step: String,
        /// Why not.
        source: PackError,
    },
    /// The time of the image is none.
    #[error("{0} is no time")]
    Time(i64),
    /// The folder of a root file system cannot be written.
    #[error("cannot write the files of the image to {}", path.display())]
    Folder {
        /// Which file or folder.
        path: std::path::PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file of a moment cannot be used.
    #[error("cannot write a layer")]
    Io(#[from] std::io::Error),
    /// It was to stop. Layers that were written are known the next time.
    #[error("stopped while the image was written")]
    Stopped,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An image, and how much of it is new.
#[derive(Clone, Debug)]
pub struct Exported {
    /// The image.
    pub image: BuiltImage,
    /// How many layers were written now.
    pub written: usize,
}

/// Puts the image of the target together. `found` has the result of each layer that is not a base's.
///
/// # Errors
/// When a layer is gone or cannot be written.
pub fn export(
    store: &LocalStore,
    image: &Image,
    plan: &ImagePlan,
    bases: &[Arc<ResolvedImage>],
    found: &dyn Fn(StepIndex) -> Option<Found>,
    how: &Exporting<'_>,
) -> Result<Exported, ExportError> {
    let target = &image.stages[image.target];
    let mut layers = Vec::new();
    let mut empty = std::collections::HashSet::new();
    let mut written = 0;
    for step in &plan.stages[image.target] {
        let id = &plan.plan.steps[*step].id;
        if let Some(ImageWork::Layer { base, layer }) = plan.plan.steps[*step].image()
            && let Some(image) = bases.get(*base)
            && let Some(of_base) = image.layers.get(*layer)
        {
            let origin = LayerOrigin::Base { image: Arc::clone(image), layer: *layer };
            layers.push(BuiltLayer { layer: of_base.clone(), origin });
            continue;
        }
        let missing = || ExportError::Missing(id.to_string());
        let outputs = found(*step).ok_or_else(missing)?.result.outputs;
        let tree = read_tree(store, &outputs)?.ok_or_else(missing)?;
        if tree == Tree::default() {
            empty.insert(*step);
            continue;
        }
        let layer = match remembered(store, &outputs, how)? {
            Some(layer) => layer,
            None => {
                written += 1;
                let step = || id.to_string();
                let layer = write(store, &tree, how).map_err(|error| match error {
                    _ if !(how.go_on)() => ExportError::Stopped,
                    WriteError::Pack(source) => ExportError::Layer { step: step(), source },
                    WriteError::Io(error) => ExportError::Io(error),
                    WriteError::Store(error) => ExportError::Store(error),
                })?;
                remember(store, &outputs, how, &layer)?;
                layer
            }
        };
        layers.push(BuiltLayer { layer, origin: LayerOrigin::Local });
    }
    let diff_ids: Vec<String> = (layers.iter())
        .map(|one| format!("sha256:{}", Digest { hash: one.layer.diff_id, size: 0 }.hex()))
        .collect();
    let (history, entries) = history(image, plan, bases, &empty);
    let created = created(how.writing.time)?;
    let configuration = document::encode(
        &target.configuration,
        &target.platform,
        &created,
        &diff_ids,
        history,
        &entries,
    );
    let platform = ImagePlatform::new(
        &target.platform.os,
        &target.platform.architecture,
        target.platform.variant.as_deref(),
    );
    let annotations = std::collections::BTreeMap::new();
    Ok(Exported { image: BuiltImage { platform, configuration, layers, annotations }, written })
}

/// The history of the base, and an entry for each instruction of the stages that the target stands on.
fn history(
    image: &Image,
    plan: &ImagePlan,
    bases: &[Arc<ResolvedImage>],
    empty: &std::collections::HashSet<StepIndex>,
) -> (Vec<serde_json::Value>, Vec<Entry>) {
    let mut chain = vec![image.target];
    while let Some(Base::Stage(below)) = chain.last().map(|stage| &image.stages[*stage].base) {
        chain.push(*below);
    }
    let lowest = chain.last().copied().unwrap_or(image.target);
    let of_base =
        plan.stages[lowest].iter().find_map(|step| match plan.plan.steps[*step].image() {
            Some(ImageWork::Layer { base, .. }) => bases.get(*base),
            _ => None,
        });
    // What comes from the project has no history of its own.
    let own: &[StepIndex] = &plan.instructions[lowest];
    let named = plan.stages[lowest].iter().filter(|step| !own.contains(step));
    let named = named.filter(|step| !plan.plan.steps[**step].is_foreign());
    let mut entries: Vec<Entry> = named
        .map(|step| {
            let id = &plan.plan.steps[*step].id;
            let created_by = match plan.plan.steps[*step].is_instruction() {
                true => {
                    id.step.split_once(": ").map_or(id.step.as_str(), |(_, text)| text).to_owned()
                }
                false => format!("FROM {id}"),
            };
            Entry { created_by, empty: empty.contains(step) }
        })
        .collect();
    for stage in chain.into_iter().rev() {
        for entry in &image.stages[stage].history {
            let step = entry.instruction.and_then(|at| plan.instructions[stage].get(at));
            let empty = step.is_none_or(|step| empty.contains(step));
            entries.push(Entry { created_by: entry.created_by.clone(), empty });
        }
    }
    (of_base.map(|image| document::history(&image.configuration)).unwrap_or_default(), entries)
}

/// A moment in RFC 3339.
fn created(seconds: i64) -> Result<String, ExportError> {
    let moment = jiff::Timestamp::from_second(seconds).map_err(|_| ExportError::Time(seconds))?;
    Ok(moment.to_string())
}

enum WriteError {
    Pack(PackError),
    Io(std::io::Error),
    Store(StoreError),
}

fn write(store: &LocalStore, tree: &Tree, how: &Exporting<'_>) -> Result<ImageLayer, WriteError> {
    let folder = Store::scratch(store).unwrap_or_else(std::env::temp_dir);
    let mut file = tempfile::tempfile_in(folder).map_err(WriteError::Io)?;
    let contents = |digest: &Digest| -> std::io::Result<Box<dyn Read + Send>> {
        match store.open_unchecked(digest) {
            // For a long while nothing may be written: what it becomes may be very small.
            _ if !(how.go_on)() => Err(std::io::ErrorKind::TimedOut.into()),
            Ok(Some(reader)) => Ok(reader),
            Ok(None) => Err(std::io::ErrorKind::NotFound.into()),
            Err(error) => Err(std::io::Error::other(error)),
        }
    };
    let layer = {
        let out = Until { inner: &mut file, go_on: how.go_on };
        let mut out = std::io::BufWriter::with_capacity(1 << 20, out);
        let layer =
            write_layer(tree, &contents, &how.writing, &mut out).map_err(WriteError::Pack)?;
        out.flush().map_err(WriteError::Io)?;
        layer
    };
    file.seek(SeekFrom::Start(0)).map_err(WriteError::Io)?;
    store.put(&mut file).map_err(WriteError::Store)?;
    Ok(ImageLayer {
        digest: layer.digest,
        media_type: media_type(how).to_owned(),
        diff_id: layer.diff_id,
        annotations: layer.annotations,
    })
}

fn media_type(how: &Exporting<'_>) -> &'static str {
    match how.writing.compression {
        Compression::None => "application/vnd.oci.image.layer.v1.tar",
        Compression::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
        Compression::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
    }
}

/// The name under which it is remembered what a tree became.
fn name(outputs: &Digest, how: &Exporting<'_>) -> String {
    let Writing { compression, level, time, .. } = &how.writing;
    format!("image-layer:{compression:?}:{level:?}:{time}:{outputs}")
}

/// What a tree became, if that is still there.
fn remembered(
    store: &LocalStore,
    outputs: &Digest,
    how: &Exporting<'_>,
) -> Result<Option<ImageLayer>, StoreError> {
    let Some(bytes) = store.journal().recall(&name(outputs, how))? else { return Ok(None) };
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = text.lines();
    let (Some(digest), Some(diff_id)) = (
        lines.next().and_then(|line| line.parse::<Digest>().ok()),
        lines.next().and_then(|line| line.parse::<Digest>().ok()),
    ) else {
        return Ok(None);
    };
    if !store.missing(&[digest])?.is_empty() {
        return Ok(None);
    }
    let pairs = lines.filter_map(|line| line.split_once('\t'));
    let annotations = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let (diff_id, media_type) = (diff_id.hash, media_type(how).to_owned());
    Ok(Some(ImageLayer { digest, media_type, diff_id, annotations }))
}

fn remember(
    store: &LocalStore,
    outputs: &Digest,
    how: &Exporting<'_>,
    layer: &ImageLayer,
) -> Result<(), StoreError> {
    let diff_id = Digest { hash: layer.diff_id, size: 0 };
    let mut text = format!("{}\n{diff_id}\n", layer.digest);
    for (name, value) in &layer.annotations {
        text.push_str(&format!("{name}\t{value}\n"));
    }
    store.journal().remember(&name(outputs, how), text.as_bytes())
}
