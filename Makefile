# make test needs Go, git, make and gcc, and nothing else.
SHELL       := /bin/bash
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
BUILD       := CGO_ENABLED=0 go build -trimpath -ldflags '-s -w'

.PHONY: test lint build demo cluster

test: lint ## everything that can be tested without a cluster
	go test -race -timeout 30m ./...

lint:
	@unformatted="$$(gofmt -l .)"; [ -z "$$unformatted" ] || { echo "gofmt these: $$unformatted"; exit 1; }
	go vet ./...
	go run $(STATICCHECK) ./...

build: ## the sidecar's binary, as it ships
	$(BUILD) -o dist/leader-election-sidecar .

# Without KUBECONFIG on make's own command line, the demo brings an API server.
demo: ## three sidecars, a clean handover, a kill
	@go run ./e2e/demo $(if $(findstring command,$(origin KUBECONFIG)),-kubeconfig '$(KUBECONFIG)')

cluster: ## etcd and kube-apiserver on loopback until interrupted; LEASE=name adds an account
	@go run ./e2e/cluster $(if $(LEASE),-lease '$(LEASE)')
