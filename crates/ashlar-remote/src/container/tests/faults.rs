//! What misbehaves on the way.

use ashlar_testbed::proxy::{Answer, Fault, Rule, Way};
use ashlar_testbed::registry::Options as Kind;
use ashlar_testbed::{Proxy, docker_registry};

use super::*;

const BLOBS: &str = "/v2/app/blobs/sha256:";

/// An image behind a proxy, and the reference to it.
fn there(proxy: &Proxy, maker: &Maker) -> String {
    let name = format!("{}/app:1", proxy.host());
    publish(&places(), &name, &[maker.usual()], maker).expect("it is left");
    proxy.reset();
    name
}

fn impatient(seconds: f32) -> ImagePlaces {
    let mut options = options();
    options.access.timeout = Duration::from_secs_f32(seconds);
    ImagePlaces::new(options)
}

#[test]
fn a_layer_goes_on_where_it_was_cut() {
    let registry = docker_registry(&Kind::default());
    let proxy = Proxy::http(registry.address());
    let maker = Maker::new();
    let name = there(&proxy, &maker);
    let places = impatient(1.0);
    let image = resolve(&places, &name).expect("it is there");
    let size = image.layers[0].digest.size;
    for fault in [
        Fault::Cut { way: Way::Down, after: 150_000 },
        Fault::Stall { way: Way::Down, after: 300_000 },
        Fault::Answer(Answer::status(500)),
        Fault::Answer(Answer::status(503).header("Retry-After", "0")),
    ] {
        proxy.reset();
        proxy.add(Rule::on("GET", BLOBS, fault.clone()).times(1));
        let mut bytes = Vec::new();
        let moved = std::sync::Mutex::new(Moved::default());
        let count = |more| *moved.lock().expect("not poisoned") += more;
        let watch = Watch { moved: &count, ..Watch::NOBODY };
        places.layer(&image, 0, &mut bytes, &watch).expect("it goes on");
        assert_eq!(Digest::of(&bytes), image.layers[0].digest, "{fault:?}");
        let moved = moved.into_inner().expect("not poisoned");
        assert_eq!((moved.bytes, moved.blobs), (size, 1), "{fault:?}");
        let down: u64 = proxy.requests().iter().map(|it| it.down).sum();
        // Nothing of weight came twice.
        assert!(down < size + 140_000, "{fault:?}: {down} of {size}");
    }
}

#[test]
fn wrong_bytes_never_count() {
    let registry = docker_registry(&Kind::default());
    let proxy = Proxy::http(registry.address());
    let maker = Maker::new();
    let name = there(&proxy, &maker);
    let places = places();
    let image = resolve(&places, &name).expect("it is there");
    for (at, longest) in [(0, 400_000), (250_000, 400_000)] {
        proxy.add(Rule::on("GET", BLOBS, Fault::Flip { way: Way::Down, at }).times(1));
        let mut bytes = Vec::new();
        let error = places.layer(&image, 0, &mut bytes, &Watch::NOBODY).expect_err("wrong bytes");
        let ImageError::Digest { expected, found, .. } = &error else { panic!("{error:?}") };
        assert!(expected.contains(&image.layers[0].digest.hex()), "{error}");
        assert!(found.starts_with("sha256:") && !expected.starts_with(found.as_str()), "{error}");
        assert!(bytes.len() < longest.min(image.layers[0].digest.size as usize));
    }
    // Of another length than its descriptor says.
    let mut image = image;
    image.layers[0].digest.size += 1;
    places.layer(&image, 0, &mut Vec::new(), &Watch::NOBODY).expect_err("another length");
    image.layers[0].digest = Digest::of(b"never left");
    let error = places.layer(&image, 0, &mut Vec::new(), &Watch::NOBODY).expect_err("gone");
    assert!(matches!(error, ImageError::Lost { .. }), "{error:?}");
}

#[test]
fn who_is_told_to_stop_does() {
    let registry = docker_registry(&Kind::default());
    let proxy = Proxy::http(registry.address());
    let maker = Maker::new();
    let name = there(&proxy, &maker);
    let places = places();
    let image = resolve(&places, &name).expect("it is there");
    let stop = Watch { go_on: &|| false, ..Watch::NOBODY };
    let stopped = |error: ImageError| matches!(error, ImageError::Remote(RemoteError::Stopped));
    assert!(stopped(places.layer(&image, 0, &mut Vec::new(), &stop).expect_err("stopped")));
    let other = format!("{}/other:1", proxy.host());
    let left = places.publish(&target(&other), &[maker.usual()], &maker.layers(), &stop);
    assert!(stopped(left.expect_err("stopped")));
}

