//! What people write: which image, where to, for what machine.

use std::fmt;
use std::path::{Path, PathBuf};

use ashlar_object::Digest;

use super::ImageError;

/// The tag that is meant when none is written.
const LATEST: &str = "latest";

/// An image at a place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ImageReference {
    /// `HOST[:PORT]/REPOSITORY[:TAG][@sha256:…]`. With a digest the tag says nothing.
    Registry {
        /// Host, perhaps with a port, as it was written.
        host: String,
        /// The repository.
        repository: String,
        /// The tag.
        tag: Option<String>,
        /// The SHA-256 of the manifest or index.
        digest: Option<[u8; 32]>,
    },
    /// `oci:DIR[:TAG][@sha256:…]`: a folder in the OCI image layout. Without a tag and a digest it
    /// must hold one image only.
    Layout {
        /// The folder.
        folder: PathBuf,
        /// The name in its index.
        tag: Option<String>,
        /// The SHA-256 of the manifest or index.
        digest: Option<[u8; 32]>,
    },
}

impl ImageReference {
    /// Reads a reference. As other programs do, the first part is a registry when it has a dot or
    /// a port or is `localhost`. `registry`, perhaps with a path, is put before one that names none.
    ///
    /// # Errors
    /// [`ImageError::Reference`].
    pub fn parse(text: &str, registry: Option<&str>) -> Result<Self, ImageError> {
        let wrong =
            |why: &str| ImageError::Reference { text: text.to_owned(), why: why.to_owned() };
        if text.is_empty() || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(wrong("it is empty, or has spaces in it"));
        }
        let (rest, digest) = match text.split_once('@') {
            None => (text, None),
            Some((_, at)) if at.contains('/') => {
                return Err(ImageError::Reference {
                    text: format!("…@{at}"),
                    why: "users and passwords do not belong into it; log in to the registry"
                        .to_owned(),
                });
            }
            Some((rest, digest)) => (rest, Some(sha256(digest).map_err(|why| wrong(&why))?)),
        };
        if let Some(rest) = rest.strip_prefix("oci:") {
            let (folder, tag) = layout(rest).map_err(|why| wrong(&why))?;
            return Ok(Self::Layout { folder, tag, digest });
        }
        if let Some((kind, _)) = rest.split_once(':')
            && ["docker-archive", "oci-archive", "dir", "containers-storage", "docker-daemon"]
                .contains(&kind)
        {
            return Err(wrong(&format!(
                "images are not taken from `{kind}:`; copy it with `skopeo copy {text} oci:DIR:TAG` \
                 and write `oci:DIR:TAG`"
            )));
        }
        let rest = rest.strip_prefix("docker://").unwrap_or(rest);
        let (path, tag) = match rest.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
            _ => (rest, None),
        };
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return Err(wrong(&format!("`{tag}` can be no tag: {TAG_RULE}")));
        }
        let (host, repository) = match path.split_once('/') {
            Some((host, repository)) if is_host(host) => (host.to_owned(), repository.to_owned()),
            _ => {
                let Some(registry) =
                    registry.map(|it| it.trim_matches('/')).filter(|it| !it.is_empty())
                else {
                    return Err(wrong(&format!(
                        "it does not say which registry; write REGISTRY/{text}, or say \
                         `--registry` or ASHLAR_IMAGE_REGISTRY"
                    )));
                };
                match registry.split_once('/') {
                    Some((host, folder)) => (host.to_owned(), format!("{folder}/{path}")),
                    None => (registry.to_owned(), path.to_owned()),
                }
            }
        };
        if host.contains('@') || !is_repository(&repository) {
            return Err(wrong(
                "a repository has lower-case letters, digits and . _ - / only, with a letter or \
                 digit at both ends of each part",
            ));
        }
        Ok(Self::Registry { host, repository, tag: tag.map(str::to_owned), digest })
    }

    /// The tag that counts: none with a digest; `latest` at a registry when none is written.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        match self {
            Self::Registry { digest: Some(_), .. } | Self::Layout { digest: Some(_), .. } => None,
            Self::Registry { tag, .. } => Some(tag.as_deref().unwrap_or(LATEST)),
            Self::Layout { tag, .. } => tag.as_deref(),
        }
    }

    /// The digest that it is pinned to.
    #[must_use]
    pub fn digest(&self) -> Option<&[u8; 32]> {
        match self {
            Self::Registry { digest, .. } | Self::Layout { digest, .. } => digest.as_ref(),
        }
    }

    /// The same image for ever.
    #[must_use]
    pub fn pinned(mut self, to: &Digest) -> Self {
        match &mut self {
            Self::Registry { digest, .. } | Self::Layout { digest, .. } => *digest = Some(to.hash),
        }
        self
    }

    /// With the folder of a layout as it is seen from another folder.
    #[must_use]
    pub fn below(mut self, base: &Path) -> Self {
        if let Self::Layout { folder, .. } = &mut self {
            *folder = base.join(&folder);
        }
        self
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tag, digest) = match self {
            Self::Registry { host, repository, tag, digest } => {
                write!(f, "{host}/{repository}")?;
                (tag, digest)
            }
            Self::Layout { folder, tag, digest } => {
                write!(f, "oci:{}", folder.display())?;
                (tag, digest)
            }
        };
        if let Some(tag) = tag {
            write!(f, ":{tag}")?;
        }
        match digest {
            Some(hash) => write!(f, "@sha256:{}", Digest { hash: *hash, size: 0 }.hex()),
            None => Ok(()),
        }
    }
}

