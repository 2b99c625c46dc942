package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
	"unicode/utf8"
)

// A line is one figure of the table.
type line struct {
	Row     string  `json:"row"`
	What    string  `json:"what"`
	Peer    string  `json:"peer,omitempty"`
	Version string  `json:"version,omitempty"`
	Measure string  `json:"measure,omitempty"` // which clock
	Ours    spread  `json:"ours,omitzero"`     // nanoseconds
	Theirs  spread  `json:"theirs,omitzero"`
	Ratio   *spread `json:"ratio,omitempty"` // ours / theirs
	Same    *spread `json:"same,omitempty"`  // A/A
	Goal    float64 `json:"goal,omitempty"`  // of the ratio, or of a count
	Verdict verdict `json:"verdict,omitempty"`

	Counted bool    `json:"counted,omitempty"` // the line has a count instead
	Count   float64 `json:"count,omitempty"`
	Text    string  `json:"text,omitempty"` // why there is no figure
}

// said is l with a text in place of figures.
func (l line) said(text string) line {
	l.Goal, l.Text = 0, text
	return l
}

// counted is l with a count that has a goal.
func counted(l line, count, goal float64) line {
	l.Counted, l.Count, l.Goal, l.Verdict = true, count, goal, reached
	if count > goal {
		l.Verdict = missed
	}
	return l
}

// A header says on what machine a table was measured.
type header struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
	Rounds int    `json:"rounds"`
	// Peers are what is measured beside, with versions.
	Peers []string `json:"peers"`
}

func headerOf(rounds int, lines []line) header {
	h := header{CPU: "unknown CPU", Cores: runtime.NumCPU(), Kernel: runtime.GOOS, Go: runtime.Version(), Rounds: rounds, Peers: peersOf(lines)}
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for l := range strings.Lines(string(info)) {
			if key, value, _ := strings.Cut(l, ":"); strings.TrimSpace(key) == "model name" {
				h.CPU = strings.TrimSpace(value)
				break
			}
		}
	}
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		h.Kernel = "Linux " + strings.TrimSpace(string(release))
	}
	return h
}

// table is what people read.
func table(h header, lines []line) string {
	cells := [][]string{{"", "what", "beside", "clock", "ours", "theirs", "ratio (min–max)", "A/A", "goal", ""}}
	row := ""
	for _, l := range lines {
		name := l.Row
		if name == row {
			name = ""
		}
		row = l.Row
		peer := strings.TrimSpace(l.Peer + " " + l.Version)
		switch {
		case l.Text != "":
			cells = append(cells, []string{name, l.What, peer, "", l.Text})
		case l.Counted:
			cells = append(cells, []string{name, l.What, "", "", figure(l.Count), "", "", "", "≤ " + figure(l.Goal), string(l.Verdict)})
		default:
			goal := ""
			if l.Goal != 0 {
				goal = "≤ " + figure(l.Goal)
			}
			cells = append(cells, []string{
				name, l.What, peer, l.Measure, duration(l.Ours.Median), duration(l.Theirs.Median),
				fmt.Sprintf("%s (%s–%s)", figure(l.Ratio.Median), figure(l.Ratio.Min), figure(l.Ratio.Max)),
				fmt.Sprintf("%.2f–%.2f", l.Same.From, l.Same.To), goal, string(l.Verdict),
			})
		}
	}
	return fmt.Sprintf("%s, %d cores, %s, %s, %d rounds of A B A B\n", h.CPU, h.Cores, h.Kernel, h.Go, h.Rounds) +
		"beside " + strings.Join(h.Peers, ", ") + "\n" + rule() + "\n\n" + align(cells)
}

// rule says how to read the table.
func rule() string {
	return fmt.Sprintf(`ratio is ours / theirs, the median of all rounds; A/A is the middle half of each thing beside itself
noisy, and no verdict, where A/A leaves %.2f–%.2f or a difference is not positive: measure again on a quieter machine`, 1-noise, 1+noise)
}

// align sets cells in columns. The last cell of a row may be longer than its
// column.
func align(rows [][]string) string {
	var widths []int
	for _, cells := range rows {
		for i, c := range cells {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			if i < len(cells)-1 {
				widths[i] = max(widths[i], utf8.RuneCountInString(c))
			}
		}
	}
	var b strings.Builder
	for _, cells := range rows {
		var text strings.Builder
		for i, c := range cells {
			text.WriteString(c + strings.Repeat(" ", max(0, widths[i]-utf8.RuneCountInString(c))+2))
		}
		b.WriteString(strings.TrimRight(text.String(), " ") + "\n")
	}
	return b.String()
}

// figure writes a number with two or three digits that count.
func figure(v float64) string {
	switch {
	case v < 0:
		return "-" + figure(-v)
	case v == float64(int64(v)) && v < 1e6:
		return fmt.Sprintf("%.0f", v)
	case v < 0.01:
		return fmt.Sprintf("%.4f", v)
	case v < 0.1:
		return fmt.Sprintf("%.3f", v)
	case v < 10:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.1f", v)
}

// duration writes nanoseconds with three digits that count. A difference of two
// measurements may be negative.
func duration(ns float64) string {
	if ns < 0 {
		return "-" + duration(-ns)
	}
	if ns < 1000 {
		return fmt.Sprintf("%.3g ns", ns)
	}
	d := time.Duration(ns)
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%.3g µs", ns/1e3)
	case d < time.Second:
		return fmt.Sprintf("%.3g ms", ns/1e6)
	}
	return fmt.Sprintf("%.3g s", ns/1e9)
}
