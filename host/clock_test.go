package host

import (
	"bytes"
	"crypto/sha256"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// One time and one seed make one result, wherever the turn runs.
func TestDeterminism(t *testing.T) {
	oneThread(t)
	asOf := time.Date(2026, 1, 2, 3, 4, 5, 678_999_999, time.UTC)
	run := func() (*Result, *bench) {
		b := newBench(t, map[string]string{"b": "1", "a": "22", "ö": "3", "Z": "4", "sub/x": "5"})
		return b.run(ask{
			manifest: with(grants([]string{"**"}, nil, nil), writes("out/**")),
			turn:     Turn{AsOf: asOf},
			steps: []string{
				"write /out/b 1", "write /out/a 2", "raw-list /", "raw-list /out", "walk /", "stat /a", "stat /out/a", "stat /sub",
				"clock 3", "random 16", "map", "goroutines 50", "clock 1", "env", "stdin",
			},
		}), b
	}
	one, b := run()
	two, _ := run()
	if one.Status != "ok" || string(one.Output) != string(two.Output) {
		t.Fatalf("got %s\n%s\nand %s\n%s", one.Status, one.Output, two.Status, two.Output)
	}
	if one.Fuel != two.Fuel {
		t.Errorf("got %d and %d units of fuel", one.Fuel, two.Fuel)
	}
	for _, want := range []string{
		"raw-list /: Z a b out sub tmp ö\n",
		"raw-list /out: a b\n",
		"stat /a: -rw------- 2 2026-01-02T03:04:05.678Z\n",
	} {
		if !strings.Contains(string(one.Output), want) {
			t.Errorf("got %s, want %q in it", one.Output, want)
		}
	}
	// Another time is another result.
	if three := b.run(ask{steps: []string{"clock 1"}, turn: Turn{AsOf: asOf.Add(time.Hour)}}); !strings.HasPrefix(string(three.Output), "2026-01-02T04:04:05.") {
		t.Errorf("got %s", three.Output)
	}
}

func TestClockAndRandomBytes(t *testing.T) {
	// A program that only asks: the runtime of Go takes readings and bytes of its
	// own.
	w := newWasm(1)
	clock, random, write := w.wasi("clock_time_get"), w.wasi("random_get"), w.wasi("fd_write")
	w.put(0, string([]byte{64, 0, 0, 0, 48, 0, 0, 0})) // one buffer: 48 bytes at 64
	w.start(0,
		c32(0), c64(1), c32(64), call(clock), opDrop,
		c32(0), c64(1), c32(72), call(clock), opDrop,
		c32(1), c64(1), c32(80), call(clock), opDrop, // monotonic
		c32(88), c32(24), call(random), opDrop,
		c32(1), c32(0), c32(1), c32(16), call(write), opDrop)
	b := newBench(t, nil)
	asOf := time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)
	for turn := uint64(1); turn <= 2; turn++ {
		r := b.run(ask{module: w.bytes(), turn: Turn{AsOf: asOf}, keep: true})
		if r.Status != "ok" || len(r.Output) != 48 {
			t.Fatalf("got %s %s, %d bytes", r.Status, r.Message, len(r.Output))
		}
		for i, want := range []int64{asOf.UnixNano(), asOf.UnixNano() + 1e6, 2e6} {
			got := int64(0)
			for j := 7; j >= 0; j-- {
				got = got<<8 | int64(r.Output[8*i+j])
			}
			if got != want {
				t.Errorf("turn %d, reading %d: got %d, want %d", turn, i, got, want)
			}
		}
		key := sha256.Sum256(append(make([]byte, 32), 0, 0, 0, 0, 0, 0, 0, byte(turn)))
		want := make([]byte, 24)
		rand.NewChaCha8(key).Read(want)
		if got := r.Output[24:]; !bytes.Equal(got, want) {
			t.Errorf("turn %d: got %x, want %x", turn, got, want)
		}
	}
	b.session.Leave()
}

// Sleeping takes no time, and moves the guest's clock all the same.
func TestSleep(t *testing.T) {
	b := newBench(t, nil)
	asOf := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	r := b.run(ask{steps: []string{"sleep 1h", "clock 1", "sleep 2000000h", "clock 1"}, turn: Turn{AsOf: asOf}})
	lines := strings.Split(string(r.Output), "\n")
	if r.Status != "ok" || len(lines) != 5 {
		t.Fatalf("got %s %s: %s", r.Status, r.Message, r.Output)
	}
	first, second := must(time.Parse(time.RFC3339Nano, lines[1]))(t), must(time.Parse(time.RFC3339Nano, lines[3]))(t)
	if d := first.Sub(asOf); d < time.Hour || d > time.Hour+time.Second {
		t.Errorf("after an hour got %v", d)
	}
	if d := second.Sub(first); d < 2_000_000*time.Hour || d > 2_000_000*time.Hour+time.Second {
		t.Errorf("after two million hours got %v", d)
	}
	c := newClock(asOf)
	c.sleep(1<<63 - 1)
	c.sleep(1<<63 - 1)
	c.sleep(-1)
	if sec, _ := c.walltime(); sec != lastTime.Unix() || c.nanotime() != lastTime.Sub(asOf).Nanoseconds() {
		t.Errorf("got %d, want %d", sec, lastTime.Unix())
	}
}
