package vm

import "testing"

func TestParsePing(t *testing.T) {
	for output, want := range map[string]PingReport{
		"3 packets transmitted, 3 received, 0% packet loss, time 44ms":             {3, 3, 0},
		"5 packets transmitted, 1 received, +4 errors, 80% packet loss, time 78ms": {5, 1, 0},
		"2 packets transmitted, 2 received, +1 duplicates, 0% packet loss":         {2, 2, 1},
	} {
		if got, err := ParsePing("PING 10.0.0.1\n" + output + "\n"); err != nil || got != want {
			t.Errorf("%s: got %+v, %v", output, got, err)
		}
	}
	if _, err := ParsePing("ping: connect: Network is unreachable"); err == nil {
		t.Error("no counts, and no error")
	}
}

func TestParseEchoReplies(t *testing.T) {
	const v4 = "Ip: Forwarding DefaultTTL\nIp: 2 64\nIcmp: InMsgs InErrors InEchoReps OutMsgs\nIcmp: 9 0 7 12\nIcmpMsg: InType0\nIcmpMsg: 7\n"
	const v6 = "Ip6InReceives                   \t5\nIcmp6InEchoReplies              \t4\n"
	if n, err := ParseEchoReplies(v4 + v6); n != 11 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	for _, counters := range []string{"", v4, v6, "Icmp: InMsgs\nIcmp: 1\n" + v6} {
		if n, err := ParseEchoReplies(counters); err == nil {
			t.Errorf("%q: %d and no error", counters, n)
		}
	}
}

func TestParseIperf(t *testing.T) {
	for _, test := range []struct {
		name, output string
		want         IperfReport
	}{
		{"TCP", `{"end": {"sum_sent": {"bytes": 100, "retransmits": 3}, "sum_received": {"bytes": 90, "bits_per_second": 720.5}}}`,
			IperfReport{Bytes: 90, BitsPerSecond: 720.5, Retransmits: 3}},
		{"UDP", `{"end": {"sum": {"bytes": 100, "bits_per_second": 800, "packets": 10, "lost_packets": 1}}}`,
			IperfReport{Bytes: 100, BitsPerSecond: 800, Packets: 10, Lost: 1}},
		{"UDP, newer iperf3", `{"end": {"sum": {"bytes": 100, "packets": 10, "lost_packets": 1}, "sum_received": {"bytes": 90, "bits_per_second": 720}}}`,
			IperfReport{Bytes: 90, BitsPerSecond: 720, Packets: 10, Lost: 1}},
	} {
		if got, err := ParseIperf([]byte(test.output)); err != nil || got != test.want {
			t.Errorf("%s: got %+v, %v", test.name, got, err)
		}
	}
	for _, output := range []string{`{"end": {}, "error": "unable to connect to server"}`, `{"end": {}}`, `iperf3: command not found`} {
		if got, err := ParseIperf([]byte(output)); err == nil {
			t.Errorf("%s: got %+v and no error", output, got)
		}
	}
}
