package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/hashicorp/go-hclog"

	"vswitchd/internal/config"
	"vswitchd/internal/control"
	"vswitchd/internal/daemon"
	"vswitchd/vhostuser"
	"vswitchd/vhostuser/vhostusertest"
	"vswitchd/virtqueue"
	"vswitchd/virtqueue/virtqueuetest"
)

// runSwitch runs a switch with one port, whose workers never sleep, so that they are never kicked,
// and returns its sockets.
func runSwitch(t *testing.T, port string) (controlSocket, portSocket string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "vswitchd-") // t.TempDir's may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	controlSocket, portSocket = filepath.Join(dir, "control"), filepath.Join(dir, "vm1.sock")
	file := filepath.Join(dir, "toml")
	text := "[switch]\npoll = \"always\"\nsocket_dir = \"" + dir + "\"\n[port.vm1]\n" + port
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, errs := daemon.Kinds().Load(file, config.Flags{})
	if errs != nil {
		t.Fatal(errs)
	}
	d, err := daemon.New(cfg, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	l, err := control.Listen(t.Context(), controlSocket, control.Access{UID: -1, GID: -1, Mode: 0o600})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- d.Run(ctx) }()
	go func() { done <- control.NewServer(d.Backend(), reloads, hclog.NewNullLogger()).Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
	return controlSocket, portSocket
}

// The description of a guest's port shows what its front-end and its driver have done.
func TestShowGuest(t *testing.T) {
	for name, features := range map[string]uint64{
		"split":  1<<virtqueue.FeatureVersion1 | 1<<virtqueue.FeatureEventIdx | 1<<virtqueue.FeatureIndirectDesc,
		"packed": 1<<virtqueue.FeatureVersion1 | 1<<virtqueue.FeatureRingPacked,
	} {
		t.Run(name, func(t *testing.T) {
			controlSocket, socket := runSwitch(t, "mac = \"52:54:00:00:00:01\"\nmtu = 9000\noffloads = []\nqueues = 2\n")
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			fe, err := vhostusertest.Dial(socket)
			must(err)
			defer fe.Close()
			must(fe.Handshake(features|1<<vhostuser.FeatureProtocolFeatures|1<<3, 1<<vhostuser.ProtocolFeatureMQ|
				1<<vhostuser.ProtocolFeatureReplyAck|1<<vhostuser.ProtocolFeatureBackendReq|1<<vhostuser.ProtocolFeatureStatus|
				1<<vhostuser.ProtocolFeatureNetMTU|1<<vhostuser.ProtocolFeatureInflightShmFD|1<<vhostuser.ProtocolFeatureLogShmFD))
			mem, err := fe.NewMemory(1 << 20)
			must(err)
			must(fe.ShareMemory())
			must(fe.Do(vhostuser.NetSetMTU, vhostuser.AppendU64(nil, 1500)))
			ch, err := fe.OpenChannel()
			must(err)
			defer ch.Close()
			in, err := fe.GetInflight(2, 64)
			must(err)
			defer in.Close()
			must(fe.SetInflight(in))
			log, err := vhostusertest.NewLog(mem.Region.GuestAddr + mem.Region.Size)
			must(err)
			defer log.Close()
			must(fe.SetLogBase(log))
			for i := range 2 {
				r, err := fe.NewRing(mem, i, 64, 64<<10)
				must(err)
				for range 3 * (1 - i) { // receive buffers, which nothing fills
					_, err := r.Driver.AddChain(nil, []virtqueuetest.Buf{r.Driver.Alloc(1000)})
					must(err)
				}
				r.Driver.Publish()
				must(fe.StartRing(r))
			}
			must(fe.LogAll(true))
			must(fe.LogRing(fe.Rings[0], true))
			must(fe.EnableRing(fe.Rings[1], false))
			must(fe.Do(vhostuser.SetStatus, vhostuser.AppendU64(nil, 0xf)))

			show := func(args ...string) string {
				t.Helper()
				var stdout, stderr bytes.Buffer
				if code := run(append([]string{"--control", controlSocket, "port", "show", "vm1"}, args...), &stdout, &stderr); code != exitOK {
					t.Fatalf("exit code %d: %s", code, &stderr)
				}
				out := regexp.MustCompile(regexp.QuoteMeta(socket)).ReplaceAllString(stdout.String(), "SOCKET")
				// The configured values come from the declarations of the keys.
				out = regexp.MustCompile(`("(settings|flags)": )\{[^}]*\}`).ReplaceAllString(out, "${1}{}")
				out = regexp.MustCompile(`(session +)\d+s`).ReplaceAllString(out, "${1}AGE")
				out = regexp.MustCompile(`("peer_pid": |, process )\d+`).ReplaceAllString(out, "${1}1")
				return regexp.MustCompile(`("age_s": )\d+`).ReplaceAllString(out, "${1}0")
			}
			golden(t, filepath.Join("testdata", "guest-"+name+".golden"), show())
			golden(t, filepath.Join("testdata", "guest-"+name+"-json.golden"), show("-j"))
			var p control.PortDetail
			raw, err := control.NewClient(controlSocket).Get(t.Context(), "/v1/ports/vm1")
			must(err)
			must(json.Unmarshal(raw, &p))
			if p.Settings.Get("mtu") != "9000" || p.Flags.Get("learning") != "true" {
				t.Errorf("settings %v, flags %v", p.Settings, p.Flags)
			}
			if len(p.Rings) != 2 || p.Rings[0].Waiting != 3 || !p.Session.InFlight.Present || !p.Session.DirtyLog.On {
				t.Errorf("%+v", p)
			}
		})
	}
}
