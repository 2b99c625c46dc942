package main

import (
	"testing"
	"time"
)

func TestAge(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"30d": 720 * time.Hour, "2w": 336 * time.Hour, "90m": 90 * time.Minute, "1h30m": 90 * time.Minute, "0d": 0, "0s": 0, "100000d": 2_400_000 * time.Hour,
	} {
		if got, err := ageOf(text); err != nil || got != want {
			t.Errorf("%s: got %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"d", "30", "-1d", "-1h", "1.5d", "30D", "100001d", "14286w", "99999999999999999999d", "soon", "1d12h", " 1d"} {
		if got, err := ageOf(text); err == nil {
			t.Errorf("%s: got %v", text, got)
		}
	}
}
