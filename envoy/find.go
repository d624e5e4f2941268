package envoy

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Version is the Envoy that the cache is filled with and that the tests run.
const Version = "1.40.0"

// Find returns the Envoy binary to run: explicit if it is not empty,
// else $ENVOY, else envoy on the PATH, else the cache. A place that is named but
// holds no program is an error, never passed over.
func Find(explicit string) (string, error) {
	if explicit != "" {
		return program("option Path", explicit)
	}
	if path := os.Getenv("ENVOY"); path != "" {
		return program("$ENVOY", path)
	}
	if path, err := exec.LookPath("envoy"); err == nil {
		return path, nil
	}
	cached, err := cachePath()
	if err == nil {
		_, err = exec.LookPath(cached)
	}
	if err != nil {
		return "", fmt.Errorf("no envoy: option Path and $ENVOY are not set, PATH has none, the cache has none (%w): run make envoy", err)
	}
	return cached, nil
}

func program(origin, path string) (string, error) {
	found, err := exec.LookPath(path)
	if err != nil {
		return "", fmt.Errorf("%s=%s is no program (%w): name an envoy, or leave option Path and $ENVOY unset for the one on PATH or in the cache that make envoy fills", origin, path, err)
	}
	return found, nil
}

// cachePath is where make envoy puts the binary; the script computes it alike.
func cachePath() (string, error) {
	dir := os.Getenv("ROLLCALL_CACHE")
	if dir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(user, "rollcall")
	}
	if !filepath.IsAbs(dir) {
		return "", errors.New("$ROLLCALL_CACHE is not an absolute path")
	}
	return filepath.Join(dir, "envoy-"+Version, "envoy"), nil
}
