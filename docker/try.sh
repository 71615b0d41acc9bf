#!/usr/bin/env bash
# Build and run the image with Debian's buildah and podman (apt-get install podman buildah debootstrap crun), as root, and
# without an engine, a network of its own or a registry: a learner over a data set of river's, then a scorer beside it,
# both with a read-only root file system and without rights; the scorer has to be healthy and to answer.
#
#   BASE        an image with Python 3.11 or newer; left out, one is made by debootstrap
#   PLACE       where images and containers are kept; left out, a temporary folder that is removed
#   BUILD_ARGS  more arguments of `buildah bud`, such as --volume for certificates or pip's configuration
set -euo pipefail
cd "$(dirname "$0")/.."

place=${PLACE:-$(mktemp -d)}
mkdir -p "$place"
export CONTAINERS_STORAGE_CONF=$place/storage.conf
printf '[storage]\ndriver = "vfs"\ngraphroot = "%s/graph"\nrunroot = "%s/run"\n' "$place" "$place" >"$CONTAINERS_STORAGE_CONF"
scorer=
clean_up() {
    [ -z "$scorer" ] || { kill "$scorer" && wait "$scorer"; } || true
    [ -n "${PLACE:-}" ] || rm -rf "$place"
}
trap clean_up EXIT
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')

if [ -z "${BASE:-}" ]; then
    BASE=localhost/python:bookworm
    if ! podman image exists "$BASE"; then
        echo "== a base image by debootstrap"
        debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$place/root" >/dev/null
        tar -C "$place/root" -c . | podman import -q - "$BASE"
        rm -rf "$place/root"
    fi
fi

echo "== build"
# shellcheck disable=SC2086
buildah bud --layers --isolation chroot --network host --format docker --build-arg BASE="$BASE" ${BUILD_ARGS:-} \
    -t localhost/streammix -f docker/Dockerfile .
podman images localhost/streammix

# podman wants cgroups of version 2, in a mount namespace of its own
mounts='mount -t tmpfs none /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; exec podman "$@"'
try=(unshare -m bash -c "$mounts" podman)
limits="--cgroups=disabled --network host --ulimit nofile=1024:1024 --ulimit nproc=1000:1000 \
    --read-only --tmpfs /tmp:size=64m --cap-drop all --security-opt no-new-privileges --no-healthcheck"
work=$place/work
rm -rf "$work"
mkdir -p "$work/state" "$work/scored"
chown 10001:10001 "$work/state" "$work/scored"
volumes="-v $work/state:/state -v $work/scored:/scored"
cat >"$work/pipeline.toml" <<'TOML'
[source]
kind = "river"
dataset = "Shuttle"
limit = 20_000

[model]
n_components = 6
batch_size = 64
seed = 7

[checkpoint]
directory = "/state"

[sink]
kind = "parquet"
path = "/scored"
TOML

echo "== who it runs as, and where it may write"
# shellcheck disable=SC2086
"${try[@]}" run --rm $limits --entrypoint python3 localhost/streammix -c '
import os
assert os.getuid() == 10001, os.getuid()
for path in ("/x", "/opt/streammix/x", "/home/x"):
    try:
        open(path, "w")
    except OSError as error:
        print(path, error.strerror)
    else:
        raise SystemExit(f"{path} can be written")
'

echo "== a run that learns"
# shellcheck disable=SC2086
"${try[@]}" run --rm $limits $volumes -v "$work/pipeline.toml:/pipeline.toml:ro" localhost/streammix run /pipeline.toml
ls "$work/state"

echo "== a scorer"
# shellcheck disable=SC2086
"${try[@]}" run --rm --name scorer $limits $volumes -e STREAMMIX_HEALTH="http://127.0.0.1:$port/readyz" \
    localhost/streammix serve /state --listen "127.0.0.1:$port" &
scorer=$!
python3 - "$port" <<'PYTHON'
import json
import sys
import time
import urllib.request

url = f"http://127.0.0.1:{sys.argv[1]}"
for attempt in range(600):
    try:
        print("ready:", urllib.request.urlopen(f"{url}/readyz", timeout=5).read().decode())
        break
    except OSError:
        time.sleep(0.5)
else:
    sys.exit("the scorer did not become ready")
record = {f"f{i}": 50.0 for i in range(1, 10)}
answer = json.load(urllib.request.urlopen(f"{url}/score", json.dumps(record).encode(), timeout=5))
print("scored:", answer)
assert len(answer["responsibilities"]) == 6
PYTHON
echo "== the image's own health check, of the scorer and of a port where nobody answers"
check=$(podman image inspect localhost/streammix \
    | python3 -c 'import json, shlex, sys; print(shlex.join(json.load(sys.stdin)[0]["Healthcheck"]["Test"][1:]))')
health() {
    # shellcheck disable=SC2086
    "${try[@]}" run --rm $limits -e STREAMMIX_HEALTH="$1" --entrypoint sh localhost/streammix -c "$check"
}
health "http://127.0.0.1:$port/readyz"
if health http://127.0.0.1:1/readyz 2>/dev/null; then
    echo "the health check does not fail where nobody answers"
    exit 1
fi
echo "all is well"
