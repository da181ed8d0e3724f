package sidecar

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"
)

// appProbe follows whether the app lives (LEAD_WHILE=http://…): it does while the URL
// answers 2xx. That an app does not answer is no proof that it has ended.
type appProbe struct {
	url    string
	shown  string // the same without a password
	client *http.Client
	log    *slog.Logger
	tell   func(alive bool) // is called at each change
	alive  atomic.Bool      // as it was told
}

const (
	probeEvery   = time.Second // from one question to the next, and the time for an answer
	probesToTell = 3           // equal answers in a row that are a change
)

func newAppProbe(address string, log *slog.Logger, tell func(alive bool)) *appProbe {
	shown := address
	if u, err := url.Parse(address); err == nil {
		shown = u.Redacted()
	}
	return &appProbe{url: address, shown: shown, log: log, tell: tell, client: &http.Client{
		Timeout:       probeEvery,
		Transport:     &http.Transport{DisableKeepAlives: true}, // no proxy: the app is in this pod
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// watch asks the app until ctx is done.
func (p *appProbe) watch(ctx context.Context) {
	failing := problem{
		log: p.log, level: slog.LevelWarn, over: "the app answers LEAD_WHILE's probe",
		says: "the app does not answer LEAD_WHILE's probe with 2xx, so this replica does not lead. Check that the app listens at " + p.shown,
	}
	ticks := time.NewTicker(probeEvery)
	defer ticks.Stop()
	for same := 0; ; {
		err := p.ask(ctx)
		if ctx.Err() != nil {
			return
		}
		if (err == nil) == p.alive.Load() {
			same = 0
		} else if same++; same == probesToTell {
			same = 0
			p.alive.Store(err == nil)
			p.tell(err == nil)
			failing.report(err)
		}
		if err != nil && !p.alive.Load() {
			failing.report(err)
		}
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return
		}
	}
}

func (p *appProbe) ask(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url, nil)
	if err != nil {
		return err
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // it may never end: after a 101 no time limit holds for it
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("it answers %s", resp.Status)
	}
	return nil
}
