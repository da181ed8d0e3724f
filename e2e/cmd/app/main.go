// Command app is what charts/example runs beside the sidecar. It works only
// while its pod leads, as the README tells apps to find out: it takes the work
// lock, looks at the status file and its mtime, does one piece of work, and
// lets the lock go. Each leading window goes to the log, as JSON lines that the
// e2e tests read.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const (
	look      = 5 * time.Millisecond   // between two looks
	poll      = 20 * time.Millisecond  // between two lines of work
	staleness = 500 * time.Millisecond // a file that lapsed longer ago than this should be gone
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "stubborn" { // a second container, for the e2e tests
		signal.Ignore(syscall.SIGTERM)
		for {
			time.Sleep(time.Hour)
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	if os.Getenv("IGNORE_SIGTERM") == "true" {
		signal.Ignore(syscall.SIGTERM)
	} else {
		ctx, stop = signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
		defer stop()
	}
	a := &app{
		file: os.Getenv("LEADER_STATUS_FILE"), url: os.Getenv("LEADER_URL"),
		log: slog.New(slog.NewJSONHandler(os.Stdout, nil)),
	}
	var err error
	if a.piece, err = time.ParseDuration(cmp.Or(os.Getenv("WORK"), poll.String())); err != nil {
		fmt.Fprintln(os.Stderr, "WORK, how long a piece of work takes:", err)
		os.Exit(2)
	}
	if a.file == "" { // the chart's election is disabled
		serve()
		return
	}
	go live(a.file + ".alive")
	go serve()
	for ctx.Err() == nil {
		if err := a.step(); err != nil {
			a.log.Error(err.Error())
			os.Exit(1)
		}
		select {
		case <-ctx.Done():
		case <-time.After(look):
		}
	}
	a.end()
}

// live takes the alive lock for the life of the process, once its file is there:
// LEAD_WHILE=lock.
func live(path string) {
	for ; ; time.Sleep(look) {
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		defer func() { _ = f.Close() }() // what is to be closed stays open until then
		if syscall.Flock(int(f.Fd()), syscall.LOCK_SH) == nil {
			select {}
		}
		return
	}
}

// serve answers for the leader Service: with the name of the pod.
func serve() {
	name, _ := os.Hostname()
	_ = http.ListenAndServe(":8000", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, name)
	}))
}

type app struct {
	file, url string
	piece     time.Duration
	log       *slog.Logger
	leading   *window
	stale     bool
}

// window is one unbroken time of being told to lead.
type window struct {
	token   int32 // fencing token
	uid     string
	checked time.Time // the last look that said yes
	worked  time.Time // the end of the last piece of work
}

// step looks once whether this pod leads, and does a piece of work if so.
func (a *app) step() error {
	lock, err := os.Open(a.file + ".lock")
	if err != nil {
		return fmt.Errorf("the work lock: %w", err)
	}
	defer func() { _ = lock.Close() }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_SH); err != nil {
		return fmt.Errorf("taking the work lock: %w", err)
	}
	if !a.leads() {
		a.end()
		return nil
	}
	checked := time.Now()
	if a.leading == nil {
		token, uid, leads := a.ask()
		if !leads {
			return nil
		}
		a.leading = &window{token: token, uid: uid, checked: checked}
		a.say("begin")
	}
	a.leading.checked = checked
	for end := time.Now().Add(a.piece); time.Now().Before(end); time.Sleep(min(poll, a.piece)) {
		a.say("work")
	}
	a.leading.worked = time.Now()
	return nil
}

// leads is the README's rule: the file is there, and the term has not ended, neither by
// its mtime nor by the seconds since the machine started.
func (a *app) leads() bool {
	info, err := os.Stat(a.file)
	now := time.Now()
	stale := err == nil && now.Sub(info.ModTime()) > staleness
	if stale && !a.stale {
		a.log.Warn("stale", "lapsed", info.ModTime())
	}
	a.stale = stale
	return err == nil && info.ModTime().After(now) && number(a.file+".until") > number("/proc/uptime")
}

// number is the one that a file begins with, 0 where there is none.
func number(path string) (n float64) {
	content, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	_, _ = fmt.Sscan(string(content), &n)
	return n
}

// ask gets the fencing token, which the sidecar tells over HTTP.
func (a *app) ask() (token int32, uid string, leads bool) {
	client := http.Client{Timeout: time.Second}
	resp, err := client.Get(a.url)
	if err != nil {
		return 0, "", false
	}
	defer func() { _ = resp.Body.Close() }()
	var answer struct {
		LeaseTransitions int32
		LeaseUID         string
		IsLeader         bool
	}
	err = json.NewDecoder(resp.Body).Decode(&answer)
	return answer.LeaseTransitions, answer.LeaseUID, err == nil && answer.IsLeader
}

func (a *app) say(what string) {
	w := a.leading
	a.log.Info(what, "token", w.token, "uid", w.uid, "checked", w.checked, "worked", w.worked)
}

func (a *app) end() {
	if a.leading != nil {
		a.say("end")
		a.leading = nil
	}
}
