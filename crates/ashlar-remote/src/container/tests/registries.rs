//! At registries, when all goes well; and what is remembered.

use ashlar_testbed::registry::{Auth, Options as Kind};
use ashlar_testbed::{Login, Proxy, READER, WRITER, docker_registry};

use super::*;
use crate::Credentials;

/// What was asked and answered, in order. A request that was cut is asked again, and once more is
/// not more.
fn methods(proxy: &Proxy) -> Vec<String> {
    let answered = proxy.requests().into_iter().filter(|it| it.status != 0);
    answered.map(|it| it.method).collect()
}

#[test]
fn an_image_comes_back_as_it_was_left_and_is_not_moved_twice() {
    let registry = docker_registry(&Kind::default());
    let proxy = Proxy::http(registry.address());
    let (maker, places) = (Maker::new(), places());
    let image = maker.usual();
    let name = format!("{}/team/app:1", proxy.host());
    let left = publish(&places, &name, std::slice::from_ref(&image), &maker).expect("it is left");
    let size: u64 = image.layers.iter().map(|it| it.layer.digest.size).sum();
    assert_eq!(left.moved.bytes, size + image.configuration.len() as u64);
    assert_eq!(left.reference, format!("{name}@sha256:{}", left.digest.hex()));

    let found = resolve(&places, &name).expect("it is there");
    assert_eq!(found.named, left.digest);
    assert_eq!(found.configuration, image.configuration);
    assert!(found.layers.iter().eq(image.layers.iter().map(|it| &it.layer)));
    let bytes = contents(&places, &found);
    for (bytes, layer) in bytes.iter().zip(&found.layers) {
        assert_eq!(Digest::of(bytes), layer.digest);
    }

    // Once more, by somebody who knows nothing: one request that has no body.
    proxy.reset();
    let again =
        publish(&self::places(), &name, std::slice::from_ref(&image), &maker).expect("it is there");
    assert_eq!(again.digest, left.digest);
    assert_eq!(again.moved, Moved { already: left.moved.bytes, ..Moved::default() });
    let asked = methods(&proxy);
    assert_eq!(asked, ["HEAD"]);

    // Under another tag: no blob is asked for.
    proxy.reset();
    let other = format!("{}/team/app:2", proxy.host());
    publish(&places, &other, &[image], &maker).expect("it is left");
    assert!(proxy.requests().iter().all(|it| !it.path.contains("/blobs/")));
    assert_eq!(resolve(&places, &other).expect("it is there").named, left.digest);
}

#[test]
fn what_is_known_is_not_asked_for_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut registry = docker_registry(&Kind::default());
    let proxy = Proxy::http(registry.address());
    let maker = Maker::new();
    let name = format!("{}/app:1", proxy.host());
    let left = publish(&places(), &name, &[maker.usual()], &maker).expect("it is left");
    let pinned = format!("{name}@sha256:{}", left.digest.hex());

    let known = ImagePlaces::new(remembering(folder.path()));
    proxy.reset();
    let first = resolve(&known, &name).expect("it is there");
    let asked = methods(&proxy);
    assert_eq!(asked, ["HEAD", "GET", "GET"], "the tag, the manifest, the configuration");
    drop(known);

    // Another process: a tag costs one request, a digest none.
    let known = ImagePlaces::new(remembering(folder.path()));
    proxy.reset();
    assert_eq!(resolve(&known, &name).expect("it is there"), first);
    let asked = methods(&proxy);
    assert_eq!(asked, ["HEAD"], "{:?}", proxy.requests());
    proxy.reset();
    let second = resolve(&known, &pinned).expect("it is known");
    assert_eq!((second.manifest, &second.layers), (first.manifest, &first.layers));
    assert!(proxy.requests().is_empty() && proxy.connections() <= 1);

    // A tag that moved is seen.
    let image = maker.image("linux/amd64", vec![maker.layer(GZIP, "new", b"new")]);
    let moved = publish(&places(), &name, &[image], &maker).expect("it is left");
    assert_eq!(resolve(&known, &name).expect("it is there").named, moved.digest);

    // Nobody answers: what a digest names is known, what a tag names is not.
    registry.server.stop();
    assert_eq!(resolve(&known, &pinned).expect("it is known").manifest, first.manifest);
    let error = resolve(&known, &name).expect_err("nobody answers");
    assert!(matches!(error, ImageError::Remote(RemoteError::Unreachable { .. })), "{error:?}");
    let warned = std::sync::Mutex::new(Vec::new());
    let warn = |text| warned.lock().expect("not poisoned").push(text);
    let watch = Watch { warn: &warn, ..Watch::NOBODY };
    let mut options = remembering(folder.path());
    options.offline = true;
    options.access.timeout = Duration::from_secs(1);
    let offline = ImagePlaces::new(options);
    let last = offline.resolve(&reference(&name), &linux(), &watch).expect("it is known");
    assert_eq!(last.named, moved.digest);
    let warned = warned.lock().expect("not poisoned").clone();
    assert!(
        matches!(&warned[..], [one] if one.contains(&name) && one.contains(&moved.digest.hex())),
        "{warned:?}"
    );
    // What was never asked for is not known offline either.
    let other = format!("{}/app:other", proxy.host());
    offline.resolve(&reference(&other), &linux(), &watch).expect_err("nobody knows");
}

