// Package sidecar is what a pod sees of an election: the environment it is
// configured by, the status file, the pod's label, and HTTP.
package sidecar

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/caarlos0/env/v11"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/leader-elector/leader-elector/lease"
)

// Config is the sidecar's environment. Durations are written like 15s or 1m30s.
type Config struct {
	LeaseName     string        `env:"LEASE_NAME" help:"name of the Lease (required)"`
	Namespace     string        `env:"NAMESPACE" help:"namespace of the Lease (required)"`
	StatusDir     string        `env:"STATUS_DIR" help:"directory of the status file leader_status; unset: /tmp/leader_status, or a file in it where that is a directory"`
	HealthPort    int           `env:"HEALTH_PORT" envDefault:"8080" help:"port of the HTTP server; 0: any free one, logged"`
	LabelPodRole  bool          `env:"LABEL_POD_ROLE" envDefault:"false" help:"label the pod role=leader or role=follower; needs POD_NAME"`
	PodName       string        `env:"POD_NAME" help:"name of this pod, for its label"`
	PodNamespace  string        `env:"POD_NAMESPACE" help:"namespace of this pod; unset: NAMESPACE"`
	Identity      string        `env:"IDENTITY" help:"holderIdentity, unique among the replicas; unset: the hostname"`
	LeaseDuration time.Duration `env:"LEASE_DURATION" envDefault:"15s" help:"what others wait for before they take over; whole seconds, at most 1h"`
	RenewDeadline time.Duration `env:"RENEW_DEADLINE" help:"leadership ends this long after the last renewal; unset: 2/3 of LEASE_DURATION"`
	RetryPeriod   time.Duration `env:"RETRY_PERIOD" help:"wait between failing attempts; unset: 2/15 of LEASE_DURATION"`
	RenewInterval time.Duration `env:"RENEW_INTERVAL" help:"from one renewal to the next; unset: 1/3 of LEASE_DURATION"`
	LeadWhile     string        `env:"LEAD_WHILE" help:"lead only while the app lives: lock (it has a flock on leader_status.alive), or http://HOST:PORT/PATH (it answers 2xx); unset: as if it always did"`
	ClaimDelay    time.Duration `env:"CLAIM_DELAY" help:"wait so long after the Lease became free before claiming it, at most LEASE_DURATION; unset: 0"`
	RoleLabel     string        `env:"ROLE_LABEL" envDefault:"role" help:"the label that LABEL_POD_ROLE sets"`
	DeletionCost  int32         `env:"POD_DELETION_COST" help:"the annotation controller.kubernetes.io/pod-deletion-cost of the leader, so that a scale-down deletes it last; needs LABEL_POD_ROLE; unset: it is left alone"`
	LeaderEvents  bool          `env:"LEADER_EVENTS" envDefault:"false" help:"make a Kubernetes Event on the Lease when this pod begins to lead and when it stops; needs the right to create events"`
	ReleaseDelay  string        `env:"RELEASE_DELAY" help:"at shutdown, wait this long before the Lease is released where the app never took the work lock; 0 (a step-down waits as if unset), or never; unset: LEASE_DURATION - RENEW_DEADLINE"`
	StopGrace     time.Duration `env:"STOP_GRACE" help:"exec: the command gets SIGTERM so long before the end of a term that can't be renewed; unset: 1/10 of RENEW_DEADLINE"`
	LogFormat     string        `env:"LOG_FORMAT" envDefault:"text" help:"text or json"`
	LogLevel      string        `env:"LOG_LEVEL" envDefault:"info" help:"debug, info, warn or error"`
	Kubeconfig    string        `env:"KUBECONFIG" help:"outside a cluster: the kubeconfig files; unset: ~/.kube/config"`

	releaseDelay        time.Duration // ReleaseDelay, or neverRelease
	defaultReleaseDelay time.Duration // LeaseDuration - RenewDeadline
	command             *command      // of exec; nil: none
}

const neverRelease = time.Duration(-1)

// maxIdentity is the longest Identity. Each request and the status file hold it.
const maxIdentity = 1024

