package election

import (
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"
)

// Stamp is a wall-clock time as the API stores it: microseconds since 1970, 0
// where there is none. The election compares Stamps for equality alone.
type Stamp int64

const second = Stamp(time.Second / time.Microsecond)

// seconds is s in whole seconds.
func (s Stamp) seconds() Stamp { return s / second }

// whole says whether s is in whole seconds.
func (s Stamp) whole() bool { return s%second == 0 }

// Record is what the election reads and writes of a Lease. It is a value. The
// zero Record means that there is no Lease.
type Record struct {
	UID         string
	Version     string // resourceVersion; of a write: the one it replaces, empty to create
	Holder      string // holderIdentity
	Mark        string // annotation: the process that wrote it last
	Seconds     int32  // leaseDurationSeconds; 0 where it is absent
	Transitions int32  // leaseTransitions
	Counted     bool   // leaseTransitions is present
	Acquired    Stamp  // acquireTime
	Renewed     Stamp  // renewTime
	StepDown    string // annotation: the token of the term that is asked to end
	Successor   string // annotation: the identity that others let go first after a release

	// Object is the Lease that this was read from, or that a write is based on.
	// What others keep there survives our writes (S13). It is never changed.
	Object *coordinationv1.Lease
}

// Marks of records that are not their holder's renewals. The incarnation of the
// process concerned follows.
const (
	putBackFor = "put-back-for:" // of a deleted Lease, by a follower
	releasedBy = "released-by:"
)

// Exists says whether there is a Lease.
func (r Record) Exists() bool { return r.Version != "" }

// says compares what two records say, whatever else happened to the object.
func (r Record) says(o Record) bool {
	return r.UID == o.UID && r.Holder == o.Holder && r.Mark == o.Mark && r.Seconds == o.Seconds &&
		r.Transitions == o.Transitions && r.Counted == o.Counted && r.Acquired == o.Acquired && r.Renewed == o.Renewed
}

// withoutOrders is r with nothing asked of its holder or of those who follow.
func (r Record) withoutOrders() Record {
	r.StepDown, r.Successor = "", ""
	return r
}

// looksLike says whether followers that saw o take r for no write.
func (r Record) looksLike(o Record) bool {
	return r.Holder == o.Holder && r.Mark == o.Mark && r.Renewed == o.Renewed
}

func (r Record) isPutBack() bool { return strings.HasPrefix(r.Mark, putBackFor) }

// process is the incarnation behind the holder, where the record says so.
func (r Record) process() string {
	return strings.TrimPrefix(strings.TrimPrefix(r.Mark, putBackFor), releasedBy)
}

// isRelease tells a Lease that its holder gave up from one whose holder was
// erased by hand. Held is the holder's newest record that was seen. Our releases are
// marked. client-go's are writes that leave the mark alone, with a duration of one
// second and one time for renewTime and acquireTime, which no renewal has.
func (r Record) isRelease(held Record) bool {
	if r.Holder != "" || !r.Exists() {
		return false
	}
	if strings.HasPrefix(r.Mark, releasedBy) && r.Mark != held.Mark {
		return true
	}
	return r.Seconds == 1 && r.Renewed != 0 && r.Renewed == r.Acquired && r.Renewed != held.Renewed && (r.Mark == held.Mark || !held.Exists())
}

// claimed is the record that begins our term.
func (r Record) claimed(cfg *Config, token int32, acquired, now Stamp) Record {
	r.Holder, r.Mark, r.Seconds = cfg.Identity, cfg.Incarnation, int32(cfg.LeaseDuration/time.Second)
	r.Transitions, r.Counted, r.Acquired, r.Renewed = token, true, acquired, now
	return r
}

// released is the record that ends our term.
func (r Record) released(cfg *Config, token int32, now Stamp) Record {
	r.Holder, r.Mark, r.Seconds, r.StepDown = "", releasedBy+cfg.Incarnation, 1, ""
	r.Transitions, r.Counted, r.Acquired, r.Renewed = token, true, now, now
	return r
}

// putBack is the record of a holder whose Lease was deleted. It creates the
// Lease, and its mark says that it is no renewal.
func (r Record) putBack(wait time.Duration, now Stamp) Record {
	r.Version, r.UID, r.Mark = "", "", putBackFor+r.process()
	r.Seconds, r.Renewed = int32((wait+time.Second-1)/time.Second), now
	return r
}

// newer says whether version may be later than known. Versions that can't be
// compared may be.
func newer(version, known string) bool {
	order, err := resourceversion.CompareResourceVersion(version, known)
	return err != nil || order > 0
}

// older says whether version is certainly earlier than known.
func older(version, known string) bool {
	order, err := resourceversion.CompareResourceVersion(version, known)
	return err == nil && order < 0
}
