package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/leader-elector/leader-elector/lease"
)

// anomaly does to the Lease itself what a person, a policy or a backup does.
//
// What is stored is less than what was promised then, and a replica that starts
// may believe it: a documented limit. So every replica knows the term when the
// anomaly begins, and none is started until a replica has written again.
func (c *chaos) anomaly(name string, begin, end func()) {
	if !c.settle(20 * time.Second) {
		return // a replica backs off, or hands over
	}
	c.note(name, nil)
	begin()
	for range c.random.IntN(3) {
		r := c.replicas[c.random.IntN(len(c.replicas))]
		if c.random.IntN(4) == 0 {
			c.freeze(r)
		} else {
			c.network(r)
		}
	}
	c.sleep(3 * time.Second)
	if end != nil {
		end()
	}
	if !c.settle(time.Minute) {
		c.Errorf("%s: not a term that all replicas know within a minute: %s", name, c.stored())
	}
}

// settle ends the faults of the network and waits until a replica's own write is
// stored and known to all.
func (c *chaos) settle(within time.Duration) bool {
	c.heal()
	for start := time.Now(); time.Since(start) < within; time.Sleep(20 * time.Millisecond) {
		if c.settled() {
			return true
		}
	}
	return false
}

func (c *chaos) settled() bool {
	l, err := c.controlPlane.Client.CoordinationV1().Leases("default").Get(c.Context(), leaseName, metav1.GetOptions{})
	if err != nil || l.Spec.HolderIdentity == nil || *l.Spec.HolderIdentity == "" || l.Spec.LeaseDurationSeconds == nil || *l.Spec.LeaseDurationSeconds != 3 ||
		l.Spec.LeaseTransitions == nil || l.Annotations[lease.IncarnationAnnotation] == "" || strings.Contains(l.Annotations[lease.IncarnationAnnotation], ":") {
		return false
	}
	for _, r := range c.replicas {
		var answer struct {
			Leader, LeaseUID string
			LeaseTransitions int32
		}
		_, body, err := r.process().Get("/leader")
		if err != nil || json.Unmarshal([]byte(body), &answer) != nil ||
			answer.Leader != *l.Spec.HolderIdentity || answer.LeaseUID != string(l.UID) || answer.LeaseTransitions != *l.Spec.LeaseTransitions {
			return false
		}
	}
	return true
}

func (c *chaos) stored() string {
	l, err := c.controlPlane.Client.CoordinationV1().Leases("default").Get(c.Context(), leaseName, metav1.GetOptions{})
	if err != nil {
		return err.Error()
	}
	spec, _ := json.Marshal(l.Spec)
	return fmt.Sprintf("%s %v", spec, l.Annotations)
}

// admin does something as a person does, until the API server has done it.
func (c *chaos) admin(do func(context.Context) error) {
	var err error
	for start := time.Now(); time.Since(start) < 20*time.Second; time.Sleep(50 * time.Millisecond) {
		if err = do(c.Context()); err == nil {
			return
		}
	}
	c.Fatal(err)
}

