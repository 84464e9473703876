package vm

import (
	"context"
	"errors"
	"fmt"
)

// ErrInUse: the guest did not give back what was to be unplugged.
var ErrInUse = errors.New("the guest does not let go of it")

// PlugMemory plugs a DIMM in, of a multiple of 128 MiB, shared like the guest's other memory.
// Config.MaxMemoryMiB has to have room for it. The guest may take a while to notice.
func (vm *VM) PlugMemory(ctx context.Context, id string, mib int) error {
	_, err := vm.Execute(ctx, "object-add", map[string]any{
		"qom-type": "memory-backend-memfd", "id": "backend-" + id, "size": int64(mib) << 20, "share": true,
	})
	if err != nil {
		return err
	}
	_, err = vm.Execute(ctx, "device_add", map[string]any{"driver": "pc-dimm", "id": id, "memdev": "backend-" + id})
	return err
}

// UnplugMemory takes a DIMM out again. The error is ErrInUse if the guest refuses, as Linux does
// when something that cannot be moved is in that memory.
func (vm *VM) UnplugMemory(ctx context.Context, id string) error {
	if _, err := vm.Execute(ctx, "device_del", map[string]any{"id": id}); err != nil {
		return err
	}
	event, err := vm.WaitEvent(ctx, "DEVICE_DELETED", "MEM_UNPLUG_ERROR", "DEVICE_UNPLUG_GUEST_ERROR")
	if err != nil {
		return err
	}
	if event.Name != "DEVICE_DELETED" {
		return fmt.Errorf("guest %s: unplug %s: %w", vm.Config.Name, id, ErrInUse)
	}
	_, err = vm.Execute(ctx, "object-del", map[string]any{"id": "backend-" + id})
	return err
}
