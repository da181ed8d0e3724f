// Package lease elects one leader among the replicas of a program, by a Lease of
// the Kubernetes API (coordination.k8s.io/v1). It interoperates with the
// LeaderElector of k8s.io/client-go/tools/leaderelection on the same Lease.
//
// # Usage
//
// Make an [Elector] with [New], call [Elector.Run] once, and ask
// [Elector.IsLeader] directly before each action that only the leader may take:
//
//	elector, err := lease.New(lease.Config{
//		REST: restConfig, Namespace: "default", Name: "app", Identity: hostname,
//	})
//	if err != nil {
//		return err
//	}
//	go elector.Run(ctx)
//	for range elector.Changes() {
//		if elector.IsLeader() {
//			…
//		}
//	}
//
// When ctx ends, Run hands the Lease over and returns nil. A term that is lost is
// no error: the replica campaigns again.
//
// # The promise
//
// At most one replica's IsLeader returns true at any moment, whatever the network
// and the API server do, and however long a process is paused, as long as:
//
//   - the boot-time clocks of the nodes run at rates that differ by less than
//     LeaseDuration / RenewDeadline, 1.5 by default;
//   - every program that writes the Lease waits as a replica does. An edit by a person
//     or a controller is allowed for, as the rules below say.
//
// An action takes time. One that began while IsLeader was true may end after
// another replica has begun to lead. Where that matters, pass [State.Transitions]
// on with the action, as a fencing token, and let its receiver refuse a token that
// is lower than one it has seen under the same [State.LeaseUID].
//
// # Clocks
//
// The election never compares the clocks of two machines. What a record's renewTime
// says is never used. A follower only sees that it has changed, and measures on its
// own clock how long it stays the same. The clock is the time since boot, which goes
// on while the machine sleeps, and which no adjustment of the wall clock moves.
//
// Only the rates of two clocks have to agree. An example, with the defaults: the
// leader sends a renewal at its 100 s. That lets it lead until its 110 s. The
// follower learns of the renewal a moment later, at its 7000 s, and does not claim
// the Lease before its 7015 s. So the follower's clock would have to count 15 s
// while the leader's counts 10 s for both to lead. It does not matter that the one
// says 100 and the other 7000, or that a wall clock is wrong by a day.
//
// Choose a greater LeaseDuration / RenewDeadline for a greater tolerance. The
// price is a longer time without a leader after a leader has died.
//
// # Words
//
// The holder is the replica that the stored record names in holderIdentity. A term
// is one holder's unbroken tenure. A record is free when a follower may claim it.
//
// # Safety
//
// S1. A leader's validity lasts for RenewDeadline, from before its last successful
// write was sent. Where the stored leaseDurationSeconds is shorter than the leader
// wrote, because an admission policy or a person changed it, the validity is
// shorter in proportion. A write that leaves the record as it was, because a policy
// undid it, prolongs nothing and begins no term.
//
// S2. A follower claims a held Lease only after it has seen the record unchanged for
// the duration that the holder may rely on. That is the longest leaseDurationSeconds
// of the holder's records, except those that its renewals are known to have
// replaced. Where the first record that a follower sees of a term is a renewal, the
// records before it are taken to have been as long as its own would be. An edit is
// forgotten once the holder has renewed over it. A duration of more than
// [MaxLeaseDuration] counts as that. A renewTime of whole seconds may hide renewals
// within its second, so a follower waits two seconds longer for such a record. A
// record that its holder released is free at once. A Lease that does not exist is
// created. A Lease whose holder was erased by something that is not a replica is not
// free: the follower waits as if it were held.
//
// S3. Every write carries the resourceVersion that it was decided on. After a 409
// the replica reads again. It never forces a write. Where the read finds the
// replica's own write, the write has landed.
//
// S4. A write without an answer may have landed or not. The replica reads before it
// believes either. A write that was answered with success is the replica's own,
// whatever a policy changed in it.
//
// S5. A record that names this replica's identity, but that another process wrote, is
// waited for like any other. It is free at once where Config.ProvenDead says that
// its process has ended. That ends no other replica's term: what others held since
// is waited for.
//
// S6. When Run's context ends, or after StepDown, the leader first publishes that
// it no longer leads. It then calls Config.BeforeRelease, and renews the Lease
// while that runs. It releases the Lease when BeforeRelease returns nil.
//
// S7. A lost term does not end Run. The replica becomes a follower.
//
// S8. After every wait, and so after every pause of the process, the validity is
// checked before anything else happens.
//
// S9. Two live processes of one identity never both lead. The log names the mistake
// once, when a renewal proves that the other process lives. A process that replaced
// an earlier one of its name is no mistake.
//
// S10. A Lease that is deleted during a term is not free. Its leader puts it back
// at once. A follower that knew the term puts it back for the holder after
// RetryPeriod, and then waits for it. Where the resourceVersion goes back, because
// etcd was restored, followers wait as if the holder had been erased. So they do where a
// released record of an earlier term is put back.
//
// S11. StepDown hands the Lease over in order, and the replica then makes no claim
// for one LeaseDuration. A program calls it when it can't do a leader's work. (The
// sidecar calls it when it can't write its status file.)
//
// S12. leaseTransitions grows by one with every change of the holder, and of the
// process behind one identity unless the earlier process is proven dead. It never
// decreases and no value is used for two terms. A value that someone mistyped is
// forgotten when the leader has renewed over it twice, or has renewed and released the
// Lease, and the largest int32 at the first renewal. At the largest int32 a replica
// makes no claim. Where an admission policy does not store the value, the replica
// does not lead.
//
// S13. Labels, annotations, and the fields of the spec that this package does not
// know survive its writes.
//
// # Liveness
//
// L1. A follower watches the Lease and makes no other request while nothing
// changes. It claims a released Lease within two round trips, and one that has
// expired at that very moment.
//
// L2. Without a watch a follower reads the Lease every RetryPeriod.
//
// L3. One dead connection costs no leadership, and neither does a constant round
// trip of up to 0.4 × RenewDeadline. A request that takes long is sent once more,
// on a new connection, and the first answer counts.
//
// L4. After a 429 or a 5xx the replica waits longer with each failure, and for as long as
// Retry-After asks, up to 4 × RetryPeriod. A leader never waits past its deadline.
// After a 401 or a 403 it goes on trying. [State.Problem] says which right is
// missing, or that an admission policy refused the write. An error that lasts ends
// leadership.
//
// L5. A replica hands over to client-go's LeaderElector, and takes over from it, by
// a release as well as by expiry.
//
// L6. Once a fault is over, one of the replicas leads within twice the longest
// LeaseDuration in play. Whatever another writer does to the Lease, a replica sends
// at most one request per RetryPeriod / 4 on average.
//
// # Leadership follows the app
//
// A program that leads for something else, its app, says by [Elector.Stand] whether that
// is alive.
//
// A1. A replica claims the Lease only while its app is alive. With Config.AwaitStand it
// makes no claim before the app was first alive. A claim that was under way when the
// app was lost is released, and the app is told of no term.
//
// A2. A leader whose app is lost hands over at once, in the order of S6.
//
// A3. A replica without an app follows the Lease like any other, and is no less healthy.
//
// A4. A replica whose app is alive again claims like any other.
//
// A5. A replica takes back the Lease of an earlier process of its own (S5) only for an
// app that is alive.
//
// A6. Where no app is alive no replica leads.
//
// A7. After [Elector.Retire], which says that its pod is being deleted, a replica
// makes no claim. A leader leads on until StepDown or Stand(false), or until Run's
// context ends. Where it has lost its validity, it tells its app of no term any
// more, and releases what it still holds.
//
// # Step-down and preference
//
// The leader of the term that [StepDownAnnotation] names hands over in the order of S6.
// So does a process that takes that term back (S5). After the handover it makes no claim
// until another replica has led, or for one LeaseDuration. The annotation ends with the
// release. Where [SuccessorAnnotation] names another replica
// beside it, a follower claims the released Lease RetryPeriod later.
//
// A replica claims a free Lease Config.ClaimDelay after it became free. It does not wait
// where it is the named successor, or where it takes its own term back (S5).
//
// # What is not promised
//
//   - A leader at every moment. After a leader has died there is none until its
//     term has expired: up to LeaseDuration.
//   - That a replica which never saw a term respects it after the Lease was deleted,
//     its holder erased, its duration shortened, or etcd restored to a free Lease: it
//     can't know of it.
//   - That a term survives several edits which each shorten its duration, where a
//     follower sees the edits and misses the renewals between them.
//   - That resourceVersions mean anything after etcd was restored without new ones
//     (etcdutl snapshot restore --bump-revision), for a replica whose connection
//     outlived the restore. Nor that a write survives which only its writer saw.
//   - Anything about programs that take a Lease which is held, or that release it in
//     the leader's name. Their write ends the term when the leader learns of it.
//   - That [State.Leader] is up to date. Only IsLeader, about the replica itself, is
//     a promise.
package lease
