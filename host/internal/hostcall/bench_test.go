//go:build linux

package hostcall

import (
	"strings"
	"testing"

	"github.com/agenthost/agenthost/abi"
)

// BenchmarkCall tells what a message costs the host, and what it is charged for
// each nanosecond of that.
func BenchmarkCall(b *testing.B) {
	text := strings.Repeat("x", abi.MaxRequest-100)
	for _, c := range []struct{ name, line string }{
		{"info", `{"op":"info"}`},
		{"read", `{"op":"read","path":"docs/a.md"}`},
		{"check", `{"op":"check","operation":"read","subject":"docs/a.md"}`},
		{"refused", `{"op":"read","pth":"docs/a.md"}`},
		{"long", `{"op":"read","pth":"` + text + `"}`},
		{"escaped", `{"op":"read","pth":"` + strings.Repeat(`\u0041`, len(text)/6) + `"}`},
		{"values", `{"op":"read","pth":[` + strings.Repeat("0,", 8000) + `0]}`},
		{"objects", `{"op":"read","pth":[` + strings.Repeat(`{"":0},`, 4000) + `0]}`},
		{"spaces", strings.Repeat(" ", len(text)) + `{}`},
		{"no JSON", strings.Repeat("[", len(text))},
	} {
		b.Run(c.name, func(b *testing.B) {
			w := newWorld(b)
			m := newMemory(b, abi.MaxRequest)
			m.Memory().WriteString(0, c.line)
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				m.call(w.Dispatcher, 0, uint32(len(c.line)), 0, 0)
			}
			b.ReportMetric(float64(w.charged)/float64(b.Elapsed().Nanoseconds()), "units/ns")
		})
	}
}
