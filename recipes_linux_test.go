package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/leader-elector/leader-elector/lease/leasetest"
)

// The headings of docs/recipes.md that each language has.
const (
	hold   = "Hold the alive lock"
	work   = "Do a piece of work"
	follow = "Follow the leader"
)

// recipes are the code blocks of docs/recipes.md by "language: task".
func recipes(t *testing.T) map[string][]string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("docs", "recipes.md"))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]string{}
	var language, task string
	var block *strings.Builder
	for line := range strings.Lines(string(page)) {
		switch {
		case block != nil && line == "```\n":
			found[language+": "+task] = append(found[language+": "+task], block.String())
			block = nil
		case block != nil:
			block.WriteString(line)
		case strings.HasPrefix(line, "```"):
			block = &strings.Builder{}
		case strings.HasPrefix(line, "## "):
			language, task = strings.TrimSpace(line[3:]), ""
		case strings.HasPrefix(line, "### "):
			task = strings.TrimSpace(line[4:])
		}
	}
	return found
}

// language is how the recipes of one are made into programs: each prints what it does,
// so that the tests see it.
type language struct {
	name  string
	needs []string
	build []string            // runs once in the directory of the files; nil: nothing
	files map[string]string   // RECIPE stands for the block of the task
	run   map[string][]string // by task, in that directory; RECIPE as above
}

var languages = []language{
	{
		name: "Shell", needs: []string{"sh", "flock", "curl"},
		files: map[string]string{
			hold + ".sh":   "RECIPE",
			"app.sh":       "RECIPE 2\necho holding\nread _",
			work + ".sh":   "RECIPE\nwork() { echo working; read _; }\npiece_of_work work; piece_of_work work; echo done",
			follow + ".sh": "RECIPE",
		},
		run: map[string][]string{hold: {"sh", hold + ".sh", "sh", "app.sh"}, work: {"sh", work + ".sh"}, follow: {"sh", follow + ".sh"}},
	},
	{
		name: "Python", needs: []string{"python3"},
		files: map[string]string{
			hold + ".py":   "RECIPE\nimport subprocess\nsubprocess.Popen(['sleep', '1000'])\nprint('holding', flush=True)\ninput()",
			work + ".py":   "RECIPE\ndef work():\n    print('working', flush=True)\n    input()\npiece_of_work(work)\npiece_of_work(work)\nprint('done')",
			follow + ".py": "RECIPE\nfollow(lambda leads: print('leading' if leads else 'following', flush=True))",
		},
		run: map[string][]string{hold: {"python3", hold + ".py"}, work: {"python3", work + ".py"}, follow: {"python3", follow + ".py"}},
	},
	{
		name: "Go", needs: []string{"go"}, build: []string{"go", "build", "-o", "app", "."},
		files: map[string]string{
			hold + ".go": "RECIPE", work + ".go": "RECIPE", follow + ".go": "RECIPE", "go.mod": "module app\n\ngo 1.24\n",
			"main.go": `package main
import ("context"; "fmt"; "os"; "os/exec")
func check(err error) { if err != nil { panic(err) } }
func main() {
	status := os.Getenv("LEADER_STATUS_FILE")
	work := func() { fmt.Println("working"); fmt.Scanln() }
	switch os.Args[1] {
	case "hold":
		check(holdAliveLock(status))
		check(exec.Command("sleep", "1000").Start())
		fmt.Println("holding")
		fmt.Scanln()
	case "work":
		for range 2 { _, err := pieceOfWork(status, work); check(err) }
		fmt.Println("done")
	case "follow":
		follow(context.Background(), os.Getenv("LEADER_URL"), func(leads bool) { fmt.Println(map[bool]string{true: "leading", false: "following"}[leads]) })
	}
}`,
		},
		run: map[string][]string{hold: {"./app", "hold"}, work: {"./app", "work"}, follow: {"./app", "follow"}},
	},
	{
		name: "Java", needs: []string{"java", "javac", "flock"}, build: []string{"javac", "App.java", "LeaderWork.java", "LeaderWatch.java"},
		files: map[string]string{
			hold + ".sh": "RECIPE", "LeaderWork.java": work + "RECIPE", "LeaderWatch.java": follow + "RECIPE",
			"App.java": `public class App {
	public static void main(String[] args) throws Exception {
		switch (args[0]) {
		case "hold":
			new ProcessBuilder("sleep", "1000").start();
			System.out.println("holding");
			System.in.read();
			break;
		case "work":
			for (int i = 0; i < 2; i++)
				LeaderWork.pieceOfWork(() -> {
					System.out.println("working");
					try { System.in.read(); } catch (java.io.IOException e) { throw new java.io.UncheckedIOException(e); }
				});
			System.out.println("done");
			break;
		case "follow":
			LeaderWatch.follow(leads -> System.out.println(leads ? "leading" : "following"));
		}
	}
}`,
		},
		run: map[string][]string{hold: {"sh", hold + ".sh"}, work: {"java", "App", "work"}, follow: {"java", "App", "follow"}},
	},
	{
		name: "Node", needs: []string{"node", "flock"},
		files: map[string]string{
			hold + ".sh":   "RECIPE",
			"app.js":       "require('node:child_process').spawn('sleep', ['1000'])\nconsole.log('holding')\nprocess.stdin.resume()",
			work + ".js":   "RECIPE\nasync function work() { console.log('working'); await once(process.stdin, 'data'); process.stdin.pause() }\n(async () => { await pieceOfWork(work); await pieceOfWork(work); console.log('done') })()",
			follow + ".js": "RECIPE\nfollow((leads) => console.log(leads ? 'leading' : 'following'))",
		},
		run: map[string][]string{hold: {"sh", hold + ".sh"}, work: {"node", work + ".js"}, follow: {"node", follow + ".js"}},
	},
}

