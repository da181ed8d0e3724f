package lease

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"
)

// kind is what a request is for.
type kind int

const (
	none kind = iota
	read
	restore // a deleted Lease is put back for its holder
	claim   // a write that begins a term
	renew   // a write that prolongs it
	release // a write that ends it
)

// isWrite says whether the request is about a term of ours.
func (k kind) isWrite() bool { return k >= claim }

func (k kind) String() string {
	return [...]string{"nothing", "reading", "putting back", "claiming", "renewing", "releasing"}[k]
}

// answer is how a request ended.
type answer struct {
	request kind
	verb    string // as RBAC calls it
	lease   *coordinationv1.Lease
	err     error
	write   write
	sent    time.Duration
	version string // newest resourceVersion known when the request was sent
}

// send starts a request. Its answer arrives on c.answers within its timeout,
// whatever the connection or a credential plugin does.
func (c *campaign) send(request kind, now time.Duration) {
	a := answer{request: request, verb: "get", sent: now, version: c.version}
	var desired *coordinationv1.Lease
	if request == restore {
		desired, a.verb = c.putBack(), "create"
	}
	if request.isWrite() {
		desired = c.desired(request)
		a.verb = "update"
		if desired.ResourceVersion == "" {
			a.verb = "create"
		}
		a.write = write{renewTime: *desired.Spec.RenewTime, sent: now, base: desired.ResourceVersion, restores: request == renew && a.verb == "create"}
		if len(c.writes) == maxUnknown { // an API server that loses every answer
			c.writes = c.writes[1:]
		}
		c.writes = append(c.writes, a.write)
	}
	c.pending = request
	timeout := min(c.cfg.RetryPeriod<<c.slow, c.cfg.RenewDeadline/2)
	if c.validUntil != 0 && request == read { // a renewal has to follow in time
		timeout = min(timeout, max((c.validUntil-now)/2, c.cfg.RetryPeriod/4))
	}
	ctx, cancel := context.WithTimeout(c.requests, timeout)
	c.abandon = cancel
	done := make(chan answer, 1)
	go func(a answer) {
		if desired == nil {
			a.lease, a.err = c.client.get(ctx)
		} else {
			a.lease, a.err = c.client.put(ctx, desired)
		}
		done <- a
	}(a)
	go func() {
		defer cancel()
		select {
		case a = <-done:
		case <-ctx.Done():
			a.err = ctx.Err()
		}
		c.answers <- a
	}()
}

// maxUnknown bounds how many writes of unknown outcome are remembered.
const maxUnknown = 16

// desired is the record to write: what is stored, with our fields changed and
// everything that others put there kept (S13).
func (c *campaign) desired(request kind) *coordinationv1.Lease {
	now := c.renewTime()
	l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: c.cfg.Namespace, Name: c.cfg.Name}}
	if c.term.lease != nil {
		l = c.term.lease.DeepCopy()
	}
	if l.Annotations == nil {
		l.Annotations = map[string]string{}
	}
	l.Annotations[IncarnationAnnotation] = c.incarnation
	if request == claim {
		c.token = c.term.nextTransitions(c.cfg.Identity)
		c.acquired = now
	}
	if acquired := l.Spec.AcquireTime; acquired != nil && holderOf(l) == c.cfg.Identity {
		c.acquired = *acquired
	}
	identity, seconds, acquired, token := c.cfg.Identity, int32(c.cfg.LeaseDuration/time.Second), c.acquired, c.token
	if request == release {
		identity, seconds, acquired = "", 1, now
	}
	l.Spec.HolderIdentity, l.Spec.LeaseDurationSeconds = &identity, &seconds
	l.Spec.AcquireTime, l.Spec.RenewTime, l.Spec.LeaseTransitions = &acquired, &now, &token
	return l
}

// putBack is the record of a holder whose Lease was deleted, marked so that
// nobody takes it for a renewal: it is waited out from now on.
func (c *campaign) putBack() *coordinationv1.Lease {
	now, seconds, held := c.renewTime(), int32(c.term.duration/time.Second), c.term.held.DeepCopy()
	l := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: c.cfg.Namespace, Name: c.cfg.Name, Labels: held.Labels, Annotations: held.Annotations},
		Spec:       held.Spec,
	}
	l.Spec.RenewTime, l.Spec.LeaseDurationSeconds = &now, &seconds
	if l.Annotations == nil {
		l.Annotations = map[string]string{}
	}
	l.Annotations[IncarnationAnnotation] = putBackFor + strings.TrimPrefix(incarnationOf(held), putBackFor)
	return l
}

// renewTime is the wall-clock time, moved on where needed so that it names one
// write alone.
func (c *campaign) renewTime() metav1.MicroTime {
	now := metav1.NewMicroTime(c.cfg.Clock.Wall().Truncate(time.Microsecond))
	for slices.ContainsFunc(c.writes, func(w write) bool { return w.renewTime.Time.Equal(now.Time) }) {
		now.Time = now.Add(time.Microsecond)
	}
	return now
}

