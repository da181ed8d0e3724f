package election

import (
	"log/slog"
	"time"

	"github.com/leader-elector/leader-elector/lease/boottime"
)

// report says what a record tells that is not ours.
func (c *Campaign) report(n news, r Record, now boottime.Moment, t *Todo) {
	what, level := "", slog.LevelWarn
	switch n {
	case changed:
		what, level = "Leader changed", slog.LevelInfo
	case wasDeleted:
		what = "The Lease was deleted while it was held"
	case wasReplaced:
		what = "The Lease was deleted and created again while it was held"
	case wasErased:
		what = "The Lease's holder was erased by something that is not a replica"
	case wasReverted:
		what = "The Lease went back to an earlier resourceVersion, as after a restore of etcd"
	case wasEdited:
		what = "The Lease's holder was changed by something that is not a replica"
	}
	if n >= wasDeleted && !c.said.accidentIsDue(n, now) {
		what = "" // a fight with another writer would fill the log
	}
	ownName := r.Holder == c.cfg.Identity && c.tenure.until == 0
	switch {
	case what == "":
	case n == changed && ownName && c.term.dead && c.standing.may():
		t.say(slog.LevelInfo, "The Lease is that of an earlier process of this replica, which has ended. Taking it back", "transitions", c.term.transitions)
	case (n == changed || n == wasEdited) && ownName:
		t.say(level, "The Lease names this replica, but another process wrote it. Waiting until it expires", "transitions", c.term.transitions)
	case c.tenure.until != 0 && c.takenAway(n == wasReverted):
		t.say(level, what+". This replica leads and puts the Lease back")
	case n == changed && r.Holder == "":
		if r.process() != c.cfg.Incarnation {
			t.say(level, "The Lease was released", "previous", c.term.previous, "transitions", c.term.transitions)
		}
	case n == changed:
		t.say(level, what, "leader", c.term.holder, "transitions", c.term.transitions)
	default:
		t.say(level, what+". Waiting until its term expires", "leader", c.term.holder, "transitions", c.term.transitions)
	}
	c.sayDuplicate(n, r, t)
	long := time.Duration(r.Seconds)*time.Second > MaxLeaseDuration
	if long && !c.said.long {
		t.say(slog.LevelWarn, "The Lease's leaseDurationSeconds is more than an hour. This replica waits for an hour at most", "leaseDurationSeconds", r.Seconds, "leader", r.Holder)
	}
	c.said.long = long
}

// accidentIsDue says whether an accident is to be logged. One that happens again and
// again is, once a minute.
func (s *said) accidentIsDue(n news, now boottime.Moment) bool {
	if at := s.accidents[n]; at != 0 && now.Sub(at) < sayEvery {
		return false
	}
	s.accidents[n] = now
	return true
}

// sayDuplicate says, once, that another live process uses our identity (S9). A
// record of it is no evidence: it may have ended. A renewal is.
func (c *Campaign) sayDuplicate(n news, r Record, t *Todo) {
	live := n == renewedLive || c.tenure.until != 0 && r.Holder != "" && !c.takenAway(n == wasReverted) && n != wasReverted
	if c.said.duplicate || !live || r.Holder != c.cfg.Identity || c.term.dead {
		return
	}
	c.said.duplicate = true
	if r.Mark == c.cfg.Incarnation {
		t.say(slog.LevelError, "The Lease was written in this replica's name: its renewTime was edited by hand, or a program that keeps annotations, such as client-go's LeaderElector, uses this identity. "+
			"This replica waits until the Lease expires. Identities must be unique among the replicas", "incarnation", r.Mark)
		return
	}
	t.say(slog.LevelError, "Another live process holds the Lease under this identity. Identities must be unique among the replicas: set another one "+
		"(pods with hostNetwork share their node's hostname)", "incarnation", r.Mark)
}

// sayChanged says, once a minute, what a policy changed in a write of ours so that
// no leadership, or little of it, comes from it.
func (c *Campaign) sayChanged(f Flight, landed write, r Record, now boottime.Moment, t *Todo) {
	w, what := f.request.Write, ""
	switch {
	case f.request.Kind == Release:
	case r.Holder != w.Holder:
		what = "holderIdentity, so this replica does not lead"
	case r.Renewed == 0:
		what = "renewTime, so others don't see renewals, and leadership ends at each renew deadline"
	case f.write.claims && f.write.replaced.Exists() && r.looksLike(f.write.replaced):
		what = "renewTime and the annotation of the process, so its claim changed nothing, and this replica does not lead"
	case r.Seconds <= 0:
		what = "leaseDurationSeconds, so others need not wait, and this replica does not lead"
	case !r.Counted || r.Transitions < w.Transitions:
		what = "leaseTransitions, so terms have no fencing token, and this replica does not lead"
	case c.cfg.tooShort(time.Duration(r.Seconds) * time.Second):
		what = "leaseDurationSeconds, to less than requests can keep up with, so this replica does not lead"
	case landed.repeats:
		what = "renewTime, so others can't tell its renewals apart, and leadership ends early"
	}
	if what == "" || c.said.changed != 0 && now.Sub(c.said.changed) < sayEvery {
		return
	}
	c.said.changed = now
	t.say(slog.LevelError, "An admission policy changed what this replica wrote: "+what+". Exempt the Lease from that policy", "leader", r.Holder)
}

// tokenEdited says whether leaseTransitions of our record was changed since we wrote it.
func (c *Campaign) tokenEdited(w write, now boottime.Moment, t *Todo) bool {
	if w.version == "" || w.version == c.stored.Version || c.stored.Counted && c.stored.Transitions == w.token {
		return false
	}
	if c.said.accidentIsDue(wasEdited, now) {
		t.say(slog.LevelWarn, "The Lease's leaseTransitions was changed by something that is not a replica. This replica leads and puts it right", "transitions", w.token, "found", c.stored.Transitions)
	}
	return true
}

// sayExhausted says, once a minute, that there is no token left, and returns when to
// say so again.
func (c *Campaign) sayExhausted(now boottime.Moment, t *Todo) boottime.Moment {
	if c.said.exhausted == 0 || now.Sub(c.said.exhausted) >= sayEvery {
		c.said.exhausted = now
		t.say(slog.LevelError, "leaseTransitions has reached the largest int32: no fencing token is left, so this replica does not claim the Lease. Stop the replicas and delete the Lease")
	}
	return c.said.exhausted.Add(sayEvery)
}

// sayShort says, once a minute, that others wait for less than we asked for.
func (c *Campaign) sayShort(lasts time.Duration, edited bool, now boottime.Moment, t *Todo) {
	if c.said.short != 0 && now.Sub(c.said.short) < sayEvery {
		return
	}
	c.said.short = now
	why := "An admission policy seems to shorten it: leadership ends sooner after a failed renewal, and renewals are more frequent"
	if edited {
		why = "Something that is not a replica shortened it. It is put right by the next renewal"
	}
	t.say(slog.LevelWarn, "The stored leaseDurationSeconds is less than this replica wrote. "+why, "stored", lasts, "written", c.cfg.LeaseDuration)
}
