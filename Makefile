# Tools are pinned here and nowhere else.
GOLANGCI_LINT := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LOADGEN := bin/loadgen

# Arguments for demo, lab, scenarios, bench, images, updates, versions, secrets and preflight: make demo ARGS='--mirror-fault drop'
ARGS ?=

# The stacks in the order in which they come up. They go the other way round.
SOURCE := us-east-1
DESTINATION := eu-west-1

# What needs the Pulumi engine or AWS's SDK. The race detector would double the time to compile them,
# and finds nothing there: nothing of ours in them runs concurrently.
INFRA := $(shell go list ./infra/... ./stacks/... ./images/... ./preflight/... ./dashboards/... ./scenario/...)

.DEFAULT_GOAL := help
.PHONY: help setup build demo lab scenarios test lint check soak test-dashboards test-pulumi test-kubernetes test-kubernetes-full test-replicators fuzz updates vulnerabilities licences sbom secrets versions images preflight where destroy bench clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what the tests and the lab need, where it is missing (Debian, root or sudo)
	@.ci/setup

build: ## Build bin/loadgen
	go build -buildvcs=false -ldflags "-X main.version=$(VERSION)" -o $(LOADGEN) ./loadgen

demo: build ## Two embedded clusters, a mirror, a broker failure: verdict and report
	$(LOADGEN) demo $(ARGS)

lab: setup build ## The same on real Kafka with MirrorMaker 2; takes some minutes
	$(LOADGEN) lab $(ARGS)

scenarios: setup build $(if $(filter pulumi,$(TARGET)),bin/loadgen-pulumi) ## Play the whole catalogue of scenarios, or ARGS='kill-source-broker --repeat 3'; results in scenario-results
	$(LOADGEN) scenario run $(if $(TARGET),--target $(TARGET)) $(or $(ARGS),--all)

.PHONY: bin/loadgen-pulumi
bin/loadgen-pulumi: ## What loadgen needs beside it to play scenarios on the stacks (TARGET=pulumi builds it)
	go build -buildvcs=false -o $@ ./stacks/play

test: setup lint check ## Linter and all tests

lint: ## The linter, with .golangci.yml; go vet is one of its parts
	go run $(GOLANGCI_LINT) run ./...

# Without vet: the linter has done that, and go test would go through every dependency for it, the
# cloud SDKs among them, for ten minutes on a machine without caches.
TEST := go test -vet=off -timeout 20m

SOAK := go test -vet=off -count=1 -tags soak -run 'TestSoak$$' ./lab

check: ## All tests; those of load tools and lab with the race detector, and what it would distort without; a soak of 3 minutes
	$(TEST) $(INFRA)
	$(TEST) -race $(filter-out $(INFRA),$(shell go list ./...))
	$(TEST) -run 'Heap|Alloc|Mistakes' ./loadgen/...
	$(TEST) -v -run 'TestHistories$$' ./loadgen/verdict
	$(SOAK) -timeout 40m -args --report $(CURDIR)/soak-report --duration 3m

soak: setup ## Break load tools, ledger brokers and network at random on real Kafka for an hour, or ARGS='--duration 5m --seed 7'; --plant all must fail
	$(SOAK) -v -timeout 0 -args --report $(CURDIR)/soak-report $(ARGS)

test-dashboards: setup ## Every expression of dashboards and rules against a Prometheus that watches the lab; takes some minutes
	go test -vet=off -timeout 60m -tags dashboards -v -run 'TestEveryExpressionHasDataOfARealRun$$' ./lab

