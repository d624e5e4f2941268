# demo and test are the two commands; each does its own set-up on a machine with
# Go 1.26, make, and Python 3 with pip.

.PHONY: demo test test-long build envoy setup lint bench bench-fanout bench-gossip fuzz audit

demo: build envoy
	bin/rollcall demo $(ARGS)

# The real Envoy, real processes and a real browser take part. The end-to-end tests
# have the machine to themselves: they promise that no request is lost, with several
# processes for each test.
test: setup build envoy
	go test -race -p 2 -timeout 18m $(ARGS) $$(go list ./... | grep -v '/e2e$$')
	scripts/fuzz.sh 2s
	go test -race -timeout 18m $(ARGS) ./e2e

# The long tables of the end-to-end tests, of whose every kind make test has one.
test-long: setup build envoy
	go test -race -tags long -run '^TestLong' -timeout 40m $(ARGS) ./e2e

# What rollcall version prints; "unknown" outside of a git checkout.
git = $(shell git $(1) 2>/dev/null || echo unknown)
LDFLAGS = -s -w -X main.version=$(call git,describe --tags --always --dirty) -X main.commit=$(call git,rev-parse HEAD) \
	-X main.date=$(call git,log -1 --format=%cI)

build:
	go build -trimpath -ldflags "$(LDFLAGS)" -o bin/rollcall ./cmd/rollcall

envoy:
	scripts/fetch-envoy.sh

setup:
	scripts/setup.sh

# Five minutes for each fuzz target unless FUZZTIME says otherwise; what is found is
# kept under testdata/fuzz of its package, and make test tries it ever after.
FUZZTIME ?= 5m

fuzz:
	scripts/fuzz.sh $(FUZZTIME)

lint:
	scripts/lint.sh

# What the binary is made of, and what is known against it: by the database of
# vulnerabilities at VULNDB, a folder or a URL, or the one on the network.
audit:
	scripts/audit.sh $(VULNDB)

bench: setup build envoy
	go run ./e2e/bench $(ARGS)

bench-fanout: setup envoy
	go run ./eds/internal/fanout $(ARGS)
	go test ./eds/internal/xds -run XXX -bench MergeToBytes -benchtime 300x

# A thousand real members in virtual time, and a model beyond: some 25 minutes of one
# core, and 6 GB of memory.
bench-gossip:
	go test ./gossip -count=1 -timeout 3h -v -run 'NoEventIsLost|TheModelSays' -members 1000 -modelled 10,100,300,1000
	go run ./gossip/internal/bench
