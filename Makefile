# make test needs Go, git, make and gcc, and nothing else.
# make image and make e2e need a Docker engine too.
SHELL       := /bin/bash
.SHELLFLAGS := -eo pipefail -c
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GORELEASER  := github.com/goreleaser/goreleaser/v2@v2.16.0
ACTIONLINT  := github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
HELM_DOCS   := github.com/norwoodj/helm-docs/cmd/helm-docs@v1.14.2
VERSION     := $(shell sed -n 's/^appVersion: *//p' charts/leader-elector/Chart.yaml)
# client-go brings its own HTTP/2, so net/http's is left out (0.5 MB); what is
# not inlined is not there twice (0.9 MB). The same flags are in .goreleaser.yaml.
FLAGS       := -trimpath -tags=nethttpomithttp2 -gcflags=all=-l
BINARY      ?= dist/leader-election-sidecar
PLATFORM    ?= linux/$(shell go env GOARCH)
# Go aligns amd64's functions to 32 bytes, others to 16 or less (0.14 MB).
BUILD        = CGO_ENABLED=0 go build $(FLAGS) -ldflags='-s -w -X main.version=$(VERSION)$(if $(findstring amd64,$(PLATFORM)), -funcalign=16)'
IMAGE       ?= ghcr.io/leader-elector/leader-elector:$(VERSION)
CHART_README = go run $(HELM_DOCS) --log-level warning --chart-search-root charts/leader-elector

CHART_VERSION = $(shell sed -n 's/^version: *//p' charts/leader-elector/Chart.yaml)

.PHONY: test race lint explore simulation soak fuzz metrics-lint chaos build image example-image actionlint release-check release-snapshot chart-package e2e demo cluster chart-readme bench

, := ,
# part,NAME,COMMAND: prints how long it took.
part = @start=$$SECONDS; $(2) || exit 1; echo "$(1): $$((SECONDS - start)) s"

test: lint ## what can be tested without a cluster, in some minutes
	$(call part,the sidecar$(,) the library and the simulation,go test -timeout 30m ./...)
	$(call part,real processes$(,) a real API server and the chart,go -C e2e test -timeout 30m ./harness ./process ./kind ./chart ./cmd/...)

race: ## what the gate tests beside that: the same under the race detector, the benchmark's plan
	$(call part,the sidecar and the library under the race detector,go test -race -timeout 30m . ./lease ./lease/boottime ./lease/internal/... ./lease/leasetest ./lease/sidecar ./lease/supervisor)
	$(call part,the whole stack in the simulation under the race detector,go test -race -timeout 30m ./lease/simulation -run '^TestStack|^TestClientGo')
	$(call part,processes under the race detector,go -C e2e test -race -timeout 30m ./kind ./process/...)
	$(call part,the benchmark,go -C e2e test -timeout 30m ./bench)

SIMULATION = go test ./lease/simulation -count=1 -v -timeout 3h
QUIET      = 2>&1 | grep -v 'leaderelection.go\|transport.go\|request.go'; exit $${PIPESTATUS[0]}

EXPLORE ?= 4m
FAULTS  ?= 3
explore: ## every order of events, for EXPLORE and with at most FAULTS faults; and for each rule, the shortest story of what breaks without it
	$(SIMULATION) -run '^TestExploreFindsEveryMutation$$'
	$(SIMULATION) -run '^TestExplore$$' -replicas 3 -faults 1 -states 50000000 -for 30s
	$(SIMULATION) -run '^TestExplore$$' -apps -faults 2 -states 50000000 -for 40s
	$(SIMULATION) -run '^TestExplore$$' -faults $(FAULTS) -states 50000000 -for $(EXPLORE)

simulation: ## a million moments of elections under random faults, and as many of the whole stack
	$(SIMULATION) -run '^TestSimulation$$' -steps 1000000
	$(SIMULATION) -run '^TestStack|^TestClientGo' -stack-steps 1000000 $(QUIET)

SOAK ?= 1h
soak: ## both for SOAK each, from a seed that was not run before
	$(SIMULATION) -run '^TestSimulation$$|^TestStack$$' -soak $(SOAK) -first $$(date +%s) -stack-first $$(date +%s) $(QUIET)

# A count, not a time: at the end of a time Go 1.26 sometimes fails a target that has
# found nothing (https://go.dev/issue/75804).
FUZZ ?= 60000x
fuzz: ## each fuzz target FUZZ times
	go test ./lease -run '^$$' -fuzz '^FuzzLeaseToDecision$$' -fuzztime $(FUZZ) -fuzzminimizetime 10x
	go test ./lease -run '^$$' -fuzz '^FuzzAnswerToClient$$' -fuzztime $(FUZZ) -fuzzminimizetime 10x
	go test ./lease -run '^$$' -fuzz '^FuzzWatchToClient$$' -fuzztime $(FUZZ) -fuzzminimizetime 10x
	go test ./lease/sidecar -run '^$$' -fuzz '^FuzzEnvironmentToConfig$$' -fuzztime $(FUZZ) -fuzzminimizetime 10x

metrics-lint: ## what Prometheus' linter, parser, rules and the dashboard make of /metrics
	go -C e2e test ./monitoring -count=1 -timeout 30m

CHAOS ?= 3m
chaos: ## real sidecars, a real API server, and everything between them breaking for CHAOS
	go -C e2e test ./process/chaos -count=1 -v -timeout 30m -for $(CHAOS)