# stacks is built as it is for its tests: with the coverage that guides a fuzzer, Pulumi's SDKs would take half an hour to compile.
# Each input that finds something new is made smaller at most by ten tries: with Go's own minute for it, a slow machine does
# nothing else.
FUZZ_TIME := 30s
FUZZ_MINIMIZE := 10x
fuzz: ## Every fuzz test in turn, for 30 s each, or FUZZ_TIME=5m; ARGS=-parallel=1 for go test
	@grep -rho --include='*_test.go' -H 'func Fuzz[A-Za-z]*' . | sort | while IFS=: read -r file name; do \
		dir=$${file%/*}; name=$${name#func }; echo "== $$dir $$name"; \
		if [ "$$dir" = ./stacks ]; then \
			go test -vet=off -c -o bin/stacks.test ./stacks && (cd stacks && ../bin/stacks.test -test.run '^$$' -test.fuzz "^$$name\$$" -test.fuzztime $(FUZZ_TIME) -test.fuzzminimizetime $(FUZZ_MINIMIZE) \
				-test.fuzzcachedir "$$(go env GOCACHE)/fuzz/stacks" $(patsubst -%,-test.%,$(ARGS))); \
		else \
			go test -vet=off -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZ_TIME) -fuzzminimizetime $(FUZZ_MINIMIZE) $(ARGS) "$$dir"; \
		fi || exit 1; \
	done

test-pulumi: ## Scenarios on the stacks by the real Pulumi CLI, which is built the first time: not in make test
	go test -vet=off -timeout 3h -tags pulumi -run 'ScenarioIsPlayedOnBothStacks|UpdateThatFails|InterruptLeavesNoLock' ./stacks $(ARGS)

test-replicators: setup ## uReplicator and Brooklin in the lab, from UREPLICATOR_HOME and BROOKLIN_HOME (either may be left out), as root; takes some minutes
	UREPLICATOR_HOME='$(UREPLICATOR_HOME)' BROOKLIN_HOME='$(BROOKLIN_HOME)' $(TEST) -tags installations -v \
		-run '^TestReal($(if $(UREPLICATOR_HOME)$(BROOKLIN_HOME),$(if $(UREPLICATOR_HOME),UReplicator,-)|$(if $(BROOKLIN_HOME),Brooklin,-),UReplicator|Brooklin))$$' ./lab

test-kubernetes: ## Both stacks' objects by Kubernetes' schemas, the small profile in real control planes, which are built the first time: not in make test
	go test -vet=off -timeout 60m -p 1 -tags kubernetes -v -run 'Schemas|^TestPlane$$|^TestKubernetes' -skip 'FullSize$$' ./infra/kubetest ./stacks $(ARGS)

test-kubernetes-full: ## The full-size source in a real control plane with 40 nodes, up and destroyed; takes some minutes
	go test -vet=off -timeout 60m -tags kubernetes -v -run 'FullSize$$' ./stacks $(ARGS)

updates: ## List newer versions of pinned modules, tools, jars, charts and images, and who could not be asked; ARGS='--only go'
	@go run ./supply updates $(ARGS)

vulnerabilities: build ## Known vulnerabilities of what is built in, with govulncheck and a pinned database
	@go run ./supply vulnerabilities $(ARGS)

licences: ## The licence of every Go module that is built in; the tests refuse those that are not allowed
	@go run ./supply licences

sbom: build ## What bin/loadgen is made of, as CycloneDX JSON; make images puts the same into the image
	@go run ./images sbom $(LOADGEN)

secrets: ## Passwords and certificates into both stacks' configuration, as Pulumi secrets
	go run ./preflight secrets $(ARGS)

versions: ## Pin the newest node image and EKS add-ons in both stacks' configuration
	go run ./preflight versions $(ARGS)

images: ## Make ECR repositories, build and mirror every image by digest, write them into both stacks' configuration
	go run ./images --version $(VERSION) $(ARGS)

preflight: ## Check tools, credentials, configuration, quotas, images: before the first dollar
	go run ./preflight $(ARGS)

where: ## How to reach everything in both stacks, and the verdict
	@for stack in $(SOURCE) $(DESTINATION); do echo "== $$stack"; pulumi stack output where --stack $$stack || exit 1; done

destroy: ## Destroy both stacks, the destination first
	pulumi destroy --stack $(DESTINATION) $(ARGS)
	pulumi destroy --stack $(SOURCE) $(ARGS)

bench: build ## Side by side with other clients, on a broker of its own; about 20 minutes
	@.ci/setup bench
	go build -buildvcs=false -o bin/bench ./bench
	bin/bench --loadgen $(LOADGEN) $(ARGS)

clean: ## Remove what make built
	rm -rf bin
