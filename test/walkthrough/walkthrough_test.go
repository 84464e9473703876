package walkthrough

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const document = "# Title\n\n```\nfirst\n```\n\n## One\n\nText.\n\n```sh a b\necho 1\n\n  echo 2\n```\n\n" +
	"* An item:\n\n  ```sh\n  if true; then\n    echo 3\n  fi\n  ```\n\n### Below One\n\n```toml\n# no heading\n```\n\n## Two\n\n```sh\necho 4\n```\n"

func TestBlocks(t *testing.T) {
	file := filepath.Join(t.TempDir(), "doc.md")
	if err := os.WriteFile(file, []byte(document), 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := Blocks(file, "")
	if err != nil || len(all) != 5 {
		t.Errorf("%v: %d blocks, want 5", err, len(all))
	}
	one, err := Blocks(file, "One")
	want := []Block{
		{file, 12, []string{"sh", "a", "b"}, "echo 1\n\n  echo 2\n"},
		{file, 20, []string{"sh"}, "if true; then\n  echo 3\nfi\n"},
		{file, 28, []string{"toml"}, "# no heading\n"},
	}
	if diff := cmp.Diff(want, one); err != nil || diff != "" {
		t.Errorf("%v: %s", err, diff)
	}
	if !one[0].Is("sh", "a") || one[1].Is("sh", "a") || one[2].Is("sh") {
		t.Error("the words of blocks are wrong")
	}
	if _, err := Blocks(file, "Three"); err == nil {
		t.Error("found a heading that is not there")
	}
	if err := os.WriteFile(file, []byte("```sh\necho\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Blocks(file, ""); err == nil {
		t.Error("took a block without an end")
	}
}

func TestShell(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := Start(exec.Command)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, step := range []struct{ text, want string }{
		{"x=1; f() { echo \"f $1\"; }", ""},
		{"f $x\ncat\necho '\"'", "f 1\n\"\n"}, // cat finds nothing to read
		{"sleep 600 &", ""},
		{"kill $!; echo killed >&2", "killed\n"},
	} {
		if got, err := s.Run(ctx, step.text); err != nil || got != step.want {
			t.Errorf("%q: %q, %v", step.text, got, err)
		}
	}
	if out, err := s.Run(ctx, "echo before\nfalse\necho after"); err == nil || strings.TrimSpace(out) != "before" {
		t.Errorf("after a command that failed: %q, %v", out, err)
	}
}
