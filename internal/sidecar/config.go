// Package sidecar is what a pod sees of an election: the environment it is
// configured by, the status file, the pod's label, and HTTP.
package sidecar

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"text/tabwriter"
	"time"

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
	LeaseDuration time.Duration `env:"LEASE_DURATION" envDefault:"15s" help:"what others wait for before they take over; whole seconds"`
	RenewDeadline time.Duration `env:"RENEW_DEADLINE" help:"leadership ends this long after the last renewal; unset: 2/3 of LEASE_DURATION"`
	RetryPeriod   time.Duration `env:"RETRY_PERIOD" help:"wait between failing attempts; unset: 2/15 of LEASE_DURATION"`
	RenewInterval time.Duration `env:"RENEW_INTERVAL" help:"from one renewal to the next; unset: 1/3 of LEASE_DURATION"`
	ReleaseDelay  string        `env:"RELEASE_DELAY" help:"at shutdown, wait this long before the Lease is released where the app never took the work lock; 0, or never; unset: LEASE_DURATION - RENEW_DEADLINE"`
	LogFormat     string        `env:"LOG_FORMAT" envDefault:"text" help:"text or json"`
	LogLevel      string        `env:"LOG_LEVEL" envDefault:"info" help:"debug, info, warn or error"`
	Kubeconfig    string        `env:"KUBECONFIG" help:"outside a cluster: the kubeconfig files; unset: ~/.kube/config"`

	releaseDelay time.Duration // ReleaseDelay, or neverRelease
}

const neverRelease = time.Duration(-1)

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
	if c.HealthPort < 0 || c.HealthPort > 65535 {
		refuse("HEALTH_PORT=%d: must be from 0 to 65535", c.HealthPort)
	}
	if c.LogFormat != "text" && c.LogFormat != "json" {
		refuse("LOG_FORMAT=%q: must be text or json", c.LogFormat)
	}
	if _, err := c.level(); err != nil {
		refuse("LOG_LEVEL=%q: must be debug, info, warn or error", c.LogLevel)
	}
	timings := c.Election()
	timings.Complete()
	if err := timings.ValidateTimings(); err != nil {
		errs = append(errs, err)
	}
	switch c.ReleaseDelay {
	case "":
		c.releaseDelay = timings.LeaseDuration - timings.RenewDeadline
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

// Election is the part of the Config that the election knows.
func (c *Config) Election() lease.Config {
	return lease.Config{
		Namespace: c.Namespace, Name: c.LeaseName, Identity: c.Identity, LeaseDuration: c.LeaseDuration,
		RenewDeadline: c.RenewDeadline, RetryPeriod: c.RetryPeriod, RenewInterval: c.RenewInterval,
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

// WriteHelp prints what --help says.
func WriteHelp(w io.Writer, version string) {
	fmt.Fprintf(w, "leader-election-sidecar %s tells the app beside it whether this pod leads.\nIt takes no arguments but --help and --version. Environment:\n\n", version)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	t := reflect.TypeFor[Config]()
	for i := range t.NumField() {
		if tag := t.Field(i).Tag; tag.Get("env") != "" {
			fmt.Fprintf(table, "%s\t%s\t%s\n", tag.Get("env"), tag.Get("envDefault"), tag.Get("help"))
		}
	}
	_ = table.Flush()
}