#[test]
fn layers_of_a_base_are_mounted_or_copied_through() {
    let folder = tempfile::tempdir().expect("a folder");
    let registry = docker_registry(&Kind::default());
    let proxy = Proxy::http(registry.address());
    let (maker, places) = (Maker::new(), places());
    let base = format!("{}/base/image:1", proxy.host());
    publish(&places, &base, &[maker.usual()], &maker).expect("it is left");
    let base = resolve(&places, &base).expect("it is there");

    // From somebody who has only the layer that is new.
    let own = Maker::new();
    let mut layers = based_on(&base);
    layers.push(own.layer(GZIP, "own", &noise(5000, 9)));
    let image = own.image("linux/amd64", layers);
    proxy.reset();
    let name = format!("{}/team/app:1", proxy.host());
    let left = publish(&places, &name, std::slice::from_ref(&image), &own).expect("it is left");
    let up: u64 = proxy.requests().iter().map(|it| it.up).sum();
    assert!(up < 10_000, "{up}");
    assert_eq!(proxy.requests_to("GET", "/v2/base/image/blobs/").len(), 0);
    let found = resolve(&places, &name).expect("it is there");
    assert_eq!(contents(&places, &found)[..3], contents(&places, &base)[..]);

    // Elsewhere they cannot be mounted.
    let other = docker_registry(&Kind::default());
    let name = format!("{}/team/app:1", other.host());
    let copied = publish(&places, &name, std::slice::from_ref(&image), &own).expect("it is left");
    assert_eq!(copied.digest, left.digest);
    let found = resolve(&places, &name).expect("it is there");
    assert_eq!(contents(&places, &found)[..3], contents(&places, &base)[..]);
    let name = format!("oci:{}", folder.path().join("layout").display());
    let copied = publish(&places, &name, &[image], &own).expect("it is left");
    assert_eq!(copied.digest, left.digest);
}