// LoadConfig reads the environment (KEY=value each; an empty value is an unset
// one). Its error names every variable that is wrong; the Config is as good as
// it can be then.
func LoadConfig(environ []string) (*Config, error) {
	set := map[string]string{}
	for _, entry := range environ {
		if key, value, _ := strings.Cut(entry, "="); value != "" {
			set[key] = value
		}
	}
	c := &Config{}
	var errs []error
	if err := env.ParseWithOptions(c, env.Options{Environment: set}); err != nil {
		var all env.AggregateError
		if !errors.As(err, &all) {
			return c, err
		}
		for _, one := range all.Errors {
			errs = append(errs, explain(one, set))
		}
	}
	errs = append(errs, c.complete()...)
	return c, errors.Join(errs...)
}

// explain turns a parse error, which names a struct field, into one that names
// the variable and says what it may hold.
func explain(err error, set map[string]string) error {
	var parse env.ParseError
	if !errors.As(err, &parse) {
		return err
	}
	field, _ := reflect.TypeFor[Config]().FieldByName(parse.Name)
	wants := map[reflect.Type]string{
		reflect.TypeFor[bool]():          "true or false",
		reflect.TypeFor[int]():           "a number",
		reflect.TypeFor[int32]():         "a number of at most 32 bits",
		reflect.TypeFor[time.Duration](): "a duration with its unit, such as 15s",
	}
	name := field.Tag.Get("env")
	return fmt.Errorf("%s=%q: must be %s", name, set[name], wants[field.Type])
}

func (c *Config) complete() (errs []error) {
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	name := func(variable, value, example string) {
		if value == "" {
			refuse("%s is missing: set it to %s", variable, example)
		} else if wrong := validation.IsDNS1123Subdomain(value); wrong != nil {
			refuse("%s=%q: %s", variable, value, strings.Join(wrong, "; "))
		}
	}
	name("LEASE_NAME", c.LeaseName, "the name of the Lease, such as myapp-lock")
	if c.Namespace == "" {
		refuse("NAMESPACE is missing: set it by the Downward API (fieldRef: metadata.namespace)")
	} else if wrong := validation.IsDNS1123Label(c.Namespace); wrong != nil {
		refuse("NAMESPACE=%q: %s", c.Namespace, strings.Join(wrong, "; "))
	}
	if c.LabelPodRole {
		name("POD_NAME", c.PodName, "this pod's name by the Downward API (fieldRef: metadata.name), since LABEL_POD_ROLE=true")
	}
	if c.PodNamespace == "" {
		c.PodNamespace = c.Namespace
	} else if wrong := validation.IsDNS1123Label(c.PodNamespace); wrong != nil {
		refuse("POD_NAMESPACE=%q: %s", c.PodNamespace, strings.Join(wrong, "; "))
	}
	if c.Identity == "" {
		var err error
		if c.Identity, err = os.Hostname(); err != nil {
			refuse("IDENTITY is not set and the hostname can't be read: %v", err)
		}
	}
	if strings.TrimSpace(c.Identity) != c.Identity || len(c.Identity) > maxIdentity || strings.ContainsFunc(c.Identity, unicode.IsControl) {
		refuse("IDENTITY=%.80q: must have no space around it, no control characters, and at most %d bytes", c.Identity, maxIdentity)
	}
	if c.HealthPort < 0 || c.HealthPort > 65535 {
		refuse("HEALTH_PORT=%d: must be from 0 to 65535", c.HealthPort)
	}
	if c.LogFormat != "text" && c.LogFormat != "json" {
		refuse("LOG_FORMAT=%q: must be text or json", c.LogFormat)
	}
	if _, err := c.level(); err != nil {
		refuse("LOG_LEVEL=%q: must be debug, info, warn or error", c.LogLevel)
	}
	errs = append(errs, c.checkFollowing()...)
	timings := c.Election()
	timings.Complete()
	errs = append(errs, explainTimings(&timings)...)
	c.defaultReleaseDelay = timings.LeaseDuration - timings.RenewDeadline
	switch c.ReleaseDelay {
	case "":
		c.releaseDelay = c.defaultReleaseDelay
	case "never":
		c.releaseDelay = neverRelease
	default:
		d, err := time.ParseDuration(c.ReleaseDelay)
		if err != nil || d < 0 {
			refuse("RELEASE_DELAY=%q: must be a duration such as 5s, 0, or never", c.ReleaseDelay)
		}
		c.releaseDelay = d
	}
	return errs
}

