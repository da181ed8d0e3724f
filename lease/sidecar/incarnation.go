package sidecar

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
)

// origin is where a process runs: in which pod, under which boot of its node.
// Either may be empty, which is: not known.
type origin struct{ podUID, bootID string }

const (
	tokenPath  = "/var/run/secrets/kubernetes.io/serviceaccount/token"
	bootIDPath = "/proc/sys/kernel/random/boot_id"
)

// readOrigin takes the pod's UID from the claims of its service account token,
// which the kubelet has mounted, so that no signature has to be verified.
func readOrigin(tokenPath, bootIDPath string) origin {
	o := origin{podUID: podUIDOf(readSmall(tokenPath)), bootID: strings.TrimSpace(readSmall(bootIDPath))}
	if !isUUID(o.bootID) {
		o.bootID = ""
	}
	return o
}

func readSmall(path string) string {
	f, err := os.Open(path) // a link: the kubelet replaces tokens
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	content, _ := io.ReadAll(io.LimitReader(f, 64<<10))
	return string(content)
}

func podUIDOf(token string) string {
	parts := strings.Split(strings.TrimSpace(token), ".")
	if len(parts) != 3 {
		return ""
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var claims struct {
		Kubernetes struct {
			Pod struct {
				UID string `json:"uid"`
			} `json:"pod"`
		} `json:"kubernetes.io"`
	}
	if json.Unmarshal(payload, &claims) != nil || !isUUID(claims.Kubernetes.Pod.UID) {
		return ""
	}
	return claims.Kubernetes.Pod.UID
}

var isUUID = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`).MatchString

// incarnation returns a new mark for a process of this origin:
// RANDOM.POD-UID.BOOT-ID.
func (o origin) incarnation() string { return rand.Text() + "." + o.podUID + "." + o.bootID }

// originOf reads an incarnation, which anyone may have written. What is not of
// exactly our form has no origin.
func originOf(incarnation string) origin {
	parts := strings.Split(incarnation, ".")
	if len(parts) != 3 || !isRandom(parts[0]) || parts[1] != "" && !isUUID(parts[1]) || parts[2] != "" && !isUUID(parts[2]) {
		return origin{}
	}
	return origin{podUID: parts[1], bootID: parts[2]}
}

var isRandom = regexp.MustCompile(`^[A-Z2-7]{26}$`).MatchString

// provenDead returns lease.Config.ProvenDead: the process of an incarnation has
// ended when its claim is free (dead), or when it ran in this pod under another
// boot of the node (S5). Of a process under another kernel a free claim says nothing:
// the volume may be one on which locks are local to a node.
func (o origin) provenDead(dead []string) func(string) bool {
	dead = slices.Clone(dead)
	return func(incarnation string) bool {
		before := originOf(incarnation)
		if slices.Contains(dead, incarnation) && before.bootID == o.bootID {
			return true
		}
		return o.podUID != "" && before.podUID == o.podUID && o.bootID != "" && before.bootID != "" && before.bootID != o.bootID
	}
}
