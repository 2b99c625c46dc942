package main

import (
	"math"
	"slices"
)

// A spread is the middle of some numbers, the ends, and where the middle half of
// them begins and ends.
type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	From   float64 `json:"from"`
	To     float64 `json:"to"`
}

// spreadOf returns the spread of values, which it leaves as they are. Of no
// values it is zero.
func spreadOf(values []float64) spread {
	if len(values) == 0 {
		return spread{}
	}
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return spread{
		Median: (sorted[(n-1)/2] + sorted[n/2]) / 2, Min: sorted[0], Max: sorted[n-1],
		From: sorted[n/4], To: sorted[n-1-n/4],
	}
}

// ratios divides each value of a by the one of b that was measured beside it.
func ratios(a, b []float64) []float64 {
	out := make([]float64, len(a))
	for i := range a {
		out[i] = a[i] / b[i]
	}
	return out
}

// successive divides each value by the next of the same thing: what should be 1
// on a quiet machine.
func successive(values []float64) []float64 {
	var out []float64
	for i := 0; i+1 < len(values); i += 2 {
		out = append(out, values[i]/values[i+1])
	}
	return out
}

// A verdict says how a figure stands to its goal.
type verdict string

const (
	reached verdict = "reached"
	missed  verdict = "missed"
	noisy   verdict = "noisy"
	none    verdict = "" // there is no goal
)

// noise is how far the middle half of the ratios of a thing to itself may spread
// where a verdict is given. One round in four may be disturbed at either end: the
// median of the ratios does not feel that.
const noise = 0.10

// judge compares the median of ratios with a goal, 0 being none. Same is the
// spread of the A/A row. A slope that is not positive measured something else.
func judge(ratio, same spread, goal float64) verdict {
	switch {
	case goal == 0:
		return none
	case math.IsNaN(ratio.Median), ratio.Min <= 0, same.From < 1-noise, same.To > 1+noise:
		return noisy
	case ratio.Median <= goal:
		return reached
	}
	return missed
}
