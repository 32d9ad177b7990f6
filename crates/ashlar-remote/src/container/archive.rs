//! `docker-archive:FILE`: one tar archive with an image in it, as `docker save` writes and
//! `docker load`, `podman load` and `skopeo` read it.
//!
//! | entry | what |
//! |---|---|
//! | `<64 hex>.json` | the configuration, by its digest |
//! | `<64 hex>.tar`, `<64 hex>.tar.gz` | a layer, by the digest of what is in the entry: as it is, or in gzip |
//! | `manifest.json` | which configuration, which layers, which name |
//!
//! Layers in zstd are unpacked: not every `docker load` reads those.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek as _};
use std::path::Path;

use ashlar_object::{Digest, Hasher};
use ashlar_pack::{tar_end, tar_header, tar_padding};
use ashlar_store::{ImageError, ImageLayer, ImageTarget, RemoteError, Watch};
use serde_json::json;

use super::compose::{Blob, Composed};
use super::document::{GZIP, ZSTD};
use super::layout::{Half, failed};

/// Writes an image to a file, which is replaced when all of it is written.
pub(super) fn write(
    file: &Path,
    name: Option<&str>,
    composed: &Composed,
    watch: &Watch<'_>,
) -> Result<(), ImageError> {
    let [(configuration, layers)] = composed.parts.as_slice() else {
        return Err(ImageError::Inconsistent(
            "such an archive holds one image; write those for several platforms to an OCI layout \
             (oci:DIR) or to a registry"
                .to_owned(),
        ));
    };
    let target = ImageTarget::Archive { file: file.to_owned(), name: None };
    target.check()?;
    // Through a link to the file that it leads to: the link is not replaced.
    let real = file.canonicalize();
    let file = real.as_deref().unwrap_or(file);
    let folder = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(folder).map_err(failed("make", folder))?;
    let mut out = Half::beside(folder)?;
    let mut names: HashMap<Digest, String> = HashMap::new();
    for blob in &composed.blobs {
        let name = match layers.iter().find(|layer| layer.digest == blob.digest) {
            Some(layer) if layer.media_type == ZSTD => {
                unpacked(&mut out, folder, blob, layer, watch)?
            }
            Some(layer) => {
                let more = if layer.media_type == GZIP { ".gz" } else { "" };
                let name = format!("{}.tar{more}", blob.digest.hex());
                copied(&mut out, &name, blob, watch)?;
                name
            }
            None => {
                let name = format!("{}.json", blob.digest.hex());
                copied(&mut out, &name, blob, watch)?;
                name
            }
        };
        names.insert(blob.digest, name);
    }
    let name_of = |digest: &Digest| names.get(digest).cloned().unwrap_or_default();
    let manifest = json!([{
        "Config": name_of(configuration),
        "RepoTags": name.into_iter().collect::<Vec<_>>(),
        "Layers": layers.iter().map(|layer| name_of(&layer.digest)).collect::<Vec<_>>(),
    }]);
    let manifest = manifest.to_string();
    out.write(&tar_header("manifest.json", manifest.len() as u64))?;
    out.write(manifest.as_bytes())?;
    out.write(&vec![0; tar_padding(manifest.len() as u64)])?;
    out.write(tar_end())?;
    out.finish(file)
}

/// A blob as it is.
fn copied(out: &mut Half, name: &str, blob: &Blob, watch: &Watch<'_>) -> Result<(), ImageError> {
    out.write(&tar_header(name, blob.digest.size))?;
    let mut reader = blob.open(watch)?;
    pour(&mut reader, &blob.what, |bytes| out.write(bytes))?;
    out.write(&vec![0; tar_padding(blob.digest.size)])
}

/// A layer out of zstd. How long it is, which comes first, is only known at its end.
fn unpacked(
    out: &mut Half,
    folder: &Path,
    blob: &Blob,
    layer: &ImageLayer,
    watch: &Watch<'_>,
) -> Result<String, ImageError> {
    let mut plain = tempfile::tempfile_in(folder).map_err(failed("write to", folder))?;
    let mut hasher = Hasher::new();
    let opened = blob.open(watch)?;
    let mut reader =
        zstd::Decoder::new(opened).map_err(|error| ImageError::of_reading(error, &blob.what))?;
    pour(&mut reader, &blob.what, |bytes| {
        hasher.update(bytes);
        io::Write::write_all(&mut plain, bytes).map_err(failed("write to", folder))
    })?;
    let found = hasher.finish();
    if found.hash != layer.diff_id {
        return Err(ImageError::Digest {
            what: format!("the archive in {}", blob.what),
            expected: format!("sha256:{}", Digest { hash: layer.diff_id, size: 0 }.hex()),
            found: format!("sha256:{}", found.hex()),
        });
    }
    plain.rewind().map_err(failed("read", folder))?;
    let name = format!("{}.tar", found.hex());
    out.write(&tar_header(&name, found.size))?;
    let mut plain: File = plain;
    pour(&mut plain, &blob.what, |bytes| {
        if (watch.go_on)() { out.write(bytes) } else { Err(RemoteError::Stopped.into()) }
    })?;
    out.write(&vec![0; tar_padding(found.size)])?;
    Ok(name)
}

fn pour(
    from: &mut dyn Read,
    what: &str,
    mut into: impl FnMut(&[u8]) -> Result<(), ImageError>,
) -> Result<(), ImageError> {
    let mut piece = vec![0; 256 << 10];
    loop {
        match from.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(count) => into(&piece[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(ImageError::of_reading(error, what)),
        }
    }
}
