package sidecar

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Program is the name under which Install puts this program.
const Program = "leader-election-sidecar"

// Install copies this program into dir, for a container whose image has no copy of it,
// and returns where it is. A reader sees the whole program or none.
func Install(dir string) (path string, err error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("this program's own file is not known: %w", err)
	}
	return install(self, dir)
}

func install(self, dir string) (path string, err error) {
	refuse := func(err error) error {
		return fmt.Errorf("%s can't be installed in %s: %w; mount a volume there that has room (32Mi) and that this user (uid %d) may write to", Program, dir, err, os.Getuid())
	}
	from, err := os.Open(self)
	if err != nil {
		return "", refuse(err)
	}
	defer func() { _ = from.Close() }()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", refuse(err)
	}
	to, err := os.CreateTemp(dir, "."+Program+".*")
	if err != nil {
		return "", refuse(err)
	}
	_, err = io.Copy(to, from)
	if err = errors.Join(err, to.Chmod(0o755), to.Close()); err == nil {
		path = filepath.Join(dir, Program)
		err = os.Rename(to.Name(), path)
	}
	if err != nil {
		_ = os.Remove(to.Name())
		return "", refuse(err)
	}
	return path, nil
}
