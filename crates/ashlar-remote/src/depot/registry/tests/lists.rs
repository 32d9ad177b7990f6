//! Lists: of tags over several pages, and of what refers to a manifest.

use ashlar_testbed::proxy::{Answer as Served, Fault, Rule};

use super::*;

#[test]
fn tags_come_in_pages() {
    let proxy = Proxy::alone();
    let page = |tags: &str, next: &str| {
        let answer = Served::status(200).body(format!(r#"{{"name":"x","tags":{tags}}}"#));
        Fault::Answer(if next.is_empty() { answer } else { answer.header("Link", next) })
    };
    let list = "/v2/team/firmware/tags/list?";
    let second = r#"</v2/team/firmware/tags/list?n=2&last=b>; rel="next""#;
    proxy.add(Rule::on("GET", &format!("{list}n=1000"), page(r#"["a","b"]"#, second)));
    let third = "<list?last=c>; rel=next";
    proxy.add(Rule::on("GET", &format!("{list}n=2"), page(r#"["c"]"#, third)));
    proxy.add(Rule::on("GET", &format!("{list}last=c"), page("null", "")));
    let depot = anonymous(&proxy.host());
    let tags: Vec<_> = depot.tags().expect("asked").into_iter().map(|(tag, _)| tag).collect();
    assert_eq!(tags, ["a", "b", "c"]);
    proxy.clear();
    proxy.add(Rule::on("GET", list, page(r#"["a"]"#, second)));
    let error = depot.tags().expect_err("it goes round in a circle");
    assert!(matches!(error, RemoteError::Wrong { .. }), "{error:?}");
    proxy.clear();
    proxy.add(Rule::on("GET", list, page("[]", "<http://127.0.0.1:9/>; rel=\"next\"")));
    depot.tags().expect_err("elsewhere");
}

#[test]
fn a_list_of_tags_without_end_is_not_followed() {
    let proxy = Proxy::alone();
    let name = |first: usize| format!(r#""tag-{first}""#);
    let page = move |request: &ashlar_testbed::proxy::Request| {
        let at: usize = request.path.split("last=").nth(1).map_or(Some(0), |n| n.parse().ok())?;
        let tags: Vec<String> = (at..at + 300_000).map(name).collect();
        let next = format!("</v2/team/firmware/tags/list?last={}>; rel=\"next\"", at + 300_000);
        let body = format!(r#"{{"tags":[{}]}}"#, tags.join(","));
        Some(Served::status(200).header("Link", &next).body(body))
    };
    proxy.add(Rule::on("GET", "/v2/team/firmware/tags/list", Fault::Ask(Arc::new(page))));
    let error = anonymous(&proxy.host()).tags().expect_err("it never ends");
    assert!(error.to_string().contains("does not end after 1200000 tags on 4 pages"), "{error}");
}

#[test]
fn referrers_by_tag() {
    let registry = docker_registry(&Kind::default());
    let depot = anonymous(&registry.host());
    let subject = manifest(&depot, "subject", None);
    assert_eq!(depot.referrers(&subject.digest()).expect("asked"), []);
    depot.put_manifest(&subject, &["subject".to_owned()]).expect("put");
    let one = manifest(&depot, "one", Some(&subject));
    let two = manifest(&depot, "two", Some(&subject));
    depot.put_manifest(&one, &[]).expect("put");
    depot.put_manifest(&two, &[]).expect("put");
    depot.put_manifest(&one, &[]).expect("put again");
    let found = depot.referrers(&subject.digest()).expect("asked");
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[0].digest, format!("sha256:{}", one.digest().hex()));
    assert_eq!(found[1].artifact_type.as_deref(), Some("application/vnd.example.note.v1+json"));
    assert_eq!(found[1].annotations["note"], "two");
    // Another process finds them as well.
    let other = anonymous(&registry.host());
    assert_eq!(other.referrers(&subject.digest()).expect("asked"), found);
}

#[test]
fn referrers_by_tag_of_many_writers_are_all_there() {
    let registry = docker_registry(&Kind::default());
    let first = anonymous(&registry.host());
    let subject = manifest(&first, "subject", None);
    first.put_manifest(&subject, &[]).expect("put");
    let (writers, each) = (6, 3);
    std::thread::scope(|scope| {
        for writer in 0..writers {
            let (host, subject) = (registry.host(), &subject);
            scope.spawn(move || {
                let depot = anonymous(&host);
                for number in 0..each {
                    let note = format!("{writer}-{number}");
                    let referrer = manifest(&depot, &note, Some(subject));
                    depot.put_manifest(&referrer, &[]).expect("put");
                }
                depot.flush().expect("settled");
            });
        }
    });
    let found = first.referrers(&subject.digest()).expect("asked");
    assert_eq!(found.len(), writers * each, "{found:?}");
}

#[test]
fn referrers_by_the_registry() {
    let proxy = Proxy::alone();
    let subject = Manifest { media_type: MANIFEST.to_owned(), bytes: b"{}".to_vec() };
    let digest = format!("sha256:{}", subject.digest().hex());
    let put = Served::status(201).header("OCI-Subject", &digest);
    proxy.add(Rule::on("PUT", "/v2/*/manifests/", Fault::Answer(put)));
    let one = json!({"mediaType": MANIFEST, "digest": "sha256:1", "size": 1, "artifactType": "a"});
    let index = |entries: serde_json::Value| {
        json!({"schemaVersion": 2, "manifests": entries}).to_string().into_bytes()
    };
    let list = format!("/v2/team/firmware/referrers/{digest}");
    let more = format!("<{list}?page=2>; rel=\"next\"");
    let first = Served::status(200).body(index(json!([one, {"nonsense": 1}])));
    let last = Served::status(200).body(index(json!([one])));
    proxy.add(Rule::on("GET", &format!("{list}?"), Fault::Answer(last)));
    proxy.add(Rule::on("GET", &list, Fault::Answer(first.header("Link", &more))));
    let depot = anonymous(&proxy.host());
    let mut referrer = manifest_alone("x");
    referrer["subject"] = json!({"mediaType": MANIFEST, "digest": digest, "size": 2});
    let referrer =
        Manifest { media_type: MANIFEST.to_owned(), bytes: referrer.to_string().into_bytes() };
    depot.put_manifest(&referrer, &[]).expect("put");
    assert_eq!(proxy.requests().len(), 1, "it keeps the list itself");
    let found = depot.referrers(&subject.digest()).expect("asked");
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[0].artifact_type.as_deref(), Some("a"));
}

fn manifest_alone(note: &str) -> serde_json::Value {
    json!({"schemaVersion": 2, "mediaType": MANIFEST, "annotations": {"note": note}})
}
