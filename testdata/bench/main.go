// Command bench measures agenthost beside what others do, in one run on one
// machine, and prints the table that says where it stands. It judges ratios
// alone: a time means nothing on another machine, and no number is kept.
//
// A row measures A B A B, in as many rounds as -rounds says, and shows the
// median of the ratios with the least and the greatest. Each thing is compared
// with itself, too (A/A): where the middle half of that spreads beyond a tenth,
// there is no verdict.
// Work of this process is measured by the CPU time of its thread, whole processes
// by the clock and by user and system time.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/agenthost/agenthost/host"
)

func main() {
	if code, ok := host.Helper(os.Args, os.Stdin, os.Stdout); ok {
		os.Exit(code)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// A row of the table.
type row struct {
	id  string
	run func(*lab) ([]line, error)
}

// notBuilt stands where there is nothing to measure yet.
const notBuilt = "not built yet"

func rows() []row {
	absent := func(id, what string) row {
		return row{id, func(*lab) ([]line, error) { return []line{{Row: id, What: what, Text: notBuilt}}, nil }}
	}
	return []row{
		{"G1", coldGo},
		{"G2", coldSmall},
		{"G3", freshTurn},
		{"G6", smallReads},
		{"G7", bigRead},
		{"G8", confined},
		{"G9", checks},
		{"G10", entry},
		{"G11", durableTurn},
		{"G12", verify},
		{"G13", compute},
		absent("G14", "replay of a turn"),
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	only := flags.String("run", "", "measure these `rows` only, such as G6,G7")
	rounds := flags.Int("rounds", 7, "measure A B A B this `often`")
	asJSON := flags.Bool("json", false, "print JSON")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	chosen, err := choose(rows(), *only)
	if err == nil && (*rounds < 1 || flags.NArg() > 0) {
		err = fmt.Errorf("-rounds is at least 1, and there are no operands")
	}
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 2
	}
	say := func(string, ...any) {}
	if isTerminal(stderr) {
		say = func(format string, args ...any) { fmt.Fprintf(stderr, "\r\x1b[K"+format, args...) }
	}
	lines, err := measureAll(ctx, chosen, *rounds, say)
	say("")
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
	}
	h := headerOf(*rounds, lines)
	if *asJSON {
		enc := json.NewEncoder(stdout)
		enc.SetIndent("", "  ")
		if e := enc.Encode(map[string]any{"machine": h, "lines": lines}); e != nil {
			return 1
		}
	} else if _, e := io.WriteString(stdout, table(h, lines)); e != nil {
		return 1
	}
	if err != nil {
		return 1
	}
	return 0
}

// choose returns the rows that a list names; all for the empty one.
func choose(all []row, list string) ([]row, error) {
	if list == "" {
		return all, nil
	}
	var chosen []row
	for _, id := range strings.Split(list, ",") {
		i := slices.IndexFunc(all, func(r row) bool { return strings.EqualFold(r.id, strings.TrimSpace(id)) })
		if i < 0 {
			return nil, fmt.Errorf("there is no row %q", id)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// measureAll measures the rows. One that fails has a line that says so, and the
// error of the first is returned when all were tried.
func measureAll(ctx context.Context, chosen []row, rounds int, say func(string, ...any)) ([]line, error) {
	dir, err := os.MkdirTemp("", "agenthost-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	l := newLab(ctx, dir, rounds, say)
	defer l.close()
	var (
		lines []line
		first error
	)
	for _, r := range chosen {
		if err := ctx.Err(); err != nil {
			return lines, err
		}
		more, err := r.run(l)
		if err != nil {
			more = append(more, line{Row: r.id, Text: "failed"})
			if first == nil {
				first = fmt.Errorf("%s: %w", r.id, err)
			}
		}
		lines = append(lines, more...)
	}
	return lines, first
}
