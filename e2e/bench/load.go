package main

import (
	"context"
	"time"

	"github.com/leader-elector/leader-elector/e2e/harness"
)

// moment is what the API server and etcd have counted so far, of Leases only
// where it says so.
type moment struct {
	at       time.Time
	requests map[string]float64 // for Leases, by verb; refused ones by verb and code
	counted  Load               // totals, not rates
}

// Load is what an election costs the control plane, per second.
type Load struct {
	Requests     map[string]float64 `json:"requests"`     // for Leases, by verb; refused ones by verb and status
	AllRequests  float64            `json:"allRequests"`  // their sum, watches that begin or end included
	RequestBytes float64            `json:"requestBytes"` // bodies of creates and updates of Leases
	AnswerBytes  float64            `json:"answerBytes"`  // bodies of answers to reads of Leases
	WatchEvents  float64            `json:"watchEvents"`  // delivered to watchers of Leases
	WatchBytes   float64            `json:"watchBytes"`   // their bodies
	EtcdPuts     float64            `json:"etcdPuts"`     // of anything
	APIServerCPU float64            `json:"apiServerCPU"` // cores
	EtcdCPU      float64            `json:"etcdCPU"`      // cores
	APIServerRSS float64            `json:"apiServerRSS"` // bytes, at the end
}

// rates are the fields that grow with time, those of Requests excepted.
func (l *Load) rates() []*float64 {
	return []*float64{&l.AllRequests, &l.RequestBytes, &l.AnswerBytes, &l.WatchEvents, &l.WatchBytes, &l.EtcdPuts, &l.APIServerCPU, &l.EtcdCPU}
}

// look asks both servers.
func look(ctx context.Context, controlPlane *harness.ControlPlane) (m moment, err error) {
	m.requests = map[string]float64{}
	api, err := controlPlane.APIServerMetrics(ctx)
	if err != nil {
		return m, err
	}
	etcd, err := controlPlane.EtcdMetrics(ctx)
	if err != nil {
		return m, err
	}
	m.at = time.Now()
	api.Each("apiserver_request_total", func(label func(string) string, value float64) {
		key := label("verb")
		if code := label("code"); code >= "400" {
			key += " " + code
		}
		m.requests[key] += value
		m.counted.AllRequests += value
	}, "resource", "leases")
	m.counted.RequestBytes = api.Sum("apiserver_request_body_size_bytes", "resource", "leases")
	m.counted.AnswerBytes = api.Sum("apiserver_response_sizes", "resource", "leases", "verb", "GET")
	m.counted.WatchEvents = api.Sum("apiserver_watch_events_total", "resource", "leases")
	m.counted.WatchBytes = api.Sum("apiserver_watch_events_sizes", "resource", "leases")
	m.counted.EtcdPuts = etcd.Sum("etcd_mvcc_put_total")
	m.counted.APIServerCPU = api.Sum("process_cpu_seconds_total")
	m.counted.EtcdCPU = etcd.Sum("process_cpu_seconds_total")
	m.counted.APIServerRSS = api.Sum("process_resident_memory_bytes")
	return m, nil
}

// since is the load between two moments.
func (m moment) since(before moment) Load {
	seconds := m.at.Sub(before.at).Seconds()
	rate := func(now, then float64) float64 { return (now - then) / seconds }
	l := Load{Requests: map[string]float64{}, APIServerRSS: m.counted.APIServerRSS}
	for key, n := range m.requests {
		if r := rate(n, before.requests[key]); r > 0 {
			l.Requests[key] = r
		}
	}
	now, then := m.counted.rates(), before.counted.rates()
	for i, r := range l.rates() {
		*r = rate(*now[i], *then[i])
	}
	return l
}

// measure waits, and returns the load during that time.
func measure(ctx context.Context, controlPlane *harness.ControlPlane, d time.Duration) (Load, error) {
	before, err := look(ctx, controlPlane)
	if err != nil {
		return Load{}, err
	}
	if err := sleep(ctx, d); err != nil {
		return Load{}, err
	}
	after, err := look(ctx, controlPlane)
	return after.since(before), err
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
