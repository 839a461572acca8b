LINT := go tool -modfile=internal/tools/lint/go.mod golangci-lint

.PHONY: help
help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## Play a ticket's whole way, then keep serving
	go run ./cmd/fieldsync demo

.PHONY: test
test: ## Run all tests (the first run builds MinIO, once)
	go test ./...

.PHONY: test-short
test-short: ## Run the tests without the slow ones
	go test -short ./...

.PHONY: generate
generate: ## Write gen/ from proto/ (needs npm), docs/rights.md from auth's table
	internal/tools/generate
	go run ./cmd/fieldsync auth matrix --markdown > docs/rights.md.next && mv docs/rights.md.next docs/rights.md

.PHONY: lint
lint: ## Check the Go code and the import directions
	$(LINT) run ./...

.PHONY: fix
fix: ## Format, and correct what the linters can correct by themselves
	$(LINT) run --fix ./...

.PHONY: proto-lint
proto-lint: ## Check the style of proto/ (needs npm)
	internal/tools/buf/run lint

.PHONY: proto-breaking
proto-breaking: ## Check that proto/ changed only by adding (needs npm)
	internal/tools/proto-breaking

.PHONY: fuzz
fuzz: ## Fuzz every parser that sees the outside, FUZZTIME each (1m)
	internal/tools/fuzz $(or $(FUZZTIME),1m)

.PHONY: ci
ci: ## Run everything that has to hold before a change lands
	.ci/run