/// Where an image is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageTarget {
    /// `HOST[:PORT]/REPOSITORY[:TAG]`; `latest` when no tag is written.
    Registry {
        /// Host, perhaps with a port.
        host: String,
        /// The repository.
        repository: String,
        /// The tag.
        tag: String,
    },
    /// `oci:DIR[:TAG]`: a folder in the OCI image layout, made where there is none. What is in it
    /// stays, except that the tag moves.
    Layout {
        /// The folder.
        folder: PathBuf,
        /// The name in its index; without one the image without a name is replaced.
        tag: Option<String>,
    },
    /// `docker-archive:FILE[:NAME[:TAG]]`: what `docker load`, `podman load` and `skopeo` read. It
    /// holds one image.
    Archive {
        /// The file.
        file: PathBuf,
        /// Its name, with a tag.
        name: Option<String>,
    },
}

impl ImageTarget {
    /// Reads a target; `registry` as for [`ImageReference::parse`].
    ///
    /// # Errors
    /// [`ImageError::Reference`].
    pub fn parse(text: &str, registry: Option<&str>) -> Result<Self, ImageError> {
        let wrong =
            |why: &str| ImageError::Reference { text: text.to_owned(), why: why.to_owned() };
        if let Some(rest) = text.strip_prefix("docker-archive:") {
            let (file, name) = match rest.split_once(':') {
                Some((file, name)) => (file, Some(archive_name(name).map_err(|why| wrong(&why))?)),
                None => (rest, None),
            };
            if file.is_empty() {
                return Err(wrong("it should be docker-archive:FILE[:NAME[:TAG]]"));
            }
            return Ok(Self::Archive { file: PathBuf::from(file), name });
        }
        match ImageReference::parse(text, registry)? {
            ImageReference::Registry { digest: Some(_), .. }
            | ImageReference::Layout { digest: Some(_), .. } => {
                Err(wrong("where an image is left has a tag and no digest"))
            }
            ImageReference::Registry { host, repository, tag, .. } => Ok(Self::Registry {
                host,
                repository,
                tag: tag.unwrap_or_else(|| LATEST.to_owned()),
            }),
            ImageReference::Layout { folder, tag, .. } => Ok(Self::Layout { folder, tag }),
        }
    }

    /// Whether it can be written to, as far as a look at the disk says. The file of an archive is
    /// replaced when all is written, so what stands in its place has to be a file, and no device or
    /// pipe.
    ///
    /// # Errors
    /// [`ImageError::Unsupported`].
    pub fn check(&self) -> Result<(), ImageError> {
        let Self::Archive { file, .. } = self else { return Ok(()) };
        match std::fs::metadata(file) {
            Ok(meta) if !meta.is_file() => Err(ImageError::Unsupported {
                reference: self.to_string(),
                why: format!(
                    "{} is there and is no file; name a file, and pass it on from there",
                    file.display()
                ),
            }),
            _ => Ok(()),
        }
    }

    /// With the folder or file as it is seen from another folder.
    #[must_use]
    pub fn below(mut self, base: &Path) -> Self {
        match &mut self {
            Self::Registry { .. } => {}
            Self::Layout { folder: path, .. } | Self::Archive { file: path, .. } => {
                *path = base.join(&path);
            }
        }
        self
    }
}

impl fmt::Display for ImageTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, name) = match self {
            Self::Registry { host, repository, tag } => {
                return write!(f, "{host}/{repository}:{tag}");
            }
            Self::Layout { folder, tag } => {
                f.write_str("oci:")?;
                (folder, tag)
            }
            Self::Archive { file, name } => {
                f.write_str("docker-archive:")?;
                (file, name)
            }
        };
        write!(f, "{}", path.display())?;
        name.as_ref().map_or(Ok(()), |name| write!(f, ":{name}"))
    }
}

