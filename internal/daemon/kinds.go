package daemon

import (
	"fmt"

	"vswitchd/internal/config"
	"vswitchd/internal/port"
	"vswitchd/internal/port/guest"
	"vswitchd/internal/port/hostport"
	"vswitchd/internal/port/uplinkport"
)

// allKinds returns the kinds of port that there are, in the order in which their ports are shown.
func allKinds() kinds { return kinds{uplinkport.Kind{}, guest.Kind{}, hostport.Kind{}} }

// Kinds returns the declarations of all kinds of port, for reading a configuration.
func Kinds() config.Kinds { return allKinds().declarations() }

type kinds []port.Kind

func (ks kinds) declarations() (list config.Kinds) {
	for _, k := range ks {
		list = append(list, k.Declaration())
	}
	return list
}

// named returns the kind with the given name, or nil.
func (ks kinds) named(name string) port.Kind {
	for _, k := range ks {
		if k.Declaration().Name == name {
			return k
		}
	}
	return nil
}

// of returns the kind of a port.
func (ks kinds) of(p *config.Port) port.Kind { return ks.named(p.Kind.Name) }

// start makes an opener for each kind; the map's keys are the kinds' names. After an error, the
// caller must close the openers that start returned.
func (ks kinds) start(env port.Env) (openers map[string]port.Opener, err error) {
	openers = make(map[string]port.Opener)
	for _, k := range ks {
		name := k.Declaration().Name
		o, err := k.Start(env)
		if err != nil {
			return openers, fmt.Errorf("preparing for ports of kind %s: %w", name, err)
		}
		openers[name] = o
	}
	return openers, nil
}
