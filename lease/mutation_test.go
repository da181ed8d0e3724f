package lease_test

import (
	"net/http"

	"github.com/leader-elector/leader-elector/lease"
)

// mutation breaks one safety rule of our replicas, from outside of them.
type mutation struct {
	rule, how string
	config    func(*simulation, *lease.Config)
	transport func(identity string, next http.RoundTripper) http.RoundTripper
}
