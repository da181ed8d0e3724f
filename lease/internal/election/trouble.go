package election

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/leader-elector/leader-elector/lease/boottime"
)

// Trouble is a problem with the API server while it lasts. It is said at first,
// and then once a minute.
type Trouble struct {
	text   string // empty: none
	denied bool   // waiting does not cure it
	writes bool   // only a write that succeeds ends it
	saidAt boottime.Moment
	saidAs string
}

// sayEvery is how often a lasting problem is said.
const sayEvery = time.Minute

// failed notes and says a failure, with its remedy.
func (p *Trouble) failed(cfg *Config, r Request, f Failure, now boottime.Moment, t *Todo) {
	p.text = fmt.Sprintf("%s Lease %s/%s: %s", r.Kind, cfg.Namespace, cfg.Name, f.Text)
	if remedy := remedy(cfg, r, f); remedy != "" {
		p.text += ". " + remedy
	}
	p.denied = f.Code == 401 || f.Code == 403
	p.writes = p.writes || r.Kind != Read
	kind := fmt.Sprint(r.Verb(), f.Code)
	if p.saidAs != "" && (now.Sub(p.saidAt) < sayEvery || p.saidAs != kind && now.Sub(p.saidAt) < sayEvery/6) {
		return
	}
	p.saidAt, p.saidAs = now, kind
	t.say(slog.LevelWarn, "API request failed; retrying", "err", p.text)
}

// succeeded notes a request that was not refused.
func (p *Trouble) succeeded(write bool, t *Todo) {
	if p.text == "" || p.writes && !write {
		return
	}
	*p = Trouble{}
	t.say(slog.LevelInfo, "API requests succeed again")
}

// outlived notes that another replica has led since the failure. This one asks nothing of the
// API server that could show that its own problem is over.
func (p *Trouble) outlived() { p.text, p.denied, p.writes = "", false, false }

func remedy(cfg *Config, r Request, f Failure) string {
	switch {
	case f.Admission:
		return "An admission policy or webhook of the cluster refuses this write: change that policy, or exempt this Lease from it"
	case f.Code == 403:
		return fmt.Sprintf("The Role of this pod's service account must allow %q on resource leases, apiGroup coordination.k8s.io, name %s, in namespace %s", r.Verb(), cfg.Name, cfg.Namespace)
	case f.Code == 401:
		return "The API server does not accept this pod's credentials. Check that its service account's token is mounted and that the account exists. If the account was deleted and recreated, replace the pods: their tokens are of the old one"
	case f.Code == 404:
		return fmt.Sprintf("Check: does namespace %q exist?", cfg.Namespace)
	}
	return ""
}
