module github.com/leader-elector/leader-elector

go 1.26.0

require (
	github.com/caarlos0/env/v11 v11.4.2 // indirect
	golang.org/x/sys v0.49.0 // indirect
	k8s.io/api v0.37.2 // indirect
	k8s.io/apimachinery v0.37.2 // indirect
	k8s.io/client-go v0.37.2 // indirect
)
