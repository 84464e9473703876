package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A PingReport is what ping counted.
type PingReport struct{ Sent, Received, Duplicates int }

var pingCounts = regexp.MustCompile(`(\d+) packets transmitted, (\d+) (?:packets )?received(?:, \+(\d+) duplicates)?`)

// Ping runs ping in the guest, by default with three echo requests; args are iputils ping's, such
// as "-c", "100", "-s", "8972", "-M", "do", "-f". That a reply is missing shows in the report
// alone.
func (vm *VM) Ping(ctx context.Context, addr string, args ...string) (PingReport, error) {
	command := "ping -n -q -c 3 -i 0.02 -W 10 " + strings.Join(args, " ") + " " + addr
	result, err := vm.Run(ctx, command)
	if err != nil {
		return PingReport{}, err
	}
	report, err := ParsePing(result.Stdout + result.Stderr)
	if err != nil {
		return report, fmt.Errorf("guest %s: %s: %w", vm.Config.Name, command, err)
	}
	return report, nil
}

// ParsePing reads the output of ping -q, iputils' or busybox's.
func ParsePing(output string) (PingReport, error) {
	counts := pingCounts.FindStringSubmatch(output)
	if counts == nil {
		return PingReport{}, fmt.Errorf("ping: no counts in its report: %s", output)
	}
	sent, _ := strconv.Atoi(counts[1])
	received, _ := strconv.Atoi(counts[2])
	duplicates, _ := strconv.Atoi(counts[3]) // empty: none
	return PingReport{Sent: sent, Received: received, Duplicates: duplicates}, nil
}

// lateReplies is how long PingAll waits for replies.
const lateReplies = 10 * time.Second

// PingAll is Ping, and counts the replies that ping no longer waits for. After its last request,
// ping waits for no longer than two round trips or one interval, whichever is longer, and a guest
// may sleep longer: User Mode Linux 6.1 goes to sleep until its next timer if a signal comes
// between its last look at what is pending and the system call that sleeps. Late replies are those
// that the guest's network stack counts within 10 s, so nothing else in the guest may ping
// meanwhile.
func (vm *VM) PingAll(ctx context.Context, addr string, args ...string) (PingReport, error) {
	before, err := vm.echoReplies(ctx)
	if err != nil {
		return PingReport{}, err
	}
	report, err := vm.Ping(ctx, addr, args...)
	if err != nil || report.Duplicates != 0 {
		return report, err
	}
	for deadline := time.Now().Add(lateReplies); report.Received < report.Sent && time.Now().Before(deadline); {
		now, err := vm.echoReplies(ctx)
		if err != nil {
			return report, err
		}
		report.Received = max(report.Received, now-before)
		time.Sleep(20 * time.Millisecond)
	}
	return report, nil
}

// echoReplies returns how many echo replies the guest's network stack has received.
func (vm *VM) echoReplies(ctx context.Context) (int, error) {
	counters, err := vm.Output(ctx, "cat /proc/net/snmp /proc/net/snmp6")
	if err != nil {
		return 0, err
	}
	n, err := ParseEchoReplies(counters)
	if err != nil {
		return 0, fmt.Errorf("guest %s: %w", vm.Config.Name, err)
	}
	return n, nil
}

// ParseEchoReplies adds up the ICMP and ICMPv6 echo replies in the content of /proc/net/snmp and
// /proc/net/snmp6.
func ParseEchoReplies(counters string) (int, error) {
	var names []string // of the ICMP counters, which are on a line before their values
	var v4, v6 string
	for line := range strings.Lines(counters) {
		switch fields := strings.Fields(line); {
		case len(fields) == 2 && fields[0] == "Icmp6InEchoReplies":
			v6 = fields[1]
		case len(fields) == 0 || fields[0] != "Icmp:":
		case names == nil:
			names = fields
		default:
			if i := slices.Index(names, "InEchoReps"); i >= 0 && i < len(fields) {
				v4 = fields[i]
			}
		}
	}
	n4, err4 := strconv.Atoi(v4)
	n6, err6 := strconv.Atoi(v6)
	if err := errors.Join(err4, err6); err != nil {
		return 0, fmt.Errorf("counters of echo replies: %w", err)
	}
	return n4 + n6, nil
}

// WaitPing returns at the first echo reply from addr.
func (vm *VM) WaitPing(ctx context.Context, addr string) error {
	_, err := vm.Output(ctx, "until ping -n -q -c 1 -W 0.2 "+addr+" >/dev/null; do sleep 0.02; done")
	return err
}

// An IperfReport is what an iperf3 client says of a transfer, over all its streams.
type IperfReport struct {
	Bytes         int64   // received by the receiver
	BitsPerSecond float64 // likewise
	Retransmits   int64   // TCP: by the sender
	Packets, Lost int64   // UDP
}

// Iperf runs an iperf3 client in the guest, against a server at addr, for two seconds unless args
// have --time. args are iperf3's, such as "--udp", "--bitrate", "100M", "--reverse", "--parallel",
// "4".
func (vm *VM) Iperf(ctx context.Context, addr string, args ...string) (IperfReport, error) {
	command := "iperf3 --json --client " + addr + " --time 2 --connect-timeout 10000 " + strings.Join(args, " ")
	result, err := vm.Run(ctx, command)
	if err != nil {
		return IperfReport{}, err
	}
	report, err := ParseIperf([]byte(result.Stdout))
	if err != nil {
		return report, fmt.Errorf("guest %s: %s: %w %s", vm.Config.Name, command, err, result.Stderr)
	}
	return report, nil
}

// ParseIperf reads the output of iperf3 --json. A transfer that failed gives an error.
func ParseIperf(output []byte) (IperfReport, error) {
	type sum struct {
		Bytes         int64   `json:"bytes"`
		BitsPerSecond float64 `json:"bits_per_second"`
		Retransmits   int64   `json:"retransmits"`
		Packets       int64   `json:"packets"`
		Lost          int64   `json:"lost_packets"`
	}
	var iperf struct {
		Error string `json:"error"`
		End   struct {
			Sent     *sum `json:"sum_sent"`
			Received *sum `json:"sum_received"`
			UDP      *sum `json:"sum"`
		} `json:"end"`
	}
	if err := json.Unmarshal(output, &iperf); err != nil {
		return IperfReport{}, fmt.Errorf("iperf3: %w: %.200s", err, output)
	}
	switch end := iperf.End; {
	case iperf.Error != "":
		return IperfReport{}, fmt.Errorf("iperf3: %s", iperf.Error)
	case end.Received == nil && end.UDP == nil:
		return IperfReport{}, fmt.Errorf("iperf3: no sums in its report")
	case end.UDP != nil: // older versions have nothing but this for UDP; its bytes are those sent
		report := IperfReport{Bytes: end.UDP.Bytes, BitsPerSecond: end.UDP.BitsPerSecond, Packets: end.UDP.Packets, Lost: end.UDP.Lost}
		if end.Received != nil {
			report.Bytes, report.BitsPerSecond = end.Received.Bytes, end.Received.BitsPerSecond
		}
		return report, nil
	default:
		report := IperfReport{Bytes: end.Received.Bytes, BitsPerSecond: end.Received.BitsPerSecond}
		if end.Sent != nil {
			report.Retransmits = end.Sent.Retransmits
		}
		return report, nil
	}
}
