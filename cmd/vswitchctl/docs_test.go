package main

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// inDocs matches a command in code font.
var inDocs = regexp.MustCompile("`vswitchctl ([^`]+)`")

// Every command that a document names exists, and has the flags that the document gives it.
func TestDocumentsNameCommandsThatExist(t *testing.T) {
	root := newRoot(io.Discard)
	found := 0
	for _, pattern := range []string{"../../*.md", "../../docs/*.md"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range inDocs.FindAllStringSubmatch(string(text), -1) {
				found++
				if problem := check(root, strings.Fields(m[1])); problem != "" {
					t.Errorf("%s: vswitchctl %s: %s", file, m[1], problem)
				}
			}
		}
	}
	if found < 20 {
		t.Errorf("%d commands were found in documents", found)
	}
	for _, wrong := range []string{"shwo", "port shwo NAME", "fdb show --prt NAME", "port"} {
		if check(root, strings.Fields(wrong)) == "" {
			t.Errorf("vswitchctl %s is taken for a command", wrong)
		}
	}
}

// check says what is wrong with a command: its words are those of a command, followed by arguments
// and flags, some of them in brackets. A command that only contains others has no flags.
func check(root *cobra.Command, words []string) string {
	cmd := root
	for len(words) > 0 {
		sub := subcommand(cmd, words[0])
		if sub == nil {
			break
		}
		cmd, words = sub, words[1:]
	}
	if cmd.HasSubCommands() && !cmd.LocalNonPersistentFlags().HasFlags() && !(cmd == root && len(words) > 0 && strings.HasPrefix(words[0], "-")) {
		return "no such command"
	}
	for _, word := range words {
		word = strings.Trim(word, "[]")
		if strings.HasPrefix(word, "-") && word != "-h" && flagNamed(cmd, strings.TrimLeft(word, "-")) == nil {
			return "no such flag as " + word
		}
	}
	return ""
}

func subcommand(cmd *cobra.Command, name string) *cobra.Command {
	for _, sub := range cmd.Commands() {
		if sub.Name() == name {
			return sub
		}
	}
	return nil
}

func flagNamed(cmd *cobra.Command, name string) *pflag.Flag {
	if len(name) == 1 {
		if f := cmd.Flags().ShorthandLookup(name); f != nil {
			return f
		}
		return cmd.Root().PersistentFlags().ShorthandLookup(name)
	}
	if f := cmd.Flags().Lookup(name); f != nil {
		return f
	}
	return cmd.Root().PersistentFlags().Lookup(name)
}