// edit changes the Lease, whatever its version is.
func (c *chaos) edit(change func(*coordinationv1.LeaseSpec)) {
	leases := c.controlPlane.Client.CoordinationV1().Leases("default")
	c.admin(func(ctx context.Context) error {
		l, err := leases.Get(ctx, leaseName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		change(&l.Spec)
		_, err = leases.Update(ctx, l, metav1.UpdateOptions{})
		return err
	})
}

// awaitStored waits until the Lease shows what a policy does to it.
func (c *chaos) awaitStored(name string, shows func(*coordinationv1.Lease) bool) {
	for start := time.Now(); time.Since(start) < 10*time.Second; time.Sleep(20 * time.Millisecond) {
		l, err := c.controlPlane.Client.CoordinationV1().Leases("default").Get(c.Context(), leaseName, metav1.GetOptions{})
		if err == nil && shows(l) {
			return
		}
	}
	c.Errorf("the policy %s shows in no write: %s", name, c.stored())
}

// disturb begins one anomaly.
func (c *chaos) disturb() {
	switch c.random.IntN(6) {
	case 0:
		c.anomaly("Lease deleted", func() {
			c.admin(func(ctx context.Context) error {
				return c.controlPlane.Client.CoordinationV1().Leases("default").Delete(ctx, leaseName, metav1.DeleteOptions{})
			})
		}, nil)
	case 1:
		c.anomaly("holder erased", func() { c.edit(func(s *coordinationv1.LeaseSpec) { s.HolderIdentity = nil }) }, nil)
	case 2:
		// A leader that dies before it has renewed over it leaves the Lease to an hour's wait: a documented limit.
		if c.settle(20 * time.Second) {
			c.note("duration mistyped", nil)
			mistyped := int32(30_000_000)
			c.edit(func(s *coordinationv1.LeaseSpec) { s.LeaseDurationSeconds = &mistyped })
			if !c.settle(20 * time.Second) {
				c.Errorf("the leader has not renewed over a mistyped duration: %s", c.stored())
			}
		}
	case 3:
		c.anomaly("duration shortened", func() {
			shorter := int32(1)
			c.edit(func(s *coordinationv1.LeaseSpec) { s.LeaseDurationSeconds = &shorter })
		}, nil)
	case 4:
		m := mutations[c.random.IntN(len(mutations))]
		c.anomaly("policy: "+m.name, func() { c.mutate(m.name, true); c.awaitStored(m.name, m.shows) }, func() { c.mutate(m.name, false) })
	case 5:
		c.restoreEtcd()
	}
}

// restoreEtcd makes a backup of etcd, or brings it back to the last one. Nothing
// is lost that only its writer knows of (a documented limit): the replicas are cut
// off between two renewals.
func (c *chaos) restoreEtcd() {
	if !c.settle(20 * time.Second) {
		return
	}
	renewal := func() (at time.Time) {
		if l, err := c.controlPlane.Client.CoordinationV1().Leases("default").Get(c.Context(), leaseName, metav1.GetOptions{}); err == nil && l.Spec.RenewTime != nil {
			at = l.Spec.RenewTime.Time
		}
		return at
	}
	for before, start := renewal(), time.Now(); renewal().Equal(before); time.Sleep(5 * time.Millisecond) {
		if time.Since(start) > 5*time.Second {
			return
		}
	}
	time.Sleep(100 * time.Millisecond) // the followers' watches tell them of it
	for _, r := range c.replicas {
		r.proxy.Stop()
	}
	c.controlPlane.StopAPIServer()
	c.controlPlane.StopEtcd()
	var err error
	if c.backedUp {
		c.note("etcd restored", nil)
		err = c.controlPlane.RestoreEtcd()
	} else {
		err = c.controlPlane.BackupEtcd()
	}
	c.backedUp = !c.backedUp
	if err == nil {
		err = c.controlPlane.StartEtcd()
	}
	if err == nil {
		err = c.controlPlane.StartAPIServer(c.Context())
	}
	for _, r := range c.replicas {
		if err == nil {
			err = r.proxy.Start()
		}
	}
	if err != nil {
		c.Fatal(err)
	}
	if !c.settle(time.Minute) {
		c.Errorf("etcd restored: not a term that all replicas know within a minute: %s", c.stored())
	}
}

// freeze stops a replica's process for a while, sometimes with its status
// directory removed under it.
func (c *chaos) freeze(r *replica) {
	c.note("SIGSTOP", r)
	r.signal(syscall.SIGSTOP, true)
	if c.random.IntN(4) == 0 {
		c.note("status directory removed", r)
		if err := os.RemoveAll(r.dir); err != nil {
			c.Fatal(err)
		}
	}
	c.sleep(5 * time.Second)
	r.signal(syscall.SIGCONT, false)
}

// sleep waits for up to d.
func (c *chaos) sleep(d time.Duration) { time.Sleep(time.Duration(c.random.Int64N(int64(d)))) }
