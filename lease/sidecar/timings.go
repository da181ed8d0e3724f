package sidecar

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"time"

	"github.com/leader-elector/leader-elector/lease"
	"github.com/leader-elector/leader-elector/lease/boottime"
)

// explainTimings returns what is wrong with the timings, in the names of the
// variables that they are set by.
func explainTimings(timings *lease.Config) (errs []error) {
	err := timings.ValidateTimings()
	if err == nil {
		return nil
	}
	all := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		all = joined.Unwrap()
	}
	for _, one := range all {
		var wrong *lease.TimingError
		if !errors.As(one, &wrong) {
			errs = append(errs, one)
			continue
		}
		rule := fieldInRule.ReplaceAllStringFunc(wrong.Rule, func(field string) string {
			return setting(timings, field[1:len(field)-1])
		})
		errs = append(errs, fmt.Errorf("%s: %s", setting(timings, wrong.Field), rule))
	}
	return errs
}

var fieldInRule = regexp.MustCompile(`\{\w+\}`)

// setting writes a field of lease.Config as the environment does: RENEW_DEADLINE=10s.
func setting(timings *lease.Config, field string) string {
	ours, known := reflect.TypeFor[Config]().FieldByName(field)
	value := reflect.ValueOf(timings).Elem().FieldByName(field)
	if !known || !value.IsValid() {
		return field
	}
	return fmt.Sprintf("%s=%v", ours.Tag.Get("env"), value.Interface())
}

// shownUptime is what /proc/uptime says, in seconds, and whether that is the time since
// the machine started. A container runtime may show another one (lxcfs).
func shownUptime(path string, now boottime.Moment) (uptime float64, ok bool) {
	if _, err := fmt.Sscan(readSmall(path), &uptime); err != nil {
		return 0, false
	}
	differs := uptime - float64(now)/float64(time.Second)
	return uptime, differs > -2 && differs < 2
}

// readableMtime says whether the status file's mtime is renewed while a shell,
// which reads whole seconds, still takes it for a moment to come.
func readableMtime(timings *lease.Config) bool {
	return timings.RenewDeadline-timings.RenewInterval >= time.Second
}
