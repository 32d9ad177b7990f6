//! Images beside real registries and real programs.

mod faults;
mod forged;
mod layouts;
mod programs;
mod registries;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ashlar_object::Digest;
use ashlar_pack::{tar_end, tar_header, tar_padding};
use ashlar_store::{
    BuiltImage, BuiltLayer, ImageError, ImageLayer, ImagePlatform, ImageReference, ImageTarget,
    Images, LayerOrigin, LayerSource, LocalStore, MemoryStore, Moved, OpenOptions, PublishedImage,
    RemoteError, ResolvedImage, Watch, put,
};
use serde_json::json;

use super::document::{GZIP, TAR, ZSTD};
use super::{ImageOptions, ImagePlaces};
use crate::artifact::Access;

/// Bytes that no compressor makes smaller.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// A tar archive of files.
fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, content) in files {
        out.extend(tar_header(name, content.len() as u64));
        out.extend_from_slice(content);
        out.resize(out.len() + tar_padding(content.len() as u64), 0);
    }
    out.extend_from_slice(tar_end());
    out
}

/// What a program makes of bytes.
fn through(command: &mut Command, bytes: &[u8]) -> Vec<u8> {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut input = child.stdin.take().expect("its input");
    std::thread::scope(|scope| {
        scope.spawn(move || input.write_all(bytes).expect("it reads"));
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success());
        output.stdout
    })
}

/// A store of layers, and images made of them.
struct Maker {
    store: Arc<MemoryStore>,
}

impl Maker {
    fn new() -> Self {
        Self { store: Arc::new(MemoryStore::new()) }
    }

    fn layers(&self) -> Arc<dyn LayerSource> {
        Arc::clone(&self.store) as Arc<dyn LayerSource>
    }

    /// A layer of one file.
    fn layer(&self, media_type: &str, name: &str, content: &[u8]) -> BuiltLayer {
        let plain = archive(&[(name, content)]);
        let packed = match media_type {
            TAR => plain.clone(),
            GZIP => through(Command::new("gzip").args(["-n", "-c"]), &plain),
            ZSTD => zstd::encode_all(plain.as_slice(), 3).expect("packed"),
            other => panic!("{other}"),
        };
        let digest = put(&*self.store, &packed).expect("kept");
        let layer = ImageLayer {
            digest,
            media_type: media_type.to_owned(),
            diff_id: Digest::of(&plain).hash,
            annotations: Default::default(),
        };
        BuiltLayer { layer, origin: LayerOrigin::Local }
    }

    /// An image of these, for a platform.
    fn image(&self, platform: &str, layers: Vec<BuiltLayer>) -> BuiltImage {
        let platform = ImagePlatform::parse(platform).expect("a platform");
        let diff_ids: Vec<String> = layers
            .iter()
            .map(|it| format!("sha256:{}", Digest { hash: it.layer.diff_id, size: 0 }.hex()))
            .collect();
        let mut configuration = json!({
            "architecture": platform.architecture,
            "os": platform.os,
            "created": "2000-01-01T00:00:00Z",
            "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/sh"], "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": diff_ids.iter().map(|_| json!({"created_by": "ashlar"})).collect::<Vec<_>>(),
        });
        if let Some(variant) = &platform.variant {
            configuration["variant"] = json!(variant);
        }
        let configuration = configuration.to_string().into_bytes();
        BuiltImage { platform, configuration, layers, annotations: Default::default() }
    }

    /// One with a layer of each kind.
    fn usual(&self) -> BuiltImage {
        let layers = vec![
            self.layer(GZIP, "one", &noise(400_000, 1)),
            self.layer(ZSTD, "two", &noise(200_000, 2)),
            self.layer(TAR, "three", b"three\n"),
        ];
        self.image("linux/amd64", layers)
    }
}

fn places() -> ImagePlaces {
    ImagePlaces::new(options())
}

fn options() -> ImageOptions {
    let access = Access { timeout: Duration::from_secs(5), ..Access::default() };
    ImageOptions { access, ..ImageOptions::default() }
}

/// With a store that remembers.
fn remembering(folder: &Path) -> ImageOptions {
    let store = LocalStore::open(&folder.join("store"), OpenOptions::default()).expect("a store");
    ImageOptions { store: Some(Arc::new(store)), ..options() }
}

fn reference(text: &str) -> ImageReference {
    ImageReference::parse(text, None).expect(text)
}

fn target(text: &str) -> ImageTarget {
    ImageTarget::parse(text, None).expect(text)
}

fn linux() -> ImagePlatform {
    ImagePlatform::new("linux", "amd64", None)
}

fn resolve(places: &dyn Images, text: &str) -> Result<ResolvedImage, ImageError> {
    places.resolve(&reference(text), &linux(), &Watch::NOBODY)
}

fn publish(
    places: &dyn Images,
    text: &str,
    images: &[BuiltImage],
    maker: &Maker,
) -> Result<PublishedImage, ImageError> {
    places.publish(&target(text), images, &maker.layers(), &Watch::NOBODY)
}

/// The bytes of all layers.
fn contents(places: &dyn Images, image: &ResolvedImage) -> Vec<Vec<u8>> {
    let read = |layer| {
        let mut bytes = Vec::new();
        places.layer(image, layer, &mut bytes, &Watch::NOBODY).expect("it is read");
        bytes
    };
    (0..image.layers.len()).map(read).collect()
}

/// The same layers, as a base that another image is built on.
fn based_on(image: &ResolvedImage) -> Vec<BuiltLayer> {
    let image = Arc::new(image.clone());
    let layer = |(number, layer): (usize, &ImageLayer)| BuiltLayer {
        layer: layer.clone(),
        origin: LayerOrigin::Base { image: Arc::clone(&image), layer: number },
    };
    image.layers.iter().enumerate().map(layer).collect()
}

fn run(command: &mut Command) -> String {
    let output = command.output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).expect("text")
}
