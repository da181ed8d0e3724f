package harness

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Metrics are what one server says of itself, by the metric's name.
type Metrics map[string]*dto.MetricFamily

// Sum adds up the counters and gauges of this name that carry all the labels
// (name, value, name, value…); of histograms, their sums.
func (m Metrics) Sum(name string, labels ...string) (sum float64) {
	m.Each(name, func(_ func(string) string, value float64) { sum += value }, labels...)
	return sum
}

// Each calls do with every such metric's labels and value.
func (m Metrics) Each(name string, do func(label func(string) string, value float64), labels ...string) {
	for _, metric := range m[name].GetMetric() {
		label := func(name string) string {
			for _, pair := range metric.GetLabel() {
				if pair.GetName() == name {
					return pair.GetValue()
				}
			}
			return ""
		}
		matches := true
		for i := 0; i < len(labels); i += 2 {
			matches = matches && label(labels[i]) == labels[i+1]
		}
		if matches {
			do(label, metric.GetCounter().GetValue()+metric.GetGauge().GetValue()+metric.GetHistogram().GetSampleSum())
		}
	}
}

// APIServerMetrics asks the kube-apiserver for its metrics.
func (c *ControlPlane) APIServerMetrics(ctx context.Context) (Metrics, error) {
	raw, err := c.Client.CoreV1().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the API server's metrics: %w", err)
	}
	return parse(bytes.NewReader(raw))
}

// EtcdMetrics asks etcd for its metrics.
func (c *ControlPlane) EtcdMetrics(ctx context.Context) (Metrics, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.etcdURL()+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("reading etcd's metrics: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	return parse(resp.Body)
}

func parse(text io.Reader) (Metrics, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(text)
}