// checkFollowing checks how leadership follows the app, and how the pod shows it.
func (c *Config) checkFollowing() (errs []error) {
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.LeadWhile != "" && c.LeadWhile != leadWhileLock {
		u, err := url.Parse(c.LeadWhile)
		if err != nil || u.Scheme != "http" || u.Hostname() == "" {
			refuse("LEAD_WHILE=%q: must be lock, or a URL such as http://127.0.0.1:8000/healthz", c.LeadWhile)
		} else if port, err := strconv.ParseUint(cmp.Or(u.Port(), "80"), 10, 16); err != nil || port == 0 {
			refuse("LEAD_WHILE=%q: the port must be from 1 to 65535", u.Redacted())
		} else if ip := net.ParseIP(u.Hostname()); int(port) == c.HealthPort && (u.Hostname() == "localhost" || ip.IsLoopback()) {
			refuse("LEAD_WHILE=%q: this is HEALTH_PORT, where the sidecar itself answers; set LEAD_WHILE to the app's port", u.Redacted())
		}
	}
	if wrong := validation.IsQualifiedName(c.RoleLabel); wrong != nil {
		refuse("ROLE_LABEL=%q: must be a label's key: %s", c.RoleLabel, strings.Join(wrong, "; "))
	}
	if c.RoleLabel != defaultRoleLabel && !c.LabelPodRole {
		refuse("ROLE_LABEL=%q needs LABEL_POD_ROLE=true", c.RoleLabel)
	}
	if c.DeletionCost != 0 && !c.LabelPodRole {
		refuse("POD_DELETION_COST=%d needs LABEL_POD_ROLE=true: the patch that labels the pod sets it", c.DeletionCost)
	}
	return errs
}

const defaultRoleLabel = "role"

// leadWhileLock is the value of LEAD_WHILE that means the alive lock.
const leadWhileLock = "lock"

// Election is the part of the Config that the election knows.
func (c *Config) Election() lease.Config {
	return lease.Config{
		Namespace: c.Namespace, Name: c.LeaseName, Identity: c.Identity, LeaseDuration: c.LeaseDuration,
		RenewDeadline: c.RenewDeadline, RetryPeriod: c.RetryPeriod, RenewInterval: c.RenewInterval,
		ClaimDelay: c.ClaimDelay, AwaitStand: c.LeadWhile != "",
	}
}

// StatusPath is where the status file belongs.
func (c *Config) StatusPath() string { return c.statusPath("/tmp") }

func (c *Config) statusPath(tmp string) string {
	if c.StatusDir != "" {
		return filepath.Join(c.StatusDir, "leader_status")
	}
	path := filepath.Join(tmp, "leader_status")
	if info, err := os.Stat(path); err == nil && info.IsDir() { // a volume is mounted there
		return filepath.Join(path, "leader_status")
	}
	return path
}

// usage is what --help says before the environment.
const usage = `leader-election-sidecar %s tells the app beside it whether this pod leads.

  leader-election-sidecar                      the sidecar
  leader-election-sidecar exec -- CMD [ARG...] the same, and CMD runs only while this pod leads
  leader-election-sidecar install DIR          copies this program to DIR, for an image that has none
  leader-election-sidecar --help | --version

In the container of one that runs:

  leader-election-sidecar status [--json]      who leads, and what this replica does and why
  leader-election-sidecar step-down [--to IDENTITY]
                                               asks the leader to hand over, and waits until another leads
  leader-election-sidecar retire               says that this pod is being deleted: its preStop hook

CMD finds LEADER_TOKEN, LEADER_LEASE_UID and LEADER_STATUS_FILE in its environment. When it ends by
itself, the Lease is released, and its exit code is that of exec: 127 where there is no such command,
126 where it can't be run, 128+n where signal n killed it. Otherwise the exit code is 0 after a clean
stop, 1 for a failure at run time, 2 for a bad configuration.

Environment:

`

// WriteHelp prints what --help says.
func WriteHelp(w io.Writer, version string) {
	fmt.Fprintf(w, usage, version)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	t := reflect.TypeFor[Config]()
	for i := range t.NumField() {
		if tag := t.Field(i).Tag; tag.Get("env") != "" {
			fmt.Fprintf(table, "%s\t%s\t%s\n", tag.Get("env"), tag.Get("envDefault"), tag.Get("help"))
		}
	}
	_ = table.Flush()
}
