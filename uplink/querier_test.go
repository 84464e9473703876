package uplink

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	vswitch "vswitchd/switch"
)

// Linux's kernel answers the queries of a switch that is a querier, of all versions.
func TestKernelsAnswerTheQuerier(t *testing.T) {
	for _, q := range []vswitch.QuerierConfig{{On: true, IGMP: 2, MLD: 1}, {On: true, IGMP: 3, MLD: 2}} {
		t.Run(fmt.Sprintf("IGMPv%d, MLDv%d", q.IGMP, q.MLD), func(t *testing.T) {
			all, names := newListeners(t, 2)
			on := vswitch.McastConfig{Snooping: true, Querier: q}
			sw := vswitch.New(vswitch.Config{Mcast: on})
			_, _, part := joinTo(t, sw, names...)
			defer part()
			members := func() string {
				entries, _ := sw.MDB(vswitch.AnyVLAN)
				var list []string
				for _, e := range entries {
					list = append(list, e.Group.String()+" "+e.Port)
				}
				return strings.Join(slices.Compact(list), ", ")
			}
			want := func(when, want string) {
				t.Helper()
				waitFor(t, when+": memberships "+want, func() bool { return members() == want })
			}
			g4, g6 := netip.MustParseAddr("239.1.1.1"), netip.MustParseAddr("ff05::1:3")
			leave4, leave6 := all[0].join(g4), all[0].join(g6)
			defer all[1].join(g4)()
			const every = "239.1.1.1 s0, 239.1.1.1 s1, ff05::1:3 s0"
			want("by themselves", every)

			// Forgotten memberships come back only because the switch asks.
			for _, c := range []vswitch.McastConfig{{}, on} {
				if _, err := sw.Apply(&vswitch.Change{Mcast: &c, KeepStatic: true}); err != nil {
					t.Fatal(err)
				}
			}
			if got := members(); got != "" {
				t.Errorf("after snooping was off: %s", got)
			}
			want("when asked", every)

			// They end if nobody answers for the group.
			leave4()
			leave6()
			want("the first has left", "239.1.1.1 s1")
		})
	}
}