#[test]
fn several_platforms_are_one_index() {
    let registry = docker_registry(&Kind::default());
    let (maker, places) = (Maker::new(), places());
    let of = |platform: &str| {
        let layers = vec![
            maker.layer(GZIP, "shared", b"the same"),
            maker.layer(GZIP, "own", platform.as_bytes()),
        ];
        maker.image(platform, layers)
    };
    let images = ["linux/amd64", "linux/arm64", "linux/arm/v6"].map(of);
    let name = format!("{}/app:all", registry.host());
    let left = publish(&places, &name, &images, &maker).expect("it is left");
    for (platform, image) in
        [("linux/amd64", 0), ("linux/arm64/v8", 1), ("linux/arm/v6", 2), ("linux/arm/v7", 2)]
    {
        let platform = ImagePlatform::parse(platform).expect("a platform");
        let found = places.resolve(&reference(&name), &platform, &Watch::NOBODY);
        let found = found.expect("it is there");
        assert_eq!(found.configuration, images[image].configuration, "{platform}");
        assert_eq!((found.named, found.platform), (left.digest, platform));
        assert_ne!(found.manifest, left.digest);
    }
    let platform = ImagePlatform::new("linux", "s390x", None);
    let error = places.resolve(&reference(&name), &platform, &Watch::NOBODY).expect_err("none");
    let ImageError::Platform { there, .. } = &error else { panic!("{error:?}") };
    assert_eq!(there[..], ["linux/amd64", "linux/arm/v6", "linux/arm64"]);
    assert!(error.to_string().contains("linux/s390x"), "{error}");
    // One image of another platform is none for this one.
    let only = format!("{}/app:arm", registry.host());
    publish(&places, &only, &images[1..2], &maker).expect("it is left");
    let error = resolve(&places, &only).expect_err("it is for another");
    assert!(matches!(&error, ImageError::Platform { there, .. } if there[..] == ["linux/arm64"]));
}

#[test]
fn who_may_not_write_is_told_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let registry = docker_registry(&Kind { auth: Auth::Token, ..Kind::default() });
    let as_user = |login: &Login| {
        let file = folder.path().join(login.user);
        let entry = json!({"auths": {registry.host(): {"auth": login.basic()}}});
        std::fs::write(&file, entry.to_string()).expect("written");
        let mut options = options();
        options.access.credentials = Credentials { files: vec![file], programs: Vec::new() };
        ImagePlaces::new(options)
    };
    let maker = Maker::new();
    let name = format!("{}/app:1", registry.host());
    let image = maker.usual();
    let error = publish(&as_user(&READER), &name, std::slice::from_ref(&image), &maker);
    let error = error.expect_err("it may only read");
    assert!(matches!(error, ImageError::Remote(RemoteError::Refused { .. })), "{error:?}");
    assert!(!format!("{error:?}").contains(READER.password));
    let left = publish(&as_user(&WRITER), &name, std::slice::from_ref(&image), &maker);
    let left = left.expect("it may write");
    assert_eq!(resolve(&as_user(&READER), &name).expect("it may read").named, left.digest);

    let closed = docker_registry(&Kind { read_only: true, ..Kind::default() });
    let name = format!("{}/app:1", closed.host());
    let error = publish(&places(), &name, &[image], &maker).expect_err("nobody may write");
    assert!(
        matches!(
            error,
            ImageError::Remote(RemoteError::Unsupported { .. } | RemoteError::Refused { .. })
        ),
        "{error:?}"
    );
    let error = resolve(&places(), &name).expect_err("nothing is there");
    assert!(matches!(error, ImageError::Missing { .. }), "{error:?}");
}

#[test]
fn an_image_that_is_not_whole_is_not_left_anywhere() {
    let registry = docker_registry(&Kind::default());
    let proxy = Proxy::http(registry.address());
    let (maker, places) = (Maker::new(), places());
    let name = format!("{}/app:1", proxy.host());
    let image = maker.usual();
    let mut short = image.clone();
    short.layers.pop();
    let mut other = image.clone();
    other.layers[0].layer.media_type = "text/plain".to_owned();
    let mut platform = image.clone();
    platform.platform = ImagePlatform::new("linux", "arm64", None);
    let mut words = image.clone();
    words.configuration = b"not JSON".to_vec();
    let twice = vec![image.clone(), image.clone()];
    for wrong in [vec![], vec![short], vec![other], vec![platform], vec![words], twice] {
        let error = publish(&places, &name, &wrong, &maker).expect_err("it is not whole");
        assert!(matches!(error, ImageError::Inconsistent(_)), "{error:?}");
    }
    assert!(proxy.requests().is_empty());
    // Layers that are nowhere: said by name, and the tag is not written.
    let error = publish(&places, &name, &[image], &Maker::new()).expect_err("they are nowhere");
    assert!(matches!(&error, ImageError::Lost { what } if what.contains("layer")), "{error:?}");
    assert!(proxy.requests_to("PUT", "/v2/app/manifests/").is_empty());
}