// answered takes in how the request under way ended.
func (c *campaign) answered(a answer, now time.Duration) {
	c.pending = none
	if a.err != nil {
		c.failed(a, now)
		return
	}
	if c.problem != "" {
		c.log.Info("the API server can be used again")
	}
	c.failures, c.problem, c.denied = 0, "", false
	if now-a.sent < c.cfg.RetryPeriod {
		c.slow = 0
	}
	if !a.request.isWrite() {
		c.pollAt = now + c.jitter(c.cfg.RetryPeriod)
	} else {
		c.writes = []write{a.write} // those before it were decided on older versions: they can't land now
		c.unknown, c.conflicts = false, 0
	}
	if a.request == claim {
		c.crowd.won()
	}
	switch {
	case c.version == a.version || newer(a.lease, c.version):
		if a.request == read && c.watch.up && c.version == a.version && newer(a.lease, c.version) {
			c.endWatch(now, "it missed a change")
		}
		c.fresh, c.unknown = true, false
		c.observe(a.lease, now)
	case a.request == read: // the watch has told something later: ask again if that did not settle it
	default: // the watch was faster; what it told is ours if it comes from this write
		c.fresh = true
		if w := c.landed(); w != nil {
			c.lead(w)
		}
	}
	switch a.request {
	case release:
		c.log.Info("released the Lease", "transitions", c.token)
	case restore:
		c.log.Warn("the Lease was deleted and is put back: its holder keeps it, or it is waited out", "leader", c.term.holder)
	}
}

// failed decides how long to wait and what may still be believed.
func (c *campaign) failed(a answer, now time.Duration) {
	code := statusCode(a.err)
	refused := code >= 400 && code < 500 && code != http.StatusRequestTimeout
	// A write replaces one version. When the watch has told of a later one, it
	// has landed before that or never will.
	overtaken := a.write.base != "" && c.version != a.version
	switch {
	case !a.request.isWrite():
	case refused: // known not to have landed
		c.writes = slices.DeleteFunc(c.writes, func(w write) bool { return w == a.write })
	case !overtaken: // unknown: read back before believing either (S4)
		c.fresh, c.unknown = false, true
	}
	leading := c.validUntil != 0
	delay := c.jitter(c.cfg.RetryPeriod)
	switch {
	case code == http.StatusConflict || overtaken && code == 0:
		c.fresh = c.version != a.version && !c.unknown // the watch may have told already what came between
		c.notBefore = now + delay                      // a follower's watch tells it who won before that is over
		if leading {
			c.notBefore = now + c.retrySoon()
		} else if a.request == claim {
			c.crowd.refused(now-a.sent, c.cfg.RetryPeriod/8)
		}
		return
	case code == http.StatusNotFound && a.verb == "update": // deleted
		c.fresh, c.notBefore = false, now+c.retrySoon()
		return
	case errors.Is(a.err, context.DeadlineExceeded):
		delay = 0
		c.slow = min(c.slow+1, 10)
		c.client.dropConnections()
	case code == http.StatusTooManyRequests || code >= 500:
		delay = c.jitter(c.cfg.RetryPeriod) << min(c.failures, 2)
		if s, ok := apierrors.SuggestsClientDelay(a.err); ok && s > 0 {
			delay = time.Duration(s) * time.Second
		}
	}
	if leading { // never past the deadline
		delay = min(delay, max((c.validUntil-now)/2, c.cfg.RetryPeriod/10))
	}
	c.failures++
	c.notBefore = now + delay
	c.report(a, code)
}

// retrySoon is the wait of a leader that has to look again.
func (c *campaign) retrySoon() time.Duration {
	c.conflicts++
	return c.jitter(c.cfg.RetryPeriod/100) << min(c.conflicts, 6)
}

// report logs a problem once while it lasts, and publishes it.
func (c *campaign) report(a answer, code int) {
	what := fmt.Sprintf("%s Lease %s/%s", a.request, c.cfg.Namespace, c.cfg.Name)
	remedy := ""
	switch {
	case code == http.StatusForbidden:
		remedy = fmt.Sprintf(": the Role of this pod's service account must allow %q on resource leases, apiGroup coordination.k8s.io, name %s, in namespace %s", a.verb, c.cfg.Name, c.cfg.Namespace)
	case code == http.StatusUnauthorized:
		remedy = ": the API server does not accept this pod's credentials; is its service account's token mounted, and does the account still exist?"
	case code == http.StatusNotFound:
		remedy = fmt.Sprintf(": does namespace %q exist? (NAMESPACE)", c.cfg.Namespace)
	}
	known, deniedBefore := c.problem != "", c.denied
	c.denied = code == http.StatusForbidden || code == http.StatusUnauthorized
	c.problem = what + ": " + a.err.Error() + remedy
	if known && c.denied == deniedBefore {
		c.log.Debug("still failing", "err", c.problem)
		return
	}
	c.log.Warn("the API server can't be used; trying on", "err", c.problem)
}

// statusCode is the HTTP status that the API server refused with, 0 where
// there was no such answer.
func statusCode(err error) int {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return int(status.Status().Code)
	}
	return 0
}

// newer says whether l may be a later version than the known one. Versions that
// can't be compared may be.
func newer(l *coordinationv1.Lease, known string) bool {
	if l == nil {
		return false
	}
	order, err := resourceversion.CompareResourceVersion(l.ResourceVersion, known)
	return err != nil || order > 0
}

// jitter spreads the replicas: between three quarters of d and d.
func (c *campaign) jitter(d time.Duration) time.Duration {
	return d - time.Duration(c.random()*float64(d)/4)
}
