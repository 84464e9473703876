package vhostusertest

import (
	"fmt"

	"vswitchd/vhostuser"
)

// configHeader is the size, in bytes, of the fields before the data in the payloads of GET_CONFIG
// and SET_CONFIG: offset, size and flags.
const configHeader = 12

// GetConfig sends GET_CONFIG and returns size bytes of the device's configuration space.
func (f *FrontEnd) GetConfig(offset, size uint32) ([]byte, error) {
	ask := vhostuser.ConfigAccess{Offset: offset, Size: size, Data: make([]byte, size)}.AppendTo(nil)
	b, err := f.Get(vhostuser.GetConfig, ask, len(ask))
	if err != nil {
		return nil, err
	}
	if string(b[:configHeader]) != string(ask[:configHeader]) {
		return nil, fmt.Errorf("reply to GET_CONFIG has header % x instead of % x", b[:configHeader], ask[:configHeader])
	}
	return b[configHeader:], nil
}

// SetConfig sends SET_CONFIG.
func (f *FrontEnd) SetConfig(offset uint32, data []byte, flags uint32) error {
	c := vhostuser.ConfigAccess{Offset: offset, Size: uint32(len(data)), Flags: flags, Data: data}
	return f.Do(vhostuser.SetConfig, c.AppendTo(nil))
}