// How the recipes that name an app are run with the tests' own.
var theApp = strings.NewReplacer("java -jar app.jar", "java App hold")

// write puts the programs of a language into a directory.
func (l *language) write(t *testing.T) (dir string) {
	t.Helper()
	dir, all := t.TempDir(), recipes(t)
	for name, content := range l.files {
		task := strings.TrimSuffix(name, filepath.Ext(name))
		if before, _, found := strings.Cut(content, "RECIPE"); found && before != "" {
			task, content = before, strings.TrimPrefix(content, before)
		}
		number := 0
		if strings.HasPrefix(content, "RECIPE 2") {
			task, number, content = hold, 1, strings.Replace(content, "RECIPE 2", "RECIPE", 1)
		}
		if strings.HasPrefix(content, "RECIPE") {
			blocks := all[l.name+": "+task]
			if len(blocks) <= number {
				t.Fatalf("docs/recipes.md has no such block: %s, %s", l.name, task)
			}
			content = strings.Replace(content, "RECIPE", theApp.Replace(blocks[number]), 1)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if l.build != nil {
		cmd := exec.CommandContext(t.Context(), l.build[0], l.build[1:]...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", l.build, err, out)
		}
	}
	return dir
}

// lacks names a program that a language needs and that this machine does not have.
func (l *language) lacks() string {
	for _, program := range l.needs {
		if _, err := exec.LookPath(program); err != nil {
			return program
		}
	}
	return ""
}

// app is a running recipe.
type app struct {
	*exec.Cmd
	t     *testing.T
	stdin io.Writer
	lines chan string
	err   bytes.Buffer
}

// run starts a recipe beside a sidecar. With the test ends all that it has started.
func (s *process) run(t *testing.T, dir string, argv []string) *app {
	t.Helper()
	a := &app{t: t, lines: make(chan string, 1000), Cmd: exec.CommandContext(t.Context(), argv[0], argv[1:]...)}
	a.Dir, a.Stderr, a.WaitDelay = dir, &a.err, time.Second
	a.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	a.Env = append(os.Environ(), "LEADER_STATUS_FILE="+s.file, "LEADER_URL=http://localhost:"+s.port()+"/leader")
	out, err := a.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if a.stdin, err = a.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := a.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(a.lines)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			a.lines <- lines.Text()
		}
	}()
	t.Cleanup(func() { _ = syscall.Kill(-a.Process.Pid, syscall.SIGKILL); _ = a.Wait() })
	return a
}

func (s *process) port() string {
	for _, entry := range s.env {
		if port, ok := strings.CutPrefix(entry, "HEALTH_PORT="); ok {
			return port
		}
	}
	return ""
}

// says waits until the app prints this line.
func (a *app) says(want string) {
	a.t.Helper()
	timeout := time.After(time.Minute)
	for {
		select {
		case line, ok := <-a.lines:
			if !ok {
				a.t.Fatalf("it ends and never prints %q", want)
			}
			if line == want {
				return
			}
		case <-timeout:
			a.t.Fatalf("it does not print %q within a minute", want)
		}
	}
}

func (s *process) signal(t *testing.T, sig os.Signal) {
	t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// Every recipe of docs/recipes.md does what the page says, beside a real sidecar.
func TestRecipes(t *testing.T) {
	for _, l := range languages {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			if program := l.lacks(); program != "" {
				t.Logf("NOT RUN: the recipes for %s, since there is no %s", l.name, program)
				return
			}
			dir := l.write(t)
			t.Run("hold", func(t *testing.T) { holds(t, dir, l.run[hold]) })
			t.Run("work", func(t *testing.T) { works(t, dir, l.run[work]) })
			t.Run("follow", func(t *testing.T) { follows(t, dir, l.run[follow]) })
		})
	}
}

// apiServer is one in memory, and a kubeconfig for it.
func apiServer(t *testing.T) (api *leasetest.Server, kubeconfig string) {
	t.Helper()
	api = &leasetest.Server{}
	web := httptest.NewServer(api)
	t.Cleanup(web.Close)
	return api, kubeconfigFor(t, web.URL)
}

