//! The shape of `ashlar-cache.toml`.

use toml::de::DeTable;

use super::reader::{Keys, Reader, Value};
use crate::written::{Cache, CacheLayer, CacheScope};

/// All keys, by table: the top of the file, `[layer.NAME]`, `[scope]`.
pub(crate) const KEYS: [Keys; 3] = [
    Keys { table: "", known: &["version", "layer", "scope"] },
    Keys { table: "[layer.NAME]", known: &["key", "paths", "env"] },
    Keys { table: "[scope]", known: &["read", "write"] },
];

pub(super) fn read(r: &mut Reader<'_>, table: DeTable<'_>) -> Cache {
    let mut cache = Cache { file: r.file().to_owned(), ..Cache::default() };
    for (key, value) in table {
        match key.get_ref().as_ref() {
            "version" => cache.version = r.text("version", value),
            "layer" => {
                cache.layers = r.named("layer", value, layer);
                // The first that hits is taken, so the order of the file counts.
                cache.layers.sort_by_key(|(name, _)| name.span.start);
            }
            "scope" => cache.scope = scope(r, value),
            _ => r.unknown(&key, &KEYS[0], &KEYS[2..]),
        }
    }
    cache
}

fn layer(r: &mut Reader<'_>, path: &str, value: Value<'_>) -> Option<CacheLayer> {
    let mut layer = CacheLayer::default();
    for (key, value) in r.table(path, value)? {
        match key.get_ref().as_ref() {
            "key" => layer.key = r.texts("key", value),
            "paths" => layer.paths = r.texts("paths", value),
            "env" => layer.env = r.list("env", value),
            _ => r.unknown(&key, &KEYS[1], &KEYS[..1]),
        }
    }
    Some(layer)
}

fn scope(r: &mut Reader<'_>, value: Value<'_>) -> Option<CacheScope> {
    let mut scope = CacheScope { span: value.span().into(), ..CacheScope::default() };
    for (key, value) in r.table("scope", value)? {
        match key.get_ref().as_ref() {
            "read" => scope.read = r.texts("read", value),
            "write" => scope.write = r.text("write", value),
            _ => r.unknown(&key, &KEYS[2], &KEYS[..1]),
        }
    }
    Some(scope)
}
