package leasetest

import "fmt"

// Kubeconfig is one that reaches the API server of this URL, without credentials.
func Kubeconfig(url string) []byte {
	return fmt.Appendf(nil, `{"apiVersion":"v1","kind":"Config","current-context":"c","clusters":[{"name":"c","cluster":{"server":%q}}],"contexts":[{"name":"c","context":{"cluster":"c"}}]}`, url)
}
