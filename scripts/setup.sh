#!/usr/bin/env bash
# Checks what the tests need beyond Go, make and Python: a C compiler for the race
# detector, Chromium for the console, iproute2 and nftables for network faults. As
# root on Debian or Ubuntu it installs what is missing; elsewhere it names it.
set -euo pipefail

need() { command -v "$1" >/dev/null 2>&1 || missing+=("$2"); }

missing=()
need gcc gcc
[ -e /usr/include/stdlib.h ] || missing+=(libc6-dev)
need chromium chromium
need ip iproute2
need nft nftables
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(uname -s)" != Linux ]; then
	echo "the tests want Linux (network namespaces, the Envoy binary)" >&2
	exit 1
fi
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
	echo "the tests need these Debian packages or their like: ${missing[*]}" >&2
	echo "install them, or run as root on Debian or Ubuntu to have it done" >&2
	exit 1
fi
echo "installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
