# Each target is one thing a person types. Only Go and make are needed, save for
# race (a C compiler) and lint and fmt (the tools of .ci/tools.mod, which Go
# fetches by itself).

GO       ?= go
FUZZTIME ?= 20s
BENCH    ?=
TOOL     := $(GO) tool -modfile=.ci/tools.mod
# Files of guests have a Seek that answers an errno, as wazero's interface wants
# it; stdmethods would have io.Seeker's.
VET      := $(GO) vet -stdmethods=false
export CGO_ENABLED ?= 0

.DEFAULT_GOAL := help
.PHONY: help demo test build runtime race lint fmt fuzz bench golden guests tools cross mutants check

help: ## say what each target does
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-14s %s\n", $$1, $$2}'

demo: build guests ## run the example agents on this tree and show what they did and what they were refused
	@sh examples/demo.sh

test: ## run all tests
	$(GO) test -shuffle=on -timeout=20m ./...

# The tag leaves out what would write manual pages, whose tables cost each start
# half a millisecond.
build: ## build bin/agenthost
	$(GO) build -trimpath -tags=urfave_cli_no_docs -o bin/agenthost ./cmd/agenthost

# The SDK gets a go.mod of its own, so that it is of use to an author as it is.
runtime: build ## pack agenthost itself, its documents and guest SDKs, as the library PKG-T1-RUNTIME-001
	@rm -rf build/runtime && mkdir -p build/runtime/bin build/runtime/ledger
	@cp cmd/agenthost/runtime/manifest.json LICENSE *.md build/runtime/
	@cp ledger/README.md build/runtime/ledger/
	@cp -r guest-sdk build/runtime/ && find build/runtime/guest-sdk -name '*_test.go' -delete
	@printf 'module github.com/agenthost/agenthost/guest-sdk/go\n\ngo 1.26\n' >build/runtime/guest-sdk/go/go.mod
	@cp bin/agenthost build/runtime/bin/
	@bin/agenthost package pack --src build/runtime -o build/PKG-T1-RUNTIME-001.tar.gz

# The meter has one thread by contract, and the commands run one thing at a time:
# under the detector their tests only take long.
race: ## run the tests, the long ones shortened, under the race detector
	CGO_ENABLED=1 $(GO) test -race -short -shuffle=on -timeout=20m $$($(GO) list ./... | grep -v -e /internal/meter -e /cmd/)

lint: ## check formatting, go vet, staticcheck
	@unformatted=$$($(TOOL) gofumpt -l . testdata/bench) || exit 1; \
	if [ -n "$$unformatted" ]; then echo "not formatted, make fmt mends it:"; echo "$$unformatted"; exit 1; fi
	$(VET) ./...
	$(TOOL) staticcheck ./...
	@staticcheck=$$($(TOOL) -n staticcheck) && cd testdata/bench && \
	$(VET) ./... && $(GO) test ./... && "$$staticcheck" ./...

fmt: ## format all Go files
	$(TOOL) gofumpt -w . testdata/bench

fuzz: ## fuzz each target for FUZZTIME (20s)
	@grep -rn --include='*_test.go' '^func Fuzz' . | sed 's/^\(.*\)\/[^/]*_test.go:[0-9]*:func \(Fuzz[A-Za-z0-9_]*\).*/\1 \2/' | sort | \
	while read -r room target; do \
		echo "$$room $$target"; \
		$(GO) test -run='^$$' -fuzz="^$$target\$$" -fuzztime=$(FUZZTIME) "$$room" || exit 1; \
	done

bench: ## measure beside others and print the table (BENCH='-run G6 -rounds 9 -json')
	@cd testdata/bench && $(GO) run . $(BENCH)

golden: ## accept what the commands print now as the expected texts; read the diff before committing it
	$(GO) test ./cmd/agenthost -run='^(TestScript|TestAPI)$$' -update

guests: ## build the agents of examples/ to build/guests; those in C where there is a clang for it
	@rm -rf build/guests && mkdir -p build/guests
	@for main in examples/*/main.go; do \
		dir=$$(dirname "$$main"); \
		echo "build/guests/$$(basename "$$dir").wasm"; \
		GOOS=wasip1 GOARCH=wasm $(GO) build -trimpath -ldflags='-s -w' -o "build/guests/$$(basename "$$dir").wasm" "./$$dir" || exit 1; \
	done
	@cc=$$(sh examples/wasi-cc.sh) || { for dir in examples/*/*.c; do echo "skipped: $$dir"; done; exit 0; }; \
	for source in examples/*/*.c; do \
		wasm=build/guests/$$(basename "$$(dirname "$$source")").wasm; \
		echo "$$wasm"; \
		"$$cc" --target=wasm32-wasi -O2 -s "$$source" -o "$$wasm" || exit 1; \
	done

tools: ## install what some tests need and Go does not bring: a clang for agents in C, shells, programs for agents to run (on Debian, as root)
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends clang lld wasi-libc libclang-rt-dev-wasm32 zsh fish git jq python3 gcc libc6-dev

cross: ## build and vet for the other platforms
	@for platform in linux/arm64 darwin/arm64 windows/amd64; do \
		echo "$$platform"; \
		GOOS=$${platform%/*} GOARCH=$${platform#*/} $(GO) build -o /dev/null ./... || exit 1; \
		GOOS=$${platform%/*} GOARCH=$${platform#*/} $(VET) ./... || exit 1; \
	done
	@echo "linux/amd64 linux/arm64 (testdata/bench)"
	@for arch in amd64 arm64; do \
		(cd testdata/bench && GOOS=linux GOARCH=$$arch $(GO) build -o /dev/null ./... && GOOS=linux GOARCH=$$arch $(VET) ./...) || exit 1; \
	done
	@echo wasip1/wasm
	@GOOS=wasip1 GOARCH=wasm $(VET) ./guest-sdk/... ./examples/... ./testdata/guests/...

mutants: ## break the ledger in known ways, one at a time, and see that a test finds each
	@sh .ci/mutants

check: ## everything that must pass before a change lands
	@sh .ci/steps lint test race cross fuzz
