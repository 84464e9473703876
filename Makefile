# make demo and make test do everything on a fresh Debian machine, as root. What they install and
# where is in scripts/.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help tools lab lab-long build install deb demo test check unit race fuzz-short e2e e2e-long bench bench-peers bench-guests soak clean distclean

# build/go is made where the machine has no Go that will do. That Go, or any Go that is a little
# old, fetches the version that go.mod asks for.
export PATH := $(CURDIR)/build/go/bin:$(PATH):/usr/local/go/bin:/usr/local/sbin:/usr/sbin:/sbin
export GOTOOLCHAIN ?= auto

# In runs, not seconds: with a time limit, Go 1.26 sometimes fails a target that found nothing
# (go.dev/issue/75804).
FUZZTIME ?= 5000x
# The version in the binaries is the commit, where git can tell.
BUILDVCS = $(shell git rev-parse HEAD >/dev/null 2>&1 && echo true || echo false)
GOFILES = find . -path ./build -prune -o -name '*.go' -print

help: ## Say what there is to make
	@awk -F ': .*## ' '/^[a-z0-9-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

tools: ## Get Go, if it is not there
	@scripts/install-tools.sh

lab: tools ## Get what the end-to-end tests and the demo need: QEMU, a guest, User Mode Linux, DPDK's testpmd (as root)
	@scripts/install-lab.sh
	@test/guest/build-image
	@CGO_ENABLED=0 go build -trimpath -buildvcs=false -o build/guestctl ./test/guest/guestctl

lab-long: lab ## And what the long end-to-end tests need: other architectures, network boot, Open vSwitch (as root)
	@scripts/install-lab-long.sh
	@scripts/install-peers.sh
	@test/guest/build-image arm64
	@test/guest/build-image s390x

build: tools ## Build build/vswitchd and build/vswitchctl, static
	@[ -e build/vswitchctl ] || echo "building for the first time takes about two minutes" >&2
	CGO_ENABLED=0 go build -trimpath -buildvcs=$(BUILDVCS) -o build/ ./cmd/...

PREFIX ?= /usr/local
install: build ## Install vswitchd below PREFIX (/usr/local), in DESTDIR, with its service, its configuration and its documents
	packaging/install "$(DESTDIR)" "$(PREFIX)"

deb: build ## Build a Debian package in build/deb
	packaging/build-deb

demo: lab build ## Two guests and a network namespace talk through vswitchd (as root)
	@qemu-examples/demo

test: check unit race fuzz-short e2e ## All tests (as root)

check: tools ## Formatting, go vet, staticcheck, and the rules of test/rules
	@unformatted=$$($(GOFILES) | xargs gofmt -l); test -z "$$unformatted" || { echo "not formatted by gofmt:" $$unformatted; exit 1; }
	go vet -tags e2e,long,linuxbridge ./...
	go tool staticcheck -tags e2e,long,linuxbridge ./...
	go test ./test/rules

unit: tools ## Unit tests
	go test -timeout 30m ./...

race: tools ## Unit tests under the race detector
	@scripts/install-tools.sh race
	CGO_ENABLED=1 go test -race -timeout 60m ./...

fuzz-short: tools ## Each fuzz target for FUZZTIME (5000x)
	@go test -list '^Fuzz' ./... | awk '/^Fuzz/ { targets[n++] = $$1 } /^ok/ { for (i = 0; i < n; i++) print $$2, targets[i]; n = 0 }' | \
	while read -r package target; do \
		echo "$$package $$target"; \
		go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$package"; \
	done

e2e: lab build ## End-to-end tests with guests in QEMU and User Mode Linux, and DPDK's virtio-user (as root)
	go test -tags e2e -count=1 -p 1 -timeout 60m ./switch ./test/... ./bench/...

e2e-long: lab-long build ## As e2e, with what takes long: every QEMU option, memory hot-plug, 50 kills, client mode, a million frames through the model (as root)
	go test -tags e2e,long -count=1 -p 1 -timeout 120m ./test/e2e ./test/packaging
	go test -count=1 -run 'TestAgainstModel$$' ./switch -model.runs 150

bench: tools ## Go benchmarks
	go test -run '^$$' -bench . -benchmem ./...

# Needs two processors that are otherwise idle. BENCH=--quick is a short run, BENCH='--only TCP' a
# part of it.
BENCH ?= --doc docs/performance.md
bench-peers: lab build ## vswitchd side by side with OVS-DPDK, DPDK's vhost and a Linux bridge; writes docs/performance.md (as root)
	@scripts/install-peers.sh
	go build -trimpath -o build/bench ./bench
	build/bench compare $(BENCH)

GUESTS ?= --doc docs/performance.md
bench-guests: lab build ## iperf3 between QEMU guests: vswitchd next to a bridge with taps; writes docs/performance.md (as root)
	go build -trimpath -o build/bench ./bench
	build/bench guests $(GUESTS)

SOAKTIME ?= 30m
soak: build ## vswitchd under full load for SOAKTIME (30m): nothing is lost, nothing grows
	go build -trimpath -o build/bench ./bench
	build/bench soak --time $(SOAKTIME)

clean: ## Remove what was built, keep what was downloaded
	rm -rf build/vswitchd build/vswitchctl build/guestctl build/bench build/guest

distclean: ## Remove all that was built and downloaded
	rm -rf build
