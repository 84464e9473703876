package rules_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

// logKeys are the keys of lines of the log, with what their values are. A new key has one line
// here, unless one of these says the same.
var logKeys = map[string]string{
	"port":    "the name of the port that the line is about, which loggers of ports add by themselves",
	"other":   "the name of the other port that has a part in it",
	"owner":   "the name of the port that an address belongs to",
	"ports":   "names, or the number, of ports",
	"part":    "a part of the sandbox",
	"reason":  "why something has happened, in words for the operator",
	"error":   "why something that vswitchd has tried failed",
	"hint":    "what is likely wrong outside of vswitchd",
	"change":  "what is different in the configuration",
	"pid":     "the process behind a socket",
	"signal":  "a signal that vswitchd was sent",
	"message": "a message of vhost-user",
	"ring":    "the index of a virtqueue",

	"mac": "a MAC address", "vlan": "a VLAN", "all_vlans": "whether an entry is valid in every VLAN", "group": "a multicast group", "source": "an address in it",
	"type": "of an entry of the FDB", "types": "likewise", "address": "of memory", "addresses": "a number of addresses", "left_out": "addresses that were left out",
	"index": "of a network interface", "interface": "its name", "mtu": "its MTU", "from": "its old name", "to": "its new name",
	"times": "how often something has happened", "frames": "how many frames it has happened to", "probes": "how many probes of loop detection", "removed": "entries that were removed",
	"for": "how long something lasts", "every": "how often something is tried", "silent": "how long nothing has come",
	"capture": "the id of a capture", "captured": "frames that were captured", "lost": "frames that were not captured", "all_ports": "whether all ports are captured at",
	"version": "of vswitchd", "config": "the configuration file", "control": "the control socket", "workers": "a number of data-plane threads", "queues": "queue pairs in use",
	"flags": "of a message", "size": "of a message", "fds": "that came with a message", "path": "of a request to the control API, or of a file",
	"bytes": "of memory", "address_space": "bytes that guests' memory can have", "mappings": "that the process can have", "files": "that the process can have open",
	"lines": "a number of lines of the log that were left out", "each": "their message",
}

// Lines of the log have a message that begins in lower case and ends without a stop, and keys from
// the table above. The message is a constant or a variable, but never made of a value that differs
// from line to line: the rate of lines is limited by message.
func TestLinesOfTheLogAreAlike(t *testing.T) {
	used := map[string]bool{}
	files := token.NewFileSet()
	walk(t, func(name string) {
		if path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") || strings.Contains(name, "bench/") || strings.Contains(name, "test/") {
			return
		}
		file, err := parser.ParseFile(files, name, read(t, name), parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				if args := logged(call); args != nil {
					checkLine(t, files.Position(call.Pos()), args, used)
				}
			}
			return true
		})
	})
	if len(used) < 20 {
		t.Errorf("only the keys %q are found", slices.Sorted(maps.Keys(used)))
	}
}

// logged returns the message and the keys of a call that logs something.
func logged(call *ast.CallExpr) []ast.Expr {
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || len(call.Args) == 0 {
		return nil
	}
	receiver := ""
	switch x := method.X.(type) {
	case *ast.Ident:
		receiver = x.Name
	case *ast.SelectorExpr:
		receiver = x.Sel.Name
	}
	switch {
	case !slices.Contains([]string{"log", "Log", "logger", "Logger"}, receiver):
		return nil
	case slices.Contains([]string{"Trace", "Debug", "Info", "Warn", "Error"}, method.Sel.Name):
		return call.Args
	case method.Sel.Name == "Log":
		return call.Args[1:]
	}
	return nil
}

func checkLine(t *testing.T, at token.Position, args []ast.Expr, used map[string]bool) {
	switch message := args[0].(type) {
	case *ast.BasicLit:
		text, _ := strconv.Unquote(message.Value)
		if first := []rune(text)[0]; strings.HasSuffix(text, ".") || unicode.IsUpper(first) && !unicode.IsUpper([]rune(text)[1]) {
			t.Errorf("%s: the message %q is a sentence", at, text)
		}
	case *ast.CallExpr:
		t.Errorf("%s: the message is made by a call: what differs from line to line has a key", at)
	}
	for i := 1; i < len(args); i += 2 {
		lit, ok := args[i].(*ast.BasicLit)
		if !ok {
			return // a list of keys and values
		}
		key, _ := strconv.Unquote(lit.Value)
		if used[key] = true; logKeys[key] == "" {
			t.Errorf("%s: the key %q is not in the table", at, key)
		}
	}
}
