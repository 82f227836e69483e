#!/usr/bin/env bash
# The container for real on this machine: built with podman, the tiny configuration run in it without a network, its
# table compared with a local run, the image's size. Needs root, Debian's podman, and the environment (make env).
#   bash tests/container/run.sh             about 15 minutes, 20 GB of disk
#   bash tests/container/run.sh --demo      the whole demo in it, about 30 minutes; a finished results/demo here is taken
#                                           as the local run
# BUILD_OPTIONS: more for podman build, where pip needs it (a proxy's certificate: -v /etc/ssl/certs:/etc/ssl/certs:ro).
# Where no registry of images answers, the base is made from the distribution's own packages (debootstrap, python 3.11).
set -eu
case ${1:-} in
"") run=tiny target=benchmark options="--configfile tests/workflow/tiny.yaml" ;;
--demo) run=demo target= options= ;;
*) echo "error: $1: use --demo, or nothing"; exit 2 ;;
esac
cd "$(dirname "$0")/../.."
work=$(mktemp -d /var/tmp/container.XXXXXX)
export TMPDIR="$work" # layers do not fit into a small /tmp
podman="podman --runtime runc --root $work/images --runroot $work/run --storage-driver overlay --cgroup-manager cgroupfs --events-backend none"
trap '$podman rmi --all --force > /dev/null 2>&1 || true; rm -rf "$work"' EXIT
command -v podman > /dev/null || { apt-get update -qq; apt-get install -qq -y --no-install-recommends podman runc debootstrap > "$work/apt.log"; }
base=docker.io/library/python:3.11-slim-bookworm
if ! timeout 60 $podman pull -q "$base" > /dev/null 2>&1; then
  echo "no registry of images: the base is Debian's bookworm"
  debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$work/root" > "$work/debootstrap.log"
  tar -C "$work/root" -c . | $podman import - localhost/bookworm > /dev/null
  rm -rf "$work/root"
  base=localhost/bookworm
fi
begun=$(date +%s)
$podman build -q --layers=false --isolation chroot --network host --build-arg BASE="$base" ${BUILD_OPTIONS:-} \
  -f envs/Containerfile -t chowder . > /dev/null
echo "built in $(($(date +%s) - begun)) s"
$podman image inspect chowder --format 'image: {{.Size}} bytes'
mkdir -p "$work/inside" "$work/outside"
begun=$(date +%s)
limits="--ulimit nofile=4096:4096 --ulimit nproc=4096:4096" # podman's own may be above what this machine allows
# shellcheck disable=SC2086
$podman run --rm --network none $limits -v "$work/inside:/work/results" -v "$PWD/tests:/work/tests:ro" chowder \
  $target $options
echo "$run run inside: $(($(date +%s) - begun)) s, $(find "$work/inside/$run" -type f | wc -l) files"
outside=results/demo/benchmark.csv
if [ $run = tiny ] || [ ! -f "$outside" ]; then
  outside="$work/outside/$run/benchmark.csv"
  # shellcheck disable=SC2086
  PATH="$PWD/.venv/bin:$PATH" snakemake --cores all benchmark $options --config results="$work/outside" \
    > "$work/outside.log" 2>&1
fi
python3 - "$work/inside/$run/benchmark.csv" "$outside" << 'P'
import csv, sys
tables = [[{k: v for k, v in row.items() if k != "train_seconds"} for row in csv.DictReader(open(path))] for path in sys.argv[1:]]
print("benchmark.csv: equal to the local run" if tables[0] == tables[1] else f"benchmark.csv differs:\n{tables}")
sys.exit(tables[0] != tables[1])
P
