#!/bin/sh
# Builds the tools of others that tests compare with and that Debian has not got, each of one version, with the Go tool chain:
# `peers.sh VENV` all of them, `peers.sh VENV NAME…` those that are named. They stay in ~/.cache/nexus-oci-peers/bin, or
# $NEXUS_OCI_PEERS, so that only the first run takes its minutes. Several runs at once wait for one another, tool by tool.
# Prints the folder.
set -eu
venv=${1:-.venv}
[ $# -gt 0 ] && shift
here=$(cd "$(dirname "$0")/.." && pwd)
folder=${NEXUS_OCI_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/nexus-oci-peers/bin}
# Name, version and package of each, the one that most tests wait for first. Without a version the package is a folder here: a small
# program around a library of others, built again when one of its files changes. MODULE//FOLDER is built inside its own module, whose
# replacements count; MODULE// alone is not built at all: its sources are wanted, and NAME is the folder that has them.
tools='
cosign v3.1.3 github.com/sigstore/cosign/v3/cmd/cosign
helm v3.22.0 helm.sh/helm/v3/cmd/helm
oras v1.3.6 oras.land/oras/cmd/oras
crane v0.22.1 github.com/google/go-containerregistry/cmd/crane
regctl v0.11.7 github.com/regclient/regclient/cmd/regctl
conformance v0.0.0-20260831232431-97274622c111 github.com/opencontainers/distribution-spec/conformance
notation - tests/peers/notation
wharfie - tests/peers/wharfie
containerd v2.4.2 github.com/containerd/containerd/v2/cmd/containerd
ctr v2.4.2 github.com/containerd/containerd/v2/cmd/ctr
kyverno-source v1.19.1 github.com/kyverno/kyverno//
policy-controller-source v0.13.1 github.com/sigstore/policy-controller//
ratify-source v1.4.6 github.com/ratify-project/ratify//
'
# Controllers of clusters: large, so that they are built only where they are named, for `make controllers`.
large='
policy-tester v0.13.1 github.com/sigstore/policy-controller//cmd/tester
kyverno v1.19.1 github.com/kyverno/kyverno//cmd/cli/kubectl-kyverno
ratify v1.4.6 github.com/ratify-project/ratify//cmd/ratify
'
# Where the machine has no Go: the tool chain as the module proxy serves it, and the SHA-256 of that file.
go=go1.26.8
go_amd64=30c2b1bf7dcc88d3eb0a1364e47ddd9128edb3110a30e8a0ef61cd5856b31de7
go_arm64=02b36b6787b3ac767668f630e2998df45a3b1f9ffee08d1bf3ef6487cd658d99

say() { printf '%s\n' "$*" >&2; }

fetch_go() {
    case "$(uname -m)" in
        x86_64) architecture=amd64 sum=$go_amd64 ;;
        aarch64) architecture=arm64 sum=$go_arm64 ;;
        *) say "No Go here, and none is known for $(uname -m): install Go 1.26 or later."; exit 1 ;;
    esac
    proxy=$(printf '%s' "${GOPROXY:-https://proxy.golang.org}" | cut -d, -f1 | cut -d'|' -f1)
    say "Missing on this machine: go. Fetching $go from $proxy."
    "$venv/bin/python" - "$proxy/golang.org/toolchain/@v/v0.0.1-$go.linux-$architecture.zip" "$sum" "$folder/../go" <<'PYTHON'
import hashlib, io, os, sys, urllib.request, zipfile
address, expected, target = sys.argv[1:]
data = urllib.request.urlopen(address, timeout=300).read()
if hashlib.sha256(data).hexdigest() != expected:
    sys.exit("the tool chain that was fetched is not the one that was expected")
with zipfile.ZipFile(io.BytesIO(data)) as archive:
    for name in archive.namelist():
        path = os.path.join(target, name.partition("/")[2].partition("/")[2])
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(archive.read(name))
        os.chmod(path, 0o755 if "/bin/" in path or "/pkg/tool/" in path else 0o644)
PYTHON
}

build() { # name version package
    version=$2
    [ "$2" != - ] || version=$(cat "$here/$3/go.mod" "$here/$3/go.sum" "$here/$3"/*.go | sha256sum | cut -d' ' -f1)
    exec 9>"$folder/.lock"
    flock 9
    if [ ! -x "$folder/$1" ] || [ "$(cat "$folder/$1.version" 2>/dev/null)" != "$version" ]; then
        PATH=$folder/../go/bin:$PATH
        command -v go >/dev/null 2>&1 || fetch_go
        case "$3" in
            *//) say "Fetching the sources of ${3%//} $version, for the tests." ;;
            *) say "Building $1 $version, for the tests: this takes some minutes, once." ;;
        esac
        if [ "$2" = - ]; then
            (cd "$here/$3" && CGO_ENABLED=0 nice -n 19 go build -trimpath -ldflags='-s -w' -o "$folder/$1" .) >&2
        elif [ "${3%//*}" != "$3" ]; then
            sources=$(go mod download -json "${3%%//*}@$2" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
            case "$3" in
                *//) ln -sfn "$sources" "$folder/$1" ;;
                *) (cd "$sources" && CGO_ENABLED=0 nice -n 19 go build -trimpath -ldflags='-s -w' -o "$folder/$1" "./${3#*//}") >&2 ;;
            esac
        else
            GOBIN=$folder CGO_ENABLED=0 nice -n 19 go install -trimpath -ldflags='-s -w' "$3@$2" >&2
        fi
        printf '%s\n' "$version" >"$folder/$1.version"
    fi
    exec 9>&-
}

mkdir -p "$folder"
wanted=" ${*:-} "
[ $# -eq 0 ] || tools=$tools$large
for name in "$@"; do
    printf '%s' "$tools" | grep -q "^$name " || { say "peers.sh knows no tool '$name'"; exit 2; }
done
printf '%s' "$tools" | while read -r name version package; do
    [ -n "$name" ] || continue
    case "$wanted" in "  " | *" $name "*) build "$name" "$version" "$package" </dev/null ;; esac
done
printf '%s\n' "$folder"
