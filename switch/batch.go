package vswitch

// batch is the scratch memory of one Deliver, in which stages leave their results for later stages.
type batch struct {
	src *portView // the port that the frames came from; nil: that port is detached
	set *portSet
	now uint32

	runs  [MaxBatch]run // frames that classify has neither dropped nor found remembered
	nruns int

	bare    verdict    // of frames without a tag
	carried bool       // the source port carries their VLAN
	hashed  hashedKeys // of the last run

	recalls  bool             // the inlet's memory may be used, see memo.go
	recalled [MaxBatch]portID // see memo.recall
	changes  uint64           // fdb.changes before the first look-up
	untagged uint64           // the first frames of runs without a tag
	settled  uint64           // frames whose source address is known behind the source port

	unknown, mcast, bcast uint64 // frames that are flooded, and why
	snooped               uint64 // multicast frames that go only to ports that want them
	known, answered       uint64 // of mcast and bcast: what stage neigh has found out

	clash clash // see stage loop

	sets  [MaxBatch]mcastSet // destinations of snooped
	nsets int

	offloads  bool // some frame has an offload request
	customers bool // some frame has a customer's VLAN
	longest   int  // Len of the longest frame

	groups  [MaxBatch]group // destinations of unicast frames
	ngroups int
	groupOf [maxPorts]uint8 // by port id: index into groups plus 1, or 0

	vlans  [MaxBatch]vlanGroup // VLANs of flooded frames
	nvlans int

	drops   [maxDrops]drop
	ndrops  int
	shaped  bool // a tag was pushed or popped: shapes have to be checked
	out     [MaxBatch]*Frame
	touched uint64 // keeps the compiler from removing touch

	nanos int64            // see Inlet.nanotime; 0: not read yet
	sizes [MaxBatch]uint32 // of frames, in the tokens of a bucket

	frames []Frame // the batch, if portSet.observed
}

// A run is frames of a batch that are treated alike, because they have the same addresses and are
// in the same VLAN.
type run struct {
	frames  uint64
	first   int // index of the first frame, which may have been dropped since
	dst     addr
	srcKey  fdbKey
	srcHash hash
	dstHash hash // if dst is not a group address
}

// hashedKeys are the keys of a run, with their hashes.
type hashedKeys struct {
	src, dst         fdbKey
	srcHash, dstHash hash
}

// A group is the unicast frames that go to one port.
type group struct {
	to     *portView
	frames uint64
}

// A vlanGroup is the flooded frames that are in one VLAN, and in one of a customer's.
type vlanGroup struct {
	vlan   uint16
	cvlan  uint16
	frames uint64
}

// reset clears the state of the last batch.
func (b *batch) reset() {
	for i := range b.groups[:b.ngroups] {
		b.groupOf[b.groups[i].to.id] = 0
	}
	b.ngroups, b.nvlans, b.nruns, b.ndrops = 0, 0, 0, 0
	b.nsets = 0
	b.unknown, b.mcast, b.bcast, b.snooped = 0, 0, 0, 0
	b.known, b.answered = 0, 0
	b.shaped, b.clash.found = false, false
	b.recalls, b.untagged, b.settled = false, 0, 0
	b.nanos = 0
}

// flooded returns the frames that go to many ports.
func (b *batch) flooded() uint64 { return b.unknown | b.mcast | b.bcast | b.snooped }
