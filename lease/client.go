package lease

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport"
	"k8s.io/client-go/util/connrotation"

	"github.com/leader-elector/leader-elector/lease/internal/election"
)

// codecs know coordination/v1 and nothing else: the whole of client-go's
// generated clientset would cost every pod 16 MB of binary.
var codecs = func() serializer.CodecFactory {
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"}) // metav1.Status, the form of errors
	utilruntime.Must(coordinationv1.AddToScheme(scheme))
	return serializer.NewCodecFactory(scheme)
}()

// client is all that an election asks of the API server: get, create, update
// and watch of one Lease. It never retries and never waits: the election does.
//
// It has two lines, each with connections of its own. The spare one is for a
// request that takes long on the other (L3).
type client struct {
	config          *rest.Config
	namespace, name string

	mu    sync.Mutex // guards what follows; no I/O is done under it
	line  *line
	spare *line // nil until it is needed
}

// line is one set of connections to the API server.
type line struct {
	rest  rest.Interface
	conns *connrotation.ConnectionTracker // empty when the config brings a Transport of its own
}

func newClient(base *rest.Config, namespace, name string, dialTimeout time.Duration) (*client, error) {
	config := rest.CopyConfig(base)
	config.APIPath = "/apis"
	config.GroupVersion = &coordinationv1.SchemeGroupVersion
	config.NegotiatedSerializer = codecs.WithoutConversion()
	// Protobuf costs 0.6 of JSON's CPU time here. Answers in JSON are understood too.
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	config.QPS = -1    // no client-side limiter: at its default it alone delays a takeover by 90 ms
	config.Timeout = 0 // each attempt has its own; the watch has none
	config.Wrap(limitBodies)
	if config.BearerTokenFile != "" {
		// client-go's own reader of the file keeps a revoked token for a minute. This one reads it again after a 401.
		config.Wrap(transport.ResettableTokenSourceWrapTransport(transport.NewCachedFileTokenSource(config.BearerTokenFile)))
		config.BearerToken, config.BearerTokenFile = "", ""
	}
	if config.Transport == nil && config.Dial == nil {
		config.Dial = (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext
	}
	c := &client{config: config, namespace: namespace, name: name}
	var err error
	c.line, err = c.newLine()
	return c, err
}

func (c *client) newLine() (*line, error) {
	l := &line{conns: connrotation.NewConnectionTracker()}
	config := rest.CopyConfig(c.config)
	if config.Transport == nil {
		config.Dial = connrotation.NewDialerWithTracker(config.Dial, l.conns).DialContext
	}
	var err error
	if l.rest, err = rest.RESTClientFor(config); err != nil {
		return nil, fmt.Errorf("building the API client: %w", err)
	}
	return l, nil
}

// current is the line in use.
func (c *client) current() *line {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.line
}

// fresh is the spare line without any connection: it dials.
func (c *client) fresh() (*line, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.spare == nil {
		var err error
		if c.spare, err = c.newLine(); err != nil {
			return nil, err
		}
	}
	c.spare.conns.CloseAll()
	return c.spare, nil
}

// prefer makes l the line in use. The other one did not answer: its connections
// are closed, and with them the watch, which begins again on l.
func (c *client) prefer(l *line) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l == c.spare {
		c.line, c.spare = c.spare, c.line
		c.spare.conns.CloseAll()
	}
}

// dropConnections closes every connection, so that the next request dials and may
// reach a server that lives.
func (c *client) dropConnections() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.line.conns.CloseAll()
	if c.spare != nil {
		c.spare.conns.CloseAll()
	}
}

// maxBody is more than any answer about one Lease takes.
const maxBody = 1 << 20

// limitBodies reads no more of an answer than that: what a broken proxy sends must
// not take the memory of the pod. A watch never ends, and limits each event itself.
func limitBodies(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		resp, err := next.RoundTrip(r)
		if err == nil && resp.Body != nil && r.URL.Query().Get("watch") == "" {
			resp.Body = limited{io.LimitReader(resp.Body, maxBody), resp.Body}
		}
		return resp, err
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip calls f.
func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

type limited struct {
	io.Reader
	io.Closer
}

// do makes one request on a line.
func (c *client) do(ctx context.Context, l *line, r election.Request) (election.Record, error) {
	var req *rest.Request
	switch r.Verb() {
	case "get":
		req = l.rest.Get().Name(c.name)
	case "create":
		req = l.rest.Post().Body(leaseOf(c.namespace, c.name, r.Write))
	case "update":
		req = l.rest.Put().Name(c.name).Body(leaseOf(c.namespace, c.name, r.Write))
	}
	got := &coordinationv1.Lease{}
	err := req.Namespace(c.namespace).Resource("leases").MaxRetries(0).Do(ctx).Into(got)
	if r.Kind == election.Read && apierrors.IsNotFound(err) {
		return election.Record{}, nil
	}
	if err == nil {
		err = c.check(got)
	}
	return recordOf(got), err
}

// check refuses an answer that is not the Lease that was asked for: what a
// proxy or a broken server may send with a 200.
func (c *client) check(got *coordinationv1.Lease) error {
	if got.Name != c.name || got.ResourceVersion == "" {
		return fmt.Errorf("the API server answered for Lease %s/%s with an object named %q, resourceVersion %q: is something between this pod and the API server changing its answers?",
			c.namespace, c.name, got.Name, got.ResourceVersion)
	}
	return nil
}

// failureOf tells the election what an error means.
func failureOf(err error) election.Failure {
	if err == nil {
		return election.Failure{}
	}
	f := election.Failure{Text: err.Error(), Timeout: errors.Is(err, context.DeadlineExceeded)}
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		f.Code = int(status.Status().Code)
		if s, ok := apierrors.SuggestsClientDelay(err); ok && s > 0 {
			f.RetryAfter = time.Duration(s) * time.Second
		}
	}
	for _, phrase := range []string{"admission", "denied the request", "denied request", "exceeded quota", "failed calling webhook", "unable to create new content"} {
		f.Admission = f.Admission || f.Code != 0 && strings.Contains(strings.ToLower(f.Text), phrase)
	}
	return f
}
