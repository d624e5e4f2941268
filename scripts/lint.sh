#!/usr/bin/env bash
# Runs the linters and fails when a file that a command writes is not what the
# command would write today.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "lint: $1" >&2; exit 1; }

unformatted=$(gofmt -l $(git ls-files '*.go'))
[ -z "$unformatted" ] || fail "gofmt wants to change: $unformatted"
go vet ./...
go tool staticcheck ./...
fixes=$(go fix -diff ./... 2>/dev/null || true)
[ -z "$fixes" ] || { echo "$fixes"; fail "go fix wants to change the above"; }
go mod tidy -diff >/dev/null || fail "go.mod is not tidy: run go mod tidy"
go test ./envoy -run Samples -count=1 >/dev/null || fail "the sample files in envoy/ are not what the code writes: go test ./envoy -run Samples -update"
echo "lint: ok"