lint:
	@unformatted="$$(gofmt -l .)"; [ -z "$$unformatted" ] || { echo "gofmt these: $$unformatted"; exit 1; }
	go vet ./...
	go run $(STATICCHECK) ./...
	go -C e2e vet -tags e2e ./...
	go -C e2e run $(STATICCHECK) -tags e2e ./...
	@diff charts/leader-elector/README.md <($(CHART_README) --dry-run) || { echo "charts/leader-elector/README.md is out of date: make chart-readme"; exit 1; }

actionlint: ## the workflows
	go run $(ACTIONLINT) .github/workflows/*.yaml

chart-readme: ## the chart's README, from README.md.gotmpl and values.yaml
	$(CHART_README)

build: ## the sidecar's binary, as it ships
	$(BUILD) -o $(BINARY) .

licenses: go.mod Makefile ## the licences of all that the binary links
	rm -rf $@ build/$@ && mkdir -p build/$@/go && cp "$$(go env GOROOT)/LICENSE" build/$@/go
	go list -deps $(FLAGS) -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Dir}}{{end}}{{end}}' . | sort -u | while read -r path dir; do \
	  mkdir -p "build/$@/$$path" && find "$$dir" -maxdepth 1 -type f \( -iname 'LICEN[CS]E*' -o -iname 'NOTICE*' -o -iname 'COPYING*' \) -exec install -m 644 -t "build/$@/$$path" {} +; \
	  [ -n "$$(ls "build/$@/$$path")" ] || { echo "no licence in $$path"; exit 1; }; \
	done
	mv build/$@ $@

# The image's root: licences, and a /tmp that every user may write, for pods without a volume.
rootfs.tar: licenses
	mkdir -p build/rootfs/tmp
	tar --create --file $@ --directory build/rootfs --mode 1777 --owner 0 --group 0 --numeric-owner --mtime @0 tmp
	tar --append --file $@ --mode u=rwX,go=rX --owner 0 --group 0 --numeric-owner --mtime @0 --sort name licenses

image: rootfs.tar ## the image, from the Dockerfile that releases use; pulls nothing
	mkdir -p dist/image && cp rootfs.tar dist/image
	GOOS=$(word 1,$(subst /, ,$(PLATFORM))) GOARCH=$(word 2,$(subst /, ,$(PLATFORM))) $(BUILD) -o dist/image/$(PLATFORM)/leader-election-sidecar .
	docker build --quiet --build-arg TARGETPLATFORM=$(PLATFORM) --build-arg VERSION=$(VERSION) --tag $(IMAGE) --file Dockerfile dist/image

example-image: ## the image of charts/example's app
	CGO_ENABLED=0 go -C e2e build -trimpath -o ../dist/example/app ./cmd/app
	docker build --quiet --tag leader-elector/example:dev --file e2e/cmd/app/Dockerfile dist/example

e2e: image example-image ## the example chart on a kind cluster, with every fault; see the README
	go -C e2e test -tags e2e -count=1 -timeout 30m -v -run '^(TestImage|TestScenarios)$$' ./kind

# TAG=v1.2.3 is what a release is made of.
release-check: ## that a tag, the chart and its appVersion are of one version
	@[ "$$TAG" = "v$(VERSION)" ] && [ "$$TAG" = "v$(CHART_VERSION)" ] || { echo "the tag $$TAG is not that of the chart $(CHART_VERSION) with appVersion $(VERSION): change charts/leader-elector/Chart.yaml, or the tag"; exit 1; }

# Some minutes to compile, the first time. It needs a clone with a remote, as goreleaser does.
release-snapshot: ## the archives of a release, twice: they must be equal byte for byte
	go run $(GORELEASER) check
	for n in 1 2; do go run $(GORELEASER) release --snapshot --clean --skip=sign,sbom,docker && cp dist/checksums.txt build/checksums.$$n || exit 1; done
	diff build/checksums.1 build/checksums.2 && cat build/checksums.1

# DIGEST=sha256:… is that of the image of this version.
CHARTS ?= $(CURDIR)/dist/charts
chart-package: ## the library chart, packed into CHARTS, with the image's digest in it
	@[[ "$(DIGEST)" =~ ^sha256:[0-9a-f]{64}$$ ]] || { echo "DIGEST=$(DIGEST): must be the image's digest, sha256: and 64 digits"; exit 1; }
	rm -rf '$(CHARTS)/leader-elector' && mkdir -p '$(CHARTS)' && cp -r charts/leader-elector '$(CHARTS)/leader-elector'
	cp LICENSE '$(CHARTS)/leader-elector' && rm '$(CHARTS)/leader-elector/README.md.gotmpl'
	sed -i '/define "leader-elector._releaseDigest"/a $(DIGEST)' '$(CHARTS)/leader-elector/templates/_values.tpl'
	grep -q '^$(DIGEST)$$' '$(CHARTS)/leader-elector/templates/_values.tpl'
	go -C e2e tool helm package '$(CHARTS)/leader-elector' --destination '$(CHARTS)'

# Without KUBECONFIG on make's own command line, the demo brings an API server.
demo: ## three sidecars, a clean handover, a kill
	@go -C e2e run ./cmd/demo $(if $(findstring command,$(origin KUBECONFIG)),-kubeconfig '$(abspath $(KUBECONFIG))')

# With IMAGE=name, the size of that image is looked up too.
bench: ## the sidecar against client-go's LeaderElector, side by side; about 45 minutes, on an otherwise idle machine
	go -C e2e run ./bench -out ../dist/bench $(if $(findstring command,$(origin IMAGE)),-image '$(IMAGE)') $(BENCH)

cluster: ## etcd and kube-apiserver on loopback until interrupted; LEASE=name adds an account
	@go -C e2e run ./cmd/cluster $(if $(LEASE),-lease '$(LEASE)')
