package lease

import (
	"context"
	"fmt"
	"net"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/connrotation"
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
// and watch of one Lease. It never retries and never waits: the elector does.
type client struct {
	rest            rest.Interface
	conns           *connrotation.ConnectionTracker // empty when the config brings a Transport of its own
	namespace, name string
}

func newClient(base *rest.Config, namespace, name string, dialTimeout time.Duration) (*client, error) {
	c := &client{conns: connrotation.NewConnectionTracker(), namespace: namespace, name: name}
	config := rest.CopyConfig(base)
	config.APIPath = "/apis"
	config.GroupVersion = &coordinationv1.SchemeGroupVersion
	config.NegotiatedSerializer = codecs.WithoutConversion()
	// Protobuf costs 0.6 of JSON's CPU time here. Answers in JSON are understood too.
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	config.QPS = -1    // no client-side limiter: at its default it alone delays a takeover by 90 ms
	config.Timeout = 0 // each attempt has its own; the watch has none
	if config.Transport == nil {
		if config.Dial == nil {
			config.Dial = (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext
		}
		config.Dial = connrotation.NewDialerWithTracker(config.Dial, c.conns).DialContext
	}
	var err error
	if c.rest, err = rest.RESTClientFor(config); err != nil {
		return nil, fmt.Errorf("building the API client: %w", err)
	}
	return c, nil
}

// get returns the Lease, or nil where there is none.
func (c *client) get(ctx context.Context) (*coordinationv1.Lease, error) {
	got, err := c.stored(c.rest.Get().Name(c.name), nil, ctx)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return got, err
}

// put creates the Lease where it carries no resourceVersion, else updates
// exactly that version of it. A 409 means that the decision is out of date.
func (c *client) put(ctx context.Context, desired *coordinationv1.Lease) (*coordinationv1.Lease, error) {
	if desired.ResourceVersion == "" {
		return c.stored(c.rest.Post(), desired, ctx)
	}
	return c.stored(c.rest.Put().Name(c.name), desired, ctx)
}

func (c *client) stored(req *rest.Request, body *coordinationv1.Lease, ctx context.Context) (*coordinationv1.Lease, error) {
	if body != nil {
		req = req.Body(body)
	}
	got := &coordinationv1.Lease{}
	if err := req.Namespace(c.namespace).Resource("leases").MaxRetries(0).Do(ctx).Into(got); err != nil {
		return nil, err
	}
	return got, c.check(got)
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

// watch streams the changes of the Lease after resourceVersion, or its present
// state and then its changes where that is empty. It gives up when the server
// has not begun to answer within the timeout.
func (c *client) watch(ctx context.Context, resourceVersion string, timeout time.Duration) (watch.Interface, error) {
	ctx, cancel := context.WithCancel(ctx)
	limit := time.AfterFunc(timeout, cancel)
	req := c.rest.Get().Namespace(c.namespace).Resource("leases").
		Param("watch", "true").Param("fieldSelector", "metadata.name="+c.name)
	if resourceVersion != "" {
		req = req.Param("resourceVersion", resourceVersion)
	}
	stream, err := req.MaxRetries(0).Watch(ctx)
	if !limit.Stop() && err == nil {
		stream.Stop()
		err = context.DeadlineExceeded
	}
	if err != nil {
		cancel()
		return nil, fmt.Errorf("watching Lease %s/%s: %w", c.namespace, c.name, err)
	}
	return &cancelOnStop{stream, cancel}, nil
}

// cancelOnStop ends the request together with its stream.
type cancelOnStop struct {
	watch.Interface
	cancel context.CancelFunc
}

func (w *cancelOnStop) Stop() { w.cancel(); w.Interface.Stop() }

// dropConnections closes every connection, so that the next request dials
// afresh and may reach a server that lives.
func (c *client) dropConnections() { c.conns.CloseAll() }
