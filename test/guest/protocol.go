package guest

// Kernel parameters that the agent understands.
const (
	// ParamIP lists eth0's addresses with prefix lengths, separated by commas:
	// vs.ip=10.0.0.1/24,fd00::1/64. A guest that has it is ready once eth0 exists and has them.
	ParamIP = "vs.ip"
	// ParamMTU is eth0's MTU in bytes. Without it the driver's choice stands.
	ParamMTU = "vs.mtu"
	// ParamIperf set to 1 starts an iperf3 server.
	ParamIperf = "vs.iperf"
	// ParamAgent is the terminal on which the agent listens. The default is the second serial port,
	// DefaultAgent.
	ParamAgent = "vs.agent"
)

// DefaultAgent is where the agent listens without ParamAgent.
const DefaultAgent = "/dev/ttyS1"

// A Request asks the agent to run a command. Requests run at the same time; the answers come as
// they end.
type Request struct {
	ID        uint64 `json:"id"`                   // comes back in the answer
	Command   string `json:"cmd"`                  // run by /bin/sh -c
	TimeoutMS int64  `json:"timeout_ms,omitempty"` // after which the command and its children are killed; 0: never
}

// A Message is what the agent sends: either Ready is set, or Result.
type Message struct {
	Ready  *Ready  `json:"ready,omitempty"`
	Result *Result `json:"result,omitempty"`
}

// Ready says that the guest has started and its addresses are set.
type Ready struct {
	Boot   string `json:"boot"`   // differs between two boots of one guest
	Kernel string `json:"kernel"` // its release, as in uname -r
}

// A Result is how a command ended.
type Result struct {
	ID     uint64 `json:"id"`
	Exit   int    `json:"exit"`             // exit status; -1 when a signal ended it or it did not start
	Stdout string `json:"stdout,omitempty"` // at most MaxOutput bytes
	Stderr string `json:"stderr,omitempty"` // likewise
	Error  string `json:"error,omitempty"`  // why it did not start or was killed
}

// MaxOutput is how much of a command's output the agent keeps, in bytes, for each of the two
// streams. The serial port is slow; a command with more to say writes a file.
const MaxOutput = 1 << 20
