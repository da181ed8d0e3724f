package election

import (
	"log/slog"
	"time"

	"github.com/leader-elector/leader-elector/lease/boottime"
)

// EventKind is what a Campaign can be told.
type EventKind int

// The events. Each fills the fields of Event that it names.
const (
	TimePassed    EventKind = iota // nothing but that
	Answered                       // ID, Record, Failure: the answer to a Request
	WatchUp                        // ID: the API server has begun to answer the watch
	WatchSaw                       // ID, Record: a newer version
	WatchDeleted                   // ID, Record: the Lease was deleted; Record is its last version
	WatchEnded                     // ID, Failure: the watch is over
	Drained                        // Failure: the app has stopped, or the Lease is to expire
	StopAsked                      // the process is to end
	StepDownAsked                  // Reason
	StandAsked                     // Stands: whether the app lives, so that this replica may lead
	RetireAsked                    // the pod is being deleted: no claim any more
)

// Event is one thing that has happened.
type Event struct {
	Kind    EventKind
	ID      int
	Record  Record
	Failure Failure
	Reason  string
	Stands  bool
}

// Failure is why something failed. The zero Failure: it did not.
type Failure struct {
	Text       string        // for people
	Code       int           // HTTP status that refused it; 0 where there was no such answer
	RetryAfter time.Duration // as the API server asks for
	Timeout    bool          // no answer in time
	Admission  bool          // refused by an admission policy or webhook, not for want of rights
	Keep       bool          // Drained: the Lease is to expire, as was asked for
}

func (f Failure) failed() bool { return f.Text != "" }

// isRefusal says that the API server has refused a request for good.
func isRefusal(f Failure) bool {
	return f.Code >= 400 && f.Code < 500 && f.Code != 408 && f.Code != 429
}

// Kind is what a request is for.
type Kind int

// The kinds. From Claim on they are about a term of ours.
const (
	None    Kind = iota
	Read         // what is stored
	Restore      // put a deleted Lease back for its holder
	Claim        // begin a term
	Renew        // prolong it
	Release      // end it
)

// String is what a log says that the request does.
func (k Kind) String() string {
	return [...]string{"no request", "reading", "putting back", "claiming", "renewing", "releasing"}[k]
}

func (k Kind) ofOurTerm() bool { return k >= Claim }

// Request is one request to the API server. Exactly one answer is told for an ID
// that was neither abandoned nor doubled.
type Request struct {
	ID    int
	Kind  Kind
	Write Record // what to store; of no meaning for Read
}

// Verb is the request's, as RBAC calls it.
func (r Request) Verb() string {
	switch {
	case r.Kind == Read:
		return "get"
	case r.Write.Version == "":
		return "create"
	}
	return "update"
}

// Todo is what a Step asks for, in this order.
type Todo struct {
	State State
	Lines []Line // to be logged

	Abandon     bool            // end the Request under way: its answer is of no use any more
	Send        Request         // start this Request, unless its Kind is None
	Double      bool            // send the Request under way once more, on a connection of its own
	EndWatch    bool            // end the watch
	Watch       int             // start a watch of this ID, unless 0
	WatchFrom   string          // the resourceVersion it starts after; empty: what is stored
	Drain       bool            // ask the app to stop, for
	DrainCause  Cause           //
	CancelDrain bool            // stop waiting for the app: the Lease is lost
	WakeAt      boottime.Moment // call Step then at the latest
	Done        bool            // the campaign is over
}

// Line is one line of the log.
type Line struct {
	Level slog.Level
	Text  string
	Args  []any
}

func (t *Todo) say(level slog.Level, text string, args ...any) {
	t.Lines = append(t.Lines, Line{level, text, args})
}

// State is what a Campaign believes. See lease.State for its fields.
type State struct {
	Leader, Previous string
	ValidUntil       boottime.Moment
	HeldUntil        boottime.Moment
	UID              string
	Transitions      int32
	Synced           bool
	Problem          string
	Denied           bool
	Role             Role
	Down             bool            // the app does not live, so this replica makes no claim
	Retired          bool            // the pod is being deleted, so neither
	Draining         bool            // the Lease is kept until the app has stopped
	Rests            bool            // ClaimAt is so late because of a step-down
	Acquired         Stamp           // acquireTime of the record
	LapsesAt         boottime.Moment // of a follower: when the holder's term is over, unless the holder renews; 0: it has none
	ClaimAt          boottime.Moment // when a follower claims, unless the holder renews; Never: it does not
}
