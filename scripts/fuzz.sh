#!/usr/bin/env bash
# Runs every fuzz target of the module for the time given, one after the other.
set -euo pipefail
cd "$(dirname "$0")/.."

time=${1:?give a time such as 5m}
said=$(mktemp)
trap 'rm -f "$said"' EXIT

run() { # target folder
	go test "./$2" -run '^$' -fuzz "^$1\$" -fuzztime "$time" -fuzzminimizetime 10x </dev/null 2>&1 | tee "$said"
}

# Before 1.27, Go takes the end of the time for a failure now and then
# (go.dev/issue/75804). It has found nothing then: the target runs once more.
ended_early() {
	grep -q '^    context deadline exceeded$' "$said" && ! grep -q 'Failing input written' "$said"
}

git grep -l '^func Fuzz' -- '*_test.go' | while read -r file; do
	folder=$(dirname "$file")
	for target in $(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$file"); do
		echo "fuzz: $target in $folder"
		if ! run "$target" "$folder"; then
			ended_early || exit 1
			run "$target" "$folder"
		fi
	done
done
