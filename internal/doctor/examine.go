package doctor

import (
	"cmp"
	"slices"
)

// A portCheck examines one port. It returns nil if it finds nothing. The checks that concern
// reasons for drops are made by dropChecks.
type portCheck struct {
	id   string
	make func(*patient) *Finding
}

// A switchCheck is the same for the switch as a whole.
type switchCheck struct {
	id   string
	make func(*Case) *Finding
}

// portChecks are the checks of each port.
var portChecks = []portCheck{
	// Why a guest is silent.
	{"memory-not-shared", memoryNotShared},
	{"big-endian-driver", bigEndianDriver},
	{"not-vhost-user", notVhostUser},
	{"offer-too-small", offerTooSmall},
	{"second-front-end", secondFrontEnd},
	{"no-reconnect", noReconnect},
	{"front-end-lost", frontEndLost},
	{"no-front-end", noFrontEnd},
	{"driver-not-ready", driverNotReady},
	{"silent-guest", silentGuest},
	{"socket-missing", socketMissing},
	{"socket-open", socketOpen},
	{"port-error", portError},
	{"loop-blocked", loopBlocked},
	{"resets", resets},
	{"vlan-alone", vlanAlone},
	{"interface-absent", interfaceAbsent},
	{"interface-down", interfaceDown},
	{"no-carrier", noCarrier},
	{"interface-taken", interfaceTaken},
	{"addresses-left-out", addressesLeftOut},

	// Why frames are lost, or slow.
	{"small-ring", smallRing},
	{"ring-full", ringFull},
	{"ring-broken", ringBroken},
	{"ring-suspended", ringSuspended},
	{"ring-stuck", ringStuck},
	{"offloads-off", offloadsOff},
	{"offloads-not-used", offloadsNotUsed},
	{"queues-not-used", queuesNotUsed},
	{"one-queue-offered", oneQueueOffered},
	{"one-queue-busy", oneQueueBusy},
	{"lro", lro},
	{"mtu-mismatch", mtuMismatch},
	{"migrating", migrating},
	{"slowed-messages", slowedMessages},
	{"memory-near-limit", memoryNearLimit},
	{"addresses-flap", addressesFlap},
	{"address-claimed", addressClaimed},
	{"addresses-not-learned", addressesNotLearned},
	{"old-qemu", oldQEMU},
}

// switchChecks are the checks of the switch as a whole.
var switchChecks = []switchCheck{
	{"worker-saturated", workerSaturated},
	{"worker-starved", workerStarved},
	{"polling-in-vain", pollingInVain},
	{"limit-near", limitNear},
	{"fdb-nearly-full", fdbNearlyFull},
	{"control-socket-open", controlSocketOpen},
	{"config-file", configFile},
	{"config-not-saved", configNotSaved},
	{"versions-differ", versionsDiffer},
	{"sandbox-incomplete", sandboxIncomplete},
}

// IDs returns the IDs of all checks, in the order in which they are made.
func IDs() (ids []string) {
	for _, c := range portChecks {
		ids = append(ids, c.id)
	}
	for _, d := range drops {
		ids = append(ids, d.id())
	}
	for _, c := range switchChecks {
		ids = append(ids, c.id)
	}
	return ids
}

// Examine makes all checks. If only is not "", that is the one port that is examined, besides the
// switch as a whole.
func Examine(c *Case, only string) Report {
	r := Report{SampledS: c.Interval.Seconds(), Checks: len(IDs())}
	for i := range c.After.Ports {
		p := &c.After.Ports[i]
		if only != "" && p.Name != only {
			continue
		}
		r.Ports++
		r.Findings = append(r.Findings, examinePort(newPatient(c, p, only != ""))...)
	}
	for _, check := range switchChecks {
		if f := check.make(c); f != nil {
			f.ID = check.id
			r.Findings = append(r.Findings, *f)
		}
	}
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		return cmp.Compare(slices.Index(severities, a.Severity), slices.Index(severities, b.Severity))
	})
	return r
}

func examinePort(p *patient) (list []Finding) {
	add := func(id string, f *Finding) {
		if f != nil {
			f.ID, f.Port = id, p.Name
			list = append(list, *f)
		}
	}
	for _, check := range portChecks {
		add(check.id, check.make(p))
	}
	for _, d := range drops {
		add(d.id(), d.check(p))
	}
	return list
}
