"""What people do without Ashlar: one archive, compressed, and moved whole."""

import json
import shutil
from pathlib import Path

from measure import Failed, need, run, seconds, set_aside

# $1 folder, $2 compressor, $3 work folder, $4 registry/repository, $5 tag, $6 media type.
# One archive, one request with all of it, and a manifest that keeps it: as `oras push` does it.
PUSH = r"""
set -euo pipefail
api=http://${4%%/*}/v2/${4#*/}
tar -C "$1" --numeric-owner -cf - . | $2 > "$3/blob"
digest=sha256:$(sha256sum < "$3/blob" | cut -d' ' -f1)
size=$(stat -c %s "$3/blob")
printf '{}' > "$3/config"
config=sha256:$(sha256sum < "$3/config" | cut -d' ' -f1)
put() {
    to=$(curl -fsS -X POST -o "$3" -D - "$api/blobs/uploads/" | tr -d '\r' |
        sed -n 's/^[Ll]ocation: //p')
    case $to in *\?*) to="$to&digest=$1" ;; *) to="$to?digest=$1" ;; esac
    curl -fsS -X PUT -H 'Content-Type: application/octet-stream' -H 'Expect:' -T "$2" -o "$3" "$to"
}
put "$digest" "$3/blob" "$3/answer"
put "$config" "$3/config" "$3/answer"
cat > "$3/manifest" <<END
{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
"config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"$config","size":2},
"layers":[{"mediaType":"$6","digest":"$digest","size":$size}]}
END
curl -fsS -X PUT -H 'Content-Type: application/vnd.oci.image.manifest.v1+json' \
    --data-binary "@$3/manifest" -o "$3/answer" "$api/manifests/$5"
"""

# $1 registry/repository:tag, $2 work folder, $3 destination. Layers in their order.
PULL = r"""
set -euo pipefail
skopeo --insecure-policy copy --quiet --src-tls-verify=false "docker://$1" "dir:$2/image"
mkdir "$3"
for layer in $4; do
    tar -C "$3" --numeric-owner $5 -xpf "$2/image/$layer"
done
"""

COMPRESSORS = {"gzip": ("gzip -n", "application/vnd.oci.image.layer.v1.tar+gzip", "-z"),
               "zstd": ("zstd -q -3 -T0", "application/vnd.oci.image.layer.v1.tar+zstd", "--zstd")}


def push(folder: Path, kind: str, work: Path, repository: str, tag: str) -> float:
    """Seconds to make one archive of a folder and to send it."""
    need("curl", "curl")
    compressor, media_type, _ = COMPRESSORS[kind]
    work.mkdir(parents=True)
    try:
        return seconds(["bash", "-c", PUSH, "-", folder, compressor, work, repository, tag,
                        media_type], work)
    finally:
        set_aside(work)


def layers(repository: str, tag: str) -> dict[str, int]:
    """The digests of an image's layers, without the algorithm, and their sizes."""
    need("skopeo", "skopeo")
    raw = run(["skopeo", "--insecure-policy", "inspect", "--raw", "--tls-verify=false",
               f"docker://{repository}:{tag}"])
    all_layers = json.loads(raw)["layers"]
    return {layer["digest"].removeprefix("sha256:"): layer["size"] for layer in all_layers}


def pull(repository: str, tag: str, kind: str, work: Path, into: Path) -> float:
    """Seconds to fetch an image with skopeo and to unpack its layers with tar."""
    names = " ".join(layers(repository, tag))
    work.mkdir(parents=True)
    try:
        return seconds(["bash", "-c", PULL, "-", f"{repository}:{tag}", work, into, names,
                        COMPRESSORS[kind][2]], work)
    finally:
        set_aside(work)


def use(repository: str, tag: str, into: Path, kind: str = "gzip") -> float:
    """Seconds to stream the one layer of an image into tar, as a pipeline's task does it."""
    (name,) = layers(repository, tag)
    host, path = repository.split("/", 1)
    into.mkdir(parents=True)
    unpack = {"gzip": "gzip -dc", "zstd": "zstd -qdc"}[kind]
    stream = f'set -o pipefail; curl -fsS "$1" | {unpack} | tar -C "$2" -xpf -'
    blob = f"http://{host}/v2/{path}/blobs/sha256:{name}"
    return seconds(["bash", "-c", stream, "-", blob, into], into)


def tags(repository: str) -> list[str]:
    """All tags of a repository."""
    raw = run(["skopeo", "--insecure-policy", "list-tags", "--tls-verify=false",
               f"docker://{repository}"])
    return json.loads(raw)["Tags"]


def content(folder: Path) -> int:
    """The bytes of all files below a folder."""
    if not folder.is_dir():
        raise Failed(f"{folder} is not there")
    if shutil.which("find") is None:
        raise Failed("`find` is not installed: the Debian package findutils")
    out = run(["find", folder, "-type", "f", "-printf", r"%s\n"])
    return sum(map(int, out.split()))
