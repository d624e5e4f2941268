# demo and test are the two commands; each does its own set-up on a machine with
# Go 1.26, make, and Python 3 with pip.

.PHONY: demo test build envoy setup lint bench fuzz

demo: build envoy
	bin/rollcall demo $(ARGS)

# The real Envoy, real processes and a real browser take part. Two packages at a
# time: each end-to-end test runs several processes of its own.
test: setup build envoy
	go test -race -p 2 -timeout 18m $(ARGS) ./...

build:
	go build -o bin/rollcall ./cmd/rollcall

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

bench: setup build envoy
	go run ./e2e/bench $(ARGS)
