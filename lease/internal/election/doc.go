// Package election is the election as a plain value: what one replica knows,
// and one function, Campaign.Step, that is given the moment and what happened,
// and returns what to do. It does no I/O, starts no goroutine and reads no clock,
// so that every order of events can be tried. Package lease drives it.
//
// Read campaign.go first. The rules (S1, L1, …) are defined in package lease.
package election
