package uplinkport

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	vswitch "vswitchd/switch"
)

func mac(b byte) vswitch.MAC { return vswitch.MAC{2, 0, 0, 0, 0, b} }

// Static addresses come first, then those learned from each port in turn, and none that is behind
// the uplink itself.
func TestStationsBeyond(t *testing.T) {
	learned := func(port string, b byte) vswitch.FDBEntry {
		return vswitch.FDBEntry{MAC: mac(b), Port: port, Kind: vswitch.FDBDynamic}
	}
	static := func(port string, b byte) vswitch.FDBEntry {
		return vswitch.FDBEntry{MAC: mac(b), Port: port}
	}
	got := stationsBeyond([]vswitch.FDBEntry{
		learned("greedy", 1), learned("greedy", 2), learned("up", 3), learned("greedy", 4),
		static("up", 5), static("vm", 6), {MAC: mac(10), Kind: vswitch.FDBBlackhole}, learned("vm", 7), learned("another", 8), learned("another", 9),
	}, "up")
	want := []vswitch.MAC{mac(6), mac(8), mac(1), mac(7), mac(9), mac(2), mac(4)}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// quietPort is a port that discards every frame and sends none.
type quietPort struct{}

func (quietPort) Transmit(frames []*vswitch.Frame) int { return len(frames) }
func (quietPort) Caps() vswitch.Caps                   { return vswitch.Caps{} }

// The feed passes on every change of the FDB, the first one without delay, and calls update again
// while it returns true.
func TestAddressFeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sw := vswitch.New(vswitch.Config{})
		defer sw.Close()
		if _, err := sw.Attach(vswitch.DefaultPortConfig("vm"), quietPort{}); err != nil {
			t.Fatal(err)
		}
		var updates [][]vswitch.MAC
		left := 0
		f := startFeed(sw, func() bool {
			updates = append(updates, stationsBeyond(sw.FDB("", vswitch.AnyVLAN), "up"))
			left--
			return left > 0
		})
		check := func(when string, calls int, want ...vswitch.MAC) {
			t.Helper()
			synctest.Wait()
			if len(updates) != calls || !slices.Equal(updates[len(updates)-1], want) {
				t.Errorf("%s: addresses set: %v", when, updates)
			}
			updates = nil
		}
		check("at start", 1)
		sleep := func() { time.Sleep(2 * addressPause) }
		sleep()
		must := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		must(sw.AddFDB(vswitch.StaticEntry{MAC: mac(1), Port: "vm"}))
		check("one more", 1, mac(1))
		must(sw.AddFDB(vswitch.StaticEntry{MAC: mac(2), Port: "vm"}))
		must(sw.AddFDB(vswitch.StaticEntry{MAC: mac(3), Port: "vm"}))
		sleep()
		check("two more", 1, mac(1), mac(2), mac(3))
		left = 3
		must(sw.DelFDB(mac(2), 0))
		sleep()
		sleep()
		check("one less, in three steps", 3, mac(1), mac(3))
		f.again()
		sleep()
		check("again", 1, mac(1), mac(3))
		f.close()
		must(sw.AddFDB(vswitch.StaticEntry{MAC: mac(4), Port: "vm"}))
		synctest.Wait()
		if len(updates) != 0 {
			t.Errorf("addresses set after close: %v", updates)
		}
	})
}
