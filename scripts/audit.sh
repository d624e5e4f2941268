#!/usr/bin/env bash
# Checks the modules against the checksums in go.sum, writes what the binary is made of
# to bin/rollcall.sbom.json (CycloneDX), and looks for known vulnerabilities in a database:
# the folder or URL of the argument (https://go.dev/doc/security/vuln/database), or the
# one on the network.
set -euo pipefail
cd "$(dirname "$0")/.."

go mod verify
go build -o bin/rollcall ./cmd/rollcall
go run github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0 bin -json -output bin/rollcall.sbom.json bin/rollcall
echo "audit: bin/rollcall.sbom.json has $(grep -c '"purl"' bin/rollcall.sbom.json) modules"
db=${1:-https://vuln.go.dev}
[ ! -d "$db" ] || db=file://$(cd "$db" && pwd)
go run golang.org/x/vuln/cmd/govulncheck@v1.9.0 -db "$db" ./...
