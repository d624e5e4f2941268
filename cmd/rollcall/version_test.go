package main

import (
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
)

func TestVersionComesFromTheLinkerOrTheBuildInformation(t *testing.T) {
	stamped := &debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}, Settings: []debug.BuildSetting{
		{Key: "vcs.revision", Value: "0123456789abcdef0123"}, {Key: "vcs.time", Value: "2026-01-02T03:04:05Z"},
	}}
	for name, tt := range map[string]struct {
		linked build
		info   *debug.BuildInfo
		want   string
	}{
		"nothing":           {build{}, &debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, "rollcall unknown, commit unknown of unknown, go"},
		"build information": {build{}, stamped, "rollcall v1.2.3, commit 0123456789ab of 2026-01-02T03:04:05Z, go"},
		"linker":            {build{"v2", "fedcba", "today"}, stamped, "rollcall v2, commit fedcba of today, go"},
	} {
		version, commit, date = tt.linked.version, tt.linked.commit, tt.linked.date
		if got := buildOf(tt.info).String(); !strings.HasPrefix(got, tt.want) || !strings.Contains(got, runtime.Version()) {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
	version, commit, date = "", "", ""
}

func TestTheFlagPrintsTheVersionAsTheCommandDoes(t *testing.T) {
	command, err := invoke(t, "version")
	if err != nil {
		t.Fatal(err)
	}
	flag, err := invoke(t, "--version")
	if err != nil || flag != command || !strings.HasPrefix(flag, "rollcall ") {
		t.Errorf("it prints %q, %v, want %q", flag, err, command)
	}
}