/// What machine an image is for, with the names that Go has for them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImagePlatform {
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`, ….
    pub architecture: String,
    /// `v7` of `arm`; none where there is one only.
    pub variant: Option<String>,
}

impl ImagePlatform {
    /// With `arm64/v8` and `arm64` as one, and `arm` as `arm/v7`, as others have it.
    #[must_use]
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let architecture = match architecture {
            "x86_64" | "x86-64" => "amd64",
            "aarch64" => "arm64",
            "i386" | "i686" => "386",
            other => other,
        };
        let variant = match (architecture, variant.filter(|it| !it.is_empty())) {
            ("arm64", Some("v8")) | ("amd64", Some("v1")) => None,
            ("arm", None) => Some("v7"),
            (_, variant) => variant,
        };
        let variant = variant.map(str::to_owned);
        Self { os: os.to_owned(), architecture: architecture.to_owned(), variant }
    }

    /// Reads `OS/ARCHITECTURE[/VARIANT]`.
    ///
    /// # Errors
    /// [`ImageError::Reference`].
    pub fn parse(text: &str) -> Result<Self, ImageError> {
        let parts: Vec<&str> = text.split('/').collect();
        match parts.as_slice() {
            [os, architecture] if !os.is_empty() && !architecture.is_empty() => {
                Ok(Self::new(os, architecture, None))
            }
            [os, architecture, variant]
                if !os.is_empty() && !architecture.is_empty() && !variant.is_empty() =>
            {
                Ok(Self::new(os, architecture, Some(variant)))
            }
            _ => Err(ImageError::Reference {
                text: text.to_owned(),
                why: "a platform is OS/ARCHITECTURE[/VARIANT], as linux/amd64".to_owned(),
            }),
        }
    }
}

impl fmt::Display for ImagePlatform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

const TAG_RULE: &str = "1 to 128 letters, digits, `_`, `.` and `-`, the first a letter, a digit or \
                        `_`";

/// The grammar of the distribution specification.
fn is_tag(tag: &str) -> bool {
    let mut bytes = tag.bytes();
    tag.len() <= 128
        && bytes.next().is_some_and(|first| first.is_ascii_alphanumeric() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

/// Whether the first part of a reference is a registry.
fn is_host(part: &str) -> bool {
    part.contains(['.', ':']) || part == "localhost" || part.chars().any(char::is_uppercase)
}

/// Parts of lower-case letters and digits, with `.`, `_`, `__` or any number of `-` between them.
fn is_repository(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= 255
        && name.split('/').all(|part| {
            part.starts_with(plain)
                && part.ends_with(plain)
                && part.split(plain).all(|between| {
                    matches!(between, "" | "." | "_" | "__") || between.bytes().all(|b| b == b'-')
                })
        })
}

/// The hash in `sha256:<hex>`.
fn sha256(text: &str) -> Result<[u8; 32], String> {
    let hex = text.strip_prefix("sha256:").ok_or_else(|| {
        format!(
            "`{text}` is no digest that is understood: write @sha256: and 64 hexadecimal digits"
        )
    })?;
    let digest = Digest::from_hex(hex, 0);
    digest.map(|digest| digest.hash).map_err(|_| {
        format!("`{hex}` is no SHA-256 digest: it has 64 hexadecimal digits in lower case")
    })
}

/// `DIR[:TAG]`.
fn layout(text: &str) -> Result<(PathBuf, Option<String>), String> {
    let (folder, tag) = match text.split_once(':') {
        Some((folder, tag)) => (folder, Some(tag)),
        None => (text, None),
    };
    if folder.is_empty() {
        return Err("it should be oci:DIR[:TAG]".to_owned());
    }
    // A name in a layout may be more than a tag: programs write whole references there.
    let fits = |tag: &str| {
        tag.split('/').all(|part| !part.is_empty())
            && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-:/+".contains(&b))
    };
    match tag {
        Some(tag) if tag.is_empty() || tag.len() > 512 || !fits(tag) => {
            Err(format!("`{tag}` can be no name in a layout"))
        }
        tag => Ok((PathBuf::from(folder), tag.map(str::to_owned))),
    }
}

/// `NAME[:TAG]` in an archive, with a tag.
fn archive_name(text: &str) -> Result<String, String> {
    let (path, tag) = match text.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, tag),
        _ => (text, LATEST),
    };
    let repository = match path.split_once('/') {
        Some((host, rest)) if is_host(host) => rest,
        _ => path,
    };
    if !is_tag(tag) || !is_repository(repository) {
        return Err(format!("`{text}` is no name of an image, as app:1.0"));
    }
    Ok(format!("{path}:{tag}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ImageReference, ImageError> {
        ImageReference::parse(text, None)
    }

    fn why(text: &str) -> String {
        parse(text).expect_err(text).to_string()
    }

    #[test]
    fn references_are_read_as_other_programs_read_them() {
        let hex = "ab".repeat(32);
        for text in [
            "127.0.0.1:5000/x".to_owned(),
            "127.0.0.1:5000/x/y:12".to_owned(),
            "localhost/x:v1".to_owned(),
            "registry.example/a/b-c__d".to_owned(),
            format!("registry.example/a:1@sha256:{hex}"),
            "[::1]:5000/a:1".to_owned(),
            "oci:/a/b".to_owned(),
            "oci:a/b:12".to_owned(),
            "oci:a:name/with:tag".to_owned(),
            format!("oci:a@sha256:{hex}"),
        ] {
            assert_eq!(parse(&text).expect(&text).to_string(), text);
        }
        let read = parse("127.0.0.1:5000/x").expect("good");
        assert_eq!(read.tag(), Some("latest"));
        let pinned = read.pinned(&Digest::of(b"x"));
        assert_eq!((pinned.tag(), pinned.digest()), (None, Some(&Digest::of(b"x").hash)));
        let ImageReference::Registry { host, repository, tag, .. } =
            parse("docker://h.example:1/a/b:c").expect("good")
        else {
            panic!("a registry");
        };
        assert_eq!((&*host, &*repository, tag.as_deref()), ("h.example:1", "a/b", Some("c")));
    }

    #[test]
    fn a_reference_without_registry_needs_one_that_is_set() {
        for text in ["debian", "debian:12", "team/app"] {
            let why = why(text);
            assert!(why.contains("ASHLAR_IMAGE_REGISTRY") && why.contains(text), "{why}");
        }
        let with =
            |text, registry| ImageReference::parse(text, Some(registry)).expect(text).to_string();
        assert_eq!(with("debian:12", "r.example"), "r.example/debian:12");
        assert_eq!(with("team/app", "r.example/mirror/"), "r.example/mirror/team/app");
        assert_eq!(with("x.example/app", "r.example"), "x.example/app");
        ImageReference::parse("debian", Some("")).expect_err("none is set");
    }

    #[test]
    fn what_is_no_reference_is_refused_with_a_reason() {
        for (text, part) in [
            ("", "empty"),
            ("a b", "spaces"),
            ("r.example/Upper", "lower-case"),
            ("r.example/", "lower-case"),
            ("r.example/../x", "lower-case"),
            ("r.example/a:-", "can be no tag"),
            ("r.example/a@sha256:12", "64 hexadecimal"),
            ("r.example/a@sha512:12", "no digest that is understood"),
            ("user:s3cret@r.example/a", "log in"),
            ("oci:", "oci:DIR"),
            ("oci:a:", "no name"),
            ("oci:a:b c", "spaces"),
            ("oci:a:b//c", "no name in a layout"),
            ("docker-archive:x.tar", "skopeo copy"),
        ] {
            let why = why(text);
            assert!(why.contains(part) && !why.contains("s3cret"), "{text}: {why}");
        }
    }

    #[test]
    fn targets() {
        for (text, shown) in [
            ("127.0.0.1:5000/x", "127.0.0.1:5000/x:latest"),
            ("r.example/x:1", "r.example/x:1"),
            ("oci:out", "oci:out"),
            ("oci:out:1", "oci:out:1"),
            ("docker-archive:a.tar", "docker-archive:a.tar"),
            ("docker-archive:a.tar:app", "docker-archive:a.tar:app:latest"),
            ("docker-archive:a.tar:r.example:5/app:2", "docker-archive:a.tar:r.example:5/app:2"),
        ] {
            assert_eq!(ImageTarget::parse(text, None).expect(text).to_string(), shown);
        }
        for text in ["app", "docker-archive:", "docker-archive:a:B", "r.example/x@sha256:1"] {
            ImageTarget::parse(text, None).expect_err(text);
        }
        let pinned = format!("r.example/x@sha256:{}", "ab".repeat(32));
        ImageTarget::parse(&pinned, None).expect_err("a digest");
        let at = ImageTarget::parse("oci:out", None).expect("good").below(Path::new("/p"));
        assert_eq!(at.to_string(), "oci:/p/out");
    }

    #[test]
    fn platforms_have_one_name_each() {
        let shown = |text: &str| ImagePlatform::parse(text).expect(text).to_string();
        assert_eq!(shown("linux/amd64"), "linux/amd64");
        assert_eq!(shown("linux/x86_64"), "linux/amd64");
        assert_eq!(shown("linux/arm64/v8"), "linux/arm64");
        assert_eq!(shown("linux/arm"), "linux/arm/v7");
        assert_eq!(shown("linux/arm/v6"), "linux/arm/v6");
        for text in ["linux", "linux/", "/amd64", "a/b/", "a/b/c/d"] {
            ImagePlatform::parse(text).expect_err(text);
        }
    }
}