// holds: the pod leads once the app has the lock, and hands over when the app is killed,
// although a child of it lives on.
func holds(t *testing.T, dir string, argv []string) {
	api, kubeconfig := apiServer(t)
	s := start(t, kubeconfig, "me", "LEAD_WHILE=lock")
	eventually(t, "it waits for the app", func() bool {
		code, out := s.command(t, "status")
		return code == 0 && strings.Contains(out, "the app is not alive")
	})
	a := s.run(t, dir, argv)
	a.says("holding")
	eventually(t, "it leads", s.leads)
	if err := a.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it hands over", func() bool { return !s.leads() && s.logged("Released the Lease") })
	if holder := *api.Get("default", "app").Spec.HolderIdentity; holder != "" {
		t.Errorf("holder %q", holder)
	}
	if err := syscall.Kill(-a.Process.Pid, 0); err != nil {
		t.Errorf("the app's child does not live: %v", err)
	}
}

// works: a sidecar that stops keeps the Lease until the piece of work has ended, and then
// the app does no other.
func works(t *testing.T, dir string, argv []string) {
	api, kubeconfig := apiServer(t)
	s := start(t, kubeconfig, "me")
	eventually(t, "it leads", s.leads)
	a := s.run(t, dir, argv)
	a.says("working")
	s.signal(t, syscall.SIGTERM)
	eventually(t, "it waits for the app", func() bool { return s.logged("waiting for the app to release the work lock") })
	if holder := *api.Get("default", "app").Spec.HolderIdentity; holder != "me" {
		t.Errorf("holder %q while the app works", holder)
	}
	fmt.Fprintln(a.stdin)
	if next := <-a.lines; next != "done" {
		t.Errorf("after the first piece of work: %q\n%s", next, &a.err)
	}
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("%v:\n%s", err, s.log.String())
	}
	if holder := *api.Get("default", "app").Spec.HolderIdentity; holder != "" {
		t.Errorf("holder %q after the end", holder)
	}
}

// follows: the app learns of leadership, and of its end, also from a sidecar that stands
// still.
func follows(t *testing.T, dir string, argv []string) {
	_, kubeconfig := apiServer(t)
	s := start(t, kubeconfig, "me", "LEASE_DURATION=3s")
	a := s.run(t, dir, argv)
	a.says("leading")
	s.signal(t, syscall.SIGSTOP)
	a.says("following")
	s.signal(t, syscall.SIGCONT)
	a.says("leading")
	s.signal(t, syscall.SIGTERM)
	a.says("following")
}

// Programs of every language under exec.
func TestRecipesUnderExec(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"app.sh": "trap exit TERM\necho token $LEADER_TOKEN\nwhile :; do sleep 0.1; done",
		"app":    "#!/bin/sh\ntrap exit TERM\necho token $LEADER_TOKEN\nwhile :; do sleep 0.1; done",
		"app.py": "import os, signal\nprint('token', os.environ['LEADER_TOKEN'], flush=True)\nsignal.pause()",
		"app.js": "console.log('token', process.env.LEADER_TOKEN)\nsetInterval(() => {}, 1000)",
		"App.java": `public class App { public static void main(String[] args) throws Exception {
			System.out.println("token " + System.getenv("LEADER_TOKEN")); Thread.sleep(100000); } }`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	lines := strings.Split(strings.TrimSpace(recipes(t)["Under exec: "][0]), "\n")
	if len(lines) != len(languages) {
		t.Errorf("%d command lines for %d languages", len(lines), len(languages))
	}
	for _, line := range lines {
		argv := strings.Fields(strings.Replace(line, "java -jar app.jar", "java App.java", 1))[1:]
		if _, err := exec.LookPath(argv[2]); err != nil && argv[2] != "./app" {
			t.Logf("NOT RUN, since there is no %s: %s", argv[2], line)
			continue
		}
		t.Run(argv[2], func(t *testing.T) {
			t.Parallel()
			api, kubeconfig := apiServer(t)
			s := &process{env: []string{
				"TEST_IS_THE_PROGRAM=1", "LEASE_NAME=app", "NAMESPACE=default", "IDENTITY=me", "HEALTH_PORT=0", "STATUS_DIR=" + t.TempDir(), "KUBECONFIG=" + kubeconfig,
			}}
			a := s.run(t, dir, append(append([]string{"env"}, s.env...), append([]string{os.Args[0]}, argv...)...))
			a.says("token 0")
			if err := a.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			for range a.lines { // until it has ended
			}
			if err := a.Wait(); err != nil {
				t.Errorf("%v:\n%s", err, &a.err)
			}
			if holder := *api.Get("default", "app").Spec.HolderIdentity; holder != "" {
				t.Errorf("holder %q", holder)
			}
		})
	}
}
