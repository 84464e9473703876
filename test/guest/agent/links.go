package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vswitchd/test/guest"
)

// watchLinks brings every eth0 up that appears from now on, and gives it the MTU and the addresses
// of the kernel's parameters. There is a new eth0 at boot, after the driver was bound anew, and
// after the device was plugged in. The channel is closed when the first one is configured.
func watchLinks(params map[string]string) (<-chan struct{}, error) {
	config, err := newLinkConfig(params)
	if err != nil {
		return nil, err
	}
	if lo, err := netlink.LinkByName("lo"); err != nil {
		return nil, err
	} else if err := netlink.LinkSetUp(lo); err != nil {
		return nil, err
	}
	updates := make(chan netlink.LinkUpdate)
	if err := netlink.LinkSubscribeWithOptions(updates, nil, netlink.LinkSubscribeOptions{ListExisting: true}); err != nil {
		return nil, err
	}
	first := make(chan struct{})
	go func() {
		done := 0 // the index of the last one configured; the kernel does not use an index again
		for update := range updates {
			if update.Header.Type != unix.RTM_NEWLINK || update.Attrs().Name != "eth0" || update.Attrs().Index == done {
				continue
			}
			if err := config.apply(update.Link); err != nil {
				fmt.Println("agent: eth0:", err) // it may have gone again; then the next one counts
				continue
			}
			if done == 0 {
				close(first)
			}
			done = update.Attrs().Index
		}
	}()
	return first, nil
}

type linkConfig struct {
	mtu   int // 0: leave it
	addrs []*netlink.Addr
}

func newLinkConfig(params map[string]string) (*linkConfig, error) {
	config := new(linkConfig)
	if s := params[guest.ParamMTU]; s != "" {
		mtu, err := strconv.Atoi(s)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", guest.ParamMTU, err)
		}
		config.mtu = mtu
	}
	if s := params[guest.ParamIP]; s != "" {
		for _, prefix := range strings.Split(s, ",") {
			addr, err := netlink.ParseAddr(prefix)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", guest.ParamIP, err)
			}
			config.addrs = append(config.addrs, addr)
		}
	}
	return config, nil
}

func (c *linkConfig) apply(link netlink.Link) error {
	if c.mtu != 0 {
		if err := netlink.LinkSetMTU(link, c.mtu); err != nil {
			return fmt.Errorf("set MTU: %w", err)
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	for _, addr := range c.addrs {
		if err := netlink.AddrReplace(link, addr); err != nil {
			return fmt.Errorf("set address %v: %w", addr, err)
		}
	}
	return nil
}
