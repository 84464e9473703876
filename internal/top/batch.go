package top

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"vswitchd/internal/control"
	"vswitchd/internal/layout"
	"vswitchd/internal/rates"
)

// Each calls show for each interval, until the count of intervals is reached, ctx is done, or show
// fails. It calls say with what people should know: that vswitchd does not answer, and that it does
// again. If vswitchd does not answer at first, that is the error.
func Each(ctx context.Context, cfg *Config, show func(*rates.Interval) error, say func(string)) error {
	last, err := cfg.Read(ctx)
	if err != nil {
		return err
	}
	tick := time.NewTicker(cfg.Interval)
	defer tick.Stop()
	lost := false
	for n := 0; cfg.Count == 0 || n < cfg.Count; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		now, err := cfg.Read(ctx)
		if err != nil {
			if !lost && ctx.Err() == nil {
				say(err.Error() + "; trying again")
			}
			lost = true
			continue
		}
		if text := news(last, now, lost); text != "" {
			say(text)
		}
		interval, ok := rates.Between(last, now)
		last, lost = now, false
		if !ok {
			continue
		}
		n++
		if err := show(&interval); err != nil {
			return err
		}
	}
	return nil
}

// news returns what a reading says about vswitchd itself, if that is new.
func news(last, now *control.SwitchInfo, lost bool) string {
	switch {
	case last.Started != now.Started:
		return "vswitchd has been restarted"
	case lost:
		return "vswitchd answers again"
	}
	return ""
}

// Text writes an interval as text.
func (cfg *Config) Text(w *layout.Page, i *rates.Interval) {
	fmt.Fprintln(w, summary(i))
	for _, line := range append(listLines("workers", workerTexts(i), w.Width, 4), listLines("drops/s", reasonTexts(&i.Totals), w.Width, 4)...) {
		fmt.Fprintln(w, line)
	}
	fmt.Fprintln(w)
	writeTable(w, &i.Totals, selected(i.Ports, cfg.Filter, cfg.Order), cfg.Order)
	fmt.Fprintln(w)
}

// JSON returns an interval as a line of JSON, with the ports that are shown.
func (cfg *Config) JSON(i *rates.Interval) ([]byte, error) {
	shown := *i
	shown.Ports = selected(i.Ports, cfg.Filter, cfg.Order)
	line, err := json.Marshal(&shown)
	return append(line, '\n'), err
}
