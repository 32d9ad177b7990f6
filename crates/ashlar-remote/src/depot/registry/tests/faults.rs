//! Cuts, stalls, and answers that should not be.

use std::time::Instant;

use ashlar_testbed::proxy::{Answer as Served, Ask, Fault, Rule, Way};

use super::*;

fn beside(registry: &ashlar_testbed::Registry) -> (Proxy, Registry) {
    let proxy = Proxy::http(registry.address());
    let depot = anonymous(&proxy.host());
    (proxy, depot)
}

#[test]
fn an_upload_goes_on_with_the_part_that_never_arrived() {
    let registry = docker_registry(&Kind::default());
    let (proxy, depot) = beside(&registry);
    proxy.add(Rule::on("PATCH", "/", Fault::Cut { way: Way::Up, after: 0 }).skip(2).times(1));
    let blob = content(1_000_000, 1);
    let digest = put(&depot, &blob);
    assert!(get(&depot, &digest, 0..1_000_000) == blob);
    assert_eq!(proxy.requests_to("POST", "/").len(), 1, "one upload");
    assert_eq!(proxy.requests_to("PATCH", "/").len(), 6);
    let up: u64 = proxy.requests().iter().map(|request| request.up).sum();
    assert_eq!(up, 1_000_000, "nothing is sent twice");
}

#[test]
fn a_part_that_arrived_half_costs_this_blob_only() {
    let registry = docker_registry(&Kind::default());
    let (proxy, depot) = beside(&registry);
    let first = put(&depot, &content(700_000, 7));
    proxy.reset();
    // This registry cannot go on in the middle of a part.
    proxy.add(Rule::on("PATCH", "/", Fault::Cut { way: Way::Up, after: 70_000 }).skip(1).times(1));
    let blob = content(1_000_000, 1);
    let told = Mutex::new(0);
    let moved = |more: ashlar_store::Moved| *told.lock().expect("not poisoned") += more.bytes;
    let watch = Watch { moved: &moved, ..Watch::NOBODY };
    let digest = Digest::of(&blob);
    depot.put_blob(&digest, &bytes(&blob), &watch).expect("it is put");
    assert!(get(&depot, &digest, 0..1_000_000) == blob);
    assert!(depot.has_blob(&first).expect("asked"));
    assert_eq!(*told.lock().expect("not poisoned"), 1_000_000, "each byte is told once");
    let up: u64 = proxy.requests().iter().map(|request| request.up).sum();
    assert!(up <= 1_300_000, "{up}");
}

/// A registry that counts the bytes of an upload and goes on in the middle of a part.
#[test]
fn an_upload_goes_on_in_the_middle_of_a_part() {
    let proxy = Proxy::alone();
    let at =
        |answer: Served| answer.header("Location", "/v2/team/firmware/blobs/uploads/7?state=x");
    let range = |last: u64| format!("0-{last}");
    proxy.add(Rule::on("POST", "/", Fault::Answer(at(Served::status(202)))));
    let patch: Ask = Arc::new(move |request| {
        let part = request.header("content-range")?;
        let last: u64 = part.split_once('-')?.1.parse().ok()?;
        Some(at(Served::status(202)).header("Range", &range(last)))
    });
    proxy.add(Rule::on("PATCH", "/", Fault::Cut { way: Way::Down, after: 0 }).skip(1).times(1));
    // Cut by the proxy before the answer's head, too.
    proxy.add(Rule::on("PATCH", "/", Fault::Answer(Served::status(502))).skip(1).times(1));
    proxy.add(Rule::on("PATCH", "/", Fault::Ask(patch)));
    let status = at(Served::status(204)).header("Range", "0-249999");
    proxy.add(Rule::on("GET", "/", Fault::Answer(status)));
    proxy.add(Rule::on("PUT", "/", Fault::Answer(Served::status(201))));
    let depot = anonymous(&proxy.host());
    put(&depot, &content(1_000_000, 1));
    let patches = proxy.requests_to("PATCH", "/");
    let ranges: Vec<_> = patches.iter().filter_map(|one| one.header("content-range")).collect();
    let expected = [
        "0-199999",
        "200000-399999",
        "250000-449999",
        "450000-649999",
        "650000-849999",
        "850000-999999",
    ];
    assert_eq!(ranges, expected);
    assert_eq!(proxy.requests_to("POST", "/").len(), 1);
    let end = proxy.requests_to("PUT", "/");
    assert!(end[0].path.contains("state=x&digest=sha256%3A"), "{}", end[0].path);
    assert_eq!(end[0].header("content-length"), Some("0"));
}

#[test]
fn the_registry_may_want_bigger_parts() {
    let proxy = Proxy::alone();
    let begun =
        Served::status(202).header("Location", "/u").header("OCI-Chunk-Min-Length", "400000");
    proxy.add(Rule::on("POST", "/", Fault::Answer(begun)));
    proxy.add(Rule::on("PATCH", "/", Fault::Answer(Served::status(202).header("Location", "/u"))));
    proxy.add(Rule::on("PUT", "/", Fault::Answer(Served::status(201))));
    put(&anonymous(&proxy.host()), &content(1_000_000, 1));
    let sizes: Vec<u64> = proxy.requests_to("PATCH", "/").iter().map(|one| one.up).collect();
    assert_eq!(sizes, [400_000, 400_000, 200_000]);
}

