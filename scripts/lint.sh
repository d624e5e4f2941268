#!/usr/bin/env bash
# Runs the linters and fails when a file that a command writes is not what the
# command would write today.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "lint: $1" >&2; exit 1; }

# The repository holds sources: nothing large, and nothing that was built.
git ls-files -z | while IFS= read -r -d '' f; do
	[ -f "$f" ] || continue
	[ "$(wc -c <"$f")" -le 1048576 ] || fail "$f is tracked and above 1 MiB"
	case $(head -c 4 "$f" | od -An -tx1 | tr -d ' \n') in
	7f454c46 | cffaedfe | cefaedfe | cafebabe | 4d5a????) fail "$f is tracked and an executable binary" ;;
	esac
done
unformatted=$(gofmt -l $(git ls-files '*.go'))
[ -z "$unformatted" ] || fail "gofmt wants to change: $unformatted"
go vet ./...
go vet -tags long ./e2e
go tool staticcheck ./...
go tool staticcheck -tags long ./e2e
fixes=$(go fix -diff ./... 2>/dev/null || true)
[ -z "$fixes" ] || { echo "$fixes"; fail "go fix wants to change the above"; }
go mod verify >/dev/null || fail "a module is not what go.sum says"
go mod tidy -diff >/dev/null || fail "go.mod is not tidy: run go mod tidy"
go test ./envoy -run Samples -count=1 >/dev/null || fail "the sample files in envoy/ are not what the code writes: go test ./envoy -run Samples -update"
# gosec works on the sources alone. What is left out: G104 (errors that are dropped
# on purpose are assigned to _), G115 (conversions, bounded where they are made),
# G304 and G204 (files and programs are named by the operator), G404 (delays and
# orders are drawn from no secret), G705 (every answer has its content type, nosniff).
gosec=github.com/securego/gosec/v2/cmd/gosec@v2.30.0
if go run "$gosec" -version >/dev/null 2>&1; then
	go run "$gosec" -quiet -exclude=G104,G115,G204,G304,G404,G705 -exclude-dir=e2e -exclude-dir=demo -exclude-dir=fanout ./... || fail "gosec has found the above"
else
	echo "lint: gosec cannot be had here: skipped"
fi
# govulncheck needs the database of vulnerabilities, which is on the network.
vulncheck=golang.org/x/vuln/cmd/govulncheck@v1.9.0
if go run "$vulncheck" -version >/dev/null 2>&1; then
	found=$(go run "$vulncheck" ./... 2>&1) || {
		grep -q "fetching vulnerabilities" <<<"$found" || { echo "$found"; fail "govulncheck has found the above"; }
		echo "lint: govulncheck cannot reach its database: skipped"
	}
else
	echo "lint: govulncheck cannot be had here: skipped"
fi
echo "lint: ok"
