package doctor

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
)

// A Device is a network device on a port's socket, as the command line of its QEMU describes it.
// Strings that are "" are not given there.
type Device struct {
	PID          int
	Server       bool   // QEMU listens on the socket
	Reconnect    bool   // QEMU connects again when the connection is lost
	Queues       string // of the network back-end
	MQ           string // "on" or "off"
	RxQueueSize  string
	SharedMemory string // "on" or "off"; "none": there is no memory backend
}

// options are the properties of one option of QEMU.
type options map[string]string

// device returns the device that a process has on a socket; nil: none can be seen.
func (p *Process) device(socket string) *Device {
	if len(p.Args) == 0 || !strings.Contains(filepath.Base(p.Args[0]), "qemu") && !strings.Contains(filepath.Base(p.Args[0]), "kvm") {
		return nil
	}
	all := p.options()
	channel := find(all["-chardev"], "path", socket)
	if channel == nil {
		return nil
	}
	d := &Device{PID: p.PID, SharedMemory: sharing(all["-object"])}
	d.Server = on(channel["server"])
	for _, key := range []string{"reconnect", "reconnect-ms"} {
		d.Reconnect = d.Reconnect || channel[key] != "" && channel[key] != "0"
	}
	if netdev := find(all["-netdev"], "chardev", channel["id"]); netdev != nil {
		d.Queues = netdev["queues"]
		if device := find(all["-device"], "netdev", netdev["id"]); device != nil {
			d.MQ, d.RxQueueSize = device["mq"], device["rx_queue_size"]
		}
	}
	return d
}

// sharing says whether the memory back-ends among objects are shared.
func sharing(objects []options) string {
	s := "none"
	for _, o := range objects {
		if kind := o["qom-type"]; strings.HasPrefix(kind, "memory-backend-") {
			if !on(o["share"]) {
				return "off"
			}
			s = "on"
		}
	}
	return s
}

func on(value string) bool { return value == "on" || value == "true" || value == "yes" }

// find returns the first of the options that have a value for a key, or nil.
func find(list []options, key, value string) options {
	for _, o := range list {
		if o[key] == value && value != "" {
			return o
		}
	}
	return nil
}

// options returns the options with properties of a command line, by name. QEMU takes each of them
// with one or two dashes.
func (p *Process) options() map[string][]options {
	all := make(map[string][]options)
	for i := 1; i+1 < len(p.Args); i++ {
		name := "-" + strings.TrimLeft(p.Args[i], "-")
		switch name {
		case "-chardev", "-netdev", "-device", "-object":
			all[name] = append(all[name], properties(name, p.Args[i+1]))
			i++
		}
	}
	return all
}

// properties reads the value of an option: "driver,key=value,..." in which a comma of a value is
// doubled, or an object in JSON, as libvirt writes it. A key without a value is on.
func properties(name, text string) options {
	o := make(options)
	if strings.HasPrefix(text, "{") {
		var members map[string]any
		if json.Unmarshal([]byte(text), &members) == nil {
			for k, v := range members {
				o[k] = fmt.Sprint(v)
			}
		}
		return o
	}
	const comma = "\x00"
	for i, part := range strings.Split(strings.ReplaceAll(text, ",,", comma), ",") {
		part = strings.ReplaceAll(part, comma, ",")
		k, v, assigned := strings.Cut(part, "=")
		switch {
		case !assigned && i == 0:
			o[implied[name]] = part
		case !assigned:
			o[k] = "on"
		default:
			o[k] = v
		}
	}
	return o
}

// implied are the keys of what begins the value of an option.
var implied = map[string]string{"-chardev": "backend", "-netdev": "type", "-device": "driver", "-object": "qom-type"}
