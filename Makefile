# Tools are pinned here and nowhere else.
GOLANGCI_LINT := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LOADGEN := bin/loadgen

# Arguments for demo and lab: make demo ARGS='--mirror-fault drop'
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup build demo lab test vet lint race bench clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what the tests and the lab need, where it is missing (Debian, root or sudo)
	@.ci/setup

build: ## Build bin/loadgen
	go build -buildvcs=false -ldflags "-X main.version=$(VERSION)" -o $(LOADGEN) ./loadgen

demo: build ## Two embedded clusters, a mirror, a broker failure: verdict and report
	$(LOADGEN) demo $(ARGS)

lab: setup build ## The same on real Kafka with MirrorMaker 2; takes some minutes
	$(LOADGEN) lab $(ARGS)

test: setup vet lint race ## Vet, linter, and all tests with the race detector

vet: ## go vet
	go vet ./...

lint: ## The linter, with .golangci.yml
	go run $(GOLANGCI_LINT) run ./...

race: ## All tests with the race detector, and those that it would distort without
	go test -race -timeout 20m ./...
	go test -run 'Heap|Alloc|Mistakes' ./loadgen/...
	go test -v -run 'TestHistories$$' ./loadgen/verdict

bench: ## Benchmarks of the hot paths
	go test -run '^$$' -bench . -benchmem ./...

clean: ## Remove what make built
	rm -rf bin