#[test]
fn a_place_that_never_gets_better_is_given_up_within_bounds() {
    let registry = docker_registry(&Kind::default());
    let proxy = Proxy::http(registry.address());
    let maker = Maker::new();
    let name = there(&proxy, &maker);
    let places = impatient(0.5);
    let image = resolve(&places, &name).expect("it is there");
    proxy.add(Rule::on("GET", BLOBS, Fault::Stall { way: Way::Down, after: 10 }));
    let begun = std::time::Instant::now();
    let error = places.layer(&image, 0, &mut Vec::new(), &Watch::NOBODY).expect_err("it stalls");
    assert!(matches!(error, ImageError::Remote(RemoteError::Unreachable { .. })), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn what_goes_wrong_while_it_is_left_is_made_good() {
    let registry = docker_registry(&Kind::default());
    let maker = Maker::new();
    let image = maker.usual();
    let uploads = "/v2/app/blobs/uploads/";
    for (number, rule) in [
        Rule::on("PUT", uploads, Fault::Cut { way: Way::Up, after: 100_000 }).times(1),
        Rule::on("POST", uploads, Fault::Answer(Answer::status(500))).times(1),
        Rule::on("PUT", uploads, Fault::Answer(Answer::status(502))).times(2),
        Rule::on("PUT", "/v2/app/manifests/", Fault::Answer(Answer::status(500))).times(1),
        Rule::on("PUT", uploads, Fault::Stall { way: Way::Up, after: 100_000 }).times(1),
    ]
    .into_iter()
    .enumerate()
    {
        // Every time something that is not there.
        let mut image = image.clone();
        let content = noise(300_000, 100 + number as u64);
        image.layers.push(maker.layer(GZIP, "more", &content));
        let image = maker.image("linux/amd64", image.layers);
        let proxy = Proxy::http(registry.address());
        proxy.add(rule);
        let places = impatient(1.0);
        let name = format!("{}/app:{number}", proxy.host());
        let left = publish(&places, &name, &[image], &maker).expect("it is left");
        let found = resolve(&places, &name).expect("it is there");
        assert_eq!(found.named, left.digest);
        for (bytes, layer) in contents(&places, &found).iter().zip(&found.layers) {
            assert_eq!(Digest::of(bytes), layer.digest);
        }
    }
}

#[test]
fn a_layer_that_arrives_wrong_is_not_under_a_tag() {
    let registry = docker_registry(&Kind::default());
    let proxy = Proxy::http(registry.address());
    let maker = Maker::new();
    proxy.add(Rule::on("PUT", "/v2/app/blobs/uploads/", Fault::Flip { way: Way::Up, at: 70_000 }));
    let name = format!("{}/app:1", proxy.host());
    let error = publish(&places(), &name, &[maker.usual()], &maker).expect_err("it is refused");
    assert!(matches!(error, ImageError::Remote(_)), "{error:?}");
    assert!(proxy.requests_to("PUT", "/v2/app/manifests/").is_empty());
    // And 401 without an offer says what to do.
    let proxy = Proxy::http(registry.address());
    proxy.add(Rule::on("POST", "/v2/app/blobs/uploads/", Fault::Answer(Answer::status(401))));
    let name = format!("{}/app:1", proxy.host());
    let error = publish(&places(), &name, &[maker.usual()], &maker).expect_err("it is refused");
    assert!(matches!(error, ImageError::Remote(RemoteError::Refused { .. })), "{error:?}");
    assert!(error.to_string().contains("log in"), "{error}");
}

#[test]
fn who_says_nothing_is_left_when_nobody_wants_to_know() {
    let registry = docker_registry(&Kind::default());
    let proxy = Proxy::http(registry.address());
    let maker = Maker::new();
    let name = there(&proxy, &maker);
    let places = places();
    let image = resolve(&places, &name).expect("it is there");
    let timed = |what: &str, work: &dyn Fn(&Watch<'_>) -> Result<(), ImageError>| {
        let began = std::time::Instant::now();
        let go_on = || began.elapsed() < Duration::from_millis(300);
        let result = work(&Watch { go_on: &go_on, ..Watch::NOBODY });
        let stopped = matches!(result, Err(ImageError::Remote(RemoteError::Stopped)));
        assert!(stopped, "{what}: {result:?}");
        assert!(began.elapsed() < Duration::from_secs(8), "{what}: {:?}", began.elapsed());
        assert!(!proxy.requests().is_empty(), "{what}: nobody was asked");
    };
    for after in [0, 150_000] {
        proxy.reset();
        proxy.add(Rule::on("GET", BLOBS, Fault::Stall { way: Way::Down, after }));
        let read = |watch: &Watch<'_>| places.layer(&image, 0, &mut Vec::new(), watch);
        timed(&format!("a layer after {after} bytes"), &read);
    }
    let target = target(&format!("{}/other:1", proxy.host()));
    for (method, path) in [
        ("HEAD", "/v2/other/manifests/"),
        ("HEAD", "/v2/other/blobs/"),
        ("POST", "/v2/other/blobs/uploads/"),
        ("PUT", "/v2/other/manifests/"),
    ] {
        proxy.reset();
        let silent = |_: &ashlar_testbed::proxy::Request| {
            std::thread::sleep(Duration::from_secs(12));
            None
        };
        proxy.add(Rule::on(method, path, Fault::Ask(Arc::new(silent))));
        let push = |watch: &Watch<'_>| {
            places.publish(&target, &[maker.usual()], &maker.layers(), watch).map(drop)
        };
        timed(&format!("{method} {path}"), &push);
    }
}
