// Command agent is the Go guest of the benchmark: an ordinary WASI command with
// encoding/json in it. Its first argument says what to do.
package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
)

func main() {
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(verb string, args []string) error {
	n := 0
	if len(args) > 0 {
		var err error
		if n, err = strconv.Atoi(args[0]); err != nil {
			return err
		}
	}
	switch verb {
	case "hello":
		return hello()
	case "reads":
		return reads(n)
	case "big":
		return big()
	case "sha256":
		return say(hashes(n))
	case "nbody":
		return say(nbody(n))
	case "jsonsort":
		return jsonsort(n)
	}
	return fmt.Errorf("no verb %q", verb)
}

func say(v any) error { return json.NewEncoder(os.Stdout).Encode(map[string]any{"answer": v}) }

// hello answers the request on stdin.
func hello() error {
	var request struct {
		Query json.RawMessage `json:"query"`
	}
	if err := json.NewDecoder(os.Stdin).Decode(&request); err != nil {
		return err
	}
	return say(request.Query)
}

// reads reads n files of 1 KiB whole.
func reads(n int) error {
	for i := range n {
		data, err := os.ReadFile(fmt.Sprintf("docs/%02d/f%05d.txt", i%100, i))
		if err != nil {
			return err
		}
		if len(data) != 1024 {
			return fmt.Errorf("file %d has %d bytes", i, len(data))
		}
	}
	return say(n)
}

// big reads one large file in pieces of 1 MiB.
func big() error {
	f, err := os.Open("big.bin")
	if err != nil {
		return err
	}
	defer f.Close()
	buf, total := make([]byte, 1<<20), 0
	for {
		n, err := f.Read(buf)
		total += n
		if err == io.EOF {
			return say(total)
		}
		if err != nil {
			return err
		}
	}
}

// hashes computes SHA-256 n times over 64 KiB.
func hashes(n int) string {
	block := make([]byte, 64<<10)
	for range n {
		sum := sha256.Sum256(block)
		copy(block, sum[:])
	}
	return fmt.Sprintf("%x", block[:4])
}

type body struct{ x, y, z, vx, vy, vz, mass float64 }

// nbody moves five bodies n steps.
func nbody(n int) string {
	bodies := make([]body, 5)
	for i := range bodies {
		f := float64(i + 1)
		bodies[i] = body{f * 1.5, f * -0.7, f * 0.3, 0.1 / f, 0.2 / f, -0.3 / f, 1 / f}
	}
	for range n {
		for i := range bodies {
			a := &bodies[i]
			for j := i + 1; j < len(bodies); j++ {
				b := &bodies[j]
				dx, dy, dz := a.x-b.x, a.y-b.y, a.z-b.z
				d := dx*dx + dy*dy + dz*dz + 0.01
				mag := 0.001 / (d * math.Sqrt(d))
				a.vx -= dx * b.mass * mag
				a.vy -= dy * b.mass * mag
				a.vz -= dz * b.mass * mag
				b.vx += dx * a.mass * mag
				b.vy += dy * a.mass * mag
				b.vz += dz * a.mass * mag
			}
		}
		for i := range bodies {
			b := &bodies[i]
			b.x += 0.001 * b.vx
			b.y += 0.001 * b.vy
			b.z += 0.001 * b.vz
		}
	}
	return fmt.Sprintf("%.6f", bodies[0].x)
}

type record struct {
	ID   int      `json:"id"`
	Name string   `json:"name"`
	Tags []string `json:"tags"`
}

// jsonsort encodes, decodes and sorts 100 records n times: what agents do most.
func jsonsort(n int) error {
	state, last := uint32(1), 0
	for range n {
		records := make([]record, 100)
		for i := range records {
			state = state*1664525 + 1013904223
			records[i] = record{int(state >> 8), fmt.Sprint("name ", state), []string{"a", "b"}}
		}
		text, err := json.Marshal(records)
		if err != nil {
			return err
		}
		var back []record
		if err := json.Unmarshal(text, &back); err != nil {
			return err
		}
		slices.SortFunc(back, func(a, b record) int { return a.ID - b.ID })
		last = back[0].ID
	}
	return say(last)
}
