package nearest

import "testing"

func TestNearest(t *testing.T) {
	known := []string{"tag", "trunks", "mac", "max_macs", "mode", "socket_mode", "mac_aging_time", "mac_table_size"}
	for word, want := range map[string]string{
		"tga": "tag", "tags": "tag", "TAG": "tag", "trunk": "trunks", "socket-mode": "socket_mode", "sokcet_mdoe": "socket_mode",
		"mac_aging": "mac_aging_time", "aging_time": "mac_aging_time", "mac_table": "mac_table_size", "aging": "",
		"": "", "x": "", "colour": "", "maximum": "",
	} {
		if got := Of(word, known); got != want {
			t.Errorf("Of(%q) = %q, want %q", word, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "ab", 2}, {"ab", "", 2}, {"ab", "ab", 0}, {"ab", "ba", 1}, {"abc", "xbc", 1}, {"abc", "abxc", 1}, {"kitten", "sitting", 3}} {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("distance(%q, %q) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}
