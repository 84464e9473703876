package config_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// FuzzParse checks that Parse does not panic, that every error has a line of the file, and that
// Parse returns either a configuration or errors.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*/*.toml")
	if err != nil || len(files) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, s := range []string{"", "[", "a", "port = [1, {}]", "fdb = [{}]\nfdb.x = 1", "[port.a]\n[port.a]\n[[port.a]]"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg, errs := kinds.Parse("f", data)
		if (cfg == nil) != (len(errs) > 0) {
			t.Fatalf("config %v, errors %v", cfg, errs)
		}
		if cfg != nil {
			errs = cfg.Warnings
		}
		last := bytes.Count(data, []byte("\n")) + 1
		for _, e := range errs {
			if e.Line < 1 || e.Line > last {
				t.Errorf("the file has %d lines: %v", last, e)
			}
			if bytes.ContainsAny([]byte(e.Error()), "\n\r") {
				t.Errorf("more than one line: %q", e.Error())
			}
		}
	})
}