#[test]
fn an_answer_that_got_lost_is_no_reason_to_send_again() {
    let registry = docker_registry(&Kind::default());
    for length in [50_000, 500_000] {
        let (proxy, depot) = beside(&registry);
        // The registry has done it, and its answer turns into a 502.
        proxy.add(Rule::on("PUT", "/", Fault::Cut { way: Way::Up, after: length }).times(0));
        let blob = content(length as usize, length);
        put(&depot, &blob);
        proxy.reset();
        proxy.add(Rule::on("PUT", "/", Fault::Answer(Served::status(502))).times(1));
        let digest = put(&depot, &blob);
        assert!(depot.has_blob(&digest).expect("asked"));
        assert_eq!(proxy.requests_to("POST", "/").len(), 1, "{length}");
        assert_eq!(proxy.requests_to("PUT", "/").len(), 1, "{length}");
    }
}

#[test]
fn errors_of_the_moment_are_overcome() {
    let registry = docker_registry(&Kind::default());
    for (method, path) in [
        ("POST", "/v2/"),
        ("PATCH", "/v2/"),
        ("PUT", "/v2/*/blobs/"),
        ("PUT", "/v2/*/manifests/"),
        ("GET", "/v2/*/manifests/"),
        ("HEAD", "/v2/"),
        ("GET", "/v2/*/blobs/sha256:"),
    ] {
        let (proxy, depot) = beside(&registry);
        proxy.add(Rule::on(method, path, Fault::Answer(Served::status(500))).times(1));
        let busy = Served::status(429).header("Retry-After", "0");
        proxy.add(Rule::on(method, path, Fault::Answer(busy)).skip(1).times(1));
        let note = format!("{method} {path}");
        let blob = content(450_000, note.len() as u64 * 1_000_003 + note.as_bytes()[0] as u64);
        let digest = put(&depot, &blob);
        let manifest = manifest(&depot, &note, None);
        depot.put_manifest(&manifest, &["now".to_owned()]).expect("put");
        assert_eq!(depot.manifest(&tag("now")).expect("asked").as_ref(), Some(&manifest));
        assert!(depot.has_blob(&digest).expect("asked"));
        assert!(get(&depot, &digest, 0..450_000) == blob);
        assert_eq!(proxy.pending(), 0, "both happened: {note}");
    }
}

#[test]
fn errors_that_last_are_told_in_bounded_time() {
    let proxy = Proxy::alone();
    proxy.add(Rule::on("*", "/", Fault::Answer(Served::status(500))));
    let depot = anonymous(&proxy.host());
    let began = Instant::now();
    let blob = content(500_000, 1);
    let error = depot.put_blob(&Digest::of(&blob), &bytes(&blob), &Watch::NOBODY).expect_err("no");
    assert!(matches!(error, RemoteError::Unreachable { .. }), "{error:?}");
    assert_eq!(proxy.requests().len(), 5);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(error.is_lasting());
    proxy.refuse();
    let began = Instant::now();
    let error = depot.has_blob(&Digest::of(&blob)).expect_err("nobody is there");
    assert!(matches!(error, RemoteError::Unreachable { .. }), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn a_stalled_upload_is_cut_and_goes_on() {
    let registry = docker_registry(&Kind::default());
    let proxy = Proxy::http(registry.address());
    let options = Options { timeout: Duration::from_millis(800), ..Options::default() };
    let url = format!("oci://{}/team/firmware", proxy.host());
    let depot = Registry::open(&url, &options, &Credentials::default(), None)
        .expect("an address")
        .with_sizes(Sizes { whole: 100_000, part: 200_000 });
    proxy.add(Rule::on("PATCH", "/", Fault::Stall { way: Way::Up, after: 0 }).skip(1).times(1));
    let began = Instant::now();
    let digest = put(&depot, &content(600_000, 9));
    assert!(depot.has_blob(&digest).expect("asked"));
    let took = began.elapsed();
    assert!((Duration::from_millis(800)..Duration::from_secs(4)).contains(&took), "{took:?}");
}

#[test]
fn a_blob_comes_whole_through_cuts() {
    let registry = docker_registry(&Kind::default());
    let (proxy, depot) = beside(&registry);
    let blob = content(2_000_000, 2);
    let digest = put(&depot, &blob);
    proxy.reset();
    let cut = Fault::Cut { way: Way::Down, after: 400_000 };
    proxy.add(Rule::on("GET", "/v2/*/blobs/", cut).times(3));
    assert!(get(&depot, &digest, 100_000..2_000_000) == blob[100_000..]);
    let down: u64 = proxy.requests().iter().map(|request| request.down).sum();
    assert!(down <= 1_900_000 + 1000, "nothing comes twice: {down}");
}

#[test]
fn wrong_bytes_of_a_manifest_are_not_used() {
    let registry = docker_registry(&Kind::default());
    let (proxy, depot) = beside(&registry);
    let good = manifest(&depot, "good", None);
    depot.put_manifest(&good, &["good".to_owned()]).expect("put");
    let flip = Fault::Flip { way: Way::Down, at: 30 };
    proxy.add(Rule::on("GET", "/v2/*/manifests/", flip).times(2));
    for reference in [tag("good"), Reference::Hash(good.digest().hash)] {
        let error = depot.manifest(&reference).expect_err("it is damaged");
        assert!(matches!(error, RemoteError::Wrong { .. }), "{error:?}");
        assert!(!error.is_lasting());
    }
    assert_eq!(depot.manifest(&tag("good")).expect("asked"), Some(good));
}

#[test]
fn a_manifest_changed_on_its_way_is_noticed() {
    let registry = docker_registry(&Kind::default());
    let (proxy, depot) = beside(&registry);
    let good = manifest(&depot, "abcdefghijklmnopqrstuvwxyz", None);
    let at = good.bytes.windows(6).position(|window| window == b"abcdef").expect("it is in it");
    proxy.add(Rule::on("PUT", "/v2/*/manifests/", Fault::Flip { way: Way::Up, at: at as u64 }));
    depot.put_manifest(&good, &["bad".to_owned()]).expect_err("it is another one");
}
