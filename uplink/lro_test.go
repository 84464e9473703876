package uplink

import (
	"testing"

	"golang.org/x/sys/unix"
)

// A lroDriver is a NIC with LRO; no virtual device has it.
type lroDriver struct {
	flags, fixed uint32
	refuses      bool
	sets         int
}

func (d *lroDriver) ethtool(_ string, cmd, value uint32) (uint32, error) {
	switch cmd {
	case ethtoolGFlags:
		return d.flags, nil
	case ethtoolSFlags:
		d.sets++
		if d.refuses {
			return 0, unix.EPERM
		}
		d.flags = value | d.fixed
		return value, nil
	}
	return 0, unix.EOPNOTSUPP
}

func TestTurnOffLRO(t *testing.T) {
	for _, tt := range []struct {
		name        string
		driver      lroDriver
		changed, on bool
		flags       uint32
		sets        int
	}{
		{"off", lroDriver{flags: ethFlagTxVLAN}, false, false, ethFlagTxVLAN, 0},
		{"on", lroDriver{flags: ethFlagTxVLAN | ethFlagLRO}, true, false, ethFlagTxVLAN, 1},
		{"fixed", lroDriver{flags: ethFlagLRO, fixed: ethFlagLRO}, false, true, ethFlagLRO, 1},
		{"no privilege", lroDriver{flags: ethFlagLRO, refuses: true}, false, true, ethFlagLRO, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			changed, on := turnOffLRO("eth", tt.driver.ethtool)
			if changed != tt.changed || on != tt.on || tt.driver.flags != tt.flags || tt.driver.sets != tt.sets {
				t.Errorf("changed %v, on %v, driver %+v", changed, on, tt.driver)
			}
		})
	}
	none := func(string, uint32, uint32) (uint32, error) { return 0, unix.EOPNOTSUPP }
	if changed, on := turnOffLRO("eth", none); changed || on {
		t.Errorf("no driver: changed %v, on %v", changed, on)
	}
}

// A driver without LRO is asked and left alone.
func TestLROOfVeth(t *testing.T) {
	newLab(t)
	r := begin(t, nil)
	if r.u.Status().LRO || r.logged("large receive") != 0 {
		t.Error("said to have LRO")
	}
	if _, err := ethtoolValue(nearName, ethtoolGFlags, 0); err != nil {
		t.Errorf("asking: %v", err)
	}
}
