package main

import (
	"io"
	"net"
	"net/url"
	"sync/atomic"

	"k8s.io/client-go/tools/clientcmd"
)

// relay passes TCP connections on to the API server and counts their bytes.
type relay struct {
	net.Listener
	bytes atomic.Int64
}

func newRelay(apiServer string) (*relay, error) {
	to, err := url.Parse(apiServer)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &relay{Listener: l}
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", to.Host)
			if err != nil {
				_ = from.Close()
				continue
			}
			go r.pass(from, server)
			go r.pass(server, from)
		}
	}()
	return r, nil
}

func (r *relay) pass(to, from net.Conn) {
	_, _ = io.Copy(to, io.TeeReader(from, r))
	_ = to.Close()
	_ = from.Close()
}

// Write counts p.
func (r *relay) Write(p []byte) (int, error) {
	r.bytes.Add(int64(len(p)))
	return len(p), nil
}

func (r *relay) close() { _ = r.Listener.Close() }

// through writes a copy of the kubeconfig that reaches the API server through
// the relay.
func (b *bench) through(r *relay, kubeconfig string) (string, error) {
	config, err := clientcmd.LoadFromFile(kubeconfig)
	if err != nil {
		return "", err
	}
	for _, cluster := range config.Clusters {
		cluster.Server = "https://" + r.Addr().String()
	}
	path := kubeconfig + ".relay"
	return path, clientcmd.WriteToFile(*config, path)
}
