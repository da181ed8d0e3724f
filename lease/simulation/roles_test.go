package simulation

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/leader-elector/leader-elector/lease/internal/election"
)

// roleNames are those of the diagram in docs/how-it-works.md. The last one is the end.
var roleNames = [...]string{election.Reading: "Reading", election.Following: "Following", election.Leading: "Leading", election.HandingOver: "HandingOver", 4: "[*]"}

// roleChanges are the changes of role that steps have made.
var roleChanges changesOfRole

type changesOfRole [len(roleNames)][len(roleNames)]atomic.Bool

func (c *changesOfRole) note(from, to election.Role, done bool) {
	if done {
		to = 4
	}
	if from != to && !c[from][to].Load() {
		c[from][to].Store(true)
	}
}

func (c *changesOfRole) forget() {
	for from := range c {
		for to := range c[from] {
			c[from][to].Store(false)
		}
	}
}

// areThoseOf compares them with the arrows of a page's diagram.
func (c *changesOfRole) areThoseOf(t *testing.T, page string) {
	t.Helper()
	var want []string
	for from := range c {
		for to := range c[from] {
			if c[from][to].Load() {
				want = append(want, roleNames[from]+" --> "+roleNames[to])
			}
		}
	}
	content, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, arrow := range regexp.MustCompile(`(?m)^ +([A-Z]\w+ --> (?:\w+|\[\*\]))`).FindAllStringSubmatch(string(content), -1) {
		got = append(got, arrow[1])
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("the diagram of %s has\n%s\nthe exploration saw\n%s", page, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
